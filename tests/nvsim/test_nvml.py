"""NVML beyond plain getters: arguments, values that obey each other, settings, movement."""

from __future__ import annotations

import json
import sys

import pytest

from .conftest import Sim

CARDS = ("h100", "h200", "a100", "l4", "t4", "rtx4090")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")

SWEEP = """
import inspect, pynvml as n
n.nvmlInit(); h, g = n.nvmlDeviceGetHandleByIndex(0), n.nvmlDeviceGetHandleByIndex(1)
SIMPLE = {
    "apiType": (0, 1), "pid": (1, 999999), "type": range(5), "cpuSetSize": (1, 4),
    "counterType": (0, 1), "encoderQueryType": (0, 1), "fan": (0, 1), "gpuInstanceId": (0, 7),
    "profile": range(10), "profileId": (0, 19), "infoRomObject": (0, 1, 2), "index": (0, 1),
    "link": (0, 3, 17, 99), "counter": (0, 1), "timeStamp": (0,), "sourceFilter": (0, 1),
    "memoryClockMHz": (0, 1593), "sensor": (0,), "threshold": range(8), "sensorindex": (0, 15),
    "device2": (g,), "handle2": (g,), "level": (0, 10, 20, 30, 40, 50), "perfPolicyType": range(7),
    "capability": (0, 1), "fieldIds": ([1, 2, 5, 79, 91, 160, 170],),
}
FIRST = {"index": (0, 1, 9), "cpuNumber": (0,), "capability": (0, 1), "pid": (1,),
         "migDevice": (h,), "device": (h,), "handle": (h,), "serial": (b"1650000000001",),
         "uuid": (n.nvmlDeviceGetUUID(h),), "pciBusId": ("00000000:01:00.0",)}
READS = ("Get", "Query", "IsMig", "OnSame", "Validate")
for name, f in sorted(vars(n).items()):
    if not name.startswith("nvml") or not inspect.isfunction(f) or not any(r in name for r in READS):
        continue
    if "Unit" in name or name == "nvmlDeviceGetHandleByUUIDV" or name.startswith(("nvmlVgpu", "nvmlGpuInstance", "nvmlGpm", "nvmlEvent")):
        continue
    need = [p.name for p in inspect.signature(f).parameters.values() if p.default is p.empty]
    if not need:
        calls = [()]
    elif len(need) == 1:
        calls = [(v,) for v in FIRST.get(need[0], ())]
    elif len(need) == 2:
        calls = [(h, v) for v in SIMPLE.get(need[1], ())]
    else:
        continue
    for i, c in enumerate(calls):
        try:
            f(*c); print(f"{name}/{i}", "ok")
        except n.NVMLError as e:
            print(f"{name}/{i}", type(e).__name__)
"""
EXPECTED = {"ok", *(f"NVMLError_{e}" for e in (
    "NotSupported", "FunctionNotFound", "InvalidArgument", "ArgumentVersionMismatch", "NotFound",
    "NoPermission", "InsufficientSize"))}  # fmt: skip


@pytest.mark.parametrize("card", CARDS)
def test_calls_with_a_simple_argument_have_no_unknown_error(sim: Sim, card: str) -> None:
    out = sim.python(SWEEP, ["--gpu", card, "--count", "2"]).stdout
    rows = dict(line.split() for line in out.splitlines())
    assert len(rows) > 250
    assert {k: v for k, v in rows.items() if v not in EXPECTED} == {}
    assert sum(v == "ok" for v in rows.values()) >= 90


VALUES = """
import json, pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
def ask(f, *a):
    try:
        return f(h, *a)
    except n.NVMLError_NotSupported:
        return None
m = n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2)
b = n.nvmlDeviceGetBAR1MemoryInfo(h)
u = ask(n.nvmlDeviceGetUtilizationRates)
out = {
    "memory": [m.total, m.used, m.free, m.reserved],
    "bar1": [b.bar1Total, b.bar1Used, b.bar1Free],
    "clocks": [[ask(n.nvmlDeviceGetClockInfo, i), ask(n.nvmlDeviceGetMaxClockInfo, i)]
               for i in range(4)],
    "utilisation": [u.gpu, u.memory] if u else None,
    "temperature": ask(n.nvmlDeviceGetTemperature, 0),
    "limits": [ask(n.nvmlDeviceGetTemperatureThreshold, i) for i in (0, 1)],
    "pcie": [n.nvmlDeviceGetCurrPcieLinkGeneration(h), n.nvmlDeviceGetMaxPcieLinkGeneration(h),
             n.nvmlDeviceGetCurrPcieLinkWidth(h), n.nvmlDeviceGetMaxPcieLinkWidth(h)],
    "ecc": [[ask(n.nvmlDeviceGetTotalEccErrors, e, c)] + [
        ask(n.nvmlDeviceGetMemoryErrorCounter, e, c, w) for w in range(8)]
        for e in (0, 1) for c in (0, 1)],
    "power": [ask(n.nvmlDeviceGetPowerUsage), ask(n.nvmlDeviceGetEnforcedPowerLimit)],
}
print(json.dumps(out))
"""


