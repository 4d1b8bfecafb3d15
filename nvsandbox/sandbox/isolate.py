"""Taking rights away: what a gofer and a Sentry process do to themselves before they meet anything hostile."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from typing import TYPE_CHECKING, Final

from .. import userns
from ..failure import Failure
from ..platform.native._native import ffi, lib

if TYPE_CHECKING:
    from .config import HostMount, IdMap

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MNT_DETACH: Final = 2
PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_NAME: Final = 15
PR_SET_NO_NEW_PRIVS: Final = 38
SCM_MAX_FD: Final = 253
UID_BASE: Final = 0x7F00_0000
# CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID MKNOD SETFCAP
GOFER_WRITE_CAPS: Final = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31
GOFER_READ_CAPS: Final = 1 << 1 | 1 << 2


def check(what: str, r: int) -> None:
    """Raises Failure for a negative result of a host call."""
    if r < 0:
        raise Failure(f"{what}: {os.strerror(-r)}")


def mount(src: str, dst: str, fstype: str, flags: int, data: str = "") -> None:
    check(
        f"mount `{dst}`",
        lib.nv_mount(src.encode(), dst.encode(), fstype.encode(), flags, data.encode()),
    )


def set_name(name: str) -> None:
    buf = ffi.new("char[]", name.encode())
    lib.nv_prctl(PR_SET_NAME, int(ffi.cast("uintptr_t", buf)), 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent dies; at once if it has already."""
    lib.nv_prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() not in (parent, 0):
        os._exit(1)


def reset_signals() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and a launcher may have handlers of its own."""
    for s in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(s, signal.SIG_IGN)
    for s in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(s, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def close_others(keep: set[int]) -> None:
    """Closes every descriptor but 0–2 (which become /dev/null) and ``keep``."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        if fd not in keep:
            os.dup2(null, fd)
    if null > 2:
        os.close(null)


def leave_to_host(fds: list[int]) -> None:
    """The end of a process waits for that of its packet sockets, a grace period of the host (10–20 ms; kernel: packet_release()). These are
    sent over a socket that is sent with them: nobody can receive them, and once we are gone the host's collector of such
    circles closes them (unix(7); kernel: net/unix/garbage.c)."""
    if not fds:
        return
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.suppress(OSError):
        for i in range(0, len(fds), SCM_MAX_FD - 1):
            socket.send_fds(a, [b"\0"], [b.fileno(), *fds[i : i + SCM_MAX_FD - 1]])
    for fd in (*fds, b.detach(), a.detach()):
        os.close(fd)


def raise_limits() -> None:
    """Soft limits up to the hard ones: the application has limits of its own inside (hazard B14)."""
    for which in (
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_NPROC,
        resource.RLIMIT_MEMLOCK,
        resource.RLIMIT_SIGPENDING,
    ):
        _soft, hard = resource.getrlimit(which)
        try:
            resource.setrlimit(which, (hard, hard))
        except (ValueError, OSError):
            pass


def private_tree() -> str:
    """A new mount namespace whose only business is a small tmpfs, at the path returned."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    base = "/tmp" if os.path.isdir("/tmp") else "/"
    mount(
        "nvsandbox",
        base,
        "tmpfs",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
        "size=64k,nr_inodes=256,mode=755",
    )
    return base


def enter_tree(base: str) -> None:
    """The tmpfs becomes the root and everything else is unmounted."""
    os.chdir(base)
    check("pivot_root", lib.nv_pivot_root(b".", b"."))
    check("umount old root", lib.nv_umount(b".", MNT_DETACH))
    os.chdir("/")
    mount("none", "/", "", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def open_sources(mounts: list[HostMount]) -> list[int]:
    """O_PATH descriptors of the sources, opened while the host's tree is still in sight. Raises Failure."""
    out = []
    for m in mounts:
        try:
            out.append(os.open(m.source, os.O_PATH | os.O_CLOEXEC))
        except OSError as e:
            raise Failure(f"open `{m.source}`: {e.strerror}") from None
    return out


