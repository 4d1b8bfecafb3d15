"""The ladder: NVIDIA's unmodified tools and libraries (535.261.03) on simulated cards."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET

import pytest

from nvsandbox.nvsim import profile

from .conftest import Sim

MODERN = ("h100", "h200", "a100", "l4", "t4", "rtx4090")


@pytest.mark.parametrize("card", MODERN)
@pytest.mark.parametrize("count", [1, 8])
def test_smi_lists_every_card(sim: Sim, card: str, count: int) -> None:
    out = sim.run(sim.smi, "-L", opts=["--gpu", card, "--count", str(count)]).stdout
    lines = out.splitlines()
    assert len(lines) == count
    name = profile.load(card).name
    assert all(re.fullmatch(rf"GPU {i}: {name} \(UUID: GPU-[-0-9a-f]{{36}}\)", lines[i])
               for i in range(count))  # fmt: skip
    assert len(set(re.findall("UUID: (.*)\\)", out))) == count


@pytest.mark.parametrize("card", MODERN)
def test_smi_table_has_no_errors(sim: Sim, card: str) -> None:
    done = sim.run(sim.smi, opts=["--gpu", card])
    assert "Driver Version: 535.261.03   CUDA Version: 12.2" in done.stdout
    size = profile.load(card).memory_mib
    shown = f"{size}MiB" if size < 100000 else rf"{size // 10}\.\.\."  # the column's width
    assert re.search(rf" 0MiB / *{shown}", done.stdout)
    assert not re.search("ERR!|Unknown|Error", done.stdout), done.stdout


def _xml(sim: Sim, card: str, count: int = 1) -> ET.Element:
    return ET.fromstring(
        sim.run(sim.smi, "-q", "-x", opts=["--gpu", card, "--count", str(count)]).stdout
    )


def _number(node: ET.Element, path: str) -> int:
    found = node.find(path)
    assert found is not None and found.text, path
    return int(found.text.split()[0])


@pytest.mark.parametrize("card", MODERN)
def test_numbers_of_the_full_query_obey_each_other(sim: Sim, card: str) -> None:
    root = _xml(sim, card)
    gpu, model = root.find("gpu"), profile.load(card)
    assert gpu is not None
    fb = "fb_memory_usage"
    total, reserved = _number(gpu, f"{fb}/total"), _number(gpu, f"{fb}/reserved")
    assert total == model.memory_mib
    assert _number(gpu, f"{fb}/used") + _number(gpu, f"{fb}/free") + reserved == total
    assert gpu.findtext("product_name") == model.name
    assert gpu.findtext("pci/pci_gpu_link_info/pcie_gen/max_link_gen") == str(model.pcie_gen)
    assert gpu.findtext("pci/pci_gpu_link_info/pcie_gen/max_device_link_gen") == str(model.pcie_gen)
    assert gpu.findtext("ecc_mode/current_ecc") == ("Enabled" if model.ecc else "N/A")
    assert 20 <= _number(gpu, "temperature/gpu_temp") <= 90
    text = ET.tostring(root, encoding="unicode")
    assert "Unknown" not in text and "ERR!" not in text


def test_text_query_succeeds(sim: Sim) -> None:
    out = sim.run(sim.smi, "-q").stdout
    assert "Product Architecture                  : Hopper" in out
    assert "Unknown Error" not in out


def test_query_gpu(sim: Sim) -> None:
    fields = "index,name,memory.total,compute_cap,pci.bus_id,serial"
    query = [f"--query-gpu={fields}", "--format=csv,noheader"]
    out = sim.run(sim.smi, *query, opts=["--count", "2"]).stdout
    assert out.splitlines() == [
        f"{i}, NVIDIA H100 80GB HBM3, 81559 MiB, 9.0, 00000000:0{i + 1}:00.0, 165000000000{i + 1}"
        for i in range(2)
    ]


def test_topology_and_dmon(sim: Sim) -> None:
    topo = sim.run(sim.smi, "topo", "-m", opts=["--count", "2"]).stdout
    assert re.search(r"^GPU0\s+X\s+NV18\s", topo, re.M)
    dmon = sim.run(sim.smi, "dmon", "-c", "1", opts=["--count", "2"]).stdout
    rows = [line.split() for line in dmon.splitlines() if not line.startswith("#")]
    assert [r[0] for r in rows] == ["0", "1"]
    assert all(20 <= int(r[2]) <= 90 for r in rows)


NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


def test_settings_are_refused_without_privilege(sim: Sim) -> None:
    sim = sim.readable_by_all()
    clocks = sim.run(*NOBODY, sim.smi, "-lgc", "300,500", check=4).stdout
    assert "does not have permission to change clocks" in clocks
    mode = sim.run(*NOBODY, sim.smi, "-c", "3", check=4).stdout
    assert "Insufficient Permissions" in mode
    power = sim.run(*NOBODY, sim.smi, "-pl", "300", check=None).stdout
    assert "not supported" in power or "permission" in power.lower()


def test_compute_mode_is_kept_for_the_tree(sim: Sim) -> None:
    script = f"{sim.smi} -c 3 && {sim.smi} --query-gpu=compute_mode --format=csv,noheader"
    assert sim.run("sh", "-c", script).stdout.splitlines()[-1] == "Exclusive_Process"


def test_memory_size_can_be_chosen(sim: Sim) -> None:
    query = ["--query-gpu=memory.total", "--format=csv,noheader"]
    assert sim.run(sim.smi, *query, opts=["--memory", "16g"]).stdout.strip() == "16384 MiB"


PYNVML = """
import inspect, pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
for name, f in sorted(vars(n).items()):
    if not name.startswith("nvmlDeviceGet") or "Handle" in name or not callable(f):
        continue
    need = [p for p in inspect.signature(f).parameters.values() if p.default is p.empty]
    if len(need) != 1:
        continue
    try:
        f(h); print(name, "ok")
    except n.NVMLError as e:
        print(name, type(e).__name__)
