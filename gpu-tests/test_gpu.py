"""CUDA programs of our own and what is installed, natively and inside: the same results. ``python -m pytest gpu-tests -s``."""

from __future__ import annotations

import ctypes.util
import glob
import importlib.util
import re
import sys

import pytest
from conftest import REAL, WHY, Machine

real = pytest.mark.skipif(not REAL, reason=WHY)


@pytest.mark.parametrize("program", ["memory", "large", "ipc"])
def test_memory_and_copies(machine: Machine, program: str) -> None:
    machine.same(str(machine.build / "programs"), program)


@real
@pytest.mark.parametrize("program", ["vecadd", "streams", "managed", "registered"])
def test_kernels(machine: Machine, program: str) -> None:
    machine.same(str(machine.build / "programs"), program)


QUERY = "index,name,uuid,serial,pci.bus_id,memory.total,compute_cap,vbios_version,ecc.mode.current,mig.mode.current,driver_version"


@pytest.mark.parametrize("args", [
    ("-L",), (f"--query-gpu={QUERY}", "--format=csv"), ("topo", "-p2p", "r"), ("nvlink", "-s"), ("nvlink", "-c"), ("mig", "-lgip"),
    ("-q", "-d", "ECC,ROW_REMAPPER,SUPPORTED_CLOCKS"), ("--help-query-gpu",),
], ids=" ".join)  # fmt: skip
def test_nvidia_smi(machine: Machine, args: tuple[str, ...]) -> None:
    """What doesn't change from one second to the next; the status, too (a card without MIG or NVLink says so)."""
    smi = "nvidia-smi" if REAL else f"{machine.libs}/usr/lib/nvidia/current/nvidia-smi"
    native, _ = machine.run([smi, *args], False)
    inside, _ = machine.run(["nvidia-smi", *args], True)
    shown, want = (re.sub(r"Timestamp.*", "", r.stdout) for r in (inside, native))
    assert want and shown == want, inside.stderr
    assert inside.returncode == native.returncode


CUBLAS = """
import ctypes, sys
cu, blas, n = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(sys.argv[1]), 64
ref, size = ctypes.byref, ctypes.c_size_t(4 * n * n)
device, context, handle = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
def ok(r): assert r == 0, r
ok(cu.cuInit(0)); ok(cu.cuDeviceGet(ref(device), 0))
ok(cu.cuDevicePrimaryCtxRetain(ref(context), device)); ok(cu.cuCtxSetCurrent(context))
a, b, c = ((ctypes.c_float * (n * n))(*(i * k % 7 for i in range(n * n))) for k in (1, 3, 0))
at = [ctypes.c_uint64() for _ in range(3)]
for where, what in zip(at, (a, b, c)):
    ok(cu.cuMemAlloc_v2(ref(where), size)); ok(cu.cuMemcpyHtoD_v2(where, what, size))
ok(blas.cublasCreate_v2(ref(handle)))
one, zero = ctypes.c_float(1), ctypes.c_float(0)
ok(blas.cublasSgemm_v2(handle, 0, 0, n, n, n, ref(one), at[0], n, at[1], n, ref(zero), at[2], n))
ok(cu.cuCtxSynchronize()); ok(cu.cuMemcpyDtoH_v2(c, at[2], size))
print(all(c[j * n + i] == sum(a[k * n + i] * b[j * n + k] for k in range(n)) for i in range(n) for j in range(n)))
"""
TORCH = """
import torch
torch.manual_seed(1)
a = torch.rand(512, 512, device="cuda"); b = a @ a
print(round(float(b.sum().cpu()), 1), torch.cuda.device_count())
x = torch.rand(1 << 20, pin_memory=True); print(round(float(x.cuda(non_blocking=True).sum()), 1))
"""
NCCL = """
import os, torch, torch.distributed as dist, torch.multiprocessing as mp
def work(rank, n):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    dist.init_process_group("nccl", rank=rank, world_size=n); torch.cuda.set_device(rank)
    t = torch.full((1 << 20,), float(rank + 1), device="cuda"); dist.all_reduce(t)
    if rank == 0: print("sum", float(t[0]))
    dist.destroy_process_group()
if __name__ == "__main__": mp.spawn(work, (2,), 2)
"""


def cublas() -> str:
    """Where the library is, with the toolkit or from NVIDIA's wheels; "" if it isn't."""
    found = (f for p in sys.path for f in glob.glob(f"{p}/nvidia/cublas/lib/libcublas.so.*"))
    return ctypes.util.find_library("cublas") or next(found, "")


@real
@pytest.mark.skipif(not cublas(), reason="cuBLAS is not installed")
def test_cublas(machine: Machine) -> None:
    """Small whole numbers: the product is exact."""
    machine.same(sys.executable, "-c", CUBLAS, cublas())


@real
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch(machine: Machine) -> None:
    machine.same(sys.executable, "-c", TORCH)


@real
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_nccl_with_two_ranks(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only: NCCL needs two")
    script = machine.build / "nccl.py"
    script.write_text(NCCL)
    machine.same(sys.executable, str(script))


@real
def test_program_start_is_not_much_slower(machine: Machine) -> None:
    """The target is 1.15 times native; sandbox start-up is not the program's."""
    program = [str(machine.build / "programs"), "memory"]
    native = min(machine.run(program, False)[1] for _ in range(3))
    base = min(machine.run(["true"], True)[1] for _ in range(3))
    inside = min(machine.run(program, True)[1] for _ in range(3)) - base
    print(f"\nnative {native:.2f} s, inside {inside:.2f} s over an empty sandbox's {base:.2f} s")
    assert inside < 1.5 * native