def bind_mounts(base: str, mounts: list[HostMount], sources: list[int]) -> list[str]:
    """Binds each source below ``base``; the paths. nosuid and nodev, never noexec (hazard B11)."""
    out = []
    for i, (m, fd) in enumerate(zip(mounts, sources, strict=True)):
        dst = f"{base}/{i}"
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            os.mkdir(dst)
        else:
            os.close(os.open(dst, os.O_CREAT | os.O_WRONLY, 0o600))
        mount(f"/proc/self/fd/{fd}", dst, "", MS_BIND | MS_REC)
        os.close(fd)
        mount("none", dst, "", MS_REC | MS_PRIVATE)
        flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (MS_RDONLY if m.readonly else 0)
        mount("none", dst, "", flags)
        inside = os.path.relpath(base, os.path.realpath(m.source))
        if not inside.startswith(".."):  # our own tmpfs hides what the host has there
            lib.nv_umount(f"{dst}/{inside}".encode(), MNT_DETACH)
        if os.path.realpath(m.source) == "/":
            for sub in ("proc", "sys", "dev"):  # ours are mounted there inside
                lib.nv_umount(f"{dst}/{sub}".encode(), MNT_DETACH)
        out.append(dst)
    return out


def enter_user_namespace(uid_maps: list[IdMap], gid_maps: list[IdMap], proc: int) -> None:
    """A user namespace with these maps, root in it. A child left outside writes them (``proc``: our /proc directory).

    Raises Failure.
    """
    r, w = os.pipe()
    helper = os.fork()
    if helper == 0:
        code = 1
        try:
            os.close(w)
            os.read(r, 1)
            for name, maps in (("uid_map", uid_maps), ("gid_map", gid_maps)):
                text = "".join(f"{m.inside} {m.outside} {m.count}\n" for m in maps)
                fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
                os.write(fd, text.encode())
            code = 0
        finally:
            os._exit(code)
    os.close(r)
    check("user namespace", lib.nv_unshare(CLONE_NEWUSER))
    os.write(w, b"x")
    os.close(w)
    if os.waitpid(helper, 0)[1]:
        raise Failure("user namespace: the id maps can't be written")
    check("user namespace root", lib.nv_set_ids(0, 0))


def become_root() -> None:
    """An ordinary user becomes root of a user namespace in which nobody else is. Raises Failure."""
    uid, gid = os.geteuid(), os.getegid()
    r = lib.nv_unshare(CLONE_NEWUSER)
    if r < 0:
        raise Failure(
            f"user namespace: {os.strerror(-r).lower()} (an ordinary user needs one; `nvsandbox doctor` says more)"
        )
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as f:
                f.write(text)
    except OSError as e:
        raise Failure(f"user namespace: {(e.strerror or str(e)).lower()}") from None


def spare_uid(ident: int) -> int:
    """A host uid that no other sandbox has; in a user's namespace one of the last that are mapped there, -1 if there is none but ours."""
    ranges = userns.id_ranges()
    if any(first <= UID_BASE < first + count for first, count in ranges):
        return UID_BASE + ident % 0x7F_FFFF
    first, count = max(ranges, key=lambda r: r[1], default=(0, 1))
    return first + count - 1 - ident % (count // 4) if count > 4 else -1


def install_filter(prog: bytes) -> None:
    """The process's last seccomp filter."""
    check("seccomp", lib.nv_set_filter(ffi.from_buffer(prog), len(prog) // 8))


def drop_to_nobody(uid: int) -> None:
    """A host uid of the sandbox's own (``spare_uid``), no group, no capability."""
    if uid >= 0:
        check("set ids", lib.nv_set_ids(uid, uid))
    lib.nv_set_caps(0)
    check("no_new_privs", lib.nv_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
