"""Multi-instance GPU: which instances a card can be cut into and which it is cut into now.

Sizes follow NVIDIA's MIG user guide; flags and identifiers ``ctrl2080gpu.h`` and
``kernel_mig_manager.c`` of the open kernel modules. A GPU instance takes memory slices (eighths)
and compute slices (sevenths); inside it compute instances share its memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..errors import SimError
from .status import RmError, Status

if TYPE_CHECKING:
    from ..profile import Profile

MEMORY_SLICES: Final = 8
COMPUTE_SLICES: Final = 7
MAX_INSTANCES: Final = 8
VEIDS_PER_GPC: Final = 8
_MIB: Final = 1 << 20
_NAMESPACE: Final = uuid.UUID("0d8f6f2e-6c0b-4a52-8d0e-3a3a7a0f5b11")
# Sizes as flags: memory in bits 1:0, compute in bits 4:2.
_MEMORY_FLAG: Final = {8: 0, 4: 1, 2: 2, 1: 3}
_FULL, _HALF, _MINI_HALF, _QUARTER, _MINI_QUARTER, _EIGHTH = range(6)
_SHAPES: Final = (
    (1, 1, _EIGHTH), (1, 2, _MINI_QUARTER), (2, 2, _QUARTER),
    (3, 4, _MINI_HALF), (4, 4, _HALF), (7, 8, _FULL),
)  # fmt: skip
"""Compute slices, memory slices, compute size."""
_SMS: Final = {0x170: (14, 14, 28, 42, 56, 98), 0x180: (16, 26, 32, 60, 64, 132)}
_DECODERS: Final = {0x170: (0, 1, 1, 2, 2, 5), 0x180: (1, 1, 2, 3, 4, 7)}
_JPEG: Final = {0x170: (0, 0, 0, 0, 0, 1), 0x180: (1, 1, 2, 3, 4, 7)}


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of GPU instance."""

    name: str
    compute: int
    """Compute slices, one GPC each."""
    slices: int
    """Memory slices."""
    compute_size: int
    sms: int
    copies: int
    decoders: int
    jpegs: int
    ofas: int
    memory: int

    @property
    def flag(self) -> int:
        """``partitionFlag`` of the control commands."""
        return _MEMORY_FLAG[self.slices] | self.compute_size << 2

    def starts(self) -> Iterator[int]:
        """Memory slices it may begin at."""
        last = {1: 7, 2: 4 if self.compute == 2 else 6, 4: 0 if self.compute == 4 else 4}
        yield from range(0, last.get(self.slices, 0) + (self.slices != 1), self.slices)


@dataclass(slots=True)
class ComputeInstance:
    """A share of a GPU instance's processors; what CUDA sees as a device."""

    index: int
    compute: int
    start: int
    uuid: bytes

    @property
    def text(self) -> str:
        """``MIG-…`` as tools print it."""
        return f"MIG-{uuid.UUID(bytes=self.uuid)}"


@dataclass(slots=True)
class GpuInstance:
    """A part of a card with memory of its own. ``swizz`` is its identifier."""

    swizz: int
    shape: Shape
    start: int
    computes: dict[int, ComputeInstance] = field(default_factory=dict)

    @property
    def span(self) -> tuple[int, int]:
        """First and last memory slice."""
        return self.start, self.start + self.shape.slices - 1


