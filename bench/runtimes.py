"""How a command is run natively, under an OCI runtime, and by nvsandbox."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .results import Failed, one_line

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"
LIMIT = 300  # seconds for one command
# Taken where they are in PATH. runsc can't make its network in every kernel's namespaces, and no row of a bundle needs one.
FOUND = {"runc": "runc", "crun": "crun", "runsc": "runsc --network=none"}
MORE_CAPABILITIES = ("CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")

# A root of its own for a command without a sandbox: /tmp in memory, as everywhere else.
NATIVE = """root=$1; bin=$2; shift 2
for d in proc dev sys; do mount --rbind /$d "$root/$d"; done; mount -t tmpfs tmp "$root/tmp"
mount --bind "$bin" "$root/mnt"; exec chroot "$root" "$@" """


def bundle(d: str, rootfs: str, bindir: str, argv: list[str]) -> None:
    """The same for all runtimes: what they would write themselves differs (runsc's has no network namespace)."""
    subprocess.run([NVSANDBOX, "spec", "--bundle", d], check=True)
    path = Path(d) / "config.json"
    spec: dict[str, Any] = json.loads(path.read_text())
    spec["process"].update(terminal=False, args=argv)
    for kept in spec["process"]["capabilities"].values():
        kept += MORE_CAPABILITIES
    spec["root"] = {"path": rootfs, "readonly": True}
    spec["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        {"destination": "/mnt", "type": "bind", "source": bindir, "options": ["rbind", "ro"]},
    ]
    path.write_text(json.dumps(spec))


class Runtime:
    """Runs commands on one root file system, with the benchmark's programs in /mnt."""

    def __init__(self, name: str, rootfs: str, bindir: str) -> None:
        self.name = name
        self.rootfs, self.bindir = rootfs, bindir

    @contextlib.contextmanager
    def command(self, argv: list[str]) -> Iterator[list[str]]:
        """The command line that runs ``argv``; what it needed is removed afterwards."""
        yield ["unshare", "-m", "bash", "-c", NATIVE, "bash", self.rootfs, self.bindir, *argv]

    def mark(self, command: list[str]) -> str:
        """A word that every process of a sandbox has in its command line, for those that are nobody's children; "": none."""
        return ""

    def run(self, argv: list[str]) -> tuple[str, float]:
        """What it prints, and how long all of it took, in ns. Raises Failed."""
        with self.command(argv) as command:
            start = time.perf_counter_ns()
            return output(command), time.perf_counter_ns() - start

    def took(self, argv: list[str]) -> float:
        return self.run(argv)[1]

    def first_line(self, argv: list[str]) -> float:
        """ns until the program has printed its first line. Raises Failed."""
        with self.command(argv) as command, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as p:  # fmt: skip
            start = time.perf_counter_ns()
            assert p.stdout is not None and p.stderr is not None
            line = p.stdout.readline()
            took = time.perf_counter_ns() - start
            if not line:
                why = one_line(p.stderr.read(), "no message")
                raise Failed(f"exit {p.wait()}: {why}")
            return took


def end_in_order() -> None:
    """Lets SIGTERM remove what was made, as SIGINT does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def output(command: list[str], limit: float = LIMIT) -> str:
    """Standard output of a command that must succeed. Raises Failed."""
    try:
        r = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=limit
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"no end in {limit:.0f} s") from None
    except OSError as e:
        raise Failed(f"{command[0]}: {e.strerror}") from None
    if r.returncode:
        raise Failed(f"exit {r.returncode}: {one_line(r.stderr or r.stdout, 'no message')}")
    return r.stdout


class Oci(Runtime):
    """``program``: the runtime's command line."""

    _count = itertools.count()

    def __init__(self, name: str, program: str, rootfs: str, bindir: str) -> None:
        super().__init__(name, rootfs, bindir)
        self.program = program.split()

    @contextlib.contextmanager
    def command(self, argv: list[str]) -> Iterator[list[str]]:
        ident = f"bench-{os.getpid()}-{next(self._count)}"
        with tempfile.TemporaryDirectory() as d:
            bundle(d, self.rootfs, self.bindir, argv)
            try:
                yield [*self.program, "run", "--bundle", d, ident]
            finally:
                self._delete(ident)

    def mark(self, command: list[str]) -> str:
        return command[-1]

    def _delete(self, ident: str) -> None:
        """One that has ended is gone already."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [*self.program, "delete", "--force", ident], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
            )  # fmt: skip

    def exec(self, argv: list[str]) -> float:
        """ns for one more program in a container that sleeps. Raises Failed."""
        with self.command(["sleep", "600"]) as (*run, option, d, ident):
            create = [*run[:-1], "create", option, d, ident]
            with tempfile.TemporaryFile(
                "w+"
            ) as said:  # not a pipe: the container has it until it ends
                try:
                    done = subprocess.run(
                        create, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60
                    )
                except (OSError, subprocess.TimeoutExpired):
                    raise Failed("create does not end, or can't be started") from None
                if done.returncode:
                    said.seek(0)
                    raise Failed(f"exit {done.returncode}: {one_line(said.read(), 'no message')}")
            output([*run[:-1], "start", ident], 60)
            output([*run[:-1], "exec", ident, *argv], 60)
            start = time.perf_counter_ns()
            output([*run[:-1], "exec", ident, *argv], 60)
            return time.perf_counter_ns() - start


class Ours(Runtime):
    """`nvsandbox do` on one platform."""

    def __init__(self, platform: str, rootfs: str, bindir: str) -> None:
        super().__init__(f"nvsandbox-{platform}", rootfs, bindir)
        self.platform = platform
        self.program = [str(NVSANDBOX), f"--platform={platform}"]

    @property
    def flags(self) -> list[str]:
        return ["--rootfs", self.rootfs, "-v", f"{self.bindir}:/mnt:ro"]

    @contextlib.contextmanager
    def command(self, argv: list[str]) -> Iterator[list[str]]:
        yield [*self.program, "do", *self.flags, "--", *argv]

    @contextlib.contextmanager
    def kept(self, number: int) -> Iterator[int]:
        """While so many sandboxes are kept ready for ``command``: the keeper's pid. Raises Failed."""
        argv = [*self.program, "warm", "--foreground", "-n", str(number), *self.flags]
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as p:  # fmt: skip
            assert p.stdout is not None and p.stderr is not None
            try:
                if not p.stdout.readline():
                    raise Failed(one_line(p.stderr.read(), "no message"))
                yield p.pid
            finally:
                p.terminate()

    def as_oci(self) -> Oci:
        """The same as an OCI runtime."""
        return Oci(self.name, " ".join(self.program), self.rootfs, self.bindir)


def known(given: list[str], skipped: list[str]) -> dict[str, str]:
    """OCI runtimes by name, with their command lines: those in PATH, and ``NAME=COMMAND`` as given."""
    out = {n: command for n, command in FOUND.items() if shutil.which(n)}
    for one in given:
        name, _, command = one.partition("=")
        out[name] = command or name
    return {n: command for n, command in out.items() if n not in skipped}


def runtimes(
    oci: dict[str, str], platforms: list[str], rootfs: str, bindir: str, native: bool
) -> list[Runtime]:
    """Native first, then other runtimes, then ours."""
    return [
        *([Runtime("native", rootfs, bindir)] if native else []),
        *(Oci(name, command, rootfs, bindir) for name, command in oci.items()),
        *(Ours(p, rootfs, bindir) for p in platforms),
    ]
