"""Memory of sandboxes that sleep.

``idle_rss``: resident memory of all processes of one, shared pages counted once a process, as ps does. ``idle_pss_of_many``: what
each of a hundred costs, shared pages divided among all that have them; ``idle_pss_of_forked``: of a hundred that a keeper has forked.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .results import Failed, Results, one_line
from .runtimes import Ours, Runtime

MANY = 100
ROWS = ("idle_rss", "idle_pss_of_many", "idle_pss_of_forked")
SETTLE = 3.0  # seconds; a Sentry lets go of what only its start needed after one


def memory(rts: list[Runtime], rows: set[str], res: Results) -> None:
    for row, count, size in (("idle_rss", 1, _rss), ("idle_pss_of_many", MANY, _pss)):
        for rt in rts if row in rows else ():
            res.measure(row, rt.name, partial(_asleep, rt, count, size))
    for rt in rts if "idle_pss_of_forked" in rows else ():
        if isinstance(rt, Ours):
            res.measure("idle_pss_of_forked", rt.name, partial(_asleep, rt, MANY, _pss, True))


def _asleep(rt: Runtime, count: int, size: Callable[[int], int], forked: bool = False) -> float:
    """MiB of each of ``count`` sandboxes that sleep, with the keeper if they are ``forked`` by one. Raises Failed."""
    with contextlib.ExitStack() as stack:
        roots = {stack.enter_context(rt.kept(0))} if forked and isinstance(rt, Ours) else set()
        marks: set[str] = set()
        for _ in range(count):
            command = stack.enter_context(rt.command(["sh", "-c", "echo up; exec sleep 900"]))
            p = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )  # fmt: skip
            # pid 1 of a container would not hear SIGTERM; its runtime deletes it afterwards
            stack.callback(_end, p, p.kill if rt.mark(command) else p.terminate)
            assert p.stdout is not None and p.stderr is not None
            if p.stdout.readline() != "up\n":
                why = one_line(p.stderr.read(), "no message")
                raise Failed(f"exit {p.wait()}: {why}")
            roots.add(p.pid)
            marks.add(rt.mark(command))
        time.sleep(SETTLE)
        return sum(map(size, _family(roots, marks - {""}))) / 1024 / count


def _end(p: subprocess.Popen[str], stop: Callable[[], None]) -> None:
    stop()
    try:
        p.wait(20)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
    for pipe in (p.stdout, p.stderr):
        if pipe is not None:
            pipe.close()


def _family(roots: set[int], marks: set[str]) -> set[int]:
    """Descendants, those whose command line has a word of ``marks``, and theirs."""
    children: dict[int, list[int]] = {}
    found = set(roots)
    for d in Path("/proc").iterdir():
        if d.name.isdigit():
            with contextlib.suppress(OSError):
                ppid = int((d / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(ppid, []).append(int(d.name))
                if marks and marks & set(_words(d / "cmdline")):
                    found.add(int(d.name))
    todo = list(found)
    while todo:
        for pid in children.get(todo.pop(), []):
            if pid not in found:
                found.add(pid)
                todo.append(pid)
    return found


def _words(cmdline: Path) -> list[str]:
    """Arguments, and what follows an equals sign in them."""
    words = cmdline.read_text(errors="replace").split("\0")
    return [*words, *(w.rpartition("=")[2] for w in words)]


def _field(path: str, name: str) -> int:
    """KiB; 0 for a process that has ended."""
    try:
        text = Path(path).read_text()
    except OSError:
        return 0
    return next((int(x.split()[1]) for x in text.splitlines() if x.startswith(name)), 0)


def _rss(pid: int) -> int:
    return _field(f"/proc/{pid}/status", "VmRSS:")


def _pss(pid: int) -> int:
    return _field(f"/proc/{pid}/smaps_rollup", "Pss:")
