"""Descriptors, directories and bad input: what programs do to device files."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from .conftest import Sim


def test_descriptors_that_move_about(sim: Sim, cc: str) -> None:
    rows = dict(line.split(" ", 1) for line in sim.run(f"{cc}/calls_client").stdout.splitlines())
    assert rows == {
        "open": "0", "fstat": "1 195 255", "dup": "0", "replaced": "-25", "fork": "0",
        "exec": "0", "threads": "0", "allowing-filter": "0", "refusing-filter": "-1",
        "bad-pointer": "-1 14", "tty-ioctl": "-1 25", "poll": "0", "epoll": "0 0", "relative": "0",
    }  # fmt: skip


LISTING = """
import os
print(sorted(n for n in os.listdir("/dev") if n.startswith("nvidia")))
print("null" in os.listdir("/dev"), os.listdir("/proc/driver/nvidia/gpus"))
fd = os.open("/proc/driver/nvidia", os.O_RDONLY | os.O_DIRECTORY)
print(*sorted(os.listdir(fd)), sorted(os.listdir(fd)) == sorted(os.listdir(fd)))
inner = os.open("version", os.O_RDONLY, dir_fd=fd)
print(os.read(inner, 12))
print("0000:01:00.0" in os.listdir("/sys/bus/pci/devices"))
print(open("/sys/bus/pci/devices/0000:01:00.0/vendor").read().strip())
print(sum("nvidia" in line for line in open("/proc/devices")))
print(os.path.exists("/dev/nvidia2"), os.access("/dev/nvidia1", os.R_OK | os.W_OK))
"""


def test_directories_show_the_nodes(sim: Sim) -> None:
    out = sim.python(LISTING, ["--count", "2"]).stdout.splitlines()
    assert out == [
        "['nvidia-caps', 'nvidia-caps-imex-channels', 'nvidia-uvm', 'nvidia-uvm-tools', 'nvidia0', 'nvidia1', 'nvidiactl']",
        "True ['0000:01:00.0', '0000:02:00.0']",
        "capabilities gpus params registry version True",
        "b'NVRM version'",
        "True",
        "0x10de",
        "4",
        "False True",
    ]


def test_exit_status_is_the_commands(sim: Sim) -> None:
    assert sim.run("sh", "-c", "exit 7", check=7).stdout == ""
    sim.run("sh", "-c", "kill -9 $$", check=137)
    assert "No such file" in sim.run("/nowhere/at/all", check=127).stderr


def _one_line(err: str, *words: str) -> None:
    assert err.count("\n") == 1 and err.startswith("nvsandbox: "), err
    assert all(w in err for w in words), err


def test_bad_input_is_one_line(sim: Sim) -> None:
    _one_line(sim.run("true", opts=["--driver", "535.261.04"], check=1).stderr, "535.261.03")
    _one_line(sim.run("true", opts=["--gpu", "voodoo2"], check=1).stderr, "voodoo2", "h100")
    _one_line(sim.run("true", opts=["--count", "9"], check=1).stderr, "1 to 8")
    _one_line(sim.run("true", opts=["--memory", "lots"], check=1).stderr, "--memory")
    _one_line(sim.run("true", opts=["--fault", "fire"], check=1).stderr, "xid:N")


def test_a_second_supervisor_is_refused(sim: Sim) -> None:
    nested = ["-m", "nvsandbox.cli.gpu", "sim", "--", "true"]
    done = sim.run(sys.executable, *nested, check=1)
    assert "start only one" in done.stderr


def test_user_space_of_another_release_is_named(sim: Sim) -> None:
    done = sim.run(sim.smi, "-L", opts=["--driver", "580.95.05"], check=None)
    assert done.returncode != 0
    assert "--driver 535.261.03" in done.stderr


def test_the_fault_gpu_lost(sim: Sim) -> None:
    done = sim.run(sim.smi, opts=["--fault", "lost"], check=None)
    assert "Xid (PCI:0000:01:00.0): 79" in done.stderr
    assert "H100" not in done.stdout


def test_the_fault_ecc(sim: Sim) -> None:
    query = ["--query-gpu=ecc.errors.uncorrected.volatile.dram", "--format=csv,noheader"]
    done = sim.run(sim.smi, *query, opts=["--fault", "ecc:3"])
    assert done.stdout.strip() == "3"
    assert "Xid (PCI:0000:01:00.0): 48" in done.stderr


def test_recording_replays(sim: Sim, tmp_path: object) -> None:
    path = f"{tmp_path}/a.jsonl"
    under = [sys.executable, "-m", "nvsandbox.cli.gpu", "sim"]
    query = [sim.smi, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    sim.gpu("record", "-o", path, "--", *under, "--gpu", "a100", "--", *query)
    replayed = sim.gpu("replay", "--gpu", "h100", path, *query).stdout
    assert replayed == "NVIDIA A100-SXM4-80GB, 81920 MiB\n"


def test_trace_names_commands_and_fields(sim: Sim) -> None:
    under = [sys.executable, "-m", "nvsandbox.cli.gpu", "sim"]
    err = sim.gpu("trace", "--", *under, "--", sim.smi, "-L").stderr
    assert "NV2080_CTRL_CMD_MC_GET_ARCH_INFO {architecture=0x180, revision=0xa1} = 0 OK" in err


def test_the_command_dies_with_its_supervisor(sim: Sim) -> None:
    run = [
        sys.executable,
        "-m",
        "nvsandbox.cli.gpu",
        "sim",
        "--",
        "sh",
        "-c",
        "echo $$; exec sleep 60",
    ]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=sim.env()) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{pid}/exe")
