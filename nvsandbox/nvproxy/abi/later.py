"""Releases after the newest whose headers are in the database, by what is known to have changed since.

Known are the calls that gVisor's nvproxy forwards (its ``version.go`` and structs, August 2026): for those it says what each release
changed. All else is taken to be as before. Where that is wrong, a size no longer fits and the call is refused: by us, or by the driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from .model import ClassDef, Field, Kind, Struct
from .store import LazyStructs, Release

BASE: Final = "595.45.04"
VERSIONS: Final = ("610.43.02", "615.15.00", "620.06.00")
_CHANNEL: Final = "NV_CHANNEL_ALLOC_PARAMS"
_GONE: Final = frozenset((
    "UVM_CREATE_RANGE_GROUP", "UVM_DESTROY_RANGE_GROUP", "UVM_SET_RANGE_GROUP", "UVM_MIGRATE_RANGE_GROUP",
))  # fmt: skip
_UNSEEN: Final = "UVM_TOOLS_"
"""UVM is not told sizes, and gVisor forwards none of these."""
_NEW: Final = {0xD2B0: "NVD2B0_VIDEO_DECODER", 0xD2D1: "NVD2D1_VIDEO_NVJPG", 0xD2FA: "NVD2FA_VIDEO_OFA"}  # fmt: skip


class _Structs(Mapping[str, Struct]):
    """Those of the base, some in place of others."""

    def __init__(self, base: LazyStructs, changed: dict[str, Struct]) -> None:
        self._base, self._changed = base, changed

    def __getitem__(self, name: str) -> Struct:
        return self._changed.get(name) or self._base[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def __contains__(self, name: object) -> bool:
        return name in self._base

    def record_id(self, name: str) -> int:
        """As ``LazyStructs``'s: one of its own for what has changed."""
        return -1 if name in self._changed else self._base.record_id(name)


def derive(version: str, base: Release) -> Release:
    """``version``, one of VERSIONS, from the release BASE."""
    assert isinstance(base.structs, LazyStructs)
    changed = {_CHANNEL: _channel(base.structs[_CHANNEL])}
    ioctls = {
        k: i for k, i in base.ioctls.items() if i.name not in _GONE and not i.name.startswith(_UNSEEN)
    }  # fmt: skip
    classes = dict(base.classes)
    for number, name in _NEW.items():
        like = _like(base, name)
        if like is not None:
            classes[number] = msgspec.structs.replace(like, id=number, name=name)
    return Release(version, _Structs(base.structs, changed), base.commands, classes, ioctls, True)


def _channel(old: Struct) -> Struct:
    """A handle more, after the address space's; what lies behind moves, 8-byte fields with it."""
    new = []
    for f in old.fields:
        if f.name == "hUserdMemory":
            new.append(Field("hHandleVASpace", f.offset, 4, Kind.HANDLE))
            new.append(msgspec.structs.replace(f, offset=f.offset + 4))
        else:
            behind = f.offset > old.field("hUserdMemory").offset
            new.append(msgspec.structs.replace(f, offset=f.offset + 8) if behind else f)
    return Struct(old.name, old.size + 8, tuple(new))


def _like(base: Release, name: str) -> ClassDef | None:
    """The newest class of the same kind."""
    kind = name.partition("_")[2]
    found = [k for k in base.classes.values() if k.name.endswith(f"_{kind}")]
    return max(found, key=lambda k: k.id, default=None)
