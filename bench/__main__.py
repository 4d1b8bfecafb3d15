"""Timings side by side: native, the OCI runtimes that are there, and nvsandbox on both platforms. ``python -m bench --help``.

Writes ``{"rows": {ROW: {RUNTIME: {"median": …, "unit": …, "min": …, "max": …, "n": …}}}}``, with ``{"failed": WHY}`` in the cell of a
runtime that could not do a row, and prints a table with spread and the ratio to native. Runs are interleaved, since machines are
noisy; what counts is the ratio within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from . import report
from .engines import ROWS as ENGINE_ROWS
from .macro import PER_SECOND, PROGRAMS, SCRIPTS, script
from .memory import ROWS as MEMORY_ROWS
from .memory import memory
from .network import ROWS as NETWORK_ROWS
from .nvproxy import ROWS as NVPROXY_ROWS
from .results import Failed, Results, one_line
from .runtimes import NVSANDBOX, Oci, Ours, Runtime, end_in_order, known, runtimes

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "microbench.c"
MICRO_ROWS = re.findall(r'\{"(\w+)",b_', SOURCE.read_text())
START_ROWS = ("start_true", "start_python", "start_warm", "start_forked", "oci_run_true", "oci_run_python", "oci_exec_true")  # fmt: skip
FIRST_STATEMENT = ["python3", "-c", "print(1, flush=True)"]
ROWS = (
    *MICRO_ROWS, *START_ROWS, *SCRIPTS, *PROGRAMS, *MEMORY_ROWS, *NVPROXY_ROWS, *NETWORK_ROWS, *ENGINE_ROWS,
)  # fmt: skip


def build(out: Path) -> Path:
    exe = out / "microbench"
    if not exe.exists() or exe.stat().st_mtime < SOURCE.stat().st_mtime:
        out.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-static", "-pthread", "-w", "-o", str(exe), str(SOURCE)], check=True)  # fmt: skip
    return exe


def chosen(asked: list[str]) -> set[str]:
    """The rows that ``asked`` names, whole or by a part of their names; all for none. Raises Failed for one that names no row."""
    for part in asked:
        if not any(part in row for row in ROWS):
            raise Failed(f"no row `{part}`; there are: {' '.join(ROWS)}")
    whole = set(asked) & set(ROWS)
    parts = set(asked) - whole
    return {r for r in ROWS if not asked or r in whole or any(part in r for part in parts)}


def micro(rts: list[Runtime], args: argparse.Namespace, rows: set[str], res: Results) -> None:
    names = [r for r in MICRO_ROWS if r in rows]
    for _ in range(args.repeat if names else 0):
        for rt in rts:
            command = ["/mnt/microbench", "/tmp", str(args.scale), *names]
            missing = [n for n in names if not res.failed(n, rt.name)]
            if not missing:
                continue
            why = "microbench did not print it"
            try:
                lines = rt.run(command)[0].splitlines()
            except Failed as e:
                lines, why = [], str(e)
            found = dict(line.split() for line in lines)
            for n in missing:
                if n in found:
                    res.add(n, rt.name, float(found[n]))
                else:
                    res.fail(n, rt.name, why)


def macro(rts: list[Runtime], names: Iterable[str], repeat: int, res: Results) -> None:
    def timed(rt: Runtime, name: str) -> float:
        lines = rt.run(["bash", "-c", script(name)])[0].split()
        if not lines or not lines[-1].isdecimal():
            raise Failed("it did not print its time")
        return float(lines[-1]) * (1 if name in PER_SECOND else 1000)

    for name in names:
        said(name)
        for _ in range(repeat):
            for rt in rts:
                res.measure(name, rt.name, partial(timed, rt, name))


def starts(rts: list[Runtime], repeat: int, rows: set[str], res: Results) -> None:
    """A sandbox for one command: ``start_…`` by ``do`` (natively: chroot), ``oci_…`` by ``run`` and ``exec`` of an OCI runtime."""
    direct = [rt for rt in rts if not isinstance(rt, Oci)]
    oci = [rt.as_oci() if isinstance(rt, Ours) else rt for rt in rts]
    for _ in range(repeat):
        for some, prefix in ((direct, "start"), (oci, "oci_run")):
            for rt in some:
                if f"{prefix}_true" in rows:
                    res.measure(f"{prefix}_true", rt.name, partial(rt.took, ["true"]))
                if f"{prefix}_python" in rows:
                    once = partial(rt.first_line, FIRST_STATEMENT)
                    res.measure(f"{prefix}_python", rt.name, once)
        for one in oci:
            if isinstance(one, Oci) and "oci_exec_true" in rows:
                res.measure("oci_exec_true", one.name, partial(one.exec, ["true"]))
    for row, number in (("start_warm", repeat), ("start_forked", 0)):
        for rt in rts if row in rows else ():
            if isinstance(rt, Ours):
                _kept(row, rt, number, repeat, res)


def _kept(row: str, rt: Ours, number: int, repeat: int, res: Results) -> None:
    """``do -- true`` where ``number`` sandboxes are kept ready, or the process they are forked from."""
    try:
        with rt.kept(number):
            time.sleep(1)
            for _ in range(repeat):
                res.measure(row, rt.name, partial(rt.took, ["true"]))
    except Failed as e:
        res.fail(row, rt.name, str(e))


def apart(module: str, flags: list[str], rows: set[str], res: Results, runtime: str = "") -> None:
    """A part that runs on its own and prints ``RUNTIME ROW VALUE``, or ``ROW VALUE`` for the one it was told to use."""
    said(f"{module} {runtime}".rstrip())
    p = subprocess.Popen(
        [sys.executable, "-m", module, *flags], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        out, err = p.communicate(timeout=3600)
    finally:
        if p.poll() is None:
            p.terminate()  # it has made network namespaces, daemons, containers
            p.wait()
    res.read("".join(f"{runtime} {line}\n".lstrip() for line in out.splitlines()), rows)
    why = one_line(err, f"exit {p.returncode}")
    if p.returncode and runtime:
        for row in rows:
            res.fail(row, runtime, why)
    elif p.returncode:
        print(f"{module}: {why}", file=sys.stderr)
    else:
        sys.stderr.write(err)


def run(args: argparse.Namespace, rows: set[str], res: Results) -> None:
    bindir = str(build(Path("build/bench")).parent.resolve())
    platforms = [p for p in args.platform.split(",") if f"nvsandbox-{p}" not in args.skip]
    oci = known(args.runtime, args.skip)
    rts = runtimes(oci, platforms, args.rootfs, bindir, "native" not in args.skip)
    res.runtimes = [rt.name for rt in rts]
    micro(rts, args, rows, res)
    starts(rts, args.repeat, rows, res)
    macro(rts, [n for n in SCRIPTS if n in rows], args.repeat, res)
    if args.programs:
        big = runtimes(oci, platforms, args.programs, bindir, "native" not in args.skip)
        macro(big, [n for n in PROGRAMS if n in rows], args.repeat, res)
    memory(rts, rows, res)
    forwarded, net, engines = (rows & set(r) for r in (NVPROXY_ROWS, NETWORK_ROWS, ENGINE_ROWS))
    for _ in range(args.repeat if forwarded else 0):
        for p in platforms:
            flags = ["--rootfs", args.rootfs, "--platform", p]
            apart("bench.nvproxy", flags, forwarded, res, f"nvsandbox-{p}")
    if net:
        ours = {
            f"nvsandbox-{p}": f"{NVSANDBOX} --platform={p} --network=sandbox" for p in platforms
        }
        flags = [f"--runtime={name}={command}" for name, command in {**oci, **ours}.items()]
        flags.append(f"--rows={','.join(sorted(net))}")
        for _ in range(args.repeat):
            apart("bench.network", flags, net, res)
    if engines and platforms:
        apart("bench.engines", [f"--platform={platforms[0]}"], engines, res)


def said(what: str) -> None:
    print(f"bench: {what} …", file=sys.stderr, flush=True)


def main() -> int:
    end_in_order()
    p = argparse.ArgumentParser(prog="bench", description=__doc__)
    p.add_argument("--rootfs", required=True)
    p.add_argument("--json", default="build/bench.json")
    p.add_argument("--programs", help="root file system with servers and tools, for their rows")
    p.add_argument("--runtime", action="append", default=[], metavar="NAME=COMMAND",
        help="an OCI runtime, with its options; runc, crun and runsc are found in PATH")  # fmt: skip
    p.add_argument("--skip", action="append", default=[], metavar="NAME", help="not this runtime")
    p.add_argument("--platform", default="systrap,ptrace", help="ours")
    p.add_argument("--rows", dest="only", action="append", default=[], metavar="NAME",
        help="only this row, or those with this in their names")  # fmt: skip
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--scale", type=float, default=0.5, help="length of the micro rows")
    p.add_argument(
        "--compare", metavar="JSON", help="an earlier run: changes beyond noise are listed"
    )
    p.add_argument("--svg", metavar="FILE", help="plot of the ratios to native")
    args = p.parse_args()
    try:
        rows = chosen(args.only)
        before = report.load(Path(args.compare)) if args.compare else None
    except Failed as e:
        print(f"bench: {e}", file=sys.stderr)
        return 2
    load = [os.getloadavg()[0]]
    res = Results()
    try:
        run(args, rows, res)
    finally:  # what an interrupted run has found is not lost
        found = res.rows()
        load.append(os.getloadavg()[0])
        text = json.dumps({"rows": found, "cpus": os.cpu_count(), "load": load}, indent=1)
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(text + "\n")
        print(report.table(found, res.runtimes))
    if args.svg:
        report.plot(found, res.runtimes, Path(args.svg))
    if before is not None:
        print(report.compare(found, before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
