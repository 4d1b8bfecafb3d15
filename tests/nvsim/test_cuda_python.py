"""NVIDIA's own CUDA bindings for Python drive libcuda on simulated cards."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nvsandbox.nvsim import profile

from .conftest import Sim

# Of the driver's major version. Too large (34 MB) for the development dependencies.
PACKAGE = "cuda-bindings==12.9.*"
CARDS = ("h100", "h200", "a100", "l4", "t4", "rtx4090")


@pytest.fixture(scope="session")
def python() -> str:
    """An interpreter with the bindings, kept in the cache."""
    cache = os.environ.get("NVSANDBOX_CACHE") or os.path.expanduser("~/.cache/nvsandbox")
    root = Path(cache) / "cuda-python-12"
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(root)], check=True)
            pip = [str(root / "bin/pip"), "install", "-q", "--disable-pip-version-check"]
            if subprocess.run([*pip, PACKAGE], check=False).returncode:
                pytest.skip(f"{PACKAGE} can't be installed here")
            (root / "ready").touch()
    return str(root / "bin/python")


CLIENT = """
from cuda.bindings import driver as d
def ok(r):
    assert int(r[0]) == 0, r
    return r[1] if len(r) == 2 else r[1:]
A = d.CUdevice_attribute
ok(d.cuInit(0))
for i in range(ok(d.cuDeviceGetCount())):
    dev = ok(d.cuDeviceGet(i))
    name = ok(d.cuDeviceGetName(64, dev)).split(b"\\0")[0].decode()
    cc = [ok(d.cuDeviceGetAttribute(a, dev)) for a in (
        A.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        A.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        A.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)]
    uuid, total = bytes(ok(d.cuDeviceGetUuid(dev)).bytes).hex(), ok(d.cuDeviceTotalMem(dev))
    ctx = ok(d.cuCtxCreate(0, dev))
    free, whole = ok(d.cuMemGetInfo())
    at = ok(d.cuMemAlloc(1 << 20))
    assert ok(d.cuMemGetInfo())[0] <= free - (1 << 20)
    data, back = bytes(range(256)) * 4096, bytearray(1 << 20)
    ok(d.cuMemcpyHtoD(at, data, len(data)))
    ok(d.cuMemcpyDtoH(back, at, len(data)))
    ok(d.cuMemFree(at))
    assert 0 < free < whole == total and bytes(back) == data
    ok(d.cuCtxDestroy(ctx))
    print(name, *cc, total >> 20, uuid, sep="|")
"""


def _check(out: str, card: str, count: int) -> None:
    model = profile.load(card)
    rows = [line.split("|") for line in out.splitlines()]
    want = [model.name, str(model.sm_version >> 8), str(model.sm_version & 0xFF), str(model.sms),
            str(model.memory_mib - model.reserved_mib)]  # fmt: skip
    assert [r[:5] for r in rows] == [want] * count
    uuids = {r[5] for r in rows}
    assert len(uuids) == count and all(re.fullmatch("[0-9a-f]{32}", u) for u in uuids)


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("count", [1, 2, 8])
def test_bindings_drive_every_card(sim: Sim, python: str, card: str, count: int) -> None:
    out = sim.run(python, "-c", CLIENT, opts=["--gpu", card, "--count", str(count)]).stdout
    _check(out, card, count)


@pytest.mark.parametrize("card", CARDS)
def test_bindings_in_pid_and_mount_namespaces(sim: Sim, python: str, card: str) -> None:
    spaces = ("unshare", "--pid", "--fork", "--mount", "--mount-proc")
    out = sim.run(*spaces, python, "-c", CLIENT, opts=["--gpu", card]).stdout
    _check(out, card, 1)
