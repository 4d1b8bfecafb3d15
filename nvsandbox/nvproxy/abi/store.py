"""The database file: records pooled over all releases, one bitmap a release, deltas between them.

Layouts repeat: every distinct record is stored once, sorted by name, in blocks compressed one by
one. A release is a bitmap over each pool; stored is its exclusive-or with the previous release's.
Loading one release inflates the bitmaps and the name index; struct blocks are inflated when a
struct of theirs is asked for. File: magic, u32 length of the zlib'd msgpack head, head, sections.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from .model import AbiError, ClassDef, Command, Ioctl, Struct

MAGIC: Final = b"NVABI\x01\n\0"
_BLOCK: Final = 96
R = TypeVar("R", Struct, Command, ClassDef, Ioctl)


class PoolHead(msgspec.Struct, array_like=True):
    """Where a pool's sections lie, relative to the end of the head."""

    count: int
    names: tuple[int, int]
    bitmaps: tuple[int, int]
    blocks: list[tuple[int, int]]


class Head(msgspec.Struct, array_like=True):
    """Table of contents."""

    versions: list[str]
    pools: dict[str, PoolHead]


class LazyStructs(Mapping[str, Struct]):
    """Struct types of one release by name, decoded when asked for."""

    def __init__(self, file: StoreFile, names: dict[str, int]) -> None:
        self._file, self._names = file, names

    def __getitem__(self, name: str) -> Struct:
        return self._file.struct(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def record_id(self, name: str) -> int:
        """Equal for two releases exactly when the layouts are equal."""
        return self._names[name]


class Release(msgspec.Struct, frozen=True):
    """The interface of one driver version."""

    version: str
    structs: Mapping[str, Struct]
    commands: Mapping[int, Command]
    classes: Mapping[int, ClassDef]
    ioctls: Mapping[tuple[str, int], Ioctl]
    later: bool = False
    """Not from headers of its own (``later.py``)."""

    def command_named(self, name: str) -> Command | None:
        """The command with this name or alias."""
        for c in self.commands.values():
            if c.name == name or name in c.aliases:
                return c
        return None

    def frontend(self, nr: int) -> Ioctl | None:
        """The escape with this number."""
        return self.ioctls.get(("frontend", nr))

    def uvm(self, nr: int) -> Ioctl | None:
        """The UVM ioctl with this number."""
        return self.ioctls.get(("uvm", nr))


class _Writer:
    def __init__(self) -> None:
        self.body = bytearray()

    def section(self, data: bytes) -> tuple[int, int]:
        packed = zlib.compress(data, 9)
        at = len(self.body)
        self.body += packed
        return at, len(packed)

    def pool(self, rows: list[list[R]], key: type[R]) -> PoolHead:
        """``rows``: the records of each release."""
        encoded = [{(r.name, msgspec.json.encode(r)) for r in release} for release in rows]
        order = sorted(set().union(*encoded))
        index = {item: i for i, item in enumerate(order)}
        previous, bitmaps, width = 0, bytearray(), (len(order) + 7) // 8
        for release in encoded:
            bits = 0
            for item in release:
                bits |= 1 << index[item]
            bitmaps += (bits ^ previous).to_bytes(width, "little")
            previous = bits
        blocks = [
            self.section(b"[" + b",".join(data for _, data in order[i : i + _BLOCK]) + b"]")
            for i in range(0, len(order), _BLOCK)
        ]
        names = self.section("\n".join(n for n, _ in order).encode())
        return PoolHead(len(order), names, self.section(bytes(bitmaps)), blocks)


def write(path: Path, releases: Iterable[Release]) -> None:
    """Write the database of ``releases``, which must be in order of version."""
    held = list(releases)
    w = _Writer()
    pools = {
        "structs": w.pool([list(r.structs.values()) for r in held], Struct),
        "commands": w.pool([list(r.commands.values()) for r in held], Command),
        "classes": w.pool([list(r.classes.values()) for r in held], ClassDef),
        "ioctls": w.pool([list(r.ioctls.values()) for r in held], Ioctl),
    }
    head = zlib.compress(msgspec.msgpack.encode(Head([r.version for r in held], pools)), 9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + struct.pack("<I", len(head)) + head + bytes(w.body))


class StoreFile:
    """An opened database file."""

    def __init__(self, path: Path) -> None:
        try:
            self._data = path.read_bytes()
        except OSError as e:
            raise AbiError(f"ABI database `{path}`: {e.strerror}") from None
        if not self._data.startswith(MAGIC):
            raise AbiError(f"ABI database `{path}` is not one")
        try:
            (n,) = struct.unpack_from("<I", self._data, len(MAGIC))
            self._base = len(MAGIC) + 4 + n
            raw = zlib.decompress(self._data[len(MAGIC) + 4 : self._base])
            self.head = msgspec.msgpack.decode(raw, type=Head)
        except (struct.error, zlib.error, msgspec.MsgspecError):
            raise AbiError(f"ABI database `{path}` is damaged") from None
        self._decoded: dict[int, list[Struct]] = {}

    def _section(self, where: tuple[int, int]) -> bytes:
        at = self._base + where[0]
        return zlib.decompress(self._data[at : at + where[1]])

    def _bitmap(self, pool: PoolHead, index: int) -> int:
        width, raw = (pool.count + 7) // 8, self._section(pool.bitmaps)
        bits = 0
        for i in range(index + 1):
            bits ^= int.from_bytes(raw[i * width : (i + 1) * width], "little")
        return bits

    def _members(self, pool: PoolHead, index: int) -> list[int]:
        text = bin(self._bitmap(pool, index))[:1:-1]
        return [i for i, c in enumerate(text) if c == "1"]

    def struct(self, record: int) -> Struct:
        """The struct with this record id."""
        block = record // _BLOCK
        rows = self._decoded.get(block)
        if rows is None:
            raw = self._section(self.head.pools["structs"].blocks[block])
            rows = self._decoded[block] = msgspec.json.decode(raw, type=list[Struct])
        return rows[record % _BLOCK]

    def _all(self, kind: str, index: int, row: type[R]) -> list[R]:
        pool = self.head.pools[kind]
        blocks: dict[int, list[R]] = {}
        out = []
        for record in self._members(pool, index):
            at = record // _BLOCK
            if at not in blocks:
                blocks[at] = msgspec.json.decode(self._section(pool.blocks[at]), type=list[row])  # type: ignore[valid-type]  # row is a class
            out.append(blocks[at][record % _BLOCK])
        return out

    def release(self, version: str) -> Release:
        """The release ``version``, which must be one of ``head.versions``."""
        index = self.head.versions.index(version)
        pool = self.head.pools["structs"]
        names = self._section(pool.names).decode().split("\n")
        structs = LazyStructs(self, {names[i]: i for i in self._members(pool, index)})
        return Release(
            version,
            structs,
            {c.id: c for c in self._all("commands", index, Command)},
            {c.id: c for c in self._all("classes", index, ClassDef)},
            {(i.device, i.id): i for i in self._all("ioctls", index, Ioctl)},
        )
