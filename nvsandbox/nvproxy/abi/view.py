"""Typed access to parameter structs in a buffer, by field name, with layouts of one release.

``View`` reads and writes little-endian scalars by name, so that the same answer fits every driver
version: a field that a version lacks is skipped by ``put`` and raises ``KeyError`` by item access.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from .model import Field, Kind, Struct
from .store import Release

_FORMAT: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_AGGREGATE: Final = (Kind.STRUCT, Kind.UNION)
Value = int | bytes | str | Iterable[int]
Buffer = bytearray | memoryview


class Layouts:
    """Field tables of one release, built when first asked for."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self._tables: dict[str, dict[str, Field]] = {}

    def table(self, name: str) -> dict[str, Field]:
        """Fields of struct ``name`` by field name."""
        found = self._tables.get(name)
        if found is None:
            found = self._tables[name] = _table(self.release.structs[name].fields)
        return found

    def struct(self, name: str) -> Struct:
        """The struct type ``name``."""
        return self.release.structs[name]

    def size(self, name: str) -> int:
        """Bytes of struct ``name``."""
        return self.release.structs[name].size

    def view(self, name: str, buf: Buffer, base: int = 0) -> View:
        """A view of struct ``name`` at ``base`` of ``buf``."""
        return View(self, self.table(name), buf, base)


def _table(fields: Iterable[Field]) -> dict[str, Field]:
    return {f.name: f for f in fields}


class View:
    """A struct in a buffer."""

    __slots__ = ("_layouts", "_table", "base", "buf")

    def __init__(
        self, layouts: Layouts, table: Mapping[str, Field], buf: Buffer, base: int = 0
    ) -> None:
        self._layouts, self._table = layouts, table
        self.buf, self.base = buf, base

    def __contains__(self, name: str) -> bool:
        return name in self._table

    def __getitem__(self, name: str) -> int:
        return self.get(name)

    def __setitem__(self, name: str, value: Value) -> None:
        self.set(name, value)

    def get(self, name: str, index: int = 0) -> int:
        """The scalar (or element ``index`` of the array) ``name``, unsigned."""
        f = self._table[name]
        if not 0 <= index < f.length:
            raise IndexError(name)
        at = self.base + f.offset + index * f.size
        return int(struct.unpack_from("<" + _FORMAT[f.size], self.buf, at)[0])

    def opt(self, name: str, default: int = 0) -> int:
        """As ``get``, ``default`` for a field that this version lacks."""
        return self.get(name) if name in self._table else default

    def set(self, name: str, value: Value, index: int = 0) -> None:
        """Write a scalar; bytes or text into an array of bytes; integers into an array."""
        f = self._table[name]
        at = self.base + f.offset
        if isinstance(value, int):
            if not 0 <= index < f.length:
                raise IndexError(name)
            mask = (1 << 8 * f.size) - 1
            struct.pack_into("<" + _FORMAT[f.size], self.buf, at + index * f.size, value & mask)
        elif isinstance(value, (bytes, str)):
            data = value.encode() + b"\0" if isinstance(value, str) else value
            data = data[: f.total]
            self.buf[at : at + len(data)] = data
            if isinstance(value, str) and len(data) == f.total:
                self.buf[at + f.total - 1] = 0
        else:
            for i, v in enumerate(value):
                self.set(name, v, i)

    def put(self, **values: Value) -> None:
        """Set several fields; those this driver version lacks are skipped."""
        for name, value in values.items():
            if name in self._table:
                self.set(name, value)

    def bytes(self, name: str) -> bytes:
        """The raw bytes of a whole field."""
        f = self._table[name]
        at = self.base + f.offset
        return bytes(self.buf[at : at + f.total])

    def length(self, name: str) -> int:
        """Elements of the array ``name``."""
        return self._table[name].length

    def sub(self, name: str, index: int = 0) -> View:
        """A view of the struct or union member ``name``, or of its element ``index``."""
        f = self._table[name]
        if f.kind not in _AGGREGATE:
            raise KeyError(name)
        if not 0 <= index < f.length:
            raise IndexError(name)
        table = self._layouts.table(f.ref) if f.ref else _table(f.fields)
        return View(self._layouts, table, self.buf, self.base + f.offset + index * f.size)

    def fields(self) -> Mapping[str, Field]:
        """Members by name."""
        return self._table
