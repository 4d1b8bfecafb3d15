"""Where a sandbox's processes log."""

from __future__ import annotations

import logging
import os

from .config import SandboxConfig


def setup_logging(config: SandboxConfig, log_fd: int) -> None:
    """Warnings (with --debug everything) to the log descriptor, one JSON or text line each."""
    level = logging.DEBUG if config.debug else logging.WARNING
    handler: logging.Handler = (
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
