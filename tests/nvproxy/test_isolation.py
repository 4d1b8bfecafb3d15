"""What a sandbox may see and use: chosen cards by every route, its quota, its own processes; two sandboxes apart; clean-up."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inside import REPO

from .conftest import PLAYER, Calls, Inside
from .test_hostile import DEVICE, INVALID_ARGUMENT, INVALID_DEVICE, MEM, NONE, ROOT, SUB, base
from .test_ladder import clean

MIB = 1 << 20
NO_MEMORY = 0x51


def test_only_chosen_cards_show(inside: Inside) -> None:
    """NVML, /dev, /proc, sysfs."""
    opts = ["--count", "3"]
    listed = inside.native([inside.smi, "-L"], opts).stdout.decode().splitlines()
    uuid = re.findall(r"GPU-[-0-9a-f]+", listed[2])[0]
    script = "nvidia-smi -L; ls /dev | grep 'nvidia[0-9]'; ls /proc/driver/nvidia/gpus /sys/bus/pci/devices"
    for asked, cards in (
        ("1", [1]),
        (uuid, [2]),
        ("2,0", [0, 2]),
        ("0000:02:00.0", [1]),
        ("all", [0, 1, 2]),
    ):
        ran = inside.run(["sh", "-c", script], opts, gpus=asked)
        pci = [f"0000:0{c + 1}:00.0" for c in cards]
        want = [re.sub(r"GPU \d", f"GPU {i}", listed[c]) for i, c in enumerate(cards)]
        want += [f"nvidia{c}" for c in cards]
        want += ["/proc/driver/nvidia/gpus:", *pci, "", "/sys/bus/pci/devices:", *pci]
        assert ran.stdout.decode().splitlines() == want


def test_mig_devices_are_chosen_by_index_and_uuid(first: Inside) -> None:
    opts = ["--mig", "1g.10gb,2g.20gb"]
    whole = first.native([first.smi, "-L"], opts).stdout.decode()
    devices = re.findall(r"MIG \S+ .*UUID: (MIG-[-0-9a-f]+)", whole)
    assert len(devices) == 2
    for asked, nth in (("0:0", 0), ("0:1", 1), (devices[1], 1)):
        ran = first.run(["nvidia-smi", "-L"], opts, gpus=asked)
        assert re.findall(r"MIG-[-0-9a-f]+", ran.stdout.decode()) == [devices[nth]]


def test_links_to_hidden_cards_end_nowhere(first: Inside) -> None:
    """Bridged cards: NVLink names the other card of the pair, unless the sandbox doesn't have it."""
    opts = ["--count", "4", "--bridged"]
    ask = ["nvlink", "-R"]
    whole = first.native([first.smi, *ask], opts).stdout.decode()
    assert re.search(r"Remote Device 00000000:02:00\.0: Link 0", whole), whole
    pair = first.run(["nvidia-smi", *ask], opts, gpus="0,1").stdout.decode()
    assert pair.splitlines() == whole.splitlines()[: len(pair.splitlines())] and "02:00.0" in pair
    for asked, other in (("0", "02:00.0"), ("1", "01:00.0"), ("0,2", "02:00.0")):
        shown = first.run(["nvidia-smi", *ask], opts, gpus=asked).stdout.decode()
        assert "GPU 0" in shown and f"Remote Device 00000000:{other}" not in shown, shown


