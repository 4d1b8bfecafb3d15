"""Bundles, and calling the runtime as engines do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nvsandbox.oci import cgroups

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"


class Runtime:
    """The runtime with a state directory of its own; containers are removed at the end."""

    def __init__(self, base: Path, rootfs: Path) -> None:
        self.base, self.rootfs = base, rootfs
        self.root = base / "state"
        self.log = base / "log.json"
        self.count = 0

    def argv(self, *args: str | Path) -> list[str]:
        flags = ["--root", self.root, "--log", self.log, "--log-format", "json"]
        return [str(a) for a in (NVSANDBOX, *flags, *args)]

    def __call__(
        self, *args: str | Path, timeout: float = 60, **kw: Any
    ) -> subprocess.CompletedProcess[str]:
        if "input" not in kw:
            kw.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.argv(*args), capture_output=True, text=True, timeout=timeout, **kw
        )

    def ok(self, *args: str | Path, **kw: Any) -> str:
        got = self(*args, **kw)
        assert got.returncode == 0, (args, got)
        return got.stdout

    def bundle(self, *args: str, edit: Callable[[dict[str, Any]], None] | None = None) -> Path:
        """A bundle whose program is ``args``; ``edit`` changes the configuration."""
        self.count += 1
        b = self.base / f"bundle{self.count}"
        b.mkdir()
        self.ok("spec", "-b", b)
        spec = json.loads((b / "config.json").read_text())
        spec["process"].update(terminal=False, args=list(args) or ["sleep", "100"])
        spec["root"].update(path=str(self.rootfs), readonly=False)
        if edit is not None:
            edit(spec)
        (b / "config.json").write_text(json.dumps(spec))
        return b

    def create(
        self, ident: str, bundle: Path, *flags: str | Path
    ) -> subprocess.CompletedProcess[str]:
        """As containerd does: outputs are not pipes of ours, which the container would keep open."""
        with open(self.base / "out", "ab") as out, open(self.base / "err", "ab") as err:
            done = subprocess.run(
                self.argv("create", "-b", bundle, "--pid-file", self.base / f"{ident}.pid", *flags, ident),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, text=True,
            )  # fmt: skip
        return done

    def state(self, ident: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", ident))
        return found

    def failure(self, got: subprocess.CompletedProcess[str]) -> str:
        """A failure as it must be: one line on stderr, one JSON line in the log, status 1; the message."""
        assert got.returncode != 0
        lines = self.log.read_text().splitlines()
        self.log.unlink()
        assert len(lines) == 1, lines
        entry = json.loads(lines[0])
        assert entry["level"] == "error" and entry["time"].endswith("Z")
        if got.stderr is not None:
            assert got.stderr == f"nvsandbox: {entry['msg']}\n"
        return str(entry["msg"])


OWN = f"oci-tests-{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def own_groups() -> Iterator[None]:
    """Control groups to be in: containers' groups lie below, so test runs beside each other can call theirs alike. Left after each
    module: other tests would be in them, too, and a new group of `cpu` allows no real-time scheduling."""
    if os.geteuid() != 0:
        yield
        return
    groups = cgroups.create("", OWN)
    cgroups.join(groups, os.getpid())
    yield
    cgroups.join({n: os.path.dirname(path) for n, path in groups.items()}, os.getpid())
    cgroups.remove(groups)


def traces(name: str) -> list[str]:
    """Control groups of a container called ``name``."""
    return [
        base
        for base, _d, _f in os.walk("/sys/fs/cgroup")
        if os.path.basename(base) == name and f"/{OWN}/" in base
    ]


@pytest.fixture
def rt(tmp_path: Path, rootfs: Path) -> Iterator[Runtime]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    r = Runtime(tmp_path, rootfs)
    yield r
    for ident in os.listdir(r.root) if r.root.is_dir() else ():
        r("delete", "--force", ident)
        assert not traces(ident)
    assert not r.root.is_dir() or os.listdir(r.root) == []
