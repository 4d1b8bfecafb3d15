"""The Sentry process: confined first, then the kernel, then orders from the control socket until the sandbox ends."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from ..platform.native._native import lib
from ..sentry.boot import Prepared
from . import control, isolate
from .config import Failure, SandboxConfig
from .server import SentryServer

log = logging.getLogger("nvsandbox.sentry")


def run(
    config: SandboxConfig,
    prepared: Prepared,
    gofer: socket.socket,
    ctl: socket.socket,
    ident: int,
    log_fd: int,
    listener: socket.socket | None = None,
) -> None:
    """Never returns: the process ends with the sandbox."""
    code = 1
    try:
        keep = {gofer.fileno(), ctl.fileno(), log_fd}
        if listener is not None:
            keep.add(listener.fileno())
        if config.gpu is not None:
            keep |= {config.gpu.broker_fd, config.gpu.audit_fd}
        _confine(config, keep, ident)
        SentryServer(config, prepared, gofer, ctl, listener).serve()
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
    alone = isolate.alone()  # asked while /proc is there
    isolate.enter_tree(isolate.private_tree())
    isolate.drop_to_nobody(ident, alone)


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
