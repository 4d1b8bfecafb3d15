"""GPFIFO channels: fetch pushbuffers and execute the host's methods (``clc56f.h``, ``clc86f.h``).

There is no doorbell to wait for: mmap is never intercepted, so the supervisor looks at each
channel's put pointer from time to time. A channel is a generator that pauses when it has nothing to
do or waits for a semaphore; an error ends it and is written to the channel's error notifier.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from . import pushbuffer
from .engines import Engine, Unsupported, engine_for, release
from .files import SPARSE, OpenFile
from .rm.memory import Memory, Place
from .rm.objects import Object
from .seccomp import libc

if TYPE_CHECKING:
    from .simulator import Simulator

_GP_GET: Final = 0x88
_GP_PUT: Final = 0x8C
_MAX_COPY: Final = 16 << 20
_HOST_METHODS: Final = 0x100
_NOTIFY_ERROR: Final = 0xFFFF
_ROBUST_CHANNEL_GR: Final = 13
_ENTRIES_PER_TURN: Final = 4096


class Space:
    """Card addresses of one process: mapped memory objects, then its own memory."""

    def __init__(self, sim: Simulator, owner: object, pid: int) -> None:
        self._sim, self._owner, self._pid = sim, owner, pid

    def read(self, at: int, n: int) -> bytes:
        """``n`` bytes."""
        if n > _MAX_COPY:
            raise Unsupported(f"read of {n} bytes at once")
        out = b""
        while n > 0:
            found = self._sim.mappings.resolve(self._owner, at)
            if found is None:
                return out + self._process(at, n)
            memory, offset, left = found
            if memory.place is Place.USER_PAGES:
                part = self._user(memory, offset, min(n, left))
            else:
                part = memory.peek(offset, min(n, left))
            out, at, n = out + part, at + len(part), n - len(part)
            if not part:
                raise Unsupported(f"fault: {at:#x} is beyond its memory")
        return out

    def write(self, at: int, data: bytes) -> None:
        """Write ``data``."""
        while data:
            found = self._sim.mappings.resolve(self._owner, at)
            if found is None:
                self._process(at, len(data), data)
                return
            memory, offset, left = found
            if memory.place is Place.USER_PAGES:
                done = len(self._user(memory, offset, len(data[:left]), data[:left]))
            else:
                done = memory.poke(offset, data[:left])
            if not done:
                raise Unsupported(f"fault: {at:#x} is beyond its memory")
            at, data = at + done, data[done:]

    def _user(self, memory: Memory, offset: int, n: int, data: bytes | None = None) -> bytes:
        """Registered memory: pages of the process that registered it, wherever it has them."""
        return self._vm(memory.user_pid, memory.user_address + offset, n, data)

    def _process(self, at: int, n: int, data: bytes | None = None) -> bytes:
        """Managed memory has the same address in the process, and in the file it is mapped from."""
        try:
            return self._vm(self._pid, at, n, data)
        except Unsupported:
            for file, space in self._sim.va_spaces.items():
                if self._owner in space.controls:
                    return self._managed(file, space.holder, at, n, data)
            raise

    def _managed(
        self, file: OpenFile, holder: tuple[int, int], at: int, n: int, data: bytes | None
    ) -> bytes:
        """Where another process makes the calls (a proxy), the memory is in the file, at the same offset."""
        try:
            fd = os.open(f"/proc/{holder[0]}/fd/{holder[1]}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            raise Unsupported(f"fault: no memory at {at:#x}") from None
        try:
            st = os.fstat(fd)
            if self._sim.files.find((st.st_dev, st.st_ino)) is not file or at + n > SPARSE:
                raise Unsupported(f"fault: no memory at {at:#x}")
            if data is None:
                return os.pread(fd, n, at)
            os.pwrite(fd, data, at)
            return data
        finally:
            os.close(fd)

    @staticmethod
    def _vm(pid: int, at: int, n: int, data: bytes | None) -> bytes:
        buf = ctypes.create_string_buffer(data if data is not None else bytes(n), n)
        local = (ctypes.c_uint64 * 2)(ctypes.addressof(buf), n)
        remote = (ctypes.c_uint64 * 2)(at, n)
        call = libc.process_vm_readv if data is None else libc.process_vm_writev
        if at >= 1 << 63 or call(pid, local, 1, remote, 1, 0) != n:
            raise Unsupported(f"fault: no memory at {at:#x}")
        return buf.raw[:n]


class Channel:
    """One channel object."""

    def __init__(self, sim: Simulator, made: Object, ident: int) -> None:
        self.object, self.ident = made, ident
        self.dead = False
        self._sim = sim
        self._space = Space(sim, made.client.owner, made.client.pid)
        self._fifo, self._entries = made.data["gpfifo"], made.data["entries"]
        self._get = 0
        self._host: dict[int, int] = {}
        self._engines: dict[int, Engine] = {}
        self._run = self._execute()

    def _userd(self) -> Memory | None:
        source = self.object.client.objects.get(self.object.data["userd"])
        return source.memory if source else None

    def step(self) -> bool:
        """Do what can be done now; whether there was anything."""
        if self.dead or not self._entries:
            return False
        try:
            return next(self._run)
        except Unsupported as e:
            self._fail(str(e))
        except StopIteration:
            self.dead = True
        except (OSError, struct.error, ValueError, OverflowError, MemoryError) as e:
            self._fail(f"{type(e).__name__}: {e}")
        return False

    def _fail(self, text: str) -> None:
        """End the channel as a robust-channel error would."""
        self.dead = True
        if self._sim.channels.leaving and text.startswith("fault: "):
            return
        gpu = self.object.gpu
        self._sim.log(f"NVRM: Xid (PCI:{gpu.pci_name if gpu else '?'}): 13, {text}")
        notifier = self.object.client.objects.get(self.object.data["error"])
        if notifier is not None and notifier.memory is not None:
            row = struct.pack("<QIHH", time.monotonic_ns(), _ROBUST_CHANNEL_GR, 0, _NOTIFY_ERROR)
            notifier.memory.poke(0, row)

    def _execute(self) -> Iterator[bool]:
        while True:
            userd, base = self._userd(), self.object.data["userd_offset"]
            if userd is None:
                yield False
                continue
            (put,) = struct.unpack("<I", userd.peek(base + _GP_PUT, 4).ljust(4, b"\0"))
            if put >= self._entries or put == self._get:
                yield False
                continue
            if self.object.gpu is not None:
                self.object.gpu.touch()
            for _ in range(_ENTRIES_PER_TURN):
                if self._get == put:
                    break
                entry = self._space.read(self._fifo + 8 * self._get, 8)
                yield from self._segment(*struct.unpack("<II", entry))
                self._get = (self._get + 1) % self._entries
                userd.poke(base + _GP_GET, struct.pack("<I", self._get))
            yield True

    def _segment(self, low: int, high: int) -> Iterator[bool]:
        words = high >> 10 & 0x1FFFFF
        if not words:
            return  # a control entry: nothing of ours depends on those
        data = self._space.read((high & 0xFF) << 32 | low & ~3, 4 * words)
        for sub, method, value in pushbuffer.methods(data):
            if method >= _HOST_METHODS:
                engine = self._engines.get(sub)
                if engine is not None:
                    engine.method(method, value)
            elif method == 0:
                self._engines[sub] = engine_for(value & 0xFFFF, self._space, self._sim.skip_kernels)
            else:
                yield from self._host_method(method, value)

    def _host_method(self, method: int, value: int) -> Iterator[bool]:
        self._host[method] = value
        if method == 0x6C:
            yield from self._semaphore(value)
        elif method == 0x1C:
            yield from self._old_semaphore(value)

    def _semaphore(self, execute: int) -> Iterator[bool]:
        """SEM_EXECUTE: operation 2:0, 64-bit payload 24, timestamp 25."""
        at = self._host.get(0x60, 0) << 32 | self._host.get(0x5C, 0)
        wide, op = bool(execute >> 24 & 1), execute & 7
        payload = self._host.get(0x64, 0) | (self._host.get(0x68, 0) << 32 if wide else 0)
        if op == 1:
            release(self._space, at, payload, bool(execute >> 25 & 1), wide)
        elif op == 6:
            raise Unsupported("host semaphore reduction")
        else:
            while not self._acquired(op, at, payload, wide):
                yield False

    def _acquired(self, op: int, at: int, payload: int, wide: bool) -> bool:
        n = 8 if wide else 4
        now = int.from_bytes(self._space.read(at, n), "little")
        if op == 0:
            return now == payload
        if op == 2:
            return now >= payload
        if op == 3:
            return (now - payload) & ((1 << 8 * n) - 1) < 1 << (8 * n - 1)
        return bool(now & payload) if op == 4 else not now & payload

    def _old_semaphore(self, value: int) -> Iterator[bool]:
        """SEMAPHORED: acquire 1, release 2, greater-equal 4, and 8; four bytes when bit 24 is set."""
        at = self._host.get(0x10, 0) << 32 | self._host.get(0x14, 0)
        payload, op = self._host.get(0x18, 0), value & 0x1F
        if op == 2:
            release(self._space, at, payload, not value >> 24 & 1)
        elif op in (1, 4, 8):
            while not self._acquired({1: 0, 4: 3, 8: 4}[op], at, payload, False):
                yield False
        else:
            raise Unsupported("host semaphore reduction")


class Channels:
    """All channels of a simulator."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._live: dict[Object, Channel] = {}
        self._next = 1
        self._last_work = 0.0
        self.leaving = False

    def add(self, made: Object) -> None:
        """A channel object was allocated."""
        self._live[made] = Channel(self._sim, made, self._next)
        made.data["id"] = self._next
        self._next += 1

    def remove(self, o: Object) -> None:
        """It was freed."""
        self._live.pop(o, None)

    def finish(self) -> None:
        """Something is about to go: what was submitted before happens first. That a process which has died can't be read
        any more is no error of its channel."""
        self.leaving = True
        self.step()
        self.leaving = False

    def interval(self) -> float | None:
        """Seconds until ``step`` is to be called; ``None`` without channels."""
        if not self._live:
            return None
        idle = time.monotonic() - self._last_work
        return 0.0002 if idle < 0.05 else 0.002 if idle < 2 else 0.02

    def step(self) -> None:
        """Let every channel go on until none can."""
        if not self._live:
            return
        for _ in range(64):
            busy = [c.step() for c in list(self._live.values())]
            if not any(busy):
                return
            self._last_work = time.monotonic()
