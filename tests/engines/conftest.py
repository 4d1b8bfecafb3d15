"""Container engines for the tests: installed where missing, started without systemd, stopped, and nothing of ours left."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
NVSANDBOX = Path(sys.executable).parent / "nvsandbox"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONTAINER = re.compile(r"/(libpod-)?[0-9a-f]{64}\b|/nvtest")  # a container's control group
PROGRAMS = ("dockerd", "runc", "podman", "containerd", "busybox", "iptables")


def sh(
    argv: list[str | Path], timeout: float = 60, **kw: object
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, without a terminal, both outputs captured."""
    kw.setdefault("stdin", subprocess.DEVNULL)
    if "input" in kw:
        del kw["stdin"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, **kw)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="session")
def engines() -> None:
    """The engines' packages."""
    if os.geteuid() != 0:
        pytest.skip("engines need root")
    if any(shutil.which(p, path=PATH) is None for p in PROGRAMS):
        done = sh([REPO / "tools" / "engines.sh"], timeout=600)
        if done.returncode:
            pytest.skip(f"engines can't be installed: {done.stderr[-500:]}")


def busybox_tar(extra: dict[str, bytes] | None = None) -> bytes:
    """A root file system of busybox alone."""
    binary = next(p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p))
    applets = sh([binary, "--list"]).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for d in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "home"):
            info = tarfile.TarInfo(d)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if d == "tmp" else 0o755
            tar.addfile(info)
        tar.add(binary, "bin/busybox")
        for a in applets:
            if a != "busybox":
                info = tarfile.TarInfo(f"bin/{a}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
        files = {
            "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n",
            "etc/group": b"root:x:0:\nuser:x:1000:\nwheel:x:10:user\n", **(extra or {}),
        }  # fmt: skip
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def install(base: Path, engine: str, conf: Path, name: str, *flags: str) -> Path:
    """`nvsandbox install` into an engine's configuration; the program that it is given."""
    where = [
        "--engine",
        engine,
        "--config",
        conf,
        "--bin-dir",
        base / "bin",
        "--runtime-name",
        name,
    ]
    done = sh([NVSANDBOX, "install", *where, "--", *flags])
    assert done.returncode == 0, done.stderr
    return base / "bin" / f"{name}-runtime"


class Docker:
    """A private dockerd."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{base}/docker.sock", "PATH": PATH}
        self.program = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        (base / "daemon.json").write_text(json.dumps({"live-restore": True}))
        for name, flags in (
            ("nvsandbox", []),
            ("nvthrough", ["--overlay2=none"]),
            ("nvhost", ["--network=host"]),
            ("nvnet", ["--network=sandbox"]),
        ):
            install(base, "docker", base / "daemon.json", name, *flags)
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        b = self.base
        with open(b / "log", "ab") as log:
            self.daemon = subprocess.Popen(
                [
                    "dockerd", "--config-file", b / "daemon.json", "--host", f"unix://{b}/docker.sock",
                    "--data-root", b / "data", "--exec-root", b / "exec", "--pidfile", b / "pid",
                    "--exec-opt", "native.cgroupdriver=cgroupfs",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while self("version").returncode:
            assert time.monotonic() < deadline and self.daemon.poll() is None, (b / "log").read_text()[-3000:]  # fmt: skip
            time.sleep(0.1)

    def stop(self) -> None:
        assert self.daemon is not None
        self.daemon.terminate()
        self.daemon.wait(60)

    def __call__(self, *args: str | Path, timeout: float = 60, **kw: object) -> subprocess.CompletedProcess[str]:  # fmt: skip
        return sh([self.program, *args], timeout, env=self.env, **kw)

    def ok(self, *args: str | Path, **kw: object) -> str:
        """A command that must succeed; what it printed, stripped."""
        got = self(*args, **kw)
        assert got.returncode == 0, f"{args}: {got.returncode}\n{got.stdout}\n{got.stderr}"
        return got.stdout.strip()


@pytest.fixture(scope="session")
def docker(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """dockerd with a busybox image."""
    d = Docker(tmp_path_factory.mktemp("docker", numbered=True))
    d.start()
    try:
        tar = d.base / "busybox.tar"
        tar.write_bytes(busybox_tar())
        d.ok("import", "-c", 'CMD ["/bin/sh"]', "-c", "ENV PATH=/bin", tar, "busybox:latest")
        yield d
    finally:
        ids = d("ps", "-aq").stdout.split()
        if ids:
            d("rm", "-f", *ids)
        d.stop()
        unmount_below(d.base)


def unmount_below(base: Path) -> None:
    """What a daemon that was killed has left mounted."""
    with open("/proc/self/mountinfo") as f:
        found = [line.split()[4] for line in f]
    for path in reversed(found):
        if path.startswith(f"{base}/"):
            sh(["umount", "-l", path])


def leftovers() -> list[str]:
    """What of ours is on this machine: processes, mounts, groups, state."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            comm = Path(f"/proc/{pid}/comm").read_text().strip()
            cmd = Path(f"/proc/{pid}/cmdline").read_bytes()
            group = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            continue
        if (comm.startswith("nv-") and CONTAINER.search(group)) or b"containerd-shim" in cmd:
            found.append(f"process {pid} {comm} {cmd!r}")
    with open("/proc/self/mountinfo") as f:
        found += [line for line in f if "nvsandbox" in line.split(" - ")[-1]]
    for base, _dirs, files in os.walk("/sys/fs/cgroup"):
        name = os.path.basename(base)
        # libpod_parent/ID is a pod's, which podman forgets in some hierarchies with any runtime
        if (
            len(name) == 64
            and "cgroup.procs" in files
            and not base.endswith(f"libpod_parent/{name}")
        ):
            found.append(f"cgroup {base}")
    state = Path("/run/nvsandbox")
    found += [f"state {p}" for p in (state.iterdir() if state.is_dir() else ())]
    return found


@pytest.fixture(autouse=True, scope="session")
def nothing_left() -> Iterator[None]:
    """After everything, engines stopped: no process, mount, group or file of ours that was not there before."""
    before = set(leftovers())
    yield
    deadline = time.monotonic() + 20
    while (left := set(leftovers()) - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, left
