"""MIG with NVIDIA's tools and libraries, and the cutting of a card by itself."""

from __future__ import annotations

import random
import re

import pytest

from nvsandbox.nvsim.profile import load
from nvsandbox.nvsim.rm.mig import Mig, shapes
from nvsandbox.nvsim.rm.status import RmError

from .conftest import Sim

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
CARDS = {"h100": ("1g.10gb", "2g.20gb"), "h200": ("1g.18gb", "2g.35gb"),
         "a100": ("1g.10gb", "2g.20gb")}  # fmt: skip


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("count", [1, 2])
def test_smi_lists_mig_devices(sim: Sim, card: str, count: int) -> None:
    opts = ["--gpu", card, "--count", str(count), "--mig", ",".join(CARDS[card])]
    lines = sim.run(sim.smi, "-L", opts=opts).stdout.splitlines()
    assert [re.sub(r"-[-0-9a-f]{36}", "-X", line) for line in lines] == [
        text
        for i in range(count)
        for text in (
            f"GPU {i}: {load(card).name} (UUID: GPU-X)",
            f"  MIG {CARDS[card][1]}     Device  0: (UUID: MIG-X)",
            f"  MIG {CARDS[card][0]}     Device  1: (UUID: MIG-X)",
        )
    ]
    assert len(set(re.findall("UUID: ([^)]*)", "".join(lines)))) == 3 * count


def test_smi_shows_the_mig_table(sim: Sim) -> None:
    out = sim.run(sim.smi, opts=["--mig", "1g.10gb,2g.20gb"]).stdout
    assert re.search(
        r"^\|  0    3   0   0  \| +0MiB / 20252MiB +\| 32 +0 \|  2   0    2", out, re.M
    )
    assert re.search(
        r"^\|  0    9   0   1  \| +0MiB / 10126MiB +\| 16 +0 \|  1   0    1", out, re.M
    )
    assert "ERR!" not in out and "Unknown" not in out


def test_smi_lists_profiles_and_instances(sim: Sim) -> None:
    script = "; ".join(f"{sim.smi} mig {o}" for o in ("-lgip", "-lgi", "-lci", "-lcip"))
    out = sim.run("sh", "-c", script, opts=["--mig", "1g.10gb,2g.20gb"]).stdout
    rows = [re.sub(r"[ |*]+", " ", line).strip() for line in out.splitlines()]
    profiles = [r for r in rows if r.startswith("0 MIG") and " No " in r]
    assert [r.split(" No ")[0] for r in profiles] == [
        "0 MIG 1g.10gb 19 4/7 9.89", "0 MIG 1g.20gb 15 2/4 19.78", "0 MIG 2g.20gb 14 1/3 19.78",
        "0 MIG 3g.40gb 9 1/2 39.55", "0 MIG 4g.40gb 5 0/1 39.55", "0 MIG 7g.80gb 0 0/1 79.11",
    ]  # fmt: skip
    assert "0 MIG 2g.20gb 14 3 0:2" in rows and "0 MIG 1g.10gb 19 9 2:1" in rows
    assert "0 9 MIG 1g.10gb 0 0 0:1" in rows and "0 3 MIG 2g.20gb 1 0 0:2" in rows
    assert any(r.startswith("0 3 MIG 1c.2g.20gb 0 0/2 16") for r in rows)


def test_instances_can_be_replaced_by_root(sim: Sim) -> None:
    steps = ("mig -dci", "mig -dgi", "-mig 0", "-mig 1", "mig -cgi 9,14 -C", "-L")
    script = " && ".join(f"{sim.smi} {s}" for s in steps)
    out = sim.run("sh", "-c", script, opts=["--mig", "1g.10gb"]).stdout
    assert re.findall(r"MIG (\S+) +Device +(\d)", out) == [("3g.40gb", "0"), ("2g.20gb", "1")]
    used = sim.run(sim.smi, "-mig", "0", opts=["--mig", "2"], check=None).stdout
    assert "In use by another client" in used


def test_changes_are_refused_without_privilege(sim: Sim) -> None:
    sim = sim.readable_by_all()
    opts = ["--mig", "2"]
    assert sim.run(*NOBODY, sim.smi, "-L", opts=opts).stdout.count("MIG-") == 2
    for args in (["-mig", "0"], ["mig", "-cgi", "19"], ["mig", "-lgi"]):
        done = sim.run(*NOBODY, sim.smi, *args, opts=opts, check=None)
        assert done.returncode and "Insufficient Permissions" in done.stdout, done.stdout


GETTERS = """
import pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
print(*n.nvmlDeviceGetMigMode(h), n.nvmlDeviceGetMaxMigDeviceCount(h))
for i in range(2):
    m = n.nvmlDeviceGetMigDeviceHandleByIndex(h, i)
    a, b = n.nvmlDeviceGetAttributes(m), n.nvmlDeviceGetMemoryInfo(m)
    assert n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(m)))[:4] == "MIG-"
    print(n.nvmlDeviceGetName(m), n.nvmlDeviceGetGpuInstanceId(m),
          n.nvmlDeviceGetComputeInstanceId(m), a.multiprocessorCount, a.gpuInstanceSliceCount,
          b.used + b.free == b.total == a.memorySizeMB << 20)
try:
    n.nvmlDeviceGetMigDeviceHandleByIndex(h, 2)
except n.NVMLError_NotFound:
    print("no third")
"""


