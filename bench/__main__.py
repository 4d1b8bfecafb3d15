"""Timings side by side: native, other OCI runtimes that are there, and nvsandbox. ``python -m bench --help``.

Writes ``{"rows": {ROW: {RUNTIME: {"median": …, "unit": …, "min": …, "max": …, "n": …}}}}`` and prints a table with the ratio to
native. Runs are interleaved, since machines are noisy; what counts is the ratio within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from . import report
from .engines import ROWS as ENGINE_ROWS
from .macro import PROGRAMS, SCRIPTS, script

HERE = Path(__file__).resolve().parent
NVSANDBOX = Path(sys.executable).parent / "nvsandbox"
Results = dict[str, dict[str, list[float]]]
UNITS = {"idle_rss": "MiB", "idle_pss_of_many": "MiB"}
MANY = 100


def build(out: Path) -> Path:
    exe = out / "microbench"
    src = HERE / "microbench.c"
    if not exe.exists() or exe.stat().st_mtime < src.stat().st_mtime:
        out.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["gcc", "-O2", "-static", "-pthread", "-w", "-o", str(exe), str(src)], check=True
        )
    return exe


class Runtime:
    """How a command is run under one runtime."""

    def __init__(self, name: str, prefix: list[str], oci: str = "") -> None:
        """``oci``: the command line of an OCI runtime."""
        self.name = name
        self.prefix = prefix
        self.oci = oci

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.prefix, *argv], capture_output=True, text=True, timeout=300)


def runc_prefix(runtime: str, rootfs: str, extra: Path) -> list[str]:
    return [sys.executable, "-m", "bench.ociwrap", runtime, rootfs, str(extra)]


# A root of its own for a command without a sandbox: /tmp in memory, as everywhere else.
NATIVE = """root=$1; shift
for d in proc dev sys; do mount --rbind /$d "$root/$d"; done; mount -t tmpfs tmp "$root/tmp"
exec chroot "$root" "$@" """


def runtimes(args: argparse.Namespace, rootfs: str, bindir: Path) -> list[Runtime]:
    out = [Runtime("native", ["unshare", "-m", "bash", "-c", NATIVE, "bash", rootfs])]
    for spec in args.runtime:
        name, _, path = spec.partition("=")
        out.append(Runtime(name, runc_prefix(path or name, rootfs, bindir), path or name))
    if not args.runtime and shutil.which("runc"):
        out.append(Runtime("runc", runc_prefix("runc", rootfs, bindir), "runc"))
    for platform in args.platform.split(","):
        do = [str(NVSANDBOX), f"--platform={platform}", "do", "--rootfs", rootfs]
        oci = f"{NVSANDBOX} --platform={platform}"
        out.append(Runtime(f"nvsandbox-{platform}", [*do, "-v", f"{bindir}:/bench:ro", "--"], oci))
    return out


def micro(rts: list[Runtime], exe: Path, args: argparse.Namespace, res: Results) -> None:
    for _ in range(args.repeat):
        for rt in rts:
            if rt.name == "native":
                r = subprocess.run(
                    [str(exe), tempfile.gettempdir(), str(args.scale), *args.only],
                    capture_output=True, text=True, timeout=600,
                )  # fmt: skip
            else:
                r = rt.run(["/bench/microbench", "/tmp", str(args.scale), *args.only])
            for line in r.stdout.splitlines():
                name, _, value = line.partition(" ")
                res.setdefault(name, {}).setdefault(rt.name, []).append(float(value))
            if r.returncode:
                print(
                    f"{rt.name}: microbench: exit {r.returncode} {r.stderr[-300:]}", file=sys.stderr
                )


def wanted(name: str, args: argparse.Namespace) -> bool:
    return not args.only or any(o in name for o in args.only)


def macro(rts: list[Runtime], names: Iterable[str], args: argparse.Namespace, res: Results) -> None:
    for name in names:
        if not wanted(name, args):
            continue
        for _ in range(args.repeat):
            for rt in rts:
                start = time.perf_counter()
                r = rt.run(["true"] if name == "start_true" else ["bash", "-c", script(name)])
                took = (time.perf_counter() - start) * 1e9
                lines = r.stdout.split()
                if name != "start_true" and lines and lines[-1].isdecimal():
                    took = float(lines[-1]) * 1000
                if r.returncode:
                    print(
                        f"{rt.name}: {name}: exit {r.returncode} {r.stderr[-200:]}", file=sys.stderr
                    )
                else:
                    res.setdefault(name, {}).setdefault(rt.name, []).append(took)


def warm(rts: list[Runtime], args: argparse.Namespace, res: Results) -> None:
    """``do -- true`` where sandboxes are kept ready."""
    if not wanted("start_warm", args):
        return
    for rt in rts:
        if rt.oci and rt.prefix[0] == str(NVSANDBOX):
            at = rt.prefix.index("do")
            keeper = [*rt.prefix[:at], "warm", "-n", str(args.repeat), *rt.prefix[at + 1 : -1]]
            subprocess.run(keeper, check=True, stdout=subprocess.DEVNULL, timeout=60)
            time.sleep(1)
            for _ in range(args.repeat):
                start = time.perf_counter()
                rt.run(["true"])
                took = (time.perf_counter() - start) * 1e9
                res.setdefault("start_warm", {}).setdefault(rt.name, []).append(took)
            subprocess.run(
                [*rt.prefix[:at], "warm", "--stop"], check=True, stdout=subprocess.DEVNULL
            )


def started(rts: list[Runtime], args: argparse.Namespace, res: Results) -> None:
    """A container of an OCI runtime: ``run`` of one, and ``exec`` of another program in one that runs."""
    if not wanted("oci_run_true oci_exec_true", args):
        return
    binaries = {rt.name: rt.oci for rt in rts if rt.oci}
    for _ in range(args.repeat):
        for name, runtime in binaries.items():
            r = subprocess.run(
                [sys.executable, "-m", "bench.ociwrap", "--time", runtime, args.rootfs, "/tmp", "true"],
                capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            for line in r.stdout.splitlines():
                row, _, value = line.partition(" ")
                res.setdefault(row, {}).setdefault(name, []).append(float(value))


def memory(rts: list[Runtime], args: argparse.Namespace, res: Results) -> None:
    """Resident memory of all processes of a sandbox that sleeps (shared pages counted once a process, as ps does), and what
    each of many costs (shared pages divided among all that have them)."""
    if wanted("idle_rss", args):
        for rt in rts:
            res.setdefault("idle_rss", {})[rt.name] = [_asleep(rt, 1, _rss) / 1024]
    if wanted("idle_pss_of_many", args):
        for rt in rts:
            res.setdefault("idle_pss_of_many", {})[rt.name] = [
                _asleep(rt, MANY, _pss) / 1024 / MANY
            ]


def _asleep(rt: Runtime, count: int, size: Callable[[int], int]) -> int:
    """KiB of ``count`` sandboxes that sleep."""
    ps = []
    for _ in range(count):
        ps.append(subprocess.Popen([*rt.prefix, "sleep", "120"], stdout=subprocess.DEVNULL))
        time.sleep(0.15)
    time.sleep(1.5)
    total = sum(size(pid) for p in ps for pid in _descendants(p.pid))
    for p in ps:
        p.terminate()
    for p in ps:
        try:
            p.wait(5)
        except subprocess.TimeoutExpired:
            p.kill()
    return total


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for d in Path("/proc").iterdir():
        if d.name.isdigit():
            try:
                ppid = int((d / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(ppid, []).append(int(d.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _rss(pid: int) -> int:
    """KiB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(x.split()[1]) for x in text.splitlines() if x.startswith("VmRSS:")), 0)


