"""What can't work says so in one line; slow drivers; the sandbox under nvsim."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from .conftest import ROOT, Sim

SIM = ("-m", "nvsandbox.cli.gpu", "sim")
# A filter of a container that refuses seccomp(2), as some run-times' default profiles do: the
# number of the call in, EPERM or EACCES out.
REFUSE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, {nr}), (0x06, 0, 0, 0x50000 | {err}), (0x06, 0, 0, 0x7FFF0000)]
raw = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *c) for c in code))
prog = struct.pack("<H6xQ", len(code), ctypes.addressof(raw))
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, prog, 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
CLOCK = """
import time, pynvml as n
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0); t = time.monotonic()
n.nvmlDeviceGetMemoryInfo(h); n.nvmlDeviceGetBAR1MemoryInfo(h)
print(time.monotonic() - t)
"""


def one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode not in (0, None) and done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(p in done.stderr for p in parts), done.stderr


def test_a_slow_driver_is_slow_and_still_right(sim: Sim) -> None:
    fast = float(sim.python(CLOCK).stdout)
    slow = float(sim.python(CLOCK, ["--fault", "slow:60"]).stdout)
    assert slow > 0.12 > fast
    out = sim.run(sim.smi, "-L", opts=["--fault", "slow:5"]).stdout
    assert out.startswith("GPU 0: NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize("version", ["1.2.3", "535.261.04", "nonsense"])
def test_an_unknown_driver_version(sim: Sim, version: str) -> None:
    one_line(sim.run("true", opts=["--driver", version], check=None), version, "gpu abi list")


def test_libraries_that_are_missing(sim: Sim) -> None:
    done = sim.run("nvidia-smi-that-is-not-there", check=None)
    one_line(done, "nvidia-smi-that-is-not-there", "No such file")
    env = {k: v for k, v in sim.env().items() if k != "LD_LIBRARY_PATH"}
    done = subprocess.run([sys.executable, *SIM, "--", sim.smi, "-L"], env=env,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode and "libnvidia-ml" in done.stdout + done.stderr


def test_a_nested_simulator(sim: Sim) -> None:
    done = sim.run(sys.executable, *SIM, "--", "true", check=None)
    one_line(done, "seccomp listener", "start only one")


@pytest.mark.parametrize("err", [1, 13, 38])
@pytest.mark.parametrize("nr", [317])
def test_no_permission_for_a_listener(sim: Sim, nr: int, err: int) -> None:
    code = REFUSE.format(nr=nr, err=err)
    done = subprocess.run([sys.executable, "-c", code, *SIM, "--", "true"], env=sim.env(),
                          capture_output=True, text=True, check=False)  # fmt: skip
    one_line(done, "seccomp listener", "allow")


def test_no_new_privs_is_refused(sim: Sim) -> None:
    # root may install a filter without it; who comes after may neither set it nor do without
    code = REFUSE.format(nr=157, err=1).replace("libc.prctl(38, 1, 0, 0, 0)", "", 1)
    code = code.replace("os.execv", "os.setgid(65534); os.setuid(65534); os.execv")
    probe = [sys.executable, "-c", code, "-c", "import nvsandbox.nvsim.supervisor"]
    if os.geteuid() or subprocess.run(probe, env=sim.env(), capture_output=True).returncode:
        pytest.skip("needs root, and an interpreter that others can run")
    done = subprocess.run([sys.executable, "-c", code, *SIM, "--", "true"], env=sim.env(),
                          capture_output=True, text=True, check=False)  # fmt: skip
    one_line(done, "seccomp listener", "allow seccomp(2) and no_new_privs")


def _rootfs() -> str:
    found = os.environ.get("NVSANDBOX_ROOTFS")
    if not found:
        done = subprocess.run([str(ROOT / "tools/mkrootfs.sh")], capture_output=True, text=True,
                              check=False)  # fmt: skip
        found = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    if not found:
        pytest.skip("no root file system")
    return found


@pytest.mark.parametrize("count", [1, 8])
def test_the_sandbox_runs_under_the_simulator(sim: Sim, count: int) -> None:
    sandbox = (sys.executable, "-m", "nvsandbox.cli.main", "do", "--rootfs", _rootfs(), "--")
    start = time.monotonic()
    assert sim.run(*sandbox, "true", opts=["--count", str(count)]).stderr == ""
    assert sim.run(*sandbox, "false", opts=["--count", str(count)], check=1).stderr == ""
    out = sim.run(*sandbox, "sh", "-c", "echo $((6 * 7)); ls / | grep -c etc").stdout
    assert out == "42\n1\n" and time.monotonic() - start < 60
