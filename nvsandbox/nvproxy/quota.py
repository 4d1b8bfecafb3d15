"""Device memory a sandbox may use on each of its cards, and what it is told about it.

Charged are: memory objects in device memory, by the size the driver gave, before the call as asked and corrected after it; and
managed memory, by its virtual size, since the driver takes pages for it when they are touched (hazard D3). Everything of the Sentry
happens on one thread: a reservation is taken before the call leaves and given back when it fails, so two processes can't both get
the last bytes. Not charged: what the driver takes for itself (page tables, contexts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from . import status

if TYPE_CHECKING:
    from ..sentry.mm.mm import MM

PAGE: Final = 4096


@final
class Charge:
    """Bytes taken on one card for one process; shared by duplicates of an object and by exported descriptors."""

    __slots__ = ("_quota", "gpu", "pid", "refs", "size")

    def __init__(self, quota: Quota, gpu: int, pid: int, size: int) -> None:
        self._quota = quota
        self.gpu = gpu
        self.pid = pid
        self.size = size
        self.refs = 1

    def share(self) -> Charge:
        """One more holder."""
        self.refs += 1
        return self

    def drop(self) -> None:
        """One holder less; the last gives the bytes back."""
        self.refs -= 1
        if self.refs == 0:
            self._quota.release(self)

    def resize(self, size: int) -> None:
        """What the driver really gave."""
        self._quota.used[self.gpu] = self._quota.used.get(self.gpu, 0) + size - self.size
        self.size = size


@final
class Quota:
    """``limit`` bytes a card; 0: none, and only counted."""

    __slots__ = ("_managed", "charges", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used: dict[int, int] = {}
        """Device instance -> bytes of memory objects."""
        self.charges: set[Charge] = set()
        self._managed: list[MM] = []

    def take(self, gpu: int, pid: int, size: int) -> Charge:
        """Reserve. Raises Refused(NO_MEMORY), which libraries show as out of memory."""
        if self.limit and self.total(gpu) + size > self.limit:
            raise status.Refused(status.NO_MEMORY)
        c = Charge(self, gpu, pid, size)
        self.charges.add(c)
        self.used[gpu] = self.used.get(gpu, 0) + size
        return c

    def release(self, c: Charge) -> None:
        """For Charge.drop."""
        if c in self.charges:
            self.charges.discard(c)
            self.used[c.gpu] -= c.size

    def total(self, gpu: int) -> int:
        """Bytes in use on a card; managed memory may go to any card and counts on each."""
        return self.used.get(gpu, 0) + self.managed()

    def watch(self, mm: MM) -> None:
        """An address space that maps managed memory."""
        if all(m is not mm for m in self._managed):
            self._managed.append(mm)

    def managed(self) -> int:
        """Bytes of managed memory mapped in all processes: read from their maps, so that no way of unmapping is missed."""
        self._managed = [mm for mm in self._managed if mm.users > 0]
        return sum(
            v.end - v.start
            for mm in self._managed
            for v in mm.map.vmas
            if getattr(v.file, "managed", False)
        )

    def room_for_managed(self, size: int) -> bool:
        """Whether ``size`` more bytes of managed memory fit on every card."""
        if not self.limit:
            return True
        most = max(self.used.values(), default=0)
        return most + self.managed() + size <= self.limit

    def by_process(self, gpu: int) -> dict[int, int]:
        """Process -> bytes of memory objects on a card."""
        out: dict[int, int] = {}
        for c in self.charges:
            if c.gpu == gpu:
                out[c.pid] = out.get(c.pid, 0) + c.size
        return out
