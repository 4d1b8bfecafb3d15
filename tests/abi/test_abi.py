"""The ABI database: layouts against a compiler, sizes against the driver's own tables, speed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from nvsandbox.nvproxy.abi import AbiError, Access, Database, Kind, Release, Struct, database
from nvsandbox.nvproxy.abi.build import ESCAPE_PARAMS, from_tree
from nvsandbox.nvproxy.abi.db import DATA, compare_commands, compare_structs
from nvsandbox.nvproxy.abi.headers import evaluate
from nvsandbox.nvproxy.abi.store import StoreFile, write

VERSIONS = tuple(database().versions)


def test_every_public_release_is_there_in_order() -> None:
    assert len(VERSIONS) == 193
    assert VERSIONS[0] == "515.43.04" and VERSIONS[-1] == "595.45.04"
    assert list(VERSIONS) == sorted(VERSIONS, key=lambda v: [int(p) for p in v.split(".")])


def test_size_and_speed() -> None:
    assert DATA.stat().st_size <= 3 << 20
    best = min(_load_time(v) for v in ("515.43.04", "535.261.03", "595.45.04") for _ in range(3))
    assert best < 0.02


def _load_time(version: str) -> float:
    start = time.perf_counter()
    Database().release(version)
    return time.perf_counter() - start


def _check_struct(release: Release, s: Struct) -> None:
    for f in s.fields:
        assert 0 <= f.offset <= s.size and f.offset + f.total <= s.size, (s.name, f.name)
        if f.ref and f.kind in (Kind.STRUCT, Kind.UNION) and f.ref in release.structs:
            assert release.structs[f.ref].size == f.size, (s.name, f.name)
        assert not f.count or f.count in {g.name for g in s.fields}, (s.name, f.name)
    offsets = [f.offset for f in s.fields]
    assert s.union or offsets == sorted(offsets), s.name


@pytest.mark.parametrize("version", VERSIONS)
def test_structures_of_every_release_hold_together(version: str) -> None:
    release = database().release(version)
    assert len(release.structs) > 1500 and len(release.commands) > 1000
    for name in release.structs:
        _check_struct(release, release.structs[name])
    for c in release.commands.values():
        if c.params:
            assert release.structs[c.params].size == c.size, c.name
    lacking = [k.name for k in release.classes.values() if k.params not in release.structs]
    public = len(release.classes) - len(lacking)
    assert public >= 60, lacking  # the others take none, a bare handle, or an unpublished struct
    assert {"NVOS54_PARAMETERS", "NVOS64_PARAMETERS", "NVOS33_PARAMETERS"} <= set(release.structs)


@pytest.mark.parametrize("version", VERSIONS)
def test_escapes_have_the_sizes_ioctl_numbers_carry(version: str) -> None:
    release = database().release(version)
    for (device, _), ioctl in release.ioctls.items():
        if device == "frontend" and ioctl.name in ESCAPE_PARAMS:
            assert ioctl.params, ioctl.name
            assert all(0 < release.structs[p].size < 1 << 14 for p in ioctl.params)


def test_facts_known_from_the_headers() -> None:
    r = database().release("535.261.03")
    gr = r.commands[0x20801201]
    assert (gr.name, gr.size) == ("NV2080_CTRL_CMD_GR_GET_INFO", 32)
    pointer = r.structs[gr.params].field("grInfoList")
    assert (pointer.kind, pointer.count, pointer.target) == (
        Kind.POINTER, "grInfoListSize", "NV2080_CTRL_GR_INFO",
    )  # fmt: skip
    assert r.structs["nv_ioctl_register_fd_t"].field("ctl_fd").kind is Kind.DESCRIPTOR
    assert r.structs["NVOS54_PARAMETERS"].field("hObject").kind is Kind.HANDLE
    assert r.commands[0x20800110].access & Access.USER
    assert r.classes[0xC86F].parents == ("Device", "KernelChannelGroupApi")
    init = r.uvm(0x30000001)
    assert init is not None and init.name == "UVM_INITIALIZE"


def test_differences_between_releases() -> None:
    old, new = database().release("535.129.03"), database().release("580.95.05")
    structs, commands = compare_structs(old, new), compare_commands(old, new)
    assert "NV0000_CTRL_GPU_GET_PROBED_IDS_PARAMS" in structs.changed
    assert len(structs.changed) >= 200 and len(structs.added) > 600
    assert commands.added and commands.removed
    same = compare_structs(old, old)
    assert not same.changed and not same.added and not same.removed


def test_an_unknown_version_names_its_neighbours() -> None:
    with pytest.raises(AbiError, match=r"535\.261\.03, 535\.274\.02"):
        database().release("535.261.04")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "abi.bin"
    bad.write_bytes(DATA.read_bytes()[:200])
    with pytest.raises(AbiError, match="damaged"):
        StoreFile(bad)
    bad.write_bytes(b"hello")
    with pytest.raises(AbiError, match="is not one"):
        StoreFile(bad)


def test_macros_are_evaluated_not_executed() -> None:
    macros = {"BASE": "200", "A": "(BASE + 1)", "LOOP": "LOOP", "CALL": "__import__('os')"}
    assert evaluate("A", macros) == 201
    assert evaluate("NVBIT(3)", macros) == 8
    assert evaluate("(0x2BU | 4)", macros) == 0x2F
    assert evaluate("LOOP", macros) is None
    assert evaluate("CALL", macros) is None


# A release in miniature: the generator must read back what the C compiler decided.
_FILES = {
    "src/common/sdk/nvidia/inc/nvtypes.h": """
        #ifndef T
        #define T
        typedef unsigned int NvU32; typedef unsigned char NvU8; typedef unsigned long long NvU64;
        typedef NvU64 NvP64; typedef NvU32 NvHandle; typedef NvU8 NvBool;
        #endif
    """,
    "src/common/sdk/nvidia/inc/nvos.h": """
        #include "nvtypes.h"
        typedef struct { NvHandle hRoot; NvHandle hObjectOld; NvU32 status; } NVOS00_PARAMETERS;
    """,
    "src/common/sdk/nvidia/inc/ctrl/ctrl2080.h": """
        #include "nvtypes.h"
        #define NV2080_CTRL_CMD_X_GET (0x20801234U) /* finn: Evaluated from \
