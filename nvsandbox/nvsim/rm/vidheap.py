"""NV_ESC_RM_VID_HEAP_CONTROL (``NVOS32_PARAMETERS``): memory by function code.

The driver turns these into allocations of memory classes (``interface/deprecated/
rmapi_deprecated_vidheapctrl.c``); so do we.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..view import View
from .control import Caller
from .manager import Manager
from .memory import Memory, Place, system_memory
from .status import RmError, Status

_ALLOC_SIZE: Final = 2
_FREE: Final = 3
_INFO: Final = 5
_ALLOC_SIZE_RANGE: Final = 14
_ALLOC_TILED: Final = 6
_LOCATION: Final = 25  # NVOS32_ATTR_LOCATION 26:25, 0 is device memory
_FLAG_VIRTUAL: Final = 0x00080000
_LOCAL_USER: Final = 0x40
_SYSTEM: Final = 0x3E
_VIRTUAL: Final = 0x50A0


def vid_heap(rm: Manager, caller: Caller, p: View) -> None:
    """Do ``p.function``, filling in ``p``."""
    client, above, gpu = rm.heap_of(caller, p["hRoot"], p["hObjectParent"])
    p.put(total=gpu.heap.total, free=gpu.heap.free)
    function, data = p["function"], p.sub("data")
    if function in (_ALLOC_SIZE, _ALLOC_SIZE_RANGE, _ALLOC_TILED):
        member = {_ALLOC_SIZE: "AllocSize", _ALLOC_SIZE_RANGE: "AllocSizeRange"}
        d = data.sub(member.get(function, "AllocTiledPitchHeight"))
        memory = _allocate(d, lambda size: rm.video_memory(client, gpu, size, caller.pid))
        number = {Place.VIDEO: _LOCAL_USER, Place.VIRTUAL: _VIRTUAL}.get(memory.place, _SYSTEM)
        try:
            cls = rm.release.classes[number]
            made = rm.tree.add(client, above.handle, d["hMemory"], cls)
        except RmError:
            memory.release()
            raise
        made.memory = memory
        d.put(hMemory=made.handle, size=memory.size, limit=memory.size - 1, offset=memory.offset)
        p.put(free=gpu.heap.free)
    elif function == _FREE:
        rm.tree.free(rm.tree.find(client, data.sub("Free")["hMemory"]))
        p.put(free=gpu.heap.free)
    elif function == _INFO:
        heap = gpu.heap
        data.sub("Info").put(offset=0, size=heap.total - heap.reserved, base=0)
    else:
        raise RmError(Status.NOT_SUPPORTED)


def _allocate(d: View, take: Callable[[int], Memory]) -> Memory:
    if d["flags"] & _FLAG_VIRTUAL:
        return Memory(Place.VIRTUAL, d["size"])
    if d["attr"] >> _LOCATION & 3:
        return system_memory(d["size"])
    return take(d["size"])
