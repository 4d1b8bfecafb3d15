"""Starting the processes of a sandbox: the gofer, and the Sentry (sentry_process.py)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, final

from ..failure import reason
from ..platform.native import _native, sources
from ..platform.native._native import lib
from ..platform.probe import NoPlatform, choose
from . import control, isolate
from .config import Failure, SandboxConfig
from .handle import Handle
from .logs import setup_logging
from .sentry_process import SentryProcess

if TYPE_CHECKING:
    from .ownnet import OwnNetwork
    from .takeover import Takeover

# The gofer and the Sentry import their modules themselves, side by side, and this process stays small. Who starts many
# sandboxes, or counts the memory of each, calls load() before.


def load() -> None:
    """Imports what the processes of a sandbox need, for them to share."""
    from ..gofer import main  # noqa: F401
    from ..sentry import boot
    from . import sentry_main  # noqa: F401

    boot.load_table()


def _gofer_process(config: SandboxConfig, sock: socket.socket, parent: int, ready: int) -> None:
    """In the child: the container's mounts and nothing else, then serves for good. ``parent``: with whom it ends, 0: only
    with its connection."""
    code = 1
    try:
        if parent:
            isolate.die_with_parent(parent)
        os.setsid()
        isolate.reset_signals()
        isolate.set_name("nv-gofer")
        if config.mount_ns >= 0:
            isolate.check("setns", lib.nv_setns(config.mount_ns, isolate.CLONE_NEWNS))
        isolate.close_others({sock.fileno(), ready})
        isolate.raise_limits()
        flags = (
            isolate.CLONE_NEWNS | isolate.CLONE_NEWIPC | isolate.CLONE_NEWUTS | isolate.CLONE_NEWNET
        )
        from ..gofer.main import MountSpec
        from ..gofer.main import main as gofer_main
        from ..platform.sentry_filter import gofer_filter

        isolate.check("unshare", lib.nv_unshare(flags))
        mounts = [config.root, *config.mounts]
        sources = isolate.open_sources(mounts)
        base = isolate.private_tree()
        paths = isolate.bind_mounts(base, mounts, sources)
        own_proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        specs = [MountSpec(p, m.readonly) for p, m in zip(paths, mounts, strict=True)]
        writes = any(not m.readonly for m in mounts)

        def locked() -> None:
            isolate.enter_tree(base)
            if config.uid_maps:
                isolate.enter_user_namespace(config.uid_maps, config.gid_maps, own_proc)
            os.close(own_proc)
            lib.nv_set_caps(isolate.GOFER_WRITE_CAPS if writes else isolate.GOFER_READ_CAPS)
            isolate.check("no_new_privs", lib.nv_prctl(isolate.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
            os.write(ready, b"\n")
            os.close(ready)
            isolate.install_filter(gofer_filter())

        gofer_main(sock.detach(), specs, locked)
        code = 0
    except Failure as e:
        os.write(ready, str(e).encode())
    except OSError as e:
        with contextlib.suppress(OSError):
            os.write(ready, f"gofer: {e.strerror or e}".encode())
    finally:
        os._exit(code)


def _hold_latency(usec: int) -> int:
    """Bounds how long the host's processors take to wake, as long as the descriptor is open (Linux: kernel/power/qos.c).
    Raises Failure."""
    try:
        fd = os.open("/dev/cpu_dma_latency", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, struct.pack("<i", usec))
    except OSError as e:
        raise Failure(f"--cpu-dma-latency: `/dev/cpu_dma_latency`: {reason(e)}") from None
    return fd


def start_gofer(config: SandboxConfig, outlives: bool = False) -> tuple[socket.socket, int, int]:
    """(the Sentry's end, pid, descriptor on which it says that it is ready)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    r, w = os.pipe()
    parent = 0 if outlives else os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(r)
        _gofer_process(config, theirs, parent, w)
    theirs.close()
    os.close(w)
    return ours, pid, r


def gofer_ready(r: int, pid: int) -> None:
    """Waits for the gofer. Raises Failure."""
    with os.fdopen(r, "rb") as f:
        word = f.read()
    if word != b"\n":
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        raise Failure(word.decode("utf-8", "replace") or "the gofer did not start")


@final
class RunningSandbox(Handle):
    """A sandbox whose processes are our children."""

    def __init__(
        self,
        config: SandboxConfig,
        listener: socket.socket | None = None,
        own_name: str = "",
        sentry: SentryProcess | None = None,
        own_network: bool = False,
        outlives: bool = False,
        wait: bool = True,
    ) -> None:
        """``sentry``: one that was started before. ``own_network``: with network "sandbox" nobody else makes a network
        namespace. ``outlives``: it ends with its control connection only, not with us. Without ``wait`` it is to be used
        after ``ready``. Raises Failure."""
        sentry = sentry or SentryProcess(outlives)
        if not sources.current(_native.__file__, getattr(lib, "NV_SOURCES", -1)):
            sentry.drop()
            raise Failure(
                f"`{_native.__file__}` is not built from the C sources beside it: run `make native`"
            )
        super().__init__(sentry.ctl)
        self.sentry_pid = sentry.pid
        self.config = config
        self.broker_pid = self.raw_broker_pid = 0
        self.gofer_pid = 0
        self.own_network: OwnNetwork | None = None
        self._gofer_ready = -1
        self._sentry = sentry
        if own_name:
            isolate.set_name(own_name)
        try:
            if own_network and config.network == "sandbox":
                self._connect(config)
            self._start(config, sentry, -1 if listener is None else listener.fileno(), outlives)
        except BaseException:
            if self.own_network is not None:
                self.own_network.close()
            sentry.drop()
            raise
        if wait:
            self.ready()

    def ready(self) -> None:
        """Waits until it can run programs. Raises Failure."""
        if self._gofer_ready < 0:
            return
        pipe, self._gofer_ready = self._gofer_ready, -1
        try:
            gofer_ready(pipe, self.gofer_pid)
            self.wait_for("ready", 0)
        except BaseException:
            if self.own_network is not None:
                self.own_network.close()
            self._sentry.drop()
            raise
        if self.own_network is not None:
            control.send(self.ctl, self.own_network.order, tuple(self.own_network.fds))
            for fd in self.own_network.fds:
                os.close(fd)

    def _connect(self, config: SandboxConfig) -> None:
        from . import ownnet

        self.own_network = ownnet.OwnNetwork()
        config.files.setdefault(b"/etc/resolv.conf", ownnet.RESOLVER)

    def _start(
        self, config: SandboxConfig, sentry: SentryProcess, listener: int, outlives: bool
    ) -> None:
        log_fd = -1
        if config.log_path:
            log_fd = os.open(
                config.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
            )
        elif config.debug or config.strace:
            log_fd = os.dup(2)
        self._log_fd = log_fd
        setup_logging(config, log_fd)
        if config.network == "sandbox":
            self._open_network(config)
        if config.cpu_dma_latency >= 0:
            config.latency_fd = _hold_latency(config.cpu_dma_latency)
        try:
            config.platform = choose(config.platform)
        except NoPlatform as e:
            raise Failure(str(e)) from None
        if config.gpu is not None and config.gpu.devices and not config.gpu.null:
            from ..nvproxy import broker

            config.gpu.broker_fd, self.broker_pid = broker.start(config.gpu.devices)
        if config.network == "host" and config.net_raw:
            from . import rawbroker

            config.raw_fd, self.raw_broker_pid = rawbroker.start()
        gofer, self.gofer_pid, self._gofer_ready = start_gofer(config, outlives)
        sentry.configure(config, gofer.fileno(), log_fd, listener, self.gofer_pid)
        gofer.close()
        if config.gpu is not None and config.gpu.broker_fd >= 0:
            os.close(config.gpu.broker_fd)  # the Sentry's: the broker ends with it
        for fd in (config.pcap_fd, config.latency_fd, config.raw_fd):
            if fd >= 0:
                os.close(fd)

    def _open_network(self, config: SandboxConfig) -> None:
        """What --egress and --pcap need from the host's files. Raises Failure."""
        if config.egress:
            from .takeover import nameservers

            config.nameservers = nameservers(config)
        if config.pcap:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                config.pcap_fd = os.open(config.pcap, flags, 0o600)
            except OSError as e:
                raise Failure(f"--pcap `{config.pcap}`: {reason(e)}") from None

    def network(self, takeover: Takeover) -> None:
        """Tells the Sentry what the network namespace has now. Raises Failure, OSError."""
        try:
            order, sockets = takeover.order()
        except Failure as e:
            control.send(self.ctl, {"op": "network", "failed": str(e)})
            raise
        try:
            control.send(self.ctl, order, tuple(s.fileno() for s in sockets))
        finally:
            for s in sockets:
                s.close()

    def kept_fds(self) -> set[int]:
        """Descriptors of the launcher's that the sandbox's log needs."""
        return {self._log_fd} - {-1}

    def _pids(self) -> list[int]:
        every = (self.sentry_pid, self.gofer_pid, self.broker_pid, self.raw_broker_pid)
        return [pid for pid in every if pid]

    def children(self) -> list[int]:
        return [] if self.own_network is not None else self._pids()

    def _await_end(self) -> None:
        if self.own_network is not None:
            self.own_network.close()
        for pid in self._pids():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
