"""ABI database of NVIDIA's driver interface, generated from its public headers.

``build`` makes it (gcc, DWARF), ``store`` keeps it delta-compressed, ``db`` opens it.
"""

from . import later
from .db import Database, as_number, database
from .model import AbiError, Access, ClassDef, Command, Field, Ioctl, Kind, Struct
from .store import Release

__all__ = [
    "AbiError",
    "Access",
    "ClassDef",
    "Command",
    "Database",
    "Field",
    "Ioctl",
    "Kind",
    "Release",
    "Struct",
    "as_number",
    "database",
    "later",
]
