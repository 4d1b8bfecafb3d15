"""hot.c, which lies in the native module's library: what every system call needs of a trap, without cffi's cost."""

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING

from . import _native

if TYPE_CHECKING:
    from ._hot import Event, Trap, dirents, entries_ok, hold, list_names, put, wait, walk_part, work
else:
    _loader = ExtensionFileLoader("nvsandbox.platform.native._hot", _native.__file__)
    _hot = module_from_spec(spec_from_loader(_loader.name, _loader))
    _loader.exec_module(_hot)
    Event, Trap, put, wait, work = tuple, _hot.Trap, _hot.put, _hot.wait, _hot.work
    dirents, entries_ok, hold = _hot.dirents, _hot.entries_ok, _hot.hold
    list_names, walk_part = _hot.list_names, _hot.walk_part

__all__ = [
    "Event", "Trap", "dirents", "entries_ok", "hold", "list_names", "put", "wait", "walk_part", "work",
]  # fmt: skip
