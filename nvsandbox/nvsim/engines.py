"""What the engines behind a channel do with methods, from the public class headers.

Copy engine (``clb0b5.h`` … ``clc8b5.h``): copies between pitch-linear ranges, fills by remapped
constants, semaphores. Compute class (``clc3c0.h``): inline data and report semaphores; a kernel
launch is refused by name, or completed without being executed when the user asked for that and the
launch descriptor's layout is public (``clcbc0qmd.h`` of NVIDIA's open-gpu-doc,
version 4, Hopper). Blocklinear layouts and reductions of the copy engine are not modelled.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Final, Protocol

_CHUNK: Final = 8 << 20
_MAX_LINES: Final = 1 << 18
_MAX_TRANSFER: Final = 1 << 36
_MAX_INLINE: Final = 64 << 20
_QMD_BYTES: Final = 384
_MAX_CHAIN: Final = 64


class AddressSpace(Protocol):
    """Memory as a card sees it."""

    def read(self, at: int, n: int) -> bytes:
        """``n`` bytes at a card address."""

    def write(self, at: int, data: bytes) -> None:
        """Write ``data`` at a card address."""


class Unsupported(Exception):
    """Work that isn't simulated; the text names it."""


def release(space: AddressSpace, at: int, payload: int, stamp: bool, wide: bool = False) -> None:
    """Release a semaphore: the payload, and with ``stamp`` the card's time at offset 8."""
    if stamp:
        space.write(at, struct.pack("<QQ", payload & (1 << 64) - 1, time.monotonic_ns()))
    else:
        space.write(at, payload.to_bytes(8, "little") if wide else struct.pack("<I", payload))


