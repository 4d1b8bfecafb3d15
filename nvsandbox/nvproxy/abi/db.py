"""The way in: ``database().release("535.261.03")``, and the differences between two releases."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import later
from .model import AbiError
from .store import LazyStructs, Release, StoreFile

DATA: Final = Path(__file__).with_name("data") / "abi.bin"


class Database:
    """All releases of one database file."""

    def __init__(self, path: Path = DATA) -> None:
        self._file = StoreFile(path)
        self._loaded: dict[str, Release] = {}

    @property
    def versions(self) -> Sequence[str]:
        """Driver versions whose headers are in the database, oldest first."""
        return self._file.head.versions

    @property
    def known(self) -> Sequence[str]:
        """Those, and what is derived from the newest (``later.py``)."""
        more = later.VERSIONS if self.versions[-1] == later.BASE else ()
        return [*self.versions, *more]

    def release(self, version: str) -> Release:
        """The ABI of ``version``; ``AbiError`` names the nearest known ones."""
        known = self._loaded.get(version)
        if known is not None:
            return known
        if version not in self.known:
            raise AbiError(
                f"driver version `{version}` is not in the ABI database; "
                f"nearest known: {', '.join(self.nearest(version))}"
            )
        release = (
            self._file.release(version)
            if version in self.versions
            else later.derive(version, self.release(later.BASE))
        )
        self._loaded[version] = release
        return release

    def nearest(self, version: str, n: int = 2) -> list[str]:
        """Known versions around ``version``, below and above."""
        try:
            key = tuple(int(p) for p in version.split("."))
        except ValueError:
            return list(self.known[-n:])
        below = [v for v in self.known if tuple(int(p) for p in v.split(".")) < key]
        above = [v for v in self.known if tuple(int(p) for p in v.split(".")) > key]
        return [*below[-1:], *above[:1]] or list(self.known[-n:])


def as_number(text: str) -> int | None:
    """The number of a command, class or ioctl, decimal or 0x…; None for what isn't one."""
    try:
        n = int(text, 0)
    except ValueError:
        return None
    return n if 0 <= n < 1 << 32 else None


@functools.cache
def database() -> Database:
    """The database that comes with the package."""
    return Database()


@dataclass(frozen=True, slots=True)
class Difference:
    """Names that differ between two releases, by what happened to them."""

    added: list[str]
    removed: list[str]
    changed: list[str]


def compare_structs(old: Release, new: Release) -> Difference:
    """Struct types that came, went, or have another layout."""
    a, b = old.structs, new.structs
    if isinstance(a, LazyStructs) and isinstance(b, LazyStructs):
        changed = [n for n in a if n in b and a.record_id(n) != b.record_id(n)]
    else:
        changed = [n for n in a if n in b and a[n] != b[n]]
    return Difference(
        sorted(n for n in b if n not in a), sorted(n for n in a if n not in b), sorted(changed)
    )


def compare_commands(old: Release, new: Release) -> Difference:
    """Control commands that came, went, or changed struct, size or privilege."""
    a = {c.name: c for c in old.commands.values()}
    b = {c.name: c for c in new.commands.values()}
    changed = [n for n in a if n in b and a[n] != b[n]]
    return Difference(sorted(b.keys() - a.keys()), sorted(a.keys() - b.keys()), sorted(changed))