"""


@pytest.mark.parametrize("card", MODERN)
def test_every_getter_of_pynvml(sim: Sim, card: str) -> None:
    rows = dict(line.split() for line in sim.python(PYNVML, ["--gpu", card]).stdout.splitlines())
    assert len(rows) > 100
    allowed = {"ok", "NVMLError_NotSupported", "NVMLError_FunctionNotFound",
               "NVMLError_InvalidArgument", "NVMLError_ArgumentVersionMismatch"}  # fmt: skip
    assert {k: v for k, v in rows.items() if v not in allowed} == {}
    assert sum(v == "ok" for v in rows.values()) >= 55


@pytest.mark.parametrize("card", MODERN)
def test_libcuda_sees_the_cards(sim: Sim, cc: str, card: str) -> None:
    out = sim.run(f"{cc}/cuda_client", opts=["--gpu", card, "--count", "2"]).stdout
    model = profile.load(card)
    sm = f"{model.sm_version >> 8}.{model.sm_version & 0xFF}"
    usable = model.memory_mib - model.reserved_mib
    assert "init 0\ndriver 12020\ncount 0 2\n" in out
    rows = re.findall(r"^device (.*)\|(\d+)\|(.*)\|(\d+)\|([0-9a-f]{32})$", out, re.M)
    assert [r[:4] for r in rows] == [(model.name, str(usable), sm, str(model.sms))] * 2
    listed = sim.run(sim.smi, "-L", opts=["--gpu", card, "--count", "2"]).stdout
    assert [r[4] for r in rows] == [u.replace("-", "") for u in re.findall("GPU-([^)]*)", listed)]


def test_processes_in_a_pid_and_mount_namespace(sim: Sim) -> None:
    out = sim.run("unshare", "--pid", "--fork", "--mount", "--mount-proc", sim.smi, "-L").stdout
    assert out.startswith("GPU 0: NVIDIA H100 80GB HBM3")


MEMORY = """\
init 0
context 0
alloc 0 64
htod 0
dtoh 0 0
small 0 hello
stream 0
events 0 1
pinned 0 0
register 0
managed 0 51
"""


@pytest.mark.parametrize("card", MODERN)
def test_contexts_memory_and_copies(sim: Sim, cc: str, card: str) -> None:
    done = sim.run(f"{cc}/memory_client", opts=["--gpu", card])
    assert done.stdout == MEMORY + "free 0\ndestroy 0\n"
    assert done.stderr == ""


@pytest.mark.parametrize("card", MODERN)
def test_a_kernel_launch_is_refused_by_name(sim: Sim, cc: str, card: str) -> None:
    done = sim.run(f"{cc}/memory_client", "kernel", opts=["--gpu", card])
    assert done.stdout == MEMORY + "kernel 719\n"
    assert "Xid (PCI:0000:01:00.0): 13, kernel launch: arithmetic is not simulated" in done.stderr


def test_kernel_launches_can_be_skipped_on_hopper(sim: Sim, cc: str) -> None:
    done = sim.run(f"{cc}/memory_client", "kernel", opts=["--kernels", "skip"])
    assert done.stdout == MEMORY + "kernel 0\n"
    done = sim.run(f"{cc}/memory_client", "kernel", opts=["--kernels", "skip", "--gpu", "t4"])
    assert done.stdout == MEMORY + "kernel 719\n" and "can't be skipped" in done.stderr


def test_a_small_fill_works(sim: Sim, cc: str) -> None:
    assert "memset32 0 0\n" in sim.run(f"{cc}/memory_client", "fill").stdout


HOLDER = """
import ctypes, subprocess, sys
cu = ctypes.CDLL("libcuda.so.1"); ctx = ctypes.c_void_p(); at = ctypes.c_uint64()
assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ctypes.byref(ctx), 0, 0) == 0
assert cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(1 << 30)) == 0
import os
print(os.getpid(), flush=True)
smi = sys.argv[1]
subprocess.run([smi, "--query-gpu=memory.used,memory.free,memory.reserved,memory.total",
                "--format=csv,noheader,nounits"])
