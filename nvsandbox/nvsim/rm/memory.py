"""Memory objects and the accounting of device memory.

A card's heap counts bytes: total = reserved + used + free always holds and nothing fragments.
Contents live in a memfd per object that is made when somebody first maps or copies it.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .status import RmError, Status

PAGE: Final = 4096
BIG_PAGE: Final = 64 << 10
MAX_SYSMEM: Final = 1 << 40


class Place(enum.Enum):
    """Where a memory object lives."""

    VIDEO = "video"
    SYSTEM = "system"
    VIRTUAL = "virtual"
    REGISTERS = "registers"
    USER_PAGES = "user pages"


@dataclass(slots=True, eq=False)
class Memory:
    """Backing of one memory object; ``refs`` counts duplicates."""

    place: Place
    size: int
    heap: Heap | None = None
    offset: int = 0
    user_address: int = 0
    user_pid: int = 0
    refs: int = 1
    fd: int = -1
    pid: int = 0

    def backing(self) -> int:
        """Our descriptor of its contents."""
        if self.fd < 0:
            self.fd = os.memfd_create(f"nvidia-{self.place.value}", os.MFD_CLOEXEC)
            os.ftruncate(self.fd, max(self.size, PAGE))
        return self.fd

    def peek(self, offset: int, n: int) -> bytes:
        """Contents, as far as they reach; nothing of memory that was freed."""
        if self.refs <= 0 or offset >= self.size or self.place is Place.USER_PAGES:
            return b""
        return os.pread(self.backing(), min(n, self.size - offset), offset)

    def poke(self, offset: int, data: bytes) -> int:
        """Write contents; how many bytes there was room for."""
        if self.refs <= 0 or offset >= self.size or self.place is Place.USER_PAGES:
            return 0
        return os.pwrite(self.backing(), data[: self.size - offset], offset)

    def release(self) -> None:
        """One reference less; the last one gives the memory back."""
        self.refs -= 1
        if self.refs:
            return
        if self.heap is not None:
            self.heap.give_back(self)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class Heap:
    """Device memory of one card, in bytes."""

    total: int
    reserved: int
    used: int = 0
    fail: bool = False
    """Fault: every further allocation fails."""
    _next: int = 0
    by_pid: dict[int, int] = field(default_factory=dict)
    on_change: Callable[[int, int], None] = lambda pid, used: None
    """Hears of each process's new total."""

    @property
    def free(self) -> int:
        """Bytes that can still be allocated."""
        return self.total - self.reserved - self.used

    def take(self, size: int, pid: int) -> Memory:
        """Allocate ``size`` bytes for a process."""
        if size <= 0:
            raise RmError(Status.INVALID_ARGUMENT)
        size = -(-size // BIG_PAGE) * BIG_PAGE
        if self.fail or size > self.free:
            raise RmError(Status.NO_MEMORY)
        self.used += size
        self.by_pid[pid] = self.by_pid.get(pid, 0) + size
        self.on_change(pid, self.by_pid[pid])
        at, self._next = self._next, (self._next + size) % max(self.total, 1)
        return Memory(Place.VIDEO, size, self, at, pid=pid)

    def give_back(self, memory: Memory) -> None:
        """Undo ``take``."""
        self.used -= memory.size
        left = self.by_pid.get(memory.pid, 0) - memory.size
        if left > 0:
            self.by_pid[memory.pid] = left
        else:
            self.by_pid.pop(memory.pid, None)
        self.on_change(memory.pid, max(left, 0))


def system_memory(size: int) -> Memory:
    """Host memory the driver allocates for the caller."""
    if not 0 < size <= MAX_SYSMEM:
        raise RmError(Status.INVALID_ARGUMENT)
    return Memory(Place.SYSTEM, -(-size // PAGE) * PAGE)
