"""The host namespaces of a container's pid-file process: what engines and hooks look at through /proc/PID/ns.

The application never sees them (it has the Sentry's). The network namespace counts: hooks configure it, and with --network=host
the sandbox's sockets live in it. Pid and mount namespaces are not made: the process must stay visible to the engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from typing import Final

from ..failure import Failure, reason
from .spec import Namespace

MOUNT: Final = 0x0002_0000
CLONE: Final = {"network": 0x4000_0000, "ipc": 0x0800_0000, "uts": 0x0400_0000}
SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1


def check(namespaces: list[Namespace], pod: bool) -> None:
    """Refuses what would silently share less than was asked for. Raises Failure."""
    for n in namespaces:
        # Every pid-file process is in the host's pid namespace: one that is named is another container's
        other = n.type == "pid" or (n.type == "ipc" and not is_own(n))
        if n.path and other and not pod:
            raise Failure(
                f"$.linux.namespaces: joining the {n.type} namespace `{n.path}` of another container is supported in pods only"
            )
        if n.path and not os.path.exists(n.path):
            raise Failure(f"$.linux.namespaces: `{n.path}`: no such file or directory")


def is_own(n: Namespace) -> bool:
    """Whether a path names the namespace we are in ourselves."""
    kind = {"network": "net"}.get(n.type, n.type)
    try:
        a, b = os.stat(n.path), os.stat(f"/proc/self/ns/{kind}")
    except OSError:
        return False
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def enter(namespaces: list[Namespace], hostname: str) -> None:
    """Called in the pid-file process: joins those with a path, makes the others. Raises Failure."""
    from ..platform.native._native import lib

    fresh = 0
    for n in namespaces:
        flag = CLONE.get(n.type)
        if flag is None:
            continue
        if not n.path:
            fresh |= flag
            continue
        try:
            fd = os.open(n.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise Failure(f"open namespace `{n.path}`: {reason(e)}") from None
        r = lib.nv_setns(fd, flag)
        os.close(fd)
        if r < 0:
            raise Failure(f"join namespace `{n.path}`: {os.strerror(-r).lower()}")
    if fresh:
        r = lib.nv_unshare(fresh)
        if r < 0:
            raise Failure(f"make namespaces: {os.strerror(-r).lower()}")
    if fresh & CLONE["network"]:
        loopback_up()
    if fresh & CLONE["uts"] and hostname:
        with contextlib.suppress(OSError):
            socket.sethostname(hostname)


def mount_namespace(rootfs: str) -> int:
    """A mount namespace like ours in which ``rootfs`` is a mount: what createContainer hooks mount there is the container's, and nobody
    else's. A descriptor of it. Raises Failure."""
    from ..platform.native._native import lib
    from ..sandbox import isolate

    ready_r, ready_w = os.pipe()
    done_r, done_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(done_w)
            isolate.check("unshare", lib.nv_unshare(isolate.CLONE_NEWNS))
            isolate.mount("none", "/", "", isolate.MS_REC | isolate.MS_SLAVE)
            isolate.mount(rootfs, rootfs, "", isolate.MS_BIND | isolate.MS_REC)
            isolate.mount("none", rootfs, "", isolate.MS_REC | isolate.MS_PRIVATE)
            os.write(ready_w, b"\n")
            os.read(done_r, 1)
        except Failure as e:
            os.write(ready_w, str(e).encode())
        finally:
            os._exit(0)
    os.close(ready_w)
    os.close(done_r)
    try:
        word = os.read(ready_r, 4096)
        if word != b"\n":
            why = word.decode("utf-8", "replace") or "its process died"
            raise Failure(f"mount namespace for hooks: {why}")
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_r)
        os.close(done_w)
        os.waitpid(pid, 0)


def loopback_up() -> None:
    """lo of a new network namespace."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        raw = fcntl.ioctl(s, SIOCGIFFLAGS, struct.pack("<16sH22x", b"lo", 0))
        flags = struct.unpack_from("<H", raw, 16)[0] | IFF_UP
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("<16sH22x", b"lo", flags))


def own_network(namespaces: list[Namespace]) -> bool:
    """Whether the container's network namespace is another than the host's."""
    return any(n.type == "network" and not is_own(n) for n in namespaces)


def set_sysctls(wanted: dict[str, str], network: str) -> None:
    """net.* in the namespace we have entered, for the host's stack there. With ``network`` "host" programs inside use it, as a
    user without privilege, who must be able to bind what root inside may; with "sandbox" it keeps to ports of its own. Raises Failure."""
    values = {k: v for k, v in wanted.items() if k.startswith("net.")}
    if network == "host":
        values = {
            "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647", **values,
        }  # fmt: skip
    elif network == "sandbox":
        from ..sandbox.wirefilter import PORT_RANGE

        values = {**values, **PORT_RANGE}
    for name, value in values.items():
        path = "/proc/sys/" + name.replace(".", "/")
        if ".." in path:
            raise Failure(f"$.linux.sysctl: `{name}`")
        try:
            with open(path, "w") as f:
                f.write(value)
        except OSError as e:
            if name in wanted:
                raise Failure(f"$.linux.sysctl: set `{name}` to `{value}`: {reason(e)}") from None
