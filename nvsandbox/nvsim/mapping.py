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
        self._bases: list[int] = []
        self._ranges: dict[int, tuple[int, Memory, int, OpenFile | None]] = {}

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

    def map_dma(self, memory: Memory, offset: int, length: int, wanted: int) -> int:
        """Map ``memory`` at a card address, chosen here when ``wanted`` is 0."""
        if not wanted:
            wanted = self._next_dma
            self._next_dma += -(-max(length, 1) // _DMA_ALIGN) * _DMA_ALIGN
        self._insert(wanted, length, memory, offset, None)
        return wanted

    def unmap_dma(self, at: int) -> None:
        """Undo ``map_dma``."""
        self._remove(at)

    def map_range(
        self, file: OpenFile, base: int, memory: Memory, offset: int, length: int
    ) -> None:
        """UVM maps ``memory`` at ``base`` of the va-space of ``file``."""
        self._insert(base, length, memory, offset, file)

    def unmap_range(self, file: OpenFile, base: int) -> None:
        """Undo ``map_range``."""
        if base in self._ranges and self._ranges[base][3] is file:
            self._remove(base)

    def forget(self, file: OpenFile) -> None:
        """The va-space is gone."""
        for base in [b for b, r in self._ranges.items() if r[3] is file]:
            self._remove(base)

    def _insert(
        self, base: int, length: int, memory: Memory, offset: int, file: OpenFile | None
    ) -> None:
        if base not in self._ranges:
            if len(self._bases) >= 1 << 18:
                raise RmError(Status.NO_MEMORY)
            bisect.insort(self._bases, base)
        self._ranges[base] = (length, memory, offset, file)

    def _remove(self, base: int) -> None:
        if self._ranges.pop(base, None) is not None:
            del self._bases[bisect.bisect_left(self._bases, base)]

    def resolve(self, address: int) -> tuple[Memory, int, int] | None:
        """Memory behind a card address: the object, offset in it, bytes left."""
        i = bisect.bisect_right(self._bases, address) - 1
        if i < 0:
            return None
        base = self._bases[i]
        length, memory, offset, _ = self._ranges[base]
        if address >= base + length:
            return None
        return memory, offset + address - base, base + length - address
