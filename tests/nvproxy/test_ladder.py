"""nvsim's ladder inside the sandbox: byte for byte what the same programs print natively."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pynvml
import pytest

from .conftest import Inside

PYNVML = "/usr/lib/python3/dist-packages/pynvml.py"
GETTERS = """
import inspect, pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
for name, f in sorted(vars(n).items()):
    if not name.startswith("nvmlDeviceGet") or "Handle" in name or not callable(f):
        continue
    need = [p for p in inspect.signature(f).parameters.values() if p.default is p.empty]
    if len(need) != 1:
        continue
    try:
        got = f(h)
        print(name, "ok", got if isinstance(got, (int, str, bytes, list)) and "Time" not in name and "Temp" not in name else "")
    except n.NVMLError as e:
        print(name, type(e).__name__)
"""
EVENTS = """
import pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0); s = n.nvmlEventSetCreate()
n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)
e = n.nvmlEventSetWait_v2(s, 10000)
print(e.eventType == n.nvmlEventTypeXidCriticalError, e.eventData)
"""


def clean(out: bytes) -> bytes:
    """Without the time of day and the temperature, which moves with it."""
    out = re.sub(rb"\b[2-9]\d ?C\b", b"NN C", out)
    return re.sub(rb"(?m)^.*\b\d\d:\d\d:\d\d 20\d\d.*$", b"TIME", out)


@pytest.mark.parametrize("args", [
    ["-L"], [], ["-q"], ["-q", "-x"], ["topo", "-m"], ["pmon", "-c", "1"], ["nvlink", "-s"],
    ["--query-gpu=index,name,memory.total,compute_cap,pci.bus_id,serial,uuid", "--format=csv"],
], ids=" ".join)  # fmt: skip
def test_nvidia_smi(inside: Inside, args: list[str]) -> None:
    opts = ["--count", "2"]
    native = inside.native([inside.smi, *args], opts)
    ran = inside.run(["nvidia-smi", *args], opts, check=None)
    assert clean(ran.stdout).decode() == clean(native.stdout).decode()
    assert ran.returncode == native.returncode == 0


@pytest.mark.parametrize("card", ["h200", "a100", "l4", "t4", "rtx4090"])
def test_every_card(inside: Inside, card: str) -> None:
    opts = ["--gpu", card]
    for args in ([], ["-q"]):
        native = inside.native([inside.smi, *args], opts)
        assert clean(inside.run(["nvidia-smi", *args], opts).stdout) == clean(native.stdout)


@pytest.mark.parametrize(
    "program", ["cuda_client", "memory_client", "memory_client kernel", "memory_client fill"]
)
@pytest.mark.parametrize("card", ["h100", "t4"])
def test_libcuda(inside: Inside, clients: Path, program: str, card: str) -> None:
    name, *args = program.split()
    opts = ["--gpu", card, "--count", "2"]
    native = inside.native([str(clients / name), *args], opts)
    ran = inside.run([f"/b/{name}", *args], opts, do_flags=["-v", f"{clients}:/b:ro"], check=None)
    assert ran.stdout.decode() == native.stdout.decode() and native.stdout
    assert ran.returncode == native.returncode


def test_cuda_ipc_between_processes(inside: Inside, tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2] / "gpu-tests" / "programs.c"
    subprocess.run(
        ["gcc", "-O1", "-o", str(tmp_path / "programs"), str(source), "-ldl"], check=True
    )
    native = inside.native([str(tmp_path / "programs"), "ipc"])
    ran = inside.run(["/b/programs", "ipc"], do_flags=["-v", f"{tmp_path}:/b:ro"])
    assert ran.stdout == native.stdout == b"child sees 1 4\nparent sees 77\n"


@pytest.mark.parametrize("card", ["h100", "a100", "rtx4090"])
def test_every_getter_of_pynvml(first: Inside, card: str, tmp_path: Path) -> None:
    script = tmp_path / "getters.py"
    script.write_text(GETTERS)
    native = first.native(["python3", "-c", f"import sys;sys.path.insert(0,{str(Path(pynvml.__file__).parent)!r});exec(open({str(script)!r}).read())"], ["--gpu", card])  # fmt: skip
    ran = first.run(
        ["python3", "/g.py"], ["--gpu", card],
        do_flags=["-v", f"{pynvml.__file__}:{PYNVML}:ro", "-v", f"{script}:/g.py:ro"],
    )  # fmt: skip
    assert ran.stdout.decode() == native.stdout.decode()
    assert native.stdout.count(b"\n") > 100


def test_an_xid_reaches_whoever_waits_for_events(inside: Inside, tmp_path: Path) -> None:
    script = tmp_path / "e.py"
    script.write_text(EVENTS)
    ran = inside.run(
        ["python3", "/e.py"], ["--fault", "after=2.5,xid:31"],
        do_flags=["-v", f"{pynvml.__file__}:{PYNVML}:ro", "-v", f"{script}:/e.py:ro"],
    )  # fmt: skip
    assert ran.stdout == b"True 31\n"


@pytest.mark.parametrize("args", [["-L"], [], ["-q"]], ids=" ".join)
def test_mig(first: Inside, args: list[str]) -> None:
    opts = ["--mig", "1g.10gb,2g.20gb"]
    native = first.native([first.smi, *args], opts)
    ran = first.run(["nvidia-smi", *args], opts, check=None)
    assert clean(ran.stdout).decode() == clean(native.stdout).decode()


def test_faults_show_inside(first: Inside) -> None:
    query = ["--query-gpu=ecc.errors.corrected.volatile.total", "--format=csv,noheader"]
    opts = ["--fault", "ecc:3"]
    assert (
        first.run(["nvidia-smi", *query], opts).stdout
        == first.native([first.smi, *query], opts).stdout
    )