def test_peers_are_the_sandboxs_cards(first: Inside, tmp_path: Path) -> None:
    """NV2080 GET_P2P_CAPS, by name and for all, where a policy allows it."""
    (tmp_path / "p.toml").write_text('allow = ["NV2080_CTRL_CMD_GET_P2P_CAPS"]\n')
    name, struct = "NV2080_CTRL_CMD_GET_P2P_CAPS", "NV2080_CTRL_GET_P2P_CAPS_PARAMS"
    for gpus, want in (("0", [0]), ("0,2", [0, 768])):
        c = Calls().open("/dev/nvidiactl", "ctl").open("/dev/nvidia0", "gpu0").root("ctl", ROOT)
        c.escape("gpu0", "NV_ESC_REGISTER_FD", "nv_ioctl_register_fd_t", {"ctl_fd": "ctl"})
        c.alloc("ctl", ROOT, ROOT, 0x1001, 0x80, "NV0080_ALLOC_PARAMETERS", {"deviceId": 0})
        c.alloc("ctl", ROOT, 0x1001, 0x1002, 0x2080, "NV2080_ALLOC_PARAMETERS")
        c.control("ctl", ROOT, 0x1002, name, {"bAllCaps": 1})
        c.control("ctl", ROOT, 0x1002, name, {"peerGpuCount": 1, "peerGpuCaps.gpuId": 512})
        uuid = {"peerGpuCount": 1, "bUseUuid": 1, "peerGpuCaps.gpuId": 768}
        c.control("ctl", ROOT, 0x1002, name, uuid)
        flags = ["--nvproxy-policy", str(tmp_path / "p.toml")]
        opts = ["--count", "4"]
        every, hidden, nobody = first.play(c.steps, opts=opts, gpus=gpus, flags=flags)[-3:]
        p = c.view(struct, every["ptrs"][0])
        found = [p.sub("peerGpuCaps", i)["gpuId"] for i in range(p.length("peerGpuCaps"))]
        assert sorted({*found}) == sorted({0, *want[1:]}) and p["peerGpuCount"] == len(want) - 1
        assert c.status(every, "NVOS54_PARAMETERS") == 0
        assert c.status(hidden, "NVOS54_PARAMETERS") != 0 != c.status(nobody, "NVOS54_PARAMETERS")


def test_environment_chooses_too(first: Inside) -> None:
    opts = ["--count", "2"]
    for value, cards in (("all", 2), ("0", 1), ("void", 0), ("none", 0), ("", 0)):
        ran = first.run(
            ["sh", "-c", "ls /dev | grep -c 'nvidia[0-9]'; true"],
            opts,
            gpus="",
            do_flags=["-e", f"NVIDIA_VISIBLE_DEVICES={value}"],
        )
        assert ran.stdout.decode() == f"{cards}\n", value


def test_none_is_the_driver_without_cards(inside: Inside, clients: Path) -> None:
    """As NVIDIA documents it: no card is there, libraries and programs are."""
    ran = inside.run(["nvidia-smi", "-L"], ["--count", "2"], gpus="none", check=None)
    assert ran.stdout == b"No devices found.\n"
    ran = inside.run(
        ["/b/cuda_client"], gpus="none", do_flags=["-v", f"{clients}:/b:ro"], check=None
    )
    assert ran.stdout.startswith(b"init 100\n")  # CUDA_ERROR_NO_DEVICE
    env = ["-e", "NVIDIA_VISIBLE_DEVICES=none"]
    root = ["--nvproxy-driver-root", "/nosuch"]  # no reason not to start what wants no card
    ran = inside.run(
        ["sh", "-c", "ls /dev | grep -c nvidia; true"], gpus="", flags=root, do_flags=env
    )
    assert ran.stdout == b"0\n" and b"wants no GPU" in ran.stderr
    c = Calls().open("/dev/nvidiactl", "ctl").root("ctl", ROOT)
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2", {"gpuId": 256})
    got = inside.play(c.steps, gpus="none", flags=NONE)
    assert c.status(got[-1], "NVOS54_PARAMETERS") == INVALID_ARGUMENT


def test_hidden_cards_are_out_of_reach(first: Inside) -> None:
    """By id, instance, UUID, card records and lists."""
    c = Calls().open("/dev/nvidiactl", "ctl").root("ctl", ROOT)
    c.escape("ctl", "NV_ESC_CARD_INFO", "nv_ioctl_card_info_t")
    c.steps[-1].update(cmd=0xC0000000 | 72 * 32 << 16 | ord("F") << 8 | 0xC8, arg="00" * 72 * 32)
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_GET_PROBED_IDS")
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2", {"gpuId": 256})
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2", {"gpuId": 512})
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_GET_PCI_INFO", {"gpuId": 256})
    c.control("ctl", ROOT, ROOT, "NV0000_CTRL_CMD_GPU_ATTACH_IDS", {"gpuIds": 256})
    for instance in (0, 1, 2):
        c.alloc(
            "ctl",
            ROOT,
            ROOT,
            DEVICE + instance,
            0x80,
            "NV0080_ALLOC_PARAMETERS",
            {"deviceId": instance},
        )
    got = first.play(c.steps, opts=["--count", "3"], gpus="1", flags=NONE)
    cards = bytes.fromhex(got[2]["arg"])
    assert [bool(cards[i]) for i in range(0, 72 * 32, 72)] == [True] + [False] * 31
    probed = c.view(
        c.release.command_named("NV0000_CTRL_CMD_GPU_GET_PROBED_IDS").params, got[3]["ptrs"][0]
    )  # type: ignore[union-attr]
    assert [probed.get("gpuIds", i) for i in range(2)] == [512, 0xFFFFFFFF]
    statuses = [c.status(r, "NVOS54_PARAMETERS") for r in got[4:8]]
    assert statuses == [INVALID_ARGUMENT, 0, INVALID_ARGUMENT, INVALID_ARGUMENT]
    assert [c.status(r, "NVOS64_PARAMETERS") for r in got[8:]] == [
        INVALID_DEVICE,
        0,
        INVALID_DEVICE,
    ]


