"""The Sentry process: confined first, then the kernel, then orders from the control socket until the sandbox ends."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
from typing import Any, final

from ..platform.native._native import lib
from ..platform.probe import CLASSES
from ..platform.sentry_filter import sentry_filter
from ..sentry.boot import Boot, Prepared, ProcessSpec, set_inlining, start_program
from ..sentry.console import Console
from ..sentry.kernel.task import Task, ThreadGroup
from ..sentry.strace import Strace
from . import control, isolate
from .config import Failure, SandboxConfig

log = logging.getLogger("nvsandbox.sentry")


def run(
    config: SandboxConfig,
    prepared: Prepared,
    gofer: socket.socket,
    ctl: socket.socket,
    ident: int,
    log_fd: int,
) -> None:
    """Never returns: the process ends with the sandbox."""
    code = 1
    try:
        _confine(config, {gofer.fileno(), ctl.fileno(), log_fd}, ident)
        SentryServer(config, prepared, gofer, ctl).serve()
        code = 0
    except Failure as e:
        _report(ctl, str(e))
    except BaseException as e:
        log.exception("sentry failed")
        _report(ctl, f"sentry: {type(e).__name__}: {e}")
    finally:
        logging.shutdown()
        os._exit(code)


def _report(ctl: socket.socket, text: str) -> None:
    try:
        control.send(ctl, {"ev": "dead", "msg": text})
    except OSError:
        pass


def _confine(config: SandboxConfig, keep: set[int], ident: int) -> None:
    """Namespaces, an empty root, an unprivileged uid. The pid namespace was made by the launcher's fork."""
    os.setsid()
    isolate.reset_signals()
    isolate.set_name("nv-sentry")
    keep.discard(-1)
    isolate.close_others(keep)
    isolate.raise_limits()
    flags = isolate.CLONE_NEWNS | isolate.CLONE_NEWIPC | isolate.CLONE_NEWUTS
    if config.network != "host":
        flags |= isolate.CLONE_NEWNET
    isolate.check("unshare", lib.nv_unshare(flags))
    isolate.enter_tree(isolate.private_tree())
    isolate.drop_to_nobody(ident)


@final
class SentryServer:
    """Boot, control messages, the end."""

    def __init__(
        self, config: SandboxConfig, prepared: Prepared, gofer: socket.socket, ctl: socket.socket
    ) -> None:
        self.config = config
        self.ctl = ctl
        self.boot = Boot(prepared, gofer, config.ncpu, CLASSES[config.platform])
        self.k = self.boot.k
        self.k.hostname = config.hostname
        self.k.patching = config.patching
        self.k.on_exit = self._ended
        self.k.on_process_exit = self._process_exited
        self.ids: dict[int, int] = {}  # pid of a spawned process: the launcher's id for it
        self.procs: dict[int, ThreadGroup] = {}
        self.consoles: dict[int, Console] = {}
        if config.strace:
            self.k.strace = Strace()

    def serve(self) -> None:
        k = self.k
        self.ns = self.boot.build(self.config)
        self.boot.client.attach_loop(k.loop)
        k.start_platform()
        set_inlining()
        self.ctl.setblocking(False)
        k.loop.watch_fd(self.ctl.fileno(), select.EPOLLIN, self._control)
        isolate.install_filter(sentry_filter(self.k.platform.TRACES))
        control.send(self.ctl, {"ev": "ready"})
        gc.collect()
        gc.freeze()
        k.loop.run()

    # Orders
    def _control(self, _events: int) -> None:
        try:
            got = control.receive(self.ctl)
        except BlockingIOError:
            return
        except (ValueError, OSError):
            got = None
        if got is None:  # the launcher is gone
            self.k.on_exit = None
            os._exit(0)
        msg, fds = got
        op = msg.get("op")
        if op == "spawn":
            self.k.loop.spawn(lambda: self._spawn(msg, fds))
        elif op == "signal":
            tg = self.procs.get(int(msg["id"]))
            if tg is not None and not tg.dead:
                sig = int(msg["sig"])
                tg.is_init, was = False, tg.is_init
                tg.send_signal(sig)
                tg.is_init = was
        elif op == "resize":
            console = self.consoles.get(int(msg["id"]))
            if console is not None:
                console.resize(int(msg["rows"]), int(msg["cols"]))
        elif op == "stop":
            self.k.shutdown(signal.SIGKILL)

    def _spawn(self, msg: control.Message, fds: list[int]) -> None:
        ident = int(msg["id"])
        p = msg["process"]
        spec = ProcessSpec(
            [control.raw(a) for a in p["argv"]], [control.raw(e) for e in p["env"]],
            control.raw(p["cwd"]), int(p["uid"]), int(p["gid"]), tuple(p.get("groups", ())),
            int(p.get("umask", 0o022)), {int(w): (v[0], v[1]) for w, v in p.get("rlimits", {}).items()},
            p.get("caps"), bool(p.get("no_new_privs", False)),
        )  # fmt: skip
        t = self.boot.first_task(self.ns, spec, bool(msg.get("init")))
        self.ids[t.tg.pid] = ident
        self.procs[ident] = t.tg
        console = self.boot.install_stdio(t, fds, bool(p.get("terminal")))
        if console is not None:
            self.consoles[ident] = console
            console.resize(int(p.get("rows", 24)), int(p.get("cols", 80)))
        failed: list[tuple[int, str]] = []
        start_program(t, spec, lambda e, s: failed.append((e, s)))
        if failed:
            self._abandon(t, ident, *failed[0])
        else:
            self._tell({"ev": "started", "id": ident, "pid": t.tg.pid})

    def _abandon(self, t: Task, ident: int, err: int, text: str) -> None:
        """The program could not be started: the task is taken back."""
        self._tell({"ev": "failed", "id": ident, "errno": err, "msg": text})
        self.ids.pop(t.tg.pid, None)
        self.procs.pop(ident, None)
        self.boot.discard_task(t)

    def _tell(self, msg: control.Message) -> None:
        try:
            control.send(self.ctl, msg)
        except OSError:
            os._exit(0)

    def _process_exited(self, tg: ThreadGroup) -> None:
        ident = self.ids.pop(tg.pid, None)
        if ident is not None:
            self.procs.pop(ident, None)
            console = self.consoles.pop(ident, None)
            if console is not None:
                console.close()
            self._tell({"ev": "exited", "id": ident, "status": tg.exit_code})

    def _ended(self, status: int) -> None:
        """The init of the sandbox is gone, or it was stopped."""
        self._tell({"ev": "ended", "status": status})
        logging.shutdown()
        sys.stderr.flush()
        os._exit(0)


def setup_logging(config: SandboxConfig, log_fd: int) -> None:
    """Warnings (with --debug everything) to the log descriptor, one JSON or text line each."""
    level = logging.DEBUG if config.debug else logging.WARNING
    handler: Any = (
        logging.StreamHandler(os.fdopen(log_fd, "w", buffering=1))
        if log_fd >= 0
        else logging.NullHandler()
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("nvsandbox")
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("nvsandbox.strace").setLevel(
        logging.INFO if config.strace else logging.WARNING
    )