def _pss(pid: int) -> int:
    """KiB."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:")), 0)


def nvproxy(args: argparse.Namespace, res: Results) -> None:
    """A forwarded ioctl against a null driver (bench/nvproxy.py)."""
    if args.only and not any("nvproxy".startswith(o) or o in "nvproxy_added" for o in args.only):
        return
    for platform in args.platform.split(","):
        for _ in range(args.repeat):
            cmd = [
                sys.executable,
                "-m",
                "bench.nvproxy",
                "--rootfs",
                args.rootfs,
                "--platform",
                platform,
            ]
            r = subprocess.run(cmd, capture_output=True, text=True, timeout=120)
            for line in r.stdout.splitlines():
                name, _, value = line.partition(" ")
                res.setdefault(name, {}).setdefault(f"nvsandbox-{platform}", []).append(
                    float(value)
                )


def network(args: argparse.Namespace, res: Results) -> None:
    """TCP over a veth and inside (bench/network.py)."""
    if args.only and not any("net_" in o or o in "net_" for o in args.only):
        return
    for _ in range(args.repeat):
        r = subprocess.run(
            [sys.executable, "-m", "bench.network"], capture_output=True, text=True, timeout=600
        )
        for line in r.stdout.splitlines():
            runtime, name, value = line.split()
            res.setdefault(name, {}).setdefault(runtime, []).append(float(value))


def engines(args: argparse.Namespace, res: Results) -> None:
    """Docker, Podman and a runtime's own calls (bench/engines.py), on the default platform."""
    if not any(wanted(row, args) for row in ENGINE_ROWS):
        return
    r = subprocess.run(
        [sys.executable, "-m", "bench.engines"], stdout=subprocess.PIPE, text=True, timeout=900
    )
    for line in r.stdout.splitlines():
        runtime, name, value = line.split()
        shown = "nvsandbox-systrap" if runtime == "nvsandbox" else runtime
        res.setdefault(name, {}).setdefault(shown, []).append(float(value))


