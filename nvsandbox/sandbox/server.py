"""The Sentry's side of the control sockets (control.py): orders in, what became of processes out."""

from __future__ import annotations

import base64
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final, final

from ..platform.bpf import Rule
from ..platform.native._native import lib
from ..platform.ptrace.platform import Ptrace
from ..platform.sentry_filter import host_network_rules, sentry_filter
from ..platform.space import HostPlatform, PlatformError
from ..platform.systrap.platform import Systrap
from ..sentry.boot import Boot, CapSets, Prepared, ProcessSpec, set_inlining
from ..sentry.console import Console
from ..sentry.errors import SysErr, TaskExit
from ..sentry.first import start_program
from ..sentry.fs.memfd_pool import Refill
from ..sentry.kernel import signal as sg
from ..sentry.kernel.container import Container
from ..sentry.kernel.task import Task, ThreadGroup
from ..sentry.net.network import Network
from ..sentry.ready import get_ready
from ..sentry.strace import Strace
from ..sentry.vfs.mount import MountNamespace
from . import control, figures, isolate, tree
from .config import Failure, SandboxConfig
from .disk_files import DiskFiles

if TYPE_CHECKING:
    from ..nvproxy.attach import Gpus
    from ..nvproxy.engine import Engine

log = logging.getLogger("nvsandbox.sentry")
MAX_PEERS: Final = 1024
SETTLED_NS: Final = 1_000_000_000
PLATFORMS: Final[dict[str, type[HostPlatform]]] = {"systrap": Systrap, "ptrace": Ptrace}


@final
class Peer:
    """One control connection and the processes it has started."""

    __slots__ = ("consoles", "container", "ids", "primary", "procs", "sock")

    def __init__(self, sock: socket.socket, primary: bool) -> None:
        self.sock = sock
        self.primary = primary
        self.container = ""  # the container that ends with this connection
        self.ids: dict[ThreadGroup, int] = {}  # the peer's id for it
        self.procs: dict[int, ThreadGroup] = {}
        self.consoles: dict[int, Console] = {}

    def tell(self, msg: control.Message, fds: tuple[int, ...] = ()) -> None:
        """What can't be sent is lost: the connection is gone, and its end is seen by the reader."""
        try:
            control.send(self.sock, msg, fds)
        except OSError as e:
            if self.primary:
                os._exit(0)
            log.debug("control connection: %s", e)


@final
class Hosted:
    """A container with its file tree and first program; a plain sandbox has one, named ""."""

    __slots__ = ("container", "files", "held", "init", "ns")

    def __init__(self, ns: MountNamespace, container: Container, files: DiskFiles | None) -> None:
        self.ns = ns
        self.container = container
        self.files = files
        self.init: ThreadGroup | None = None
        self.held: tuple[Peer, int, Task, ProcessSpec] | None = None  # created, not started