def test_the_quota_shows_as_the_cards_size(inside: Inside, clients: Path) -> None:
    query = ["--query-gpu=memory.total", "--format=csv,noheader"]
    assert (
        inside.run(["nvidia-smi", *query], do_flags=["--gpu-memory", "4g"]).stdout == b"4096 MiB\n"
    )
    ran = inside.run(["/b/cuda_client"], do_flags=["--gpu-memory", "4g", "-v", f"{clients}:/b:ro"])
    assert b"|4096|9.0|" in ran.stdout and b"context 0\n" in ran.stdout


HOG = """
import ctypes, os, sys
cu = ctypes.CDLL("libcuda.so.1"); ctx = ctypes.c_void_p(); ref = ctypes.byref
assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ref(ctx), 0, 0) == 0
def alloc(mib, managed=False):
    at = ctypes.c_uint64()
    f = cu.cuMemAllocManaged if managed else cu.cuMemAlloc_v2
    return f(ref(at), ctypes.c_size_t(mib << 20), *([1] if managed else [])), at
free, total = ctypes.c_size_t(), ctypes.c_size_t()
cu.cuMemGetInfo_v2(ref(free), ref(total)); print("total", total.value >> 20)
first, a = alloc(1000); second, _ = alloc(1000); print("device", first, second)
print("managed", alloc(1000, True)[0])
if len(sys.argv) < 2:
    import subprocess
    print("child", subprocess.run([sys.executable, sys.argv[0], "x"], capture_output=True).stdout.split())
    print("free", cu.cuMemFree_v2(a), alloc(1000)[0])
"""


def test_over_the_quota_is_out_of_memory(inside: Inside, tmp_path: Path) -> None:
    """In one process, in managed memory, and across processes."""
    (tmp_path / "hog.py").write_text(HOG)
    ran = inside.run(
        ["python3", "/h/hog.py"], do_flags=["--gpu-memory", "2g", "-v", f"{tmp_path}:/h:ro"]
    )
    lines = ran.stdout.decode().splitlines()
    assert lines[:2] == ["total 2048", "device 0 2"]
    assert lines[2] != "managed 0"
    assert "b'device', b'2', b'2', b'managed'" in lines[3]
    assert lines[4] == "free 0 0"


