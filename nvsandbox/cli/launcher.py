"""The program that engines are given: the same command line, started by an interpreter that looks at nothing else.

``-I -S`` skips site packages, their .pth files and the environment: 15 ms less for each of an engine's four calls.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from ..failure import Failure, reason

TEXT: Final = """#!{python} -IS
# Written by `nvsandbox install`.
import sys

sys.path[0:0] = {paths!r}
from nvsandbox.cli.main import main

main({flags!r})
"""
MAX_SHEBANG: Final = 127  # the kernel's limit on older machines


def text(flags: list[str]) -> str:
    """The program; ``flags`` come before the engine's. Raises Failure."""
    import msgspec

    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    libraries = os.path.dirname(os.path.dirname(os.path.abspath(msgspec.__file__)))
    python = os.path.abspath(sys.executable)
    if len(python) > MAX_SHEBANG - 6 or " " in python:
        raise Failure(f"the interpreter's path `{python}` does not fit into a first line")
    return TEXT.format(python=python, paths=[package, libraries], flags=flags)


def write(path: str, flags: list[str]) -> None:
    """Raises Failure."""
    from ..oci.state import write_file

    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as e:
        raise Failure(f"create `{os.path.dirname(path)}`: {reason(e)}") from None
    write_file(path, text(flags), 0o755)
    os.chmod(path, 0o755)