class Engine:
    """Method state of one subchannel."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.state: dict[int, int] = {}
        self.launches: dict[int, Callable[[int], None]] = {}

    def method(self, number: int, value: int) -> None:
        """Remember an argument; launch when the method says so."""
        self.state[number] = value
        launch = self.launches.get(number)
        if launch is not None:
            launch(value)

    def wide(self, upper: int, lower: int) -> int:
        """An address given in two methods."""
        return self.state.get(upper, 0) << 32 | self.state.get(lower, 0)


class CopyEngine(Engine):
    """Classes whose number ends in b5."""

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self.launches[0x300] = self._launch

    def _launch(self, flags: int) -> None:
        if flags & 3:
            self._transfer(flags)
        kind = flags >> 3 & 3
        if kind:
            wide = bool(flags >> 27 & 1)
            payload = self.state.get(0x248, 0)
            payload |= self.state.get(0x24C, 0) << 32 if wide else 0
            release(self.space, self.wide(0x240, 0x244), payload, kind == 2, wide)

    def _transfer(self, flags: int) -> None:
        length = self.state.get(0x418, 0)
        lines = self.state.get(0x41C, 0) if flags >> 9 & 1 else 1
        if not flags >> 8 & 1 or (not flags >> 7 & 1 and not flags >> 10 & 1):
            raise Unsupported("copy engine: blocklinear layout")
        if lines > _MAX_LINES or lines * length > _MAX_TRANSFER:
            raise Unsupported("copy engine: transfer too large")
        src, dst = self.wide(0x400, 0x404), self.wide(0x408, 0x40C)
        for line in range(lines):
            to = dst + line * self.state.get(0x414, 0)
            if flags >> 10 & 1:
                self._fill(to, length)
            else:
                self._copy(src + line * self.state.get(0x410, 0), to, length)

    def _copy(self, src: int, dst: int, n: int) -> None:
        for at in range(0, n, _CHUNK):
            part = min(_CHUNK, n - at)
            self.space.write(dst + at, self.space.read(src + at, part))

    def _fill(self, dst: int, elements: int) -> None:
        remap = self.state.get(0x708, 0)
        size, count = (remap >> 16 & 3) + 1, (remap >> 24 & 3) + 1
        pattern = b""
        for i in range(count):
            source = remap >> 4 * i & 7
            if source not in (4, 5):
                raise Unsupported("copy engine: remapping of source components")
            constant = self.state.get(0x700 if source == 4 else 0x704, 0)
            pattern += constant.to_bytes(4, "little")[:size]
        total, each = elements * len(pattern), _CHUNK // len(pattern) * len(pattern)
        block = pattern * (min(each, total) // len(pattern))
        for at in range(0, total, each):
            self.space.write(dst + at, block[: min(each, total - at)])


class ComputeEngine(Engine):
    """Compute classes (c0), graphics (97) and inline-to-memory (a140)."""

    def __init__(self, space: AddressSpace, skip_kernels: bool) -> None:
        super().__init__(space)
        self._skip = skip_kernels
        self._inline = bytearray()
        self.launches |= {
            0x1B0: self._start_inline, 0x1B4: self._inline_word, 0x1B0C: self._report,
            0x2B8: self._kernel, 0x2BC: self._kernel, 0x2C0: self._kernel, 0x320: self._kernel,
        }  # fmt: skip

    def _start_inline(self, flags: int) -> None:
        self._inline = bytearray()

    def _inline_word(self, value: int) -> None:
        self._inline += struct.pack("<I", value)
        length, lines = self.state.get(0x180, 0), max(self.state.get(0x184, 1), 1)
        if len(self._inline) > _MAX_INLINE or lines > _MAX_LINES:
            raise Unsupported("inline data: too much at once")
        if len(self._inline) < length * lines:
            return
        to, pitch = self.wide(0x188, 0x18C), self.state.get(0x190, 0)
        for line in range(lines):
            self.space.write(to + line * pitch, bytes(self._inline[line * length :][:length]))
        if self.state.get(0x1B0, 0) >> 4 & 3 == 2:
            one_word = self.state[0x1B0] >> 12 & 1
            at = self.wide(0x1DC, 0x1E0)
            release(self.space, at, self.state.get(0x1E4, 0), not one_word)

    def _report(self, flags: int) -> None:
        if flags & 3 == 0:
            at = self.wide(0x1B00, 0x1B04)
            release(self.space, at, self.state.get(0x1B08, 0), not flags >> 28 & 1)

    def _kernel(self, value: int) -> None:
        if not self._skip:
            raise Unsupported("kernel launch: arithmetic is not simulated")
        at = self.state.get(0x2B4, 0) << 8
        if not at:
            raise Unsupported("kernel launch: descriptor is not in memory; can't be skipped")
        seen: set[int] = set()
        todo = [at]
        while todo:
            at = todo.pop()
            if at not in seen and len(seen) < _MAX_CHAIN:
                seen.add(at)
                raw = self.space.read(at, _QMD_BYTES)
                todo += _complete(self.space, int.from_bytes(raw, "little"))


def _complete(space: AddressSpace, qmd: int) -> list[int]:
    """Do what a launch descriptor of version 4 does at its end.

    It releases up to three semaphores and launches up to two other descriptors, which are returned.
    """

    def bits(low: int, width: int = 1) -> int:
        return qmd >> low & (1 << width) - 1

    if not qmd:
        return []  # a place for a descriptor that is launched on its own later
    if bits(580, 4) != 4:
        raise Unsupported("kernel launch: unknown descriptor; can't be skipped")
    for i in range(3):
        flags, base = 320 + 16 * i, 640 + 128 * i
        if not bits(flags):
            continue
        if bits(flags + 4):
            raise Unsupported("kernel launch: reduction at the end; can't be skipped")
        wide = bool(bits(flags + 12))
        payload = bits(base + 64, 64 if wide else 32)
        release(space, bits(base, 57), payload, bits(flags + 1, 2) == 0, wide)
    return [bits(448 + 32 * i, 32) << 8 for i in range(2) if bits(368 + 5 * i)]


def engine_for(cls: int, space: AddressSpace, skip_kernels: bool = False) -> Engine:
    """The engine a class number stands for."""
    tail = cls & 0xFF
    if tail == 0xB5:
        return CopyEngine(space)
    if tail in (0xC0, 0x97, 0x40):
        return ComputeEngine(space, skip_kernels)
    return Engine(space)