def test_quota_evasion(first: Inside) -> None:
    """Duplicates, imports, other size fields, a freed parent, a closed file: what is held is charged, what is gone is not."""
    c = base()
    grab = "NV_MEMORY_ALLOCATION_PARAMS"
    c.alloc("ctl", ROOT, DEVICE, MEM, 0x40, grab, {"size": 600 * MIB})  # 4
    c.alloc("ctl", ROOT, DEVICE, MEM + 1, 0x40, grab, {"size": 600 * MIB})  # 5: refused
    dup = {
        "hClient": ROOT,
        "hParent": DEVICE,
        "hObject": MEM + 2,
        "hClientSrc": ROOT,
        "hObjectSrc": MEM,
    }
    c.escape("ctl", "NV_ESC_RM_DUP_OBJECT", "NVOS55_PARAMETERS", dup)  # 6
    c.free("ctl", ROOT, MEM)  # 7: the duplicate still holds it
    c.alloc("ctl", ROOT, DEVICE, MEM + 3, 0x40, grab, {"size": 600 * MIB})  # 8: refused
    c.free("ctl", ROOT, MEM + 2)  # 9
    c.alloc("ctl", ROOT, DEVICE, MEM + 4, 0x40, grab, {"size": 600 * MIB})  # 10
    heap = {"hRoot": ROOT, "hObjectParent": DEVICE, "function": 2, "data.AllocSize.size": 600 * MIB}
    c.escape("ctl", "NV_ESC_RM_VID_HEAP_CONTROL", "NVOS32_PARAMETERS", heap)  # 11: refused
    rows = {
        "size": 4096,
        "flags": 1 << 19,
        "height": 600,
        "pitch": MIB,
    }  # as virtual memory, and by rows
    c.alloc("ctl", ROOT, DEVICE, MEM + 5, 0x40, grab, rows)  # 12: refused
    c.free("ctl", ROOT, DEVICE)  # 13: the tree below it goes
    c.alloc("ctl", ROOT, ROOT, DEVICE, 0x80, "NV0080_ALLOC_PARAMETERS")  # 14
    c.alloc("ctl", ROOT, DEVICE, MEM + 6, 0x40, grab, {"size": 600 * MIB})  # 15
    c.open("/dev/nvidiactl", "two").root("two", ROOT + 1)
    c.alloc("two", ROOT + 1, ROOT + 1, DEVICE, 0x80, "NV0080_ALLOC_PARAMETERS")
    c.alloc("two", ROOT + 1, DEVICE, MEM, 0x40, grab, {"size": 600 * MIB})  # 19: refused
    c.add(op="close", fd="ctl")  # 20
    c.alloc("two", ROOT + 1, DEVICE, MEM, 0x40, grab, {"size": 600 * MIB})  # 21
    got = first.play(c.steps, flags=NONE, do_flags=["--gpu-memory", "1g"])
    alloc = [c.status(got[i], "NVOS64_PARAMETERS") for i in (4, 5, 8, 10, 12, 14, 15, 19, 21)]
    assert alloc == [0, NO_MEMORY, NO_MEMORY, 0, NO_MEMORY, 0, 0, NO_MEMORY, 0]
    assert c.status(got[6], "NVOS55_PARAMETERS") == 0
    assert c.status(got[11], "NVOS32_PARAMETERS") == NO_MEMORY


def test_memory_as_a_dmabuf(first: Inside) -> None:
    """With capability rdma, and charged as long as the descriptor is there; only own objects, only own dma-bufs are taken."""
    struct, grab = "nv_ioctl_export_to_dma_buf_fd_t", "NV_MEMORY_ALLOCATION_PARAMS"
    c = base()
    c.open("/dev/nvidia0", "gpu").escape(
        "gpu", "NV_ESC_REGISTER_FD", "nv_ioctl_register_fd_t", {"ctl_fd": "ctl"}
    )  # 4, 5
    c.alloc("ctl", ROOT, DEVICE, MEM, 0x40, grab, {"size": 600 * MIB})  # 6

    def export(fd: int | str, handle: int, **values: Any) -> None:
        given = {
            "fd": fd,
            "hClient": ROOT,
            "totalObjects": 2,
            "numObjects": 1,
            "totalSize": 4 * MIB,
            **values,
        }
        step = {k: v for k, v in given.items() if k != "handle"}
        c.escape("gpu", "NV_ESC_EXPORT_TO_DMABUF_FD", struct, step)
        at, _ = c.at(struct, "handles")
        arg = bytearray.fromhex(c.steps[-1]["arg"])
        arg[at : at + 4] = handle.to_bytes(4, "little")
        c.steps[-1]["arg"] = arg.hex()

    none = 0xFFFFFFFF
    export(none, MEM)  # 7
    c.steps[-1]["gets"] = [["buf", *c.at(struct, "fd")]]
    export("buf", MEM, index=1)  # 8: one more handle
    export("ctl", MEM, index=1)  # 9: that is no dma-buf
    export(none, MEM + 9)  # 10: no such object
    export(none, MEM, hClient=ROOT + 7)  # 11: nor client
    export(none, MEM, numObjects=1000)  # 12
    c.free("ctl", ROOT, MEM)  # 13: the dma-buf holds it
    c.alloc("ctl", ROOT, DEVICE, MEM + 1, 0x40, grab, {"size": 600 * MIB})  # 14: refused
    c.add(op="close", fd="buf")  # 15
    c.alloc("ctl", ROOT, DEVICE, MEM + 1, 0x40, grab, {"size": 600 * MIB})  # 16
    wider = "--nvproxy-allowed-driver-capabilities=compute,utility,rdma"
    asked = ["-e", "NVIDIA_DRIVER_CAPABILITIES=compute,utility,rdma"]
    got = first.play(c.steps, flags=[*NONE, wider], do_flags=["--gpu-memory", "1g", *asked])
    assert [c.status(got[i], "NVOS64_PARAMETERS") for i in (6, 14, 16)] == [0, NO_MEMORY, 0]
    assert [got[i]["r"] for i in range(7, 13)] == [0, 0, -22, 0, 0, 0], got[7:13]
    assert c.status(got[7], struct) == c.status(got[8], struct) == 0
    made = c.view(struct, got[7]["arg"])["fd"]
    assert 2 < made < 100 and c.view(struct, got[8]["arg"])["fd"] == made
    assert all(c.status(got[i], struct) for i in (10, 11, 12))
    got = first.play(c.steps[:8], flags=NONE)  # without the capability it is no ioctl that we know
    assert got[7]["r"] == -22


