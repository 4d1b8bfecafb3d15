"""Pushbuffers and engines on memory of our own: what is copied, and that nonsense is refused."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from nvsandbox.nvsim.engines import ComputeEngine, CopyEngine, Unsupported, engine_for, release
from nvsandbox.nvsim.pushbuffer import methods

SIZE = 1 << 16


class Flat:
    """64 KiB of card memory at address 0."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)

    def read(self, at: int, n: int) -> bytes:
        if at + n > SIZE:
            raise Unsupported("fault")
        return bytes(self.data[at : at + n])

    def write(self, at: int, data: bytes) -> None:
        if at + len(data) > SIZE:
            raise Unsupported("fault")
        self.data[at : at + len(data)] = data


def header(op: int, count: int, sub: int, method: int) -> int:
    return op << 29 | count << 16 | sub << 13 | method // 4


def test_methods_of_each_kind() -> None:
    words = [header(1, 2, 4, 0x400), 7, 8, header(3, 2, 1, 0x1B4), 9, 10, header(5, 3, 0, 0x10),
             1, 2, 3, header(4, 0x55, 2, 0x100), 0, header(7, 0, 0, 0), 99]  # fmt: skip
    assert list(methods(struct.pack(f"<{len(words)}I", *words))) == [
        (4, 0x400, 7), (4, 0x404, 8), (1, 0x1B4, 9), (1, 0x1B4, 10), (0, 0x10, 1), (0, 0x14, 2),
        (0, 0x14, 3), (2, 0x100, 0x55),
    ]  # fmt: skip


def test_copy_with_pitch_and_semaphore() -> None:
    space = Flat()
    space.data[0:8] = b"abcdefgh"
    engine = CopyEngine(space)
    for method, value in (
        (0x404, 0), (0x40C, 0x1000), (0x410, 4), (0x414, 16), (0x418, 4), (0x41C, 2),
        (0x244, 0x2000), (0x248, 77), (0x300, 1 << 9 | 3 << 7 | 1 << 3 | 2),
    ):  # fmt: skip
        engine.method(method, value)
    assert space.data[0x1000:0x1018] == b"abcd" + bytes(12) + b"efgh" + bytes(4)
    assert space.read(0x2000, 8) == struct.pack("<II", 77, 0)


def test_fill_by_constant() -> None:
    space = Flat()
    engine = CopyEngine(space)
    for method, value in (
        (0x700, 0xDEADBEEF), (0x708, 4 | 3 << 16), (0x40C, 0x100), (0x418, 3), (0x300, 0x582),
    ):  # fmt: skip
        engine.method(method, value)
    assert space.read(0x100, 16) == struct.pack("<4I", *[0xDEADBEEF] * 3, 0)


def test_inline_data() -> None:
    space = Flat()
    engine = ComputeEngine(space, False)
    for method, value in ((0x180, 6), (0x184, 1), (0x18C, 0x40), (0x1B0, 0x41)):
        engine.method(method, value)
    for word in struct.unpack("<2I", b"inline!!"):
        engine.method(0x1B4, word)
    assert space.read(0x40, 8) == b"inline\0\0"


def test_semaphore_with_time() -> None:
    space = Flat()
    release(space, 0, 5, True)
    payload, stamp = struct.unpack("<QQ", space.read(0, 16))
    assert payload == 5 and stamp > 0


@settings(max_examples=2000, deadline=None)
@given(
    data=st.binary(max_size=400),
    cls=st.sampled_from([0xC8B5, 0xCBC0, 0xA140, 0x1234]),
    skip=st.booleans(),
)
def test_any_words_are_executed_or_refused(data: bytes, cls: int, skip: bool) -> None:
    engine = engine_for(cls, Flat(), skip)
    for _, method, value in methods(data):
        try:
            engine.method(method, value)
        except Unsupported:
            return


LAUNCHES = (0x300, 0x1B0, 0x1B4, 0x1B0C, 0x2B4, 0x2C0, 0x418, 0x41C, 0x708, 0x180, 0x184, 0x40C)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(LAUNCHES), st.integers(0, 0xFFFFFFFF)), max_size=20),
    st.sampled_from([0xC8B5, 0xCBC0]),
)
def test_random_launches_end(work: list[tuple[int, int]], cls: int) -> None:
    engine = engine_for(cls, Flat(), True)
    for method, value in work:
        try:
            engine.method(method, value)
        except Unsupported:
            return
