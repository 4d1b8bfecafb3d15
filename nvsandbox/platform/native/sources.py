"""Whether the native module was built from the C sources beside it; an old one makes programs die of SIGSYS.

build.py compiles a checksum of the sources into the module. It needs no import of the package: setup.py runs it by path.
"""

from __future__ import annotations

import os
import zlib
from typing import Final

HERE: Final = os.path.dirname(os.path.realpath(__file__))
NOT_IN_THE_MODULE: Final = ("_native.c", "nvsandbox.c")  # cffi's output; the program


def files(where: str = HERE) -> list[str]:
    """The C sources of the module and of the stub image; none where a wheel was installed."""
    names = sorted(n for n in os.listdir(where) if n.endswith((".c", ".h", ".ld")))
    return [f"{where}/{n}" for n in names if n not in NOT_IN_THE_MODULE]


def checksum(where: str = HERE) -> int:
    """Of their content, 32 bits. Raises OSError."""
    total = 0
    for path in files(where):
        with open(path, "rb") as f:
            total = zlib.crc32(f.read(), total)
    return total


def current(module: str, built_from: int, where: str = HERE) -> bool:
    """Whether ``module`` (a file) was built from the sources in ``where``; ``built_from``: the checksum in it, -1 for none.

    Times are compared first, and contents only where a source is newer, as after a change of branches.
    """
    try:
        newest = max((os.stat(path).st_mtime_ns for path in files(where)), default=0)
        return newest <= os.stat(module).st_mtime_ns or checksum(where) == built_from
    except OSError:  # being written just now
        return False
