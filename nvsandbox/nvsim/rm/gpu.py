"""One simulated card: identity, memory, and a state that moves plausibly over time.

Temperature, power, clocks and utilisation follow the load (bytes allocated and work submitted)
with a slow deterministic ripple, so that two cards differ and a graph looks alive.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, field
from typing import Final

from ..profile import MIB, Profile
from .accounting import Accounts
from .memory import Heap
from .mig import Mig, partition

FIRST_BUS: Final = 1
_NAMESPACE: Final = uuid.UUID("5e1f0a7c-1d2b-4c3d-9e4f-a0b1c2d3e4f5")
BAR0_BASE: Final = 0xE0000000
BAR1_BASE: Final = 0x20_0000_0000


@dataclass(slots=True)
class EccCounters:
    """Errors since boot."""

    sram_corrected: int = 0
    sram_uncorrected: int = 0
    dram_corrected: int = 0
    dram_uncorrected: int = 0


@dataclass(slots=True, eq=False)
class Gpu:
    """A card in slot ``index``."""

    index: int
    profile: Profile
    heap: Heap
    uuid: bytes
    persistence: bool = True
    compute_mode: int = 0
    ecc_on: bool = True
    ecc: EccCounters = field(default_factory=EccCounters)
    accounts: Accounts = field(default_factory=Accounts)
    lost: bool = False
    mig: Mig | None = None
    """Set when MIG mode is on."""
    xids: list[int] = field(default_factory=list)
    busy_until: float = 0.0
    born: float = field(default_factory=time.monotonic)

    @property
    def bus(self) -> int:
        """PCI bus number."""
        return FIRST_BUS + self.index

    @property
    def gpu_id(self) -> int:
        """The driver derives it from the PCI address (domain 0, slot 0)."""
        return self.bus << 8

    @property
    def pci_name(self) -> str:
        """Address as sysfs writes it."""
        return f"0000:{self.bus:02x}:00.0"

    @property
    def uuid_text(self) -> str:
        """``GPU-…`` as tools print it."""
        return f"GPU-{uuid.UUID(bytes=self.uuid)}"

    @property
    def serial(self) -> str:
        """Board serial number, thirteen digits."""
        return f"{1650000000001 + self.index}"

    def bars(self) -> list[tuple[int, int]]:
        """(size, address) of the PCI base address registers."""
        bar1 = self.profile.bar1_mib * MIB
        at = BAR1_BASE + self.index * (1 << 39)
        return [(16 * MIB, BAR0_BASE + self.index * 32 * MIB), (bar1, at), (32 * MIB, at + bar1)]

    def touch(self, seconds: float = 0.2) -> None:
        """Work was submitted: the card is busy for a while."""
        self.busy_until = max(self.busy_until, time.monotonic() + seconds)

    def load(self) -> float:
        """0 idle … 1 busy."""
        return 1.0 if time.monotonic() < self.busy_until else 0.0

    def _ripple(self, period: float) -> float:
        age = time.monotonic() - self.born
        return math.sin(2 * math.pi * (age / period + self.index / 7))

    def temperature(self) -> int:
        """Degrees Celsius."""
        filled = self.heap.used / self.heap.total
        return round(34 + self.index + 2 * self._ripple(90) + 6 * filled + 20 * self.load())


def make(index: int, profile: Profile, instances: tuple[str, ...] = ()) -> Gpu:
    """Card ``index``; identities depend on model and slot only, so runs are repeatable."""
    ident = uuid.uuid5(_NAMESPACE, f"{profile.name}/{index}")
    heap = Heap(profile.memory_mib * MIB, profile.reserved_mib * MIB)
    gpu = Gpu(index, profile, heap, ident.bytes, ecc_on=profile.ecc)
    heap.on_change = gpu.accounts.note
    if instances:
        gpu.mig = Mig(profile, gpu.uuid_text)
        partition(gpu.mig, instances)
    return gpu
