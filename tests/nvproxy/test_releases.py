"""Every driver release of the ABI database boots a sandbox on nvsim set to it: open, enumerate, allocate, free."""

from __future__ import annotations

import pytest

from nvsandbox.failure import Failure
from nvsandbox.nvproxy import drivers, policy
from nvsandbox.nvproxy.abi import Access, Kind, database, later
from nvsandbox.nvproxy.engine import ALL_HOOKS
from nvsandbox.nvproxy.plan import Abi

from .conftest import Calls, Inside

ROOT, DEVICE, SUB, MEM = 0xC1D0F00D, 0xCAFE0080, 0xCAFE2080, 0xCAFE0040
MIB = 1 << 20


def program(version: str) -> Calls:
    c = Calls(database().release(version))
    c.open("/dev/nvidiactl", "ctl")
    c.escape("ctl", "NV_ESC_SYS_PARAMS", "nv_ioctl_sys_params_t")
    c.root("ctl", ROOT)
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_GET_PROBED_IDS")
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2", {"gpuId": 256})
    c.open("/dev/nvidia0", "gpu")
    c.escape("gpu", "NV_ESC_REGISTER_FD", "nv_ioctl_register_fd_t", {"ctl_fd": "ctl"})
    c.alloc("ctl", ROOT, ROOT, DEVICE, 0x80, "NV0080_ALLOC_PARAMETERS")
    c.alloc("ctl", ROOT, DEVICE, SUB, 0x2080, "NV2080_ALLOC_PARAMETERS")
    c.control("ctl", ROOT, SUB, "NV2080_CTRL_CMD_GPU_GET_NAME_STRING")
    c.alloc("ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 4 * MIB})
    c.open("/dev/nvidiactl", "map")
    c.escape(
        "ctl", "NV_ESC_RM_MAP_MEMORY", "nv_ioctl_nvos33_parameters_with_fd",
        {"params.hClient": ROOT, "params.hDevice": DEVICE, "params.hMemory": MEM, "params.length": MIB, "fd": "map"},
    )  # fmt: skip
    c.add(op="mmap", fd="map", size=MIB, poke="ab" * 8)
    c.open("/dev/nvidia-uvm", "uvm")
    c.add(op="ioctl", fd="uvm", cmd=0x30000001, arg=c.fill("UVM_INITIALIZE_PARAMS", {}).hex())
    c.free("ctl", ROOT, MEM)
    c.free("ctl", ROOT, ROOT)
    return c


def play(inside: Inside, version: str) -> None:
    c = program(version)
    got = inside.play(c.steps, opts=["--driver", version], flags=["--nvproxy-driver-root", "none"])
    assert len(got) == len(c.steps)
    for step, result in zip(c.steps, got, strict=True):
        assert result["r"] >= 0, (step, result)
    kinds = [s for s in c.steps if s["op"] == "ioctl"]
    answers = [r for s, r in zip(c.steps, got, strict=True) if s["op"] == "ioctl"]
    control = [a for s, a in zip(kinds, answers, strict=True) if s["cmd"] & 0xFF == 0x2A]
    assert [c.status(a, "NVOS54_PARAMETERS") for a in control] == [0, 0, 0]
    probed = c.release.command_named("NV0000_CTRL_CMD_GPU_GET_PROBED_IDS")
    assert probed is not None
    assert c.view(probed.params, control[0]["ptrs"][0]).get("gpuIds", 0) == 256
    assert b"H100" in bytes.fromhex(control[2]["ptrs"][0])
    allocs = [a for s, a in zip(kinds, answers, strict=True) if s["cmd"] & 0xFF == 0x2B]
    assert [c.status(a, "NVOS64_PARAMETERS") for a in allocs] == [0, 0, 0, 0]
    frees = [a for s, a in zip(kinds, answers, strict=True) if s["cmd"] & 0xFF == 0x29]
    assert [c.status(a, "NVOS00_PARAMETERS") for a in frees] == [0, 0]
    mapped = next(r for s, r in zip(c.steps, got, strict=True) if s["op"] == "mmap")
    assert mapped["data"].startswith("ab" * 8)


@pytest.mark.slow
@pytest.mark.parametrize("version", database().known)
def test_a_sandbox_boots_on_every_release(first: Inside, version: str) -> None:
    play(first, version)


@pytest.mark.parametrize("version", database().known)
def test_nothing_allowed_is_left_untranslated(version: str) -> None:
    """Every pointer of everything the policy allows is an array with a rule, forced to null, or answered here; every descriptor has a rule."""
    release = database().release(version)
    abi = Abi(release, policy.make("all", "all"))
    for c in release.commands.values():
        p = abi.control(c.id)
        if p.reason or c.params not in release.structs:
            continue
        handled = {n.at for n in p.nested} | {f.at for f in p.fds} | set(p.zero) | set(p.scrub)
        for name, f in abi._flat(release.structs[c.params].fields):
            if f.kind in (Kind.POINTER, Kind.DESCRIPTOR):
                assert f.offset in handled, (c.name, name)
        assert not c.exported or c.access & Access.USER, c.name
        assert p.size == c.size
    for k in release.classes.values():
        p = abi.cls(k.id)
        if p.reason or k.params not in release.structs:
            continue
        handled = {f.at for f in p.fds} | set(p.zero) | set(p.scrub)
        for name, f in abi._flat(release.structs[k.params].fields):
            if f.kind in (Kind.POINTER, Kind.DESCRIPTOR):
                assert f.offset in handled, (k.name, name)


def test_the_filter_names_ioctls_not_ranges() -> None:
    """The Sentry may make exactly the calls of the enabled set."""
    abi = Abi(database().release("535.261.03"), policy.make("utility", "utility"))
    frontend, uvm = abi.host_ioctls()
    more = Abi(database().release("535.261.03"), policy.make("all", "all")).host_ioctls()
    assert set(frontend) < set(more[0]) and 0xC020462A in frontend
    assert all(n >> 8 & 0xFF == ord("F") for n in frontend)
    assert 0x30000001 in uvm and 0x9 not in uvm  # UVM_RUN_TEST


def test_releases_after_the_databases() -> None:
    """Their changes, as far as known: a handle in the channels' parameters, no range groups, no unseen UVM calls."""
    base, new = (database().release(v) for v in (later.BASE, "610.43.02"))
    old, channel = (r.structs["NV_CHANNEL_ALLOC_PARAMS"] for r in (base, new))
    places = {f.name: (f.offset, f.size) for f in channel.fields}
    assert (old.size, channel.size) == (368, 376)
    assert [places[n][0] for n in ("hVASpace", "hHandleVASpace", "hUserdMemory", "userdOffset", "engineType", "tpcConfigID")] == [
        28, 32, 36, 72, 136, 368,
    ]  # fmt: skip
    ends = [f.offset + f.total for f in channel.fields]
    assert all(end <= f.offset for end, f in zip(ends, channel.fields[1:], strict=False))
    assert ends[-1] <= channel.size
    names = {i.name for i in new.ioctls.values()}
    assert "UVM_MIGRATE" in names and "UVM_SET_RANGE_GROUP" not in names
    assert not any(n.startswith("UVM_TOOLS_") for n in names)
    assert new.classes[0xD2B0].params == base.classes[0xD1B0].params
    abi = Abi(new, policy.make(None, "all"))
    abi.hooks = ALL_HOOKS
    sized = {n: abi.control(c.id).sized for n in (
        "NV2080_CTRL_CMD_BUS_GET_PCI_BAR_INFO", "NV2080_CTRL_CMD_FB_GET_INFO_V2", "NV2080_CTRL_CMD_FB_GET_REMAPPED_ROWS",
        "NV0000_CTRL_CMD_GPU_GET_PROBED_IDS", "NV0080_CTRL_CMD_GPU_GET_CLASSLIST",
    ) if (c := new.command_named(n))}  # fmt: skip
    assert list(sized.values()) == [False, True, True, True, True]
    assert Abi(base, policy.make(None, "all")).control(new.command_named("NV2080_CTRL_CMD_BUS_GET_PCI_BAR_INFO").id).sized  # type: ignore[union-attr]  # fmt: skip
    for driver, abi_of in (
        ("610.57.04", "610.43.02"),
        ("615.62.00", "615.15.00"),
        ("620.06.00", "620.06.00"),
    ):
        choice = drivers.choose(driver)
        assert choice.abi == abi_of and "newer than the headers" in choice.warning
    with pytest.raises(Failure, match=r"nearest: 620\.06\.00"):
        drivers.choose("630.1")