@pytest.mark.parametrize("card", CARDS)
def test_values_obey_each_other(sim: Sim, card: str) -> None:
    fault = [] if card == "rtx4090" else ["--fault", "ecc:3"]
    found = json.loads(sim.python(VALUES, ["--gpu", card, *fault]).stdout)
    total, used, free, reserved = found["memory"]
    assert used + free + reserved == total > 0
    bar, bar_used, bar_free = found["bar1"]
    assert bar_used + bar_free == bar > 0
    for now, top in found["clocks"]:
        assert now is None or top is None or 0 <= now <= top
    assert found["utilisation"] is None or all(0 <= u <= 100 for u in found["utilisation"])
    assert 20 <= found["temperature"] <= 90
    gen, max_gen, width, max_width = found["pcie"]
    assert 1 <= gen <= max_gen and 1 <= width <= max_width
    for whole, *parts in found["ecc"]:
        known = [p for p in parts if p is not None]
        assert whole is None or not known or sum(known) == whole, found["ecc"]
    use, limit = found["power"]
    assert use is None or limit is None or 0 <= use <= limit


SETTINGS = """
import pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
def put(f, *a):
    try:
        f(h, *a); return "set"
    except n.NVMLError as e:
        return type(e).__name__[10:]
def state():
    return (n.nvmlDeviceGetComputeMode(h), n.nvmlDeviceGetPersistenceMode(h),
            n.nvmlDeviceGetAccountingMode(h))
print(*state())
for value in (1, 0):
    print(put(n.nvmlDeviceSetComputeMode, 3 * value), put(n.nvmlDeviceSetPersistenceMode, value),
          put(n.nvmlDeviceSetAccountingMode, value), *state())
"""


@pytest.mark.parametrize("card", ["h100", "t4"])
def test_settings_are_kept_for_root(sim: Sim, card: str) -> None:
    out = sim.python(SETTINGS, ["--gpu", card]).stdout.splitlines()
    assert out == ["0 1 0", "set set set 3 1 1", "set set set 0 0 0"]


def test_settings_are_refused_to_others(sim: Sim) -> None:
    sim = sim.readable_by_all()
    for args in (["-c", "3"], ["-pm", "0"], ["-am", "1"]):
        done = sim.run(*NOBODY, sim.smi, *args, check=None)
        assert "nsufficient" in done.stdout + done.stderr or "permission" in done.stdout.lower(), (
            args, done.stdout)  # fmt: skip
        assert done.returncode


ACCOUNTING = """
import ctypes, os, sys, time, pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
print(n.nvmlDeviceGetAccountingBufferSize(h), n.nvmlDeviceGetAccountingPids(h))
n.nvmlDeviceSetAccountingMode(h, 1)
began = time.time() * 1e6
r, w = os.pipe(); child = os.fork()
if not child:
    cu = ctypes.CDLL("libcuda.so.1"); ctx = ctypes.c_void_p(); at = ctypes.c_uint64()
    assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ctypes.byref(ctx), 0, 0) == 0
    assert cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(256 << 20)) == 0
    os.read(r, 1)
    os._exit(0)
while not n.nvmlDeviceGetAccountingPids(h) or n.nvmlDeviceGetAccountingStats(h, child).maxMemoryUsage < 256 << 20:
    time.sleep(0.01)
def row():
    a = n.nvmlDeviceGetAccountingStats(h, child)
    return a.isRunning, a.maxMemoryUsage >> 20 in range(256, 4096), began <= a.startTime <= time.time() * 1e6
assert list(n.nvmlDeviceGetAccountingPids(h)) == [child]
print(*row(), flush=True)
os.write(w, b"x")
os.waitpid(child, 0)
while n.nvmlDeviceGetAccountingStats(h, child).isRunning:
    time.sleep(0.01)
print(*row())
try:
    n.nvmlDeviceGetAccountingStats(h, 1)
except n.NVMLError as e:
    print(type(e).__name__)
n.nvmlDeviceClearAccountingPids(h)
print(n.nvmlDeviceGetAccountingPids(h))
"""


def test_accounting_tells_what_a_process_used(sim: Sim) -> None:
    out = sim.python(ACCOUNTING).stdout.splitlines()
    assert out == ["4000 []", "1 True True", "0 True True", "NVMLError_NotFound", "[]"], out


MOVES = """
import ctypes, os, time, pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
def row():
    m = n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2)
    apps = n.nvmlDeviceGetComputeRunningProcesses(h)
    return n.nvmlDeviceGetTemperature(h, 0), m.used, [(p.pid, p.usedGpuMemory) for p in apps]
cold, none, nobody = row()
assert none == 0 and nobody == []
cu = ctypes.CDLL("libcuda.so.1"); ctx = ctypes.c_void_p(); at = ctypes.c_uint64()
assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ctypes.byref(ctx), 0, 0) == 0
_, idle, mine = row()
assert [p for p, _ in mine] == [os.getpid()] and 0 < mine[0][1] == idle, (mine, idle)
assert cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(1 << 30)) == 0
data = b"x" * (1 << 20)
for i in range(64):
    assert cu.cuMemcpyHtoD_v2(ctypes.c_uint64(at.value + (i << 20)), data, len(data)) == 0
warm, used, mine = row()
assert used >= idle + (1 << 30) and mine == [(os.getpid(), used)], (used, idle, mine)
assert warm > cold, (warm, cold)
assert cu.cuMemFree_v2(at) == 0 and row()[1] < used - (1 << 29)
assert cu.cuCtxDestroy_v2(ctx) == 0
print("moves")
"""


@pytest.mark.parametrize("card", ["h100", "l4"])
def test_values_move_with_what_runs(sim: Sim, card: str) -> None:
    done = sim.run(sys.executable, "-c", MOVES, opts=["--gpu", card], check=None)
    assert done.stdout == "moves\n", done.stderr
