"""The resource manager alone: random object trees, accounting, faults, hostile parameters."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nvsandbox.nvproxy.abi import database
from nvsandbox.nvsim.profile import load
from nvsandbox.nvsim.rm.control import Caller, dispatch
from nvsandbox.nvsim.rm.manager import Manager
from nvsandbox.nvsim.rm.status import RmError, Status
from nvsandbox.nvsim.view import View

RELEASE = database().release("535.261.03")


class Memory:
    """A caller whose pointers all lead nowhere."""

    def read(self, addr: int, n: int) -> bytearray:
        raise OSError(14, "read")

    def write(self, addr: int, data: bytes | bytearray) -> None:
        raise OSError(14, "write")


def manager(count: int = 2) -> Manager:
    rm = Manager(RELEASE, [load("t4")] * count, lambda text: None)
    rm.channels = True
    return rm


def caller(owner: object, root: bool = False) -> Caller:
    return Caller(Memory(), {owner}, 1, root, owner)


def params(rm: Manager, struct: str, **values: int) -> View:
    view = rm.layouts.view(struct, bytearray(rm.layouts.size(struct)))
    for name, value in values.items():
        view[name] = value
    return view


CLASSES = sorted(k for k, c in RELEASE.classes.items() if c.access & 2)
BY_PARENT: dict[str, list[int]] = {}
for _k in CLASSES:
    for _p in RELEASE.classes[_k].parents:
        BY_PARENT.setdefault(_p, []).append(_k)


def grow(rm: Manager, who: Caller, rng: random.Random, steps: int) -> Iterator[tuple[int, int]]:
    """A random valid tree: each step picks a living object and a class that may lie below it."""
    root = rm.alloc(who, 0, 0, 0, 0x41, None).handle
    client = rm.tree.clients[root]
    yield root, root
    for _ in range(steps):
        above = client.objects[rng.choice(list(client.objects))]
        options = BY_PARENT.get(above.cls.internal, [])
        if not options:
            continue
        cls = RELEASE.classes[rng.choice(options)]
        p = None
        if cls.params in RELEASE.structs:
            p = params(rm, cls.params)
            if "size" in p.fields() and p.fields()["size"].size == 8:
                p["size"] = rng.choice([1, 4096, 1 << 20, 3 << 20])
            if "deviceId" in p.fields():
                p["deviceId"] = rng.randrange(len(rm.gpus))
        try:
            yield root, rm.alloc(who, root, above.handle, 0, cls.id, p).handle
        except RmError as e:
            assert e.status in (
                Status.INVALID_CLASS, Status.STATE_IN_USE, Status.INVALID_ARGUMENT,
                Status.OBJECT_NOT_FOUND,
            ), (cls.name, e.status)  # fmt: skip


@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 60), steps=st.integers(1, 12))
def test_random_object_trees_leave_nothing_behind(seed: int, steps: int) -> None:
    rng, rm, owner = random.Random(seed), manager(), object()
    who = caller(owner)
    made = list(grow(rm, who, rng, steps))
    for gpu in rm.gpus:
        assert gpu.heap.used + gpu.heap.free + gpu.heap.reserved == gpu.heap.total
        assert gpu.heap.used == sum(gpu.heap.by_pid.values())
    root = made[0][0]
    for _, handle in rng.sample(made[1:], len(made[1:]) // 2):
        if handle in rm.tree.clients[root].objects:
            rm.free(who, root, handle)
            with pytest.raises(RmError):
                rm.free(who, root, handle)
    rm.tree.free_owned(owner)
    assert not rm.tree.clients
    assert all(g.heap.used == 0 and not g.heap.by_pid for g in rm.gpus)


def device(rm: Manager, who: Caller) -> tuple[int, int, int]:
    root = rm.alloc(who, 0, 0, 0, 0x41, None).handle
    dev = rm.alloc(who, root, root, 0, 0x80, params(rm, "NV0080_ALLOC_PARAMETERS")).handle
    return root, dev, rm.alloc(who, root, dev, 0, 0x2080, None).handle


def refused(status: Status, fn: object, *args: object) -> None:
    assert callable(fn)
    with pytest.raises(RmError) as e:
        fn(*args)
    assert e.value.status is status


def test_handle_rules() -> None:
    rm, who = manager(), caller(1)
    root, dev, sub = device(rm, who)
    refused(Status.INSERT_DUPLICATE_NAME, rm.alloc, who, root, dev, sub, 0x50A0,
            params(rm, "NV_MEMORY_ALLOCATION_PARAMS", size=4096))  # fmt: skip
    refused(Status.INVALID_OBJECT_PARENT, rm.alloc, who, root, 0xDEAD, 0, 0x2080, None)
    refused(Status.INVALID_OBJECT_PARENT, rm.alloc, who, root, root, 0, 0x2080, None)
    refused(Status.INVALID_CLASS, rm.alloc, who, root, dev, 0, 0xFFFF, None)
    refused(Status.INVALID_CLASS, rm.alloc, who, root, dev, 0, 0x73, None)
    refused(Status.INVALID_DEVICE, rm.alloc, who, root, root, 0, 0x80,
            params(rm, "NV0080_ALLOC_PARAMETERS", deviceId=9))  # fmt: skip
    refused(Status.INVALID_CLIENT, rm.free, caller(2), root, dev)
    refused(Status.OBJECT_NOT_FOUND, rm.free, who, root, 0xBEEF)
    rm.free(who, root, dev)
    refused(Status.OBJECT_NOT_FOUND, rm.free, who, root, sub)


def test_a_card_of_another_generation_refuses_its_classes() -> None:
    rm, who = manager(), caller(1)
    root, dev, _ = device(rm, who)
    channel = params(rm, "NV_CHANNEL_ALLOC_PARAMS")
    refused(Status.INVALID_CLASS, rm.alloc, who, root, dev, 0, 0xC86F, channel)
    assert rm.alloc(who, root, dev, 0, 0xC46F, channel).cls.name == "TURING_CHANNEL_GPFIFO_A"
    rm.channels = False
    refused(Status.INVALID_CLASS, rm.alloc, who, root, dev, 0, 0xC46F, channel)


def test_memory_runs_out_and_comes_back() -> None:
    rm, who = manager(1), caller(1)
    root, dev, _ = device(rm, who)
    half = params(rm, "NV_MEMORY_ALLOCATION_PARAMS", size=rm.gpus[0].heap.free // 2)
    first = rm.alloc(who, root, dev, 0, 0x40, half).handle
    rm.alloc(who, root, dev, 0, 0x40, half)
    refused(Status.NO_MEMORY, rm.alloc, who, root, dev, 0, 0x40, half)
    dup = params(rm, "NVOS55_PARAMETERS", hClient=root, hParent=dev, hClientSrc=root,
                 hObjectSrc=first)  # fmt: skip
    second = rm.duplicate(who, dup).handle
    rm.free(who, root, first)
    refused(Status.NO_MEMORY, rm.alloc, who, root, dev, 0, 0x40, half)
    rm.free(who, root, second)
    rm.alloc(who, root, dev, 0, 0x40, half)


def test_controls_check_object_size_and_privilege() -> None:
    said: list[str] = []
    rm = Manager(RELEASE, [load("h100")], said.append)
    who = caller(1)
    root, dev, sub = device(rm, who)
    arch = 0x20801701
    assert dispatch(rm, who, root, sub, arch, bytearray(16)) is Status.OK
    assert dispatch(rm, who, root, sub, arch, bytearray(15)) is Status.INVALID_PARAM_STRUCT
    assert dispatch(rm, who, root, dev, arch, bytearray(16)) is Status.INVALID_ARGUMENT
    compute_mode = 0x20800130
    assert dispatch(rm, who, root, sub, compute_mode, bytearray(8)) in (
        Status.INSUFFICIENT_PERMISSIONS, Status.INVALID_PARAM_STRUCT,
    )  # fmt: skip
    refused(Status.OBJECT_NOT_FOUND, dispatch, rm, who, root, 0x77, arch, bytearray(16))
    thermal = 0x20800502  # some public command that nothing answers
    known = RELEASE.commands.get(thermal)
    size = known.size if known else 4
    assert dispatch(rm, who, root, sub, thermal, bytearray(size)) is Status.NOT_SUPPORTED
    assert said and hex(thermal) in said[-1]
    rm.gpus[0].lost = True
    assert dispatch(rm, who, root, sub, arch, bytearray(16)) is Status.GPU_IS_LOST


@pytest.mark.parametrize("seed", range(40))
def test_random_controls_never_escape(seed: int) -> None:
    rng, rm, who = random.Random(seed), manager(), caller(1, root=True)
    root, dev, sub = device(rm, who)
    commands = list(RELEASE.commands.values())
    for _ in range(400):
        c = rng.choice(commands)
        target = {0: root, 0x80: dev}.get(c.id >> 16, sub)
        n = c.size if rng.random() < 0.9 else rng.randrange(64)
        buf = bytearray(rng.choice([bytes(n), rng.randbytes(n), b"\xff" * n]))
        try:
            status = dispatch(rm, who, root, target, c.id, buf)
            assert isinstance(status, int) and len(buf) == n
        except OSError as e:
            assert e.errno == 14  # a pointer that leads nowhere


@pytest.mark.parametrize("version", ["515.43.04", "550.54.14", "570.86.15", "595.45.04"])
@pytest.mark.parametrize("card", ["h100", "rtx4090"])
def test_one_profile_serves_every_release(version: str, card: str) -> None:
    release = database().release(version)
    rm, who = Manager(release, [load(card)], lambda text: None), caller(1)
    root, dev, sub = device(rm, who)
    wrong = {}
    for c in release.commands.values():
        target = {0: root, 0x80: dev}.get(c.id >> 16, sub)
        if c.id >> 16 in (0, 0x80, 0x2080) and c.params:
            try:
                status = dispatch(rm, who, root, target, c.id, bytearray(c.size))
            except OSError:
                continue
            if status is Status.INVALID_PARAM_STRUCT:
                wrong[c.name] = status
    assert wrong == {}
