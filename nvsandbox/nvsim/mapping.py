"""What mmap on a device descriptor maps, and what a card's addresses mean.

RM_MAP_MEMORY prepares a descriptor: its memfd is replaced, within the same call, by the memory
object's own (ADDFD with SETFD), so that the mmap that follows needs no notification and every
mapping of an object shares its bytes. A mapping with an offset can't be served that way, because
the mmap that follows has offset 0.
"""

from __future__ import annotations

import bisect
import os
from typing import TYPE_CHECKING, Final

from .files import OpenFile
from .rm.memory import Memory, Place
from .rm.status import RmError, Status
from .task import Request

if TYPE_CHECKING:
    from .simulator import Simulator

_LINEAR_BASE: Final = 0x1_0000_0000
_DMA_BASE: Final = 0x2_0000_0000
_DMA_ALIGN: Final = 2 << 20


class Mappings:
    """Descriptors prepared for mmap, and ranges of card addresses."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._next_linear = _LINEAR_BASE
        self._next_dma = _DMA_BASE
        self._spaces: dict[object, _Ranges] = {}
        """By the control file of a process: its clients and its va-space share it."""

    def prepare(
        self, request: Request, file: OpenFile, fd: int, memory: Memory, offset: int, length: int
    ) -> int:
        """Make the mmap that follows on ``fd`` map ``memory``; its linear address."""
        if memory.place is Place.USER_PAGES:
            return memory.user_address + offset
        if offset and memory.place is not Place.REGISTERS:
            self._sim.log(f"RM_MAP_MEMORY at offset {offset:#x}: not simulated")
            raise RmError(Status.NOT_SUPPORTED)
        ours = os.open(f"/proc/self/fd/{memory.backing()}", os.O_RDWR | os.O_CLOEXEC)
        try:
            self._sim.files.attach(file, ours)
            if not request.replace_fd(ours, fd, cloexec=True):
                raise RmError(Status.INVALID_ARGUMENT)
        finally:
            os.close(ours)
        at = self._next_linear
        self._next_linear += -(-length // _DMA_ALIGN) * _DMA_ALIGN
        return at

    def map_dma(self, owner: object, memory: Memory, offset: int, length: int, wanted: int) -> int:
        """Map ``memory`` at a card address, chosen here when ``wanted`` is 0."""
        if not wanted:
            wanted = self._next_dma
            self._next_dma += -(-max(length, 1) // _DMA_ALIGN) * _DMA_ALIGN
        self._space(owner).insert(wanted, (length, memory, offset, None))
        return wanted

    def unmap_dma(self, owner: object, at: int) -> None:
        """Undo ``map_dma``."""
        self._space(owner).remove(at)

    def map_range(
        self, file: OpenFile, owner: object, base: int, memory: Memory, offset: int, length: int
    ) -> None:
        """UVM maps ``memory`` at ``base`` of the va-space of ``file``."""
        self._space(owner).insert(base, (length, memory, offset, file))

    def unmap_range(self, file: OpenFile, base: int) -> None:
        """Undo ``map_range``."""
        for space in self._spaces.values():
            if base in space.ranges and space.ranges[base][3] is file:
                space.remove(base)

    def forget(self, file: OpenFile) -> None:
        """The va-space is gone."""
        self._spaces.pop(file, None)
        for owner, space in list(self._spaces.items()):
            for base in [b for b, r in space.ranges.items() if r[3] is file]:
                space.remove(base)
            if not space.ranges:
                del self._spaces[owner]

    def _space(self, owner: object) -> _Ranges:
        return self._spaces.setdefault(owner, _Ranges())

    def resolve(self, owner: object, address: int) -> tuple[Memory, int, int] | None:
        """Memory behind a card address of the process with that control file: the object, offset in it, bytes left."""
        space = self._spaces.get(owner)
        if space is None:
            return None
        i = bisect.bisect_right(space.bases, address) - 1
        if i < 0:
            return None
        base = space.bases[i]
        length, memory, offset, _ = space.ranges[base]
        if address >= base + length:
            return None
        return memory, offset + address - base, base + length - address


class _Ranges:
    """Card addresses of one process, by base."""

    def __init__(self) -> None:
        self.bases: list[int] = []
        self.ranges: dict[int, tuple[int, Memory, int, OpenFile | None]] = {}

    def insert(self, base: int, item: tuple[int, Memory, int, OpenFile | None]) -> None:
        """Add or replace the range at ``base``."""
        if base not in self.ranges:
            if len(self.bases) >= 1 << 18:
                raise RmError(Status.NO_MEMORY)
            bisect.insort(self.bases, base)
        self.ranges[base] = item

    def remove(self, base: int) -> None:
        """Forget the range at ``base``, if any."""
        if self.ranges.pop(base, None) is not None:
            del self.bases[bisect.bisect_left(self.bases, base)]
