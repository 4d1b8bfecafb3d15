"""Meanings the debug information doesn't carry: descriptors, counts, what a pointer points at.

Derived from the naming conventions of the public headers, with a short list of exceptions. A
guess here never changes an offset or a size, only how a field is printed and translated.
"""

from __future__ import annotations

import re
from typing import Final

from .model import Field, Kind, Struct

_FD: Final = re.compile(r"^(fd|ctl_fd|uvmFd|rmCtrlFd|memFd|drm_fd|os_fd|.*[a-z]Fd|.*_fd)$")
_COUNTISH: Final = re.compile(
    r"^(num|n)[A-Z_]|(Count|Size|Num|Length|count|size|Len)$|^(count|size|bufferSize)$"
)
_INTS: Final = (Kind.UINT, Kind.INT)

DESCRIPTORS: Final = {
    ("NV0005_ALLOC_PARAMETERS", "data"),  # OS events: the pointer is a descriptor number
    ("NVOS33_PARAMETERS", "fd"),
}


def _stem(name: str) -> str:
    """``gpuInfoList``, ``gpuInfoListSize``, ``numGpuInfos`` -> ``gpuinfo``."""
    s = re.sub(r"^(num|n)(?=[A-Z_])", "", name)
    s = re.sub(r"(Count|Size|Num|Length|Len)$", "", s)
    s = re.sub(r"(List|Array|Buffer|Buf|Ptr|Params|Data|Entries)$", "", s)
    s = s.replace("_", "").lower()
    return s[:-1] if s.endswith("s") else s


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def _count_of(f: Field, fields: tuple[Field, ...]) -> str:
    scalars = [c for c in fields if c.kind in _INTS and not c.dims and _COUNTISH.search(c.name)]
    for c in scalars:
        if c.name != f.name and _stem(c.name) == _stem(f.name):
            return c.name
    vectors = [c for c in fields if c.kind is Kind.POINTER or c.length > 1]
    if len(scalars) == 1 and len(vectors) == 1:
        return scalars[0].name
    return ""


def _target_of(f: Field, owner: str, known: dict[str, Struct]) -> str:
    prefix = re.match(r"(NV\w*?_CTRL_)", owner)
    if not prefix:
        return ""
    base = re.sub(r"(List|Array|Buffer|Ptr|s)$", "", f.name)
    for name in (base, f.name):
        for tail in ("", "_PARAMS"):
            candidate = prefix[1] + _snake(name) + tail
            if candidate in known:
                return candidate
    return ""


def _refine(f: Field, owner: str, fields: tuple[Field, ...], known: dict[str, Struct]) -> Field:
    kind, count, target = f.kind, "", ""
    if (owner, f.name) in DESCRIPTORS or (
        kind in _INTS and f.size == 4 and not f.dims and _FD.match(f.name)
    ):
        kind = Kind.DESCRIPTOR
    elif kind is Kind.UINT and f.size == 4 and re.match(r"^h(?!Class)[A-Z]", f.name):
        kind = Kind.HANDLE
    if kind is Kind.POINTER or f.length > 1:
        count = _count_of(f, fields)
    if kind is Kind.POINTER:
        target = _target_of(f, owner, known)
    inner = tuple(_refine(g, owner, f.fields, known) for g in f.fields)
    return Field(f.name, f.offset, f.size, kind, f.dims, f.ref, count, target, inner)


def refine(known: dict[str, Struct]) -> dict[str, Struct]:
    """The same structs with descriptors, handles, counts and pointer targets filled in."""
    return {
        name: Struct(
            name, s.size, tuple(_refine(f, name, s.fields, known) for f in s.fields), s.union
        )
        for name, s in known.items()
    }
