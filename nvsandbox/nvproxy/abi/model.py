"""What the ABI database says about one driver release: structs, commands, classes, ioctls.

Sources are NVIDIA's public headers (``src/common/sdk/nvidia/inc``, ``kernel-open``), compiled;
layouts come from the compiler's debug information, never typed by hand. Records are immutable
and shared between releases: two releases with the same layout refer to the same record.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec


class Kind(enum.StrEnum):
    """What the bytes of a field mean to somebody who has to copy or translate them."""

    UINT = "u"
    INT = "i"
    FLOAT = "f"
    BOOL = "b"
    ENUM = "e"
    POINTER = "p"
    HANDLE = "h"
    DESCRIPTOR = "d"
    STRUCT = "s"
    UNION = "n"


class Access(enum.IntFlag):
    """Who may issue a command, from the flags of ``src/nvidia/inc/kernel/rmapi/control.h``.

    The driver renumbers its flag bits between releases, so they are stored by meaning.
    """

    KERNEL = 0
    """Neither bit set: only kernel-mode callers."""
    PRIVILEGED = 1
    USER = 2
    INTERNAL = 4
    PHYSICAL = 8
    """Answered by the GPU's firmware when one runs (ROUTE_TO_PHYSICAL)."""
    ACCESS_RIGHTS = 16
    CACHEABLE = 32


class Field(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One member; ``size`` is that of one element, ``dims`` the array's dimensions."""

    name: str
    offset: int
    size: int
    kind: Kind
    dims: tuple[int, ...] = ()
    ref: str = ""
    """Name of the struct or union type; empty when the type is anonymous or a scalar."""
    count: str = ""
    """Name of the sibling that says how many elements of an array or pointer are valid."""
    target: str = ""
    """For a pointer: the struct its elements have, where the headers let it be known."""
    fields: tuple[Field, ...] = ()
    """Members of an anonymous struct or union."""

    @property
    def length(self) -> int:
        """Number of elements; 1 for a scalar."""
        n = 1
        for d in self.dims:
            n *= d
        return n

    @property
    def total(self) -> int:
        """Bytes the whole field takes."""
        return self.size * self.length


class Struct(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A struct or union type with its members in order of offset."""

    name: str
    size: int
    fields: tuple[Field, ...]
    union: bool = False

    def field(self, name: str) -> Field:
        """The member ``name``; ``KeyError`` when there is none."""
        for f in self.fields:
            if f.name == name:
                return f
        raise KeyError(f"{self.name}.{name}")


class Command(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A control command of NV_ESC_RM_CONTROL."""

    id: int
    name: str
    params: str = ""
    """Struct type of the parameters; empty: none, or unknown."""
    access: int = 0
    exported: bool = False
    """Listed in the driver's generated ``g_*_nvoc.c`` tables."""
    owner: str = ""
    """The driver's class whose table lists it."""
    aliases: tuple[str, ...] = ()
    size: int = 0
    """Bytes of the parameters (0: none, or unknown when ``params`` is empty)."""


class ClassDef(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A class that NV_ESC_RM_ALLOC can make (``src/nvidia/src/kernel/rmapi/resource_list.h``)."""

    id: int
    name: str
    internal: str
    params: str = ""
    required: bool = False
    multi: bool = False
    parents: tuple[str, ...] = ()
    """Internal class names; empty: a root object; ``*``: anything."""
    access: int = 0


class Ioctl(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A frontend escape (``nv_escape.h``, ``nv-ioctl-numbers.h``) or a UVM ioctl."""

    id: int
    name: str
    device: str
    """``frontend`` or ``uvm``."""
    params: tuple[str, ...] = ()
    """Struct types it takes; two where a call comes in two sizes."""


class AbiError(Exception):
    """The database, a header tree or a version can't be used; the text is for the user."""


LEGACY_BIT: Final = 0x8000
"""Commands with this bit are unpublished ("legacy GSS"); no header names them."""