def test_threads_racing_for_a_handle(first: Inside) -> None:
    """Allocations and frees of one handle from many threads: afterwards the account is exactly empty."""
    c = base()
    race = Calls()
    for size in (100, 300, 50):
        race.alloc(
            "ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": size * MIB}
        )
        race.free("ctl", ROOT, MEM)
    c.add(op="storm", steps=race.steps, threads=4, rounds=25).free("ctl", ROOT, MEM)
    c.alloc("ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 1024 * MIB})
    c.alloc("ctl", ROOT, DEVICE, MEM + 1, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": MIB})
    got = first.play(c.steps, flags=NONE, do_flags=["--gpu-memory", "1g"])
    assert c.status(got[-2], "NVOS64_PARAMETERS") == 0
    assert c.status(got[-1], "NVOS64_PARAMETERS") == NO_MEMORY


def test_managed_memory_is_charged_by_address_space(first: Inside) -> None:
    c = Calls().open("/dev/nvidia-uvm", "uvm")
    c.add(
        op="mmap", fd="uvm", size=MIB, addr=1 << 40, offset=1 << 40, flags=0x11
    )  # not initialised
    c.add(op="ioctl", fd="uvm", cmd=0x30000001, arg=c.fill("UVM_INITIALIZE_PARAMS", {}).hex())
    step = {"op": "mmap", "fd": "uvm", "size": 600 * MIB, "prot": 3}
    c.add(**step, addr=1 << 40, offset=1 << 41, flags=0x11)  # not at its offset
    c.add(**step, addr=1 << 40, offset=1 << 40, flags=0x12)  # private
    c.add(**step, addr=1 << 40, offset=1 << 40, flags=0x11)
    c.add(**step, addr=1 << 41, offset=1 << 41, flags=0x11)  # over the quota
    c.add(op="munmap", addr=1 << 40, size=600 * MIB)
    c.add(**step, addr=1 << 41, offset=1 << 41, flags=0x11)
    got = first.play(c.steps, flags=NONE, do_flags=["--gpu-memory", "1g"])
    assert [r["r"] for r in got[1:]] == [-22, 0, -22, -22, 0, -12, 0, 0]


def test_processes_are_the_sandboxs(inside: Inside, tmp_path: Path) -> None:
    """NVML shows pids of the sandbox with their memory, as it does natively."""
    (tmp_path / "hold.py").write_text(
        HOG.split("free, total")[0] + "alloc(1024); print(os.getpid(), flush=True)\n"
        "os.system('nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits')\n"
    )
    ran = inside.run(["python3", "/h/hold.py"], do_flags=["-v", f"{tmp_path}:/h:ro"])
    pid, row = ran.stdout.decode().splitlines()
    assert row.split(", ")[0] == pid and int(row.split(", ")[1]) >= 1024


def test_registered_memory_keeps_its_meaning(inside: Inside) -> None:
    """Promoted to a shared file underneath: still private to each process, zeroed by madvise, and the application's own after all."""
    c = base()
    c.add(op="anon", size=4 * MIB, fill="11" * 64, **{"as": "m"})
    desc = {"descriptor": "m", "limit": 2 * MIB - 1}
    c.alloc("ctl", ROOT, DEVICE, MEM, 0x71, "NV_OS_DESC_MEMORY_ALLOCATION_PARAMS", desc)
    c.add(op="peek", addr="m", size=4)
    child = [
        {"op": "peek", "addr": "m", "size": 4},
        {"op": "poke", "addr": "m", "data": "22222222"},
        {"op": "peek", "addr": "m", "size": 4},
    ]
    c.add(op="fork", steps=child)
    c.add(op="peek", addr="m", size=4)
    c.add(op="poke", addr="m", data="33333333").add(op="peek", addr="m", size=4)
    c.free("ctl", ROOT, MEM)
    c.add(op="madvise", addr="m", size=4096, advice=4).add(op="peek", addr="m", size=4)
    c.alloc(
        "ctl",
        ROOT,
        DEVICE,
        MEM,
        0x71,
        "NV_OS_DESC_MEMORY_ALLOCATION_PARAMS",
        {"descriptor": 0x1000, "limit": 4095},
    )
    c.alloc(
        "ctl",
        ROOT,
        DEVICE,
        MEM,
        0x71,
        "NV_OS_DESC_MEMORY_ALLOCATION_PARAMS",
        {"descriptor": "m", "limit": (1 << 64) - 2},
    )
    got = inside.play(c.steps, flags=NONE)
    assert c.status(got[5], "NVOS64_PARAMETERS") == 0
    assert got[6]["data"] == "11111111"
    assert [r.get("data") for r in got[7]["steps"]] == ["11111111", None, "22222222"]
    assert got[8]["data"] == "11111111" and got[10]["data"] == "33333333"
    assert got[13]["data"] == "00000000"
    assert (
        c.status(got[14], "NVOS64_PARAMETERS") != 0 and c.status(got[15], "NVOS64_PARAMETERS") != 0
    )


def test_no_write_is_lost_while_memory_is_registered(inside: Inside) -> None:
    """Another thread writes to the range all the time."""
    c = base()
    c.add(op="anon", size=64 * MIB, **{"as": "m"})
    steps = Calls()
    desc = {"descriptor": "m", "limit": 64 * MIB - 1}
    steps.alloc("ctl", ROOT, DEVICE, MEM, 0x71, "NV_OS_DESC_MEMORY_ALLOCATION_PARAMS", desc)
    c.add(op="scribble", addr="m", steps=steps.steps)
    c.add(op="scribble", addr="m", steps=[])
    got = inside.play(c.steps, flags=NONE)
    assert [c.status(r, "NVOS64_PARAMETERS") for r in got[5]["steps"]] == [0]
    assert got[5]["lost"] == 0 and got[5]["match"] and got[6]["match"]


def test_two_sandboxes_on_one_card(first: Inside) -> None:
    """Under one simulator: the second can't use the first's client, duplicate its memory, or see its processes; both have their own quota."""
    maker = base().alloc(
        "ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 600 * MIB}
    )
    thief = Calls().open("/dev/nvidiactl", "ctl")
    thief.control("ctl", ROOT, SUB, "NV2080_CTRL_CMD_GPU_GET_NAME_STRING")
    thief.root("ctl", ROOT + 5).alloc(
        "ctl", ROOT + 5, ROOT + 5, DEVICE, 0x80, "NV0080_ALLOC_PARAMETERS"
    )
    thief.alloc("ctl", ROOT + 5, DEVICE, SUB, 0x2080, "NV2080_ALLOC_PARAMETERS")
    theft = {
        "hClient": ROOT + 5,
        "hParent": DEVICE,
        "hObject": 0xBAD,
        "hClientSrc": ROOT,
        "hObjectSrc": MEM,
    }
    thief.escape("ctl", "NV_ESC_RM_DUP_OBJECT", "NVOS55_PARAMETERS", theft)
    thief.alloc(
        "ctl", ROOT + 5, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 600 * MIB}
    )
    thief.control("ctl", ROOT + 5, SUB, "NV2080_CTRL_CMD_GPU_GET_PIDS")
    cli = [sys.executable, "-m", "nvsandbox.cli.main", f"--platform={first.platform}", "--nvproxy-driver-root", "none", "do",
           "--rootfs", str(first.rootfs), "--gpus", "all", "--gpu-memory", "1g", "-v", f"{PLAYER}:/player.py:ro", "--"]  # fmt: skip
    driver = f"""
import json, subprocess, sys
cli = {cli!r}
a = subprocess.Popen([*cli, "python3", "-u", "/player.py", "--hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
a.stdin.write({json.dumps(maker.steps).encode()!r}); a.stdin.close()
one = [a.stdout.readline() for _ in range({len(maker.steps)})]
b = subprocess.run([*cli, "python3", "/player.py"], input={json.dumps(thief.steps).encode()!r}, capture_output=True)
a.kill()
print(json.dumps([[json.loads(x) for x in one], [json.loads(x) for x in b.stdout.splitlines()]]))
"""
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-m", "nvsandbox.cli.main", "gpu", "sim", "--", sys.executable, "-c", driver],
        capture_output=True, env=env, timeout=100,
    )  # fmt: skip
    one, two = json.loads(done.stdout)
    assert maker.status(one[4], "NVOS64_PARAMETERS") == 0
    assert thief.status(two[1], "NVOS54_PARAMETERS") == 0x23  # invalid client
    assert thief.status(two[5], "NVOS55_PARAMETERS") == 0x23
    assert thief.status(two[6], "NVOS64_PARAMETERS") == 0
    pids = thief.release.command_named("NV2080_CTRL_CMD_GPU_GET_PIDS")
    assert pids is not None
    assert thief.view(pids.params, two[7]["ptrs"][0])["pidTblCount"] == 1


