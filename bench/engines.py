"""What container engines take with each runtime: ``python -m bench.engines``, as root; prints ``RUNTIME ROW NANOSECONDS``.

Rows: ``docker_run`` and ``podman_run`` (``run --rm busybox true``), ``docker_exec``, and of a runtime's own calls in a container that runs
``call_state``, ``call_kill``, ``call_exec``. Ours is on one platform. Engines that are not installed are named on standard error. Runs
are interleaved.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .results import one_line
from .runtimes import NVSANDBOX, end_in_order

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ROUNDS = 8
RUNTIMES = ("runc", "nvsandbox")
ROWS = ("docker_run", "docker_exec", "podman_run", "call_state", "call_kill", "call_exec")
Argv = list[str | Path]


def need(*programs: str) -> bool:
    missing = [p for p in programs if shutil.which(p, path=PATH) is None]
    if missing:
        print(f"bench.engines: not installed: {', '.join(missing)}", file=sys.stderr)
    return not missing


def image() -> bytes:
    """A root file system of busybox alone."""
    busybox = shutil.which("busybox", path=PATH)
    assert busybox is not None
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for d in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            info = tarfile.TarInfo(d)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "true", "sleep"):
            info = tarfile.TarInfo(f"bin/{name}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return out.getvalue()


def install(base: Path, engine: str, config: Path, platform: str) -> Path:
    """The launcher that engines are given."""
    where: Argv = ["--engine", engine, "--config", config, "--bin-dir", base / "bin"]
    subprocess.run(
        [
            NVSANDBOX,
            "install",
            *where,
            "--runtime-name",
            "nvsandbox",
            "--",
            f"--platform={platform}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return base / "bin" / "nvsandbox-runtime"


def took(argv: Argv, env: dict[str, str]) -> int | str:
    """ns, or why it failed."""
    start = time.perf_counter_ns()
    try:
        r = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "! no end in 120 s"
    if r.returncode:
        return f"! exit {r.returncode}: {one_line(r.stderr, 'no message')}"
    return time.perf_counter_ns() - start


@contextmanager
def dockerd(base: Path, platform: str) -> Iterator[dict[str, str]]:
    """A private daemon with the image; the environment for `docker`."""
    install(base, "docker", base / "daemon.json", platform)
    env = {**os.environ, "DOCKER_HOST": f"unix://{base}/docker.sock", "PATH": PATH}
    flags: Argv = [
        "--config-file", base / "daemon.json", "--host", env["DOCKER_HOST"], "--data-root", base / "data", "--exec-root",
        base / "exec", "--pidfile", base / "pid", "--exec-opt", "native.cgroupdriver=cgroupfs",
    ]  # fmt: skip
    with open(base / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", *flags], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        quiet: dict[str, Any] = {
            "env": env,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        for _ in range(300):
            if subprocess.run(["docker", "version"], check=False, **quiet).returncode == 0:
                break
            time.sleep(0.1)
        subprocess.run(["docker", "import", "-c", "ENV PATH=/bin", "-", "busybox:latest"], input=image(), check=True, **quiet)  # fmt: skip
        yield env
    finally:
        daemon.terminate()
        daemon.wait(60)


def docker(base: Path, platform: str) -> Iterator[tuple[str, str, int | str]]:
    with dockerd(base, platform) as env, ExitStack() as stack:
        ids = {}
        for rt in RUNTIMES:
            run = ["docker", "run", "-d", f"--runtime={rt}", "busybox", "sleep", "600"]
            ids[rt] = subprocess.run(run, env=env, check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip
            stack.callback(subprocess.run, ["docker", "rm", "-f", ids[rt]], env=env, check=False, stdout=subprocess.DEVNULL)  # fmt: skip
        for n in range(ROUNDS + 1):
            for rt in RUNTIMES:
                rows = {
                    "docker_run": ["docker", "run", "--rm", f"--runtime={rt}", "busybox", "true"],
                    "docker_exec": ["docker", "exec", ids[rt], "true"],
                }
                for row, argv in rows.items():
                    ns = took([*argv], env)
                    if n:  # the first fills caches
                        yield rt, row, ns


def podman(base: Path, platform: str) -> Iterator[tuple[str, str, int | str]]:
    config = base / "containers.conf"
    config.write_text(
        '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\n'
        f'[engine]\ncgroup_manager="cgroupfs"\nevents_logger="file"\ntmp_dir="{base}/tmp"\n'
    )
    install(base, "podman", config, platform)
    env = {**os.environ, "CONTAINERS_CONF": str(config), "PATH": PATH}
    flags: Argv = [
        "podman", "--root", base / "root", "--runroot", base / "run", "--storage-driver", "overlay",
    ]  # fmt: skip
    quiet: dict[str, Any] = {"env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    (base / "image.tar").write_bytes(image())
    subprocess.run([*flags, "import", "-c", "ENV=PATH=/bin", base / "image.tar", "busybox:latest"], check=True, **quiet)  # fmt: skip
    try:
        for n in range(ROUNDS + 1):
            for rt in RUNTIMES:
                ns = took([*flags, "--runtime", rt, "run", "--rm", "busybox", "true"], env)
                if n:
                    yield rt, "podman_run", ns
    finally:
        subprocess.run([*flags, "system", "reset", "-f"], check=False, **quiet)


def calls(base: Path, platform: str) -> Iterator[tuple[str, str, int | str]]:
    """What a runtime takes by itself."""
    (base / "root").mkdir()
    subprocess.run(["tar", "-x", "-C", base / "root"], input=image(), check=True)
    ours = install(base, "docker", base / "daemon.json", platform)
    programs = {"runc": "runc", "nvsandbox": str(ours)}
    env = {**os.environ, "PATH": PATH}
    null = subprocess.DEVNULL
    with ExitStack() as stack:
        for rt, program in programs.items():
            bundle = base / f"bundle-{rt}"
            bundle.mkdir()
            subprocess.run([program, "spec", "-b", bundle], check=True, env=env)
            spec = json.loads((bundle / "config.json").read_text())
            spec["process"].update(terminal=False, args=["/bin/sleep", "600"])
            spec["root"]["path"] = str(base / "root")
            (bundle / "config.json").write_text(json.dumps(spec))
            ident = f"bench-{rt}-{os.getpid()}"
            create: Argv = [program, "create", "-b", bundle, ident]
            subprocess.run(create, check=True, env=env, stdin=null, stdout=null, stderr=null)
            stack.callback(subprocess.run, [program, "delete", "-f", ident], check=False, env=env)
            subprocess.run([program, "start", ident], check=True, env=env)
        for n in range(ROUNDS + 1):
            for rt, program in programs.items():
                ident = f"bench-{rt}-{os.getpid()}"
                rows = {
                    "call_state": ["state", ident], "call_kill": ["kill", ident, "0"],
                    "call_exec": ["exec", ident, "/bin/true"],
                }  # fmt: skip
                for row, args in rows.items():
                    ns = took([program, *args], env)
                    if n:
                        yield rt, row, ns


def main() -> int:
    end_in_order()
    p = argparse.ArgumentParser(prog="bench.engines", description=__doc__)
    p.add_argument("--platform", default="systrap", help="ours")
    platform = p.parse_args().platform
    names = {"nvsandbox": f"nvsandbox-{platform}"}
    if os.geteuid() != 0:
        print("bench.engines: needs root", file=sys.stderr)
        return 0
    kinds = [
        (docker, ("docker_run", "docker_exec"), ("dockerd", "docker")),
        (podman, ("podman_run",), ("podman", "conmon")),
        (calls, ("call_state", "call_kill", "call_exec"), ("tar",)),
    ]
    for kind, rows, programs in kinds:
        if need("busybox", "runc", *programs):
            with tempfile.TemporaryDirectory(prefix="nvbench", ignore_cleanup_errors=True) as d:
                try:
                    for runtime, row, value in kind(Path(d), platform):
                        print(names.get(runtime, runtime), row, value, flush=True)
                except (OSError, subprocess.SubprocessError) as e:  # made ready for all runtimes
                    for runtime, row in itertools.product(RUNTIMES, rows):
                        print(
                            names.get(runtime, runtime),
                            row,
                            f"! {one_line(str(e), 'failed')}",
                            flush=True,
                        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