def shapes(profile: Profile) -> tuple[Shape, ...]:
    """What a model of card can be cut into."""
    if not profile.mig:
        return ()
    arch, gib = profile.architecture, -(-profile.memory_mib // 1024)
    usable = (profile.memory_mib - profile.reserved_mib) * _MIB
    out = []
    for i, (compute, slices, size) in enumerate(_SHAPES):
        gb = (gib * slices + MEMORY_SLICES // 2) // MEMORY_SLICES
        copies = profile.copy_engines - 1 if compute == COMPUTE_SLICES else compute
        memory = usable * slices // MEMORY_SLICES // (2 * _MIB) * (2 * _MIB)
        out.append(
            Shape(f"{compute}g.{gb}gb", compute, slices, size, _SMS[arch][i], copies,
                  _DECODERS[arch][i], _JPEG[arch][i], int(compute == COMPUTE_SLICES), memory)
        )  # fmt: skip
    return tuple(out)


class Mig:
    """The instances of one card in MIG mode."""

    def __init__(self, profile: Profile, card: str) -> None:
        self.shapes = shapes(profile)
        self.instances: dict[int, GpuInstance] = {}
        self._card = card

    def free_starts(self, shape: Shape) -> list[int]:
        """Places where an instance of this shape still fits."""
        left = COMPUTE_SLICES - sum(g.shape.compute for g in self.instances.values())
        if shape.compute > left:
            return []
        taken = {s for g in self.instances.values() for s in range(g.span[0], g.span[1] + 1)}
        return [a for a in shape.starts() if not taken & set(range(a, a + shape.slices))]

    def create(self, flag: int, start: int | None = None) -> GpuInstance:
        """A GPU instance; the last place that is free, as the driver does, keeps room in front."""
        shape = next((s for s in self.shapes if s.flag == flag), None)
        if shape is None:
            raise RmError(Status.INVALID_ARGUMENT)
        starts = self.free_starts(shape)
        if not starts or (start is not None and start not in starts):
            raise RmError(Status.INSUFFICIENT_RESOURCES)
        at = starts[-1] if start is None else start
        first = {8: 0, 4: 1, 2: 3, 1: 7}[shape.slices]
        made = GpuInstance(first + at // shape.slices, shape, at)
        self.instances[made.swizz] = made
        return made

    def destroy(self, swizz: int) -> None:
        """Give an instance's slices back; it must hold no compute instance."""
        found = self.instances.get(swizz)
        if found is None:
            raise RmError(Status.INVALID_ARGUMENT)
        if found.computes:
            raise RmError(Status.STATE_IN_USE)
        del self.instances[swizz]

    @staticmethod
    def compute_starts(instance: GpuInstance, compute: int) -> list[int]:
        """Places where a compute instance of that many slices still fits."""
        taken = {s for c in instance.computes.values() for s in range(c.start, c.start + c.compute)}
        room = range(instance.shape.compute - compute + 1)
        return [a for a in room if not taken & set(range(a, a + compute))]

    def create_compute(self, instance: GpuInstance, compute: int) -> ComputeInstance:
        """A compute instance in ``instance``."""
        starts = self.compute_starts(instance, compute)
        if compute < 1 or not starts:
            raise RmError(Status.INSUFFICIENT_RESOURCES)
        index = next(i for i in range(MAX_INSTANCES) if i not in instance.computes)
        name = f"{self._card}/{instance.swizz}/{index}"
        made = ComputeInstance(index, compute, starts[0], uuid.uuid5(_NAMESPACE, name).bytes)
        instance.computes[index] = made
        return made


def layout(profile: Profile, text: str) -> tuple[str, ...]:
    """Shapes asked for by ``--mig``: their names, or how many of the smallest."""
    known = shapes(profile)
    if not known:
        raise SimError(f"--mig: {profile.name} has no MIG; take --gpu h100, h200 or a100")
    names = [s.name for s in known]
    wanted = [names[0]] * int(text) if text.isdecimal() else text.split(",")
    if not wanted:
        raise SimError("--mig: give at least one instance, e.g. --mig 1")
    for name in wanted:
        if name not in names:
            raise SimError(f"--mig: no profile `{name}`; {profile.name} has {', '.join(names)}")
    partition(Mig(profile, ""), tuple(wanted))
    return tuple(wanted)


def partition(mig: Mig, wanted: tuple[str, ...]) -> None:
    """Cut a card: the largest instances first, each with one compute instance."""
    by_name = {s.name: s for s in mig.shapes}
    for shape in sorted((by_name[n] for n in wanted), key=lambda s: (-s.slices, -s.compute)):
        try:
            made = mig.create(shape.flag, next(iter(mig.free_starts(shape)), None))
        except RmError:
            raise SimError(f"--mig: {', '.join(wanted)} don't fit on one card together") from None
        mig.create_compute(made, shape.compute)
