"""The program that Docker looks for before it accepts ``--gpus``: ``nvidia-container-runtime-hook`` in its PATH.

Docker then puts it into the bundle as a prestart hook and says in the environment which cards are meant. Our runtime takes the hook out
(``inject.for_spec``) and does the work itself, so the program may do nothing; NVIDIA's own, where it is there, is left alone.
"""

from __future__ import annotations

import os
import shutil
from typing import Final

from ..failure import Failure

NAME: Final = "nvidia-container-runtime-hook"
TEXT: Final = """#!/bin/sh
# Docker's --gpus needs a program of this name in its PATH. The nvsandbox runtime prepares GPUs itself and never runs it.
exit 0
"""


def install(directory: str, force: bool = False) -> str:
    """The path of the hook in ``directory``; "" when one is in the PATH already. Raises Failure."""
    path = os.path.join(directory, NAME)
    if not force and (shutil.which(NAME) or os.path.exists(path)):
        return ""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755)
        with os.fdopen(fd, "w") as f:
            f.write(TEXT)
            os.fchmod(fd, 0o755)
    except OSError as e:
        raise Failure(f"write `{path}`: {e.strerror}") from None
    return path


def uninstall(directory: str) -> None:
    """Removes it if it is ours."""
    path = os.path.join(directory, NAME)
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            ours = f.read(len(TEXT) + 1) == TEXT
        if ours:
            os.unlink(path)
    except OSError:
        pass