def main() -> int:
    p = argparse.ArgumentParser(prog="bench", description=__doc__)
    p.add_argument("--rootfs", required=True)
    p.add_argument("--json", default="build/bench.json")
    p.add_argument("--programs", help="root file system with servers and tools, for their rows")
    p.add_argument("--runtime", action="append", default=[], metavar="NAME=PATH")
    p.add_argument("--platform", default="systrap")
    p.add_argument("--rows", dest="only", action="append", default=[], metavar="NAME")
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--scale", type=float, default=0.5, help="length of the micro rows")
    p.add_argument(
        "--compare", metavar="JSON", help="an earlier run: changes beyond noise are listed"
    )
    p.add_argument("--svg", metavar="FILE", help="plot of the ratios to native")
    args = p.parse_args()
    exe = build(Path("build/bench"))
    rts = runtimes(args, args.rootfs, exe.parent.resolve())
    res: Results = {}
    micro(rts, exe, args, res)
    macro(rts, ("start_true", *SCRIPTS), args, res)
    if args.programs:
        macro(runtimes(args, args.programs, exe.parent.resolve()), PROGRAMS, args, res)
    warm(rts, args, res)
    started(rts, args, res)
    memory(rts, args, res)
    nvproxy(args, res)
    network(args, res)
    engines(args, res)
    rows = {
        row: {
            rt: {"median": statistics.median(v), "unit": UNITS.get(row, "ns"), "min": min(v), "max": max(v), "n": len(v)}
            for rt, v in per.items()
        }
        for row, per in res.items()
    }  # fmt: skip
    Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    Path(args.json).write_text(json.dumps({"rows": rows, "cpus": os.cpu_count()}, indent=1) + "\n")
    names = [r.name for r in rts]
    print(report.table(rows, names))
    if args.svg:
        report.plot(rows, names, Path(args.svg))
    if args.compare:
        print(report.compare(rows, Path(args.compare)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