def test_pynvml_reads_mig(sim: Sim) -> None:
    assert sim.python(GETTERS, ["--gpu", "a100", "--mig", "3g.40gb,4g.40gb"]).stdout == (
        "1 1 7\n"
        "NVIDIA A100-SXM4-80GB MIG 4g.40gb 1 0 56 4 True\n"
        "NVIDIA A100-SXM4-80GB MIG 3g.40gb 2 0 42 3 True\n"
        "no third\n"
    )


def test_libcuda_runs_in_a_mig_device(sim: Sim, cc: str) -> None:
    out = sim.run(f"{cc}/cuda_client", opts=["--mig", "1g.10gb,2g.20gb"]).stdout
    assert re.search(r"count 0 1\ndevice NVIDIA H100 80GB HBM3 MIG 2g.20gb\|20252\|9.0\|32\|", out)
    assert "context 0\n" in out


HOLD = """
import ctypes, os, pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
first, second = (n.nvmlDeviceGetMigDeviceHandleByIndex(h, i) for i in (0, 1))
os.environ["CUDA_VISIBLE_DEVICES"] = n.nvmlDeviceGetUUID(second)
cu = ctypes.CDLL("libcuda.so.1"); ctx = ctypes.c_void_p(); at = ctypes.c_uint64()
free, total = ctypes.c_size_t(), ctypes.c_size_t()
assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ctypes.byref(ctx), 0, 0) == 0
assert cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(1 << 30)) == 0
assert cu.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
more = ctypes.c_uint64()  # the card has more, its instance has not
assert cu.cuMemAlloc_v2(ctypes.byref(more), ctypes.c_size_t(total.value)) == 2
a, b = n.nvmlDeviceGetMemoryInfo(first), n.nvmlDeviceGetMemoryInfo(second)
print(a.used, b.used >= 1 << 30, b.used + b.free == b.total == total.value, b.free == free.value)
"""


def test_memory_of_a_chosen_mig_device(sim: Sim) -> None:
    assert sim.python(HOLD, ["--mig", "1g.10gb,2g.20gb"]).stdout == "0 True True True\n"


@pytest.mark.parametrize(
    ("opts", "reason"),
    [
        (["--gpu", "t4", "--mig", "1"], "Tesla T4 has no MIG; take --gpu h100, h200 or a100"),
        (["--mig", "3g.20gb"], "no profile `3g.20gb`; NVIDIA H100 80GB HBM3 has 1g.10gb"),
        (["--mig", "8"], "don't fit on one card together"),
        (["--mig", "7g.80gb,1g.10gb"], "don't fit on one card together"),
        (["--mig", "0"], "at least one"),
    ],
)
def test_what_cannot_be_cut_is_said_in_one_line(sim: Sim, opts: list[str], reason: str) -> None:
    done = sim.run("true", opts=opts, check=1)
    assert done.stderr.count("\n") == 1 and reason in done.stderr


def test_capability_files_agree_with_the_minors(sim: Sim) -> None:
    script = """
c=/proc/driver/nvidia/capabilities; ls $c/gpu0/mig
m=$(sed -n 's/DeviceFileMinor: //p' $c/gpu0/mig/gi9/ci0/access)
grep "gpu0/gi9/ci0/access $m$" /proc/driver/nvidia-caps/mig-minors
head -2 /proc/driver/nvidia-caps/mig-minors
stat -c '%t %T' /dev/nvidia-caps/nvidia-cap$m; stat -c %a /dev/nvidia-caps/nvidia-cap1"""
    out = sim.run("sh", "-c", script, opts=["--mig", "1g.10gb,2g.20gb"]).stdout
    assert out == "gi3\ngi9\ngpu0/gi9/ci0/access 85\nconfig 1\nmonitor 2\ned 55\n400\n"


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("seed", range(20))
def test_instances_never_overlap(card: str, seed: int) -> None:
    rng, profile = random.Random(seed), load(card)
    mig = Mig(profile, "x")
    for _ in range(60):
        try:
            if rng.random() < 0.6:
                made = mig.create(rng.choice(shapes(profile)).flag)
                mig.create_compute(made, rng.randint(1, 7))
            else:
                found = mig.instances[rng.choice([0, *mig.instances])]
                found.computes.clear()
                mig.destroy(found.swizz)
        except (RmError, KeyError):
            pass
        taken = [s for g in mig.instances.values() for s in range(g.span[0], g.span[1] + 1)]
        assert len(taken) == len(set(taken)) and all(0 <= s < 8 for s in taken)
        assert sum(g.shape.compute for g in mig.instances.values()) <= 7
        assert all(k == g.swizz < 15 for k, g in mig.instances.items())