subprocess.run([smi, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"])
"""


def test_nvidia_smi_shows_a_process_and_its_memory_and_that_it_went(sim: Sim) -> None:
    query = f"{sim.smi} --query-gpu=memory.used --format=csv,noheader"
    script = f"{sys.executable} -c '{HOLDER}' {sim.smi} && {query}"
    lines = sim.run("sh", "-c", script).stdout.splitlines()
    used, free, reserved, total = map(int, lines[1].split(", "))
    assert used > 1024
    assert 0 <= total - (used + free + reserved) <= 2  # each is cut to whole MiB
    assert lines[2].split(", ")[0] == lines[0] and int(lines[2].split(", ")[1]) >= 1024
    assert lines[-1] == "0 MiB"


def test_an_allocation_can_be_made_to_fail(sim: Sim, cc: str) -> None:
    done = sim.run(f"{cc}/cuda_client", opts=["--fault", "alloc-fail:3"])
    assert "context 2\n" in done.stdout  # CUDA_ERROR_OUT_OF_MEMORY


EVENTS = """
import pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0); s = n.nvmlEventSetCreate()
n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)
e = n.nvmlEventSetWait_v2(s, 10000)
print(e.eventType == n.nvmlEventTypeXidCriticalError, e.eventData)
"""


def test_an_xid_reaches_whoever_waits_for_events(sim: Sim) -> None:
    assert sim.python(EVENTS, ["--fault", "after=1.5,xid:31"]).stdout == "True 31\n"


SEVERAL = """
import ctypes
cu = ctypes.CDLL("libcuda.so.1"); assert cu.cuInit(0) == 0
ref, bad = ctypes.byref, 0
for d in range(3):
    c, p = ctypes.c_void_p(), ctypes.c_uint64()
    bad |= cu.cuDevicePrimaryCtxRetain(ref(c), d) | cu.cuCtxSetCurrent(c)
    bad |= cu.cuMemAlloc_v2(ref(p), ctypes.c_size_t(1 << 20))
    data = b"card%d" % d * 5000
    back = ctypes.create_string_buffer(len(data))
    bad |= cu.cuMemcpyHtoD_v2(p, data, len(data)) | cu.cuMemcpyDtoH_v2(back, p, len(data))
    bad |= back.raw != data
m, f = ctypes.c_void_p(), ctypes.c_void_p()
ptx = b".version 7.0\\n.target sm_75\\n.address_size 64\\n.visible .entry k() { ret; }\\n\\0"
print(bad, cu.cuModuleLoadData(ref(m), ptx), cu.cuModuleGetFunction(ref(f), m, b"k"))
"""


def test_contexts_on_several_cards_and_a_module(sim: Sim) -> None:
    assert sim.python(SEVERAL, ["--count", "3"]).stdout == "0 0 0\n"


LEAVES = """
import ctypes, os, time
cu = ctypes.CDLL("libcuda.so.1"); ctx = ctypes.c_void_p(); a = ctypes.c_uint64(); b = ctypes.c_uint64()
size = ctypes.c_size_t(1 << 20)
assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ctypes.byref(ctx), 0, 0) == 0
assert cu.cuMemAlloc_v2(ctypes.byref(a), size) == 0 and cu.cuMemAlloc_v2(ctypes.byref(b), size) == 0
time.sleep(2.5)
assert cu.cuMemcpyDtoD_v2(b, a, size) == 0
os._exit(0)
"""


def test_work_submitted_right_before_the_end_is_still_done(sim: Sim) -> None:
    """A copy within the card is a kernel, which is refused by name: that it is, shows that it was looked at."""
    assert "Xid" in sim.python(LEAVES).stderr
