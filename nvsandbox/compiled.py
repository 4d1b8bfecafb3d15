"""Whether the kernel runs compiled: what ``tools/compile_kernel.py`` made of it is used as long as it is fresh.

mypyc turns the modules of the Sentry into one extension; they lie in ``nvsandbox/_compiled`` in the places of their sources, and are
found there first. A source that was changed since makes all of it stale, and the sources are used. NVSANDBOX_COMPILED=0
uses the sources in any case.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import zlib
from typing import Final

HERE: Final = os.path.dirname(os.path.realpath(__file__))
OUT: Final = f"{HERE}/_compiled"
STAMP: Final = "stamp.json"


def _content(path: str) -> bytes:
    with open(path, "rb") as f:
        return f.read()


def fingerprint(source: str) -> list[int]:
    """What changes when a source does: time of change (ns) and, for a copy of it, checksum of the content."""
    return [os.stat(source).st_mtime_ns, zlib.crc32(_content(source))]


def same(source: str, was: list[int]) -> bool:
    return os.stat(source).st_mtime_ns == was[0] or zlib.crc32(_content(source)) == was[1]


@functools.cache
def fresh() -> bool:
    """Whether the compiled kernel is there and made from the sources as they are; looked at once."""
    if os.environ.get("NVSANDBOX_COMPILED") == "0":
        return False
    try:
        stamp = json.loads(_content(f"{OUT}/{STAMP}"))
        top = os.path.dirname(HERE)
        return all(same(f"{top}/{f}", was) for f, was in stamp.items())
    except (OSError, ValueError, AttributeError, TypeError, IndexError):
        return False


def prefer(package: str, path: list[str]) -> None:
    """Puts the compiled modules of ``package`` before its sources in ``path`` (its ``__path__``), if they may be used."""
    if fresh():
        if OUT not in sys.path:
            sys.path.append(OUT)  # the library that all of them share
        path.insert(0, f"{OUT}/{package.replace('.', '/')}")