@final
class SentryServer:
    """Boot, control messages, the end."""

    def __init__(
        self, config: SandboxConfig, prepared: Prepared, gofer: socket.socket, ctl: socket.socket,
        listener: socket.socket | None, phases: figures.Phases,
    ) -> None:  # fmt: skip
        self.config = config
        self.primary = Peer(ctl, True)
        self.listener = listener
        self.peers: set[Peer] = {self.primary}
        self.containers: dict[str, Hosted] = {}
        self.owners: dict[ThreadGroup, Peer] = {}  # who started it
        self.gpus: Gpus | None = None
        self.network: Network | None = None
        self.phases = phases
        self.asked: list[Any] = []  # who waits for news of the network
        self.settled = False  # there has been a first program
        self.boot = Boot(prepared, gofer, config.ncpu, PLATFORMS[config.platform])
        self.k = self.boot.k
        self.k.uts.hostname = config.hostname
        self.k.patching = config.patching
        self.k.uts.domainname = config.domainname or self.k.uts.domainname
        self.k.on_exit = self._ended
        self.k.on_process_exit = self._process_exited
        if config.strace:
            self.k.strace = Strace()

    def serve(self) -> None:
        k = self.k
        extra: list[Rule] = []
        if self.config.gpu is not None:
            from ..nvproxy.attach import Gpus  # imported before the confinement

            self.gpus = Gpus(k, self.config.gpu)
            extra += self.gpus.rules
        if self.config.network == "host":
            extra += host_network_rules()
        elif self.config.network == "sandbox":
            self.network = Network(
                self.k.loop, self.config.pcap_fd, self.config.egress, self.config.nameservers,
                self.config.net_rate,
            )  # fmt: skip
        files, refill = self._disk_files(self.config)
        ns = self.boot.build(self.config, refill)
        self.containers[""] = Hosted(ns, k.container, files)
        self.phases.done("files")
        self.boot.client.attach_loop(k.loop)
        k.start_platform()
        set_inlining()
        if self.gpus is not None:
            self.gpus.started()
        self.boot.confine(k.container, self.config.seccomp)
        ctl = self.primary.sock
        ctl.setblocking(False)
        k.loop.watch_fd(ctl.fileno(), select.EPOLLIN, lambda _e: self._orders(self.primary))
        if self.listener is not None:
            self.listener.setblocking(False)
            k.loop.watch_fd(self.listener.fileno(), select.EPOLLIN, lambda _e: self._accept())
        isolate.install_filter(sentry_filter(self.k.platform.TRACES, extra))
        self.phases.done("platform")
        self.primary.tell({"ev": "ready"})
        gc.freeze()
        k.loop.watch_garbage()
        gc.enable()  # main() has it off
        k.loop.run()

    # Connections
    def _accept(self) -> None:
        assert self.listener is not None
        try:
            sock, _addr = self.listener.accept()
        except OSError:
            return
        if len(self.peers) >= MAX_PEERS:
            sock.close()
            return
        sock.setblocking(False)
        peer = Peer(sock, False)
        self.peers.add(peer)
        self.k.loop.watch_fd(sock.fileno(), select.EPOLLIN, lambda _e: self._orders(peer))

    def _drop(self, peer: Peer) -> None:
        """A connection is gone, and what it started with it."""
        if peer.primary:
            self.k.on_exit = None
            os._exit(0)
        self.k.loop.unwatch_fd(peer.sock.fileno())
        self.peers.discard(peer)
        peer.sock.close()
        for tg in list(peer.procs.values()):
            if not tg.dead:
                tg.kill(int(signal.SIGKILL))
        if peer.container:
            self._remove_container(peer.container)

    def _orders(self, peer: Peer) -> None:
        try:
            got = control.receive(peer.sock)
        except BlockingIOError:
            return
        except (ValueError, OSError):
            got = None
        if got is None:
            self._drop(peer)
            return
        msg, fds = got
        try:
            self._order(peer, msg, fds)
        except (KeyError, TypeError, ValueError) as e:
            for fd in fds:
                os.close(fd)
            peer.tell(
                {"ev": "failed", "id": msg.get("id", 0), "errno": 22, "msg": f"bad order: {e!r}"}
            )

    def _order(self, peer: Peer, msg: control.Message, fds: list[int]) -> None:
        op = msg.get("op")
        if op == "spawn":
            self.k.loop.spawn(lambda: self._spawn(peer, msg, fds))
        elif op == "container":
            self.k.loop.spawn(lambda: self._add_container(peer, msg, fds))
        elif op == "start":
            self.k.loop.spawn(lambda: self._start(peer, str(msg.get("container", ""))))
        elif op == "signal":
            tg = peer.procs.get(int(msg["id"]))
            if tg is not None and not tg.dead:
                self._signal(tg, int(msg["sig"]))
        elif op == "kill":
            self._kill(peer, msg)
        elif op == "resize":
            console = peer.consoles.get(int(msg["id"]))
            if console is not None:
                console.resize(int(msg["rows"]), int(msg["cols"]))
        elif op == "ps":
            pids = sorted(tg.pid for tg in self._members(str(msg.get("container", ""))))
            peer.tell({"ev": "done", "pids": pids})
        elif op == "stats":
            peer.tell({"ev": "done", **self._stats(str(msg.get("container", "")))})
        elif op == "limits":
            self._limits(msg)
            peer.tell({"ev": "done"})
        elif op == "files":
            self._files(peer).answer(fds)
        elif op == "network" and self.network is not None:
            self.network.apply(msg, fds)
            for token in self.asked:
                self.k.loop.resume(token)
            self.asked.clear()
        elif op == "gpu" and (e := self._engine(str(msg.get("container", "")))) is not None:
            peer.tell({"ev": "done", **e.order(msg, fds)})
        elif op == "ready":
            self.k.loop.spawn(lambda: get_ready(self.boot))
        elif op == "stop":
            self.k.shutdown(signal.SIGKILL)
        else:
            raise ValueError(op)

    # Processes
    def _spawn(self, peer: Peer, msg: control.Message, fds: list[int]) -> None:
        ident = int(msg["id"])
        if not self.settled:  # what starting up needed is soon not needed any more
            self.settled = True
            self.k.loop.call_at(time.monotonic_ns() + SETTLED_NS, lib.nv_forget_text)
        self.phases.start()
        try:
            spec = process_spec(msg["process"])
            name = str(msg.get("container", ""))
            c = self.containers[name]
            init = bool(msg.get("init"))
            own = c.container.pids is not self.k.container.pids
            t = self.boot.first_task(c.ns, spec, init and (own or not name), c.container)
        except (KeyError, TypeError, ValueError, SysErr) as e:
            for fd in fds:
                os.close(fd)
            peer.tell({"ev": "failed", "id": ident, "errno": 22, "msg": f"bad process: {e!r}"})
            return
        p = msg["process"]
        peer.ids[t.tg] = ident
        peer.procs[ident] = t.tg
        self.owners[t.tg] = peer
        console = self.boot.install_stdio(t, fds, bool(p.get("terminal")))
        if console is not None:
            peer.consoles[ident] = console
            console.resize(int(p.get("rows", 24)), int(p.get("cols", 80)))
        hold = bool(msg.get("hold"))
        if init:
            c.init = t.tg
        failed: list[tuple[int, str]] = []
        start_program(
            t, spec, lambda e, s: failed.append((e, s)), hold, bool(p.get("make_cwd", True))
        )
        if failed:
            self._abandon(peer, t, ident, *failed[0])
            return
        if hold:
            c.held = (peer, ident, t, spec)
        self.phases.done("first program")
        peer.tell({"ev": "started", "id": ident, "pid": t.tg.pid})

    def _add_container(self, peer: Peer, msg: control.Message, fds: list[int]) -> None:
        """One more container of a pod: a file tree; its programs come later."""
        name = str(msg.get("container", ""))
        try:
            if name in self.containers or not fds:
                raise ValueError("the container is there already, or has no gofer")
            gofer = socket.socket(fileno=fds[0])
            container = self.boot.new_container(bool(msg.get("shares_pids")), msg.get("seccomp"))
            if "gpu" in msg:
                if self.gpus is None:
                    raise ValueError(
                        "GPUs: the pod's sandbox was started without a driver, or with --nvproxy=off"
                    )
                self.gpus.join(name, base64.b64decode(msg["gpu"]), fds[1:], container)
            config = tree.decode(msg["tree"])
            files, refill = self._disk_files(config)
            ns = self.boot.build_another(config, gofer, container, refill)
            stubs = container.stubs = self.k.stubs.another()
        except (
            SysErr, TaskExit, Failure, KeyError, TypeError, ValueError, OSError, PlatformError,
        ) as e:  # fmt: skip
            peer.tell({"ev": "failed", "errno": 22, "msg": f"container in a pod: {e}"})
            return
        self.containers[name] = Hosted(ns, container, files)
        peer.container = name
        # the other side moves the zygote into the container's control group
        peer.tell({"ev": "done"}, (stubs.pidfd(),))

    def _remove_container(self, name: str) -> None:
        """The first program of a pod's container is gone, or its pid-file process: all of it goes."""
        for tg in self._members(name):
            tg.kill(int(signal.SIGKILL))
        c = self.containers.pop(name, None)
        if c is None:
            return
        c.container.removed = True
        if c.container.stubs is not None:
            c.container.stubs.close()
        self.k.forget_container(c.container)
        if self.gpus is not None:
            self.gpus.removed(name, c.container)

    def _engine(self, name: str) -> Engine | None:
        """nvproxy of a container."""
        return self.gpus.engines.get(name) if self.gpus is not None else None

    def _start(self, peer: Peer, name: str) -> None:
        """The program that was held at creation goes."""
        c = self.containers.get(name)
        if c is None or c.held is None:
            why = "container is not in the created state"
            peer.tell({"ev": "failed", "errno": 22, "msg": why})
            return
        if self.network is not None:  # engines may have set it up after the creation
            self.asked.append(self.k.loop.token())
            self.primary.tell({"ev": "network"})
            self.k.loop.suspend()
            if c.held is None:
                peer.tell({"ev": "failed", "errno": 3, "msg": "container not running"})
                return
        (owner, _ident, t, spec), c.held = c.held, None
        if c.files is not None:  # its pid-file process listens from now on
            c.files.ask = lambda: owner.tell({"ev": "files"})
        failed: list[tuple[int, str]] = []
        start_program(t, spec, lambda e, s: failed.append((e, s)))
        if failed:
            peer.tell({"ev": "failed", "errno": failed[0][0], "msg": failed[0][1]})
            code = control.exit_code_of(failed[0][0])
            self._forget(owner, t.tg, code << 8)
            self.boot.discard_task(t)
        else:
            peer.tell({"ev": "done"})

    def _abandon(self, peer: Peer, t: Task, ident: int, err: int, text: str) -> None:
        """The program could not be started: the task is taken back."""
        peer.tell({"ev": "failed", "id": ident, "errno": err, "msg": text})
        peer.ids.pop(t.tg, None)
        peer.procs.pop(ident, None)
        console = peer.consoles.pop(ident, None)
        if console is not None:
            console.close()
        self.owners.pop(t.tg, None)
        self.boot.discard_task(t)

    def _forget(self, peer: Peer, tg: ThreadGroup, status: int) -> None:
        """Tells a process's owner that it is gone."""
        ident = peer.ids.pop(tg, None)
        if ident is None:
            return
        peer.procs.pop(ident, None)
        console = peer.consoles.pop(ident, None)
        if console is not None:
            console.close()
        peer.tell({"ev": "exited", "id": ident, "status": status})

    def _process_exited(self, tg: ThreadGroup) -> None:
        for name, c in list(self.containers.items()):
            if name and c.init is tg:
                self._remove_container(name)
        peer = self.owners.pop(tg, None)
        if peer is not None:
            self._forget(peer, tg, tg.exit_code)

    # Signals
    @staticmethod
    def _signal(tg: ThreadGroup, sig: int) -> None:
        """From outside: also init gets it (SIGKILL and SIGSTOP always, others if it handles them)."""
        if not 0 < sig <= 64:
            return
        if tg.is_init and sig == signal.SIGKILL:
            tg.kill(sig)
            return
        tg.is_init, was = False, tg.is_init
        tg.send_signal(sig)
        tg.is_init = was

    def _members(self, name: str) -> list[ThreadGroup]:
        """The live processes of a container."""
        c = self.containers.get(name)
        if c is None:
            return []
        own = c.container
        return [tg for tg in own.pids.procs.values() if not tg.dead and tg.container is own]

    def _kill(self, peer: Peer, msg: control.Message) -> None:
        sig = int(msg["sig"])
        c = self.containers.get(str(msg.get("container", "")))
        if c is None or c.init is None or c.init.dead:
            peer.tell({"ev": "failed", "errno": 3, "msg": "container not running"})
            return
        if c.held is not None:
            self._kill_held(c, sig)
        elif msg.get("all"):
            for tg in self._members(str(msg.get("container", ""))):
                self._signal(tg, sig)
        else:
            self._signal(c.init, sig)
        peer.tell({"ev": "done"})

    def _kill_held(self, c: Hosted, sig: int) -> None:
        """A created program is nothing yet that could handle a signal: what ends a process ends it."""
        if sig == 0 or sg.bit(sig) & (sg.IGNORED | sg.STOP_SIGNALS) or c.held is None:
            return
        (owner, _ident, t, _spec), c.held = c.held, None
        t.tg.exit_code = sig
        self._forget(owner, t.tg, sig)
        self.boot.discard_task(t)

    # Limits and figures
    def _limits(self, msg: control.Message) -> None:
        c = self.containers.get(str(msg.get("container", "")))
        memory, pids = msg.get("memory"), msg.get("pids")
        if c is not None:
            c.container.limit(
                memory if isinstance(memory, int) else 0, pids if isinstance(pids, int) else 0
            )
            if "cpu_max" in msg:
                quota = msg["cpu_max"]
                c.container.cpu_max = (int(quota[0]), int(quota[1])) if quota else None

    def _disk_files(self, config: SandboxConfig) -> tuple[DiskFiles | None, Refill | None]:
        """Where the files of a root's overlay come from, if not from memory."""
        if not config.root.on_disk:
            return None, None
        files = DiskFiles(self.boot.client.refill_memfds)
        return files, files.refill

    def _files(self, peer: Peer) -> DiskFiles:
        """Raises ValueError for a connection that is no container's own."""
        c = self.containers.get(peer.container) if peer.primary or peer.container else None
        if c is None or c.files is None:
            raise ValueError("files")
        return c.files

    def _stats(self, name: str) -> control.Message:
        return {
            **figures.of_kernel(self.k), "gofer": figures.of_gofer(self.boot.client), "start": self.phases.took,
            **({"network": self.network.stats()} if self.network is not None else {}),
            **({"gpu": e.order({"what": "stats"}, [])} if (e := self._engine(name)) else {}),
        }  # fmt: skip

    def _ended(self, status: int) -> None:
        """The init of the sandbox is gone, or it was stopped."""
        self.primary.tell({"ev": "ended", "status": status})
        logging.shutdown()
        sys.stderr.flush()
        if self.network is not None:
            isolate.leave_to_host(self.network.wires())
        os._exit(0)


def process_spec(p: control.Message) -> ProcessSpec:
    """The ``process`` object of a spawn order. Raises KeyError, TypeError, ValueError."""
    caps = p.get("caps")
    return ProcessSpec(
        [control.raw(a) for a in p["argv"]], [control.raw(e) for e in p["env"]],
        control.raw(p["cwd"]), int(p["uid"]), int(p["gid"]), tuple(p.get("groups", ())),
        int(p.get("umask", 0o022)), {int(w): (v[0], v[1]) for w, v in p.get("rlimits", {}).items()},
        CapSets(*(int(c) for c in caps)) if caps is not None else None,
        bool(p.get("no_new_privs", False)), int(p.get("oom_score_adj", 0)),
    )  # fmt: skip