KILLED = """
import ctypes, os, signal, subprocess, sys, time
cu = ctypes.CDLL("libcuda.so.1")
def grab():
    ctx, at = ctypes.c_void_p(), ctypes.c_uint64()
    assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ctypes.byref(ctx), 0, 0) == 0
    assert cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(1 << 30)) == 0
smi = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
used = lambda: int(subprocess.run(smi, capture_output=True).stdout)
how = sys.argv[1]
pid = os.fork()
if pid == 0:
    grab(); os.kill(os.getppid(), signal.SIGUSR1)
    if how == "exec": os.execvp("sleep", ["sleep", "60"])
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["kill", "exec"])
def test_memory_goes_with_its_process(inside: Inside, tmp_path: Path, how: str) -> None:
    """On exec (the descriptors are close-on-exec) and on kill -9."""
    (tmp_path / "k.py").write_text(
        KILLED.replace("how = sys", "signal.signal(signal.SIGUSR1, lambda *a: None)\nhow = sys")
        + "signal.pause(); held = used()\n"
        + ("os.kill(pid, 9); os.waitpid(pid, 0)\n" if how == "kill" else "time.sleep(0.3)\n")
        + "for _ in range(50):\n    after = used()\n    if after == 0: break\n    time.sleep(0.1)\nprint(held >= 1024 or how == 'exec', after)\n"
        + "os.kill(pid, 9) if how == 'exec' else None\n"
    )
    ran = inside.run(["python3", "/h/k.py", how], do_flags=["-v", f"{tmp_path}:/h:ro"])
    assert ran.stdout == b"True 0\n"


def test_memory_goes_with_the_sandbox(first: Inside) -> None:
    """The Sentry is killed: the host frees everything of it."""
    steps = (
        base()
        .alloc("ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 600 * MIB})
        .steps
    )
    cli = [sys.executable, "-m", "nvsandbox.cli.main", "--nvproxy-driver-root", "none", "do", "--rootfs", str(first.rootfs),
           "--gpus", "all", "-v", f"{PLAYER}:/player.py:ro", "--", "python3", "-u", "/player.py", "--hold"]  # fmt: skip
    driver = f"""
import json, os, subprocess, time
smi = [{first.smi!r}, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
used = lambda: int(subprocess.run(smi, capture_output=True).stdout)
a = subprocess.Popen({cli!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
"""
    driver += f"""
a.stdin.write({json.dumps(steps).encode()!r}); a.stdin.close()
for _ in range({len(steps)}): a.stdout.readline()
"""
    driver += """
before = used(); a.kill(); a.wait()
for _ in range(50):
    after = used()
    if after == 0: break
    time.sleep(0.1)
print(before, after)
"""
    env = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "LD_LIBRARY_PATH": str(first.libs / "usr/lib/x86_64-linux-gnu/nvidia/current"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "nvsandbox.cli.main", "gpu", "sim", "--", sys.executable, "-c", driver],
        capture_output=True, env=env, timeout=60,
    )  # fmt: skip
    before, after = map(int, done.stdout.split())
    assert before >= 600 and after == 0


def test_clean_output_of_the_ladder_is_not_empty() -> None:
    assert clean(b"Tue Nov 24 12:00:00 2026   \nGPU 34C 35 C\n") == b"TIME\nGPU NN C NN C\n"
