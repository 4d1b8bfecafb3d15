"""The Sentry process: confined first, then the kernel, then orders from the control socket until the sandbox ends."""

from __future__ import annotations

import logging
import os
import socket

from ..platform.native._native import lib
from ..sentry.boot import prepare
from ..sentry.net import hostproc
from . import control, isolate
from .config import Failure, SandboxConfig
from .figures import Phases
from .logs import setup_logging
from .server import SentryServer

log = logging.getLogger("nvsandbox.sentry")


def run(
    config: SandboxConfig, gofer: int, ctl: socket.socket, ident: int, log_fd: int, listener: int
) -> None:
    """Never returns: the process ends with the sandbox. ``log_fd``, ``listener``: -1 if there is none."""
    code = 1
    try:
        setup_logging(config, log_fd)
        if config.gpu is not None:
            from ..nvproxy.attach import warm_up

            warm_up(config.gpu)
        keep = {gofer, ctl.fileno(), log_fd, listener} | config.descriptors()
        if config.egress:
            import ipaddress  # noqa: F401 - the rules are read when nothing can be opened any more
        phases = Phases()
        prepared = prepare()
        phases.done("modules")
        _confine(config, keep, ident)
        phases.done("confinement")
        SentryServer(
            config,
            prepared,
            socket.socket(fileno=gofer),
            ctl,
            socket.socket(fileno=listener) if listener >= 0 else None,
            phases,
        ).serve()
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
    uid = isolate.spare_uid(ident)  # asked while /proc is there
    if config.network == "host":
        hostproc.open_files()
    isolate.enter_tree(isolate.private_tree())
    isolate.drop_to_nobody(uid)
