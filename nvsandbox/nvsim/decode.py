"""An ioctl of the driver's interface in words: names from the ABI database, fields by layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nvsandbox.nvproxy.abi import Field, Kind, Release

from .rm.status import Status
from .view import Layouts, View

_MAX_ELEMENTS: Final = 8
_STATUS_NAMES: Final = {int(s): s.name for s in Status}
STATUS_FIELDS: Final = ("status", "Status", "rmStatus")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What an ioctl is."""

    name: str
    struct: str
    size: int


def identify(release: Release, kind: str, cmd: int) -> Decoded:
    """Name, struct and argument size of an ioctl on a device of this kind."""
    if kind == "uvm":
        known = release.uvm(cmd)
        struct = known.params[0] if known and known.params else ""
        size = release.structs[struct].size if struct else 0
        return Decoded(known.name if known else f"UVM {cmd:#x}", struct, size)
    nr, size = cmd & 0xFF, cmd >> 16 & 0x3FFF
    known = release.frontend(nr)
    for name in known.params if known else ():
        if release.structs[name].size == size:
            return Decoded(known.name if known else "", name, size)
    return Decoded(known.name if known else f"escape {nr:#x}", "", size)


def status_name(value: int) -> str:
    """A status code by name."""
    return _STATUS_NAMES.get(value, f"{value:#x}")


def fields(layouts: Layouts, struct: str, data: bytes) -> dict[str, object]:
    """Fields of ``struct`` in ``data`` as numbers, text and nested tables; zeroes left out."""
    if struct not in layouts.release.structs or len(data) < layouts.size(struct):
        return {}
    return _walk(layouts, layouts.view(struct, bytearray(data)))


def _walk(layouts: Layouts, view: View) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, f in view.fields().items():
        value = _field(layouts, view, name, f)
        if value:
            out[name or f"@{f.offset}"] = value
    return out


def _field(layouts: Layouts, view: View, name: str, f: Field) -> object:
    if f.kind in (Kind.STRUCT, Kind.UNION):
        n = _valid(view, f)
        parts = [_walk(layouts, view.sub(name, i)) for i in range(n)] if name else []
        return parts[0] if f.length == 1 and parts else [p for p in parts if p]
    if f.length == 1:
        return view.get(name) if name and f.size in (1, 2, 4, 8) else 0
    if f.size == 1:
        raw = view.bytes(name).rstrip(b"\0")
        return raw.decode() if raw.isascii() and raw.decode().isprintable() else raw.hex()
    values = [view.get(name, i) for i in range(_valid(view, f))]
    return values if any(values) else []


def _valid(view: View, f: Field) -> int:
    """How many elements of an array are worth showing."""
    n = f.length
    if f.count and f.count in view.fields():
        n = min(n, view.get(f.count))
    return min(n, _MAX_ELEMENTS) if n > 1 else n


def text(values: object) -> str:
    """Decoded fields on one line."""
    if isinstance(values, dict):
        return "{" + ", ".join(f"{k}={text(v)}" for k, v in values.items()) + "}"
    if isinstance(values, list):
        return "[" + ", ".join(text(v) for v in values) + "]"
    if isinstance(values, int):
        return f"{values:#x}" if values > 9 else str(values)
    return repr(values)