"(FINN_X_INTERFACE_ID << 8) | NV2080_CTRL_X_PARAMS_MESSAGE_ID" */
        #define NV2080_CTRL_CMD_X_OLD NV2080_CTRL_CMD_X_GET
        typedef struct { NvU8 a; NvU64 b; } NV2080_CTRL_ITEM;
        typedef struct NV2080_CTRL_X_PARAMS {
            NvU32 itemListSize; NvP64 itemList; NvU8 flags[3]; NvU32 fd;
            union { NvU32 u; NvU8 bytes[8]; } data;
        } NV2080_CTRL_X_PARAMS;
    """,
    "src/common/sdk/nvidia/inc/class/cl2080.h": "#define NV20_SUBDEVICE_0 (0x2080)\n",
    "kernel-open/common/inc/nv-ioctl.h": "",
    "kernel-open/common/inc/nv-ioctl-numa.h": "",
    "kernel-open/nvidia-uvm/uvm_ioctl.h": """
        #define UVM_IOCTL_BASE(i) i
        #define UVM_FREE UVM_IOCTL_BASE(34)
        typedef struct { NvU64 base; NvU32 rmStatus; } UVM_FREE_PARAMS;
    """,
    "kernel-open/nvidia-uvm/uvm_linux_ioctl.h": "",
    "src/nvidia/arch/nvalloc/unix/include/nv_escape.h": "#define NV_ESC_RM_FREE 0x29\n",
    "src/nvidia/arch/nvalloc/unix/include/nv-unix-nvos-params-wrappers.h": "",
    "src/nvidia/inc/kernel/rmapi/control.h": "#define RMCTRL_FLAGS_NON_PRIVILEGED 0x10\n",
    "src/nvidia/generated/g_sub_nvoc.c": """
        /*flags=*/      0x10u,
        /*accessRight=*/0x0u,
        /*methodId=*/   0x20801234u,
        /*paramSize=*/  sizeof(NV2080_CTRL_X_PARAMS),
        /*pClassInfo=*/ &(__nvoc_class_def_Subdevice.classInfo),
        /*func=*/       "subdeviceCtrlCmdX"
    """,
    "src/nvidia/src/kernel/rmapi/resource_list.h": """
RS_ENTRY(
    /* External Class */ NV20_SUBDEVICE_0,
    /* Internal Class */ Subdevice,
    NV_TRUE, RS_LIST(classId(Device)), RS_OPTIONAL(NVOS00_PARAMETERS), X,
    RS_FLAGS_ALLOC_NON_PRIVILEGED | RS_FLAGS_ACQUIRE_GPUS_LOCK, RS_ACCESS_NONE
)
    """,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in _FILES.items():
        path = tmp_path / "999.01" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "999.01"


def test_generator_reads_layouts_from_the_compiler(tree: Path, tmp_path: Path) -> None:
    built = from_tree(tree)
    s = built.structs["NV2080_CTRL_X_PARAMS"]
    assert s.size == 32
    assert [(f.name, f.offset, f.size, f.length, f.kind) for f in s.fields] == [
        ("itemListSize", 0, 4, 1, Kind.UINT),
        ("itemList", 8, 8, 1, Kind.POINTER),
        ("flags", 16, 1, 3, Kind.UINT),
        ("fd", 20, 4, 1, Kind.DESCRIPTOR),
        ("data", 24, 8, 1, Kind.UNION),
    ]
    assert (s.field("itemList").count, s.field("itemList").target) == (
        "itemListSize", "NV2080_CTRL_ITEM",
    )  # fmt: skip
    command = built.commands[0x20801234]
    assert command.aliases == ("NV2080_CTRL_CMD_X_OLD",) and command.exported
    assert command.access == Access.USER and command.owner == "Subdevice"
    assert built.classes[0x2080].parents == ("Device",)
    assert built.ioctls["uvm", 34].params == ("UVM_FREE_PARAMS",)
    out = tmp_path / "x.bin"
    write(out, [built])
    read = StoreFile(out).release("999.01")
    assert dict(read.structs) == dict(built.structs)
    assert (read.commands, read.classes, read.ioctls) == (
        built.commands, built.classes, built.ioctls,
    )  # fmt: skip


def test_command_line(tree: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "nvsandbox.cli.gpu", "abi"]
    done = subprocess.run(
        [*run, "build", "--headers", str(tree), "-o", str(tmp_path / "o.bin")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("1 releases, ")
    shown = subprocess.run(
        [*run, "show", "NV2080_CTRL_CMD_MC_GET_ARCH_INFO", "--driver", "535.261.03"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "+0     uint           4         architecture" in shown.stdout
    bad = subprocess.run([*run, "show", "NOTHING"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr) == (
        1, "nvsandbox: `NOTHING` is not known to driver 595.45.04\n",
    )  # fmt: skip
