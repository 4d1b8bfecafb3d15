"""Running programs in a sandbox with GPUs on the simulated driver, and calls composed from the ABI database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from inside import PLATFORMS, REPO

from nvsandbox.nvproxy.abi import Release, database
from nvsandbox.nvproxy.abi.view import Layouts, View
from nvsandbox.nvproxy.plan import escape_cmd

DRIVER = "535.261.03"
NVSIM = Path(__file__).resolve().parents[1] / "nvsim"
PLAYER = Path(__file__).with_name("player.py")


def nvidia_libs() -> Path:
    done = subprocess.run(
        [sys.executable, str(REPO / "tools/nvidia_libs.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


@dataclass(frozen=True)
class Inside:
    """``nvsandbox gpu sim OPTS -- nvsandbox FLAGS do DO_FLAGS -- CMD``."""

    libs: Path
    rootfs: Path
    platform: str

    def run(
        self,
        cmd: Sequence[str],
        opts: Sequence[str] = (),
        gpus: str = "all",
        flags: Sequence[str] = (),
        do_flags: Sequence[str] = (),
        stdin: bytes = b"",
        timeout: float = 100,
        check: int | None = 0,
    ) -> subprocess.CompletedProcess[bytes]:
        main = [sys.executable, "-m", "nvsandbox.cli.main"]
        asked = ["--gpus", gpus] if gpus else []
        inner = [
            *main,
            f"--platform={self.platform}",
            *flags,
            "do",
            "--rootfs",
            str(self.rootfs),
            *asked,
            *do_flags,
        ]
        env = {**os.environ, "NVSANDBOX_DRIVER_ROOT": str(self.libs), "PYTHONPATH": str(REPO)}
        env.pop("LD_LIBRARY_PATH", None)
        done = subprocess.run(
            [*main, "gpu", "sim", *opts, "--", *inner, "--", *cmd],
            input=stdin, capture_output=True, timeout=timeout, env=env, check=False,
        )  # fmt: skip
        if check is not None:
            told = done.stdout[-2000:] + done.stderr[-4000:]
            assert done.returncode == check, told.decode("utf-8", "replace")
        return done

    def native(
        self, cmd: Sequence[str], opts: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        """The same program under the simulator alone, with the same libraries."""
        env = {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.libs / "usr/lib/x86_64-linux-gnu/nvidia/current"),
        }
        env["PYTHONPATH"] = str(REPO)
        return subprocess.run(
            [sys.executable, "-m", "nvsandbox.cli.main", "gpu", "sim", *opts, "--", *cmd],
            capture_output=True, timeout=100, env=env, check=False,
        )  # fmt: skip

    @property
    def smi(self) -> str:
        return str(self.libs / "usr/lib/nvidia/current/nvidia-smi")

    def play(self, steps: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
        """The player's results. No handler of the Sentry may have failed."""
        done = self.run(
            ["python3", "/player.py"],
            do_flags=["-v", f"{PLAYER}:/player.py:ro", *more.pop("do_flags", ())],
            stdin=json.dumps(steps).encode(), flags=["--debug", *more.pop("flags", ())],
            **{"check": None, **more},
        )  # fmt: skip
        err = done.stderr.decode("utf-8", "replace")
        assert "Traceback" not in err and done.returncode == 0, err[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where nvsim's own CUDA programs are."""
    out = tmp_path_factory.mktemp("bin")
    for name in ("cuda_client", "memory_client", "calls_client"):
        source = NVSIM / f"{name}.c"
        subprocess.run(
            ["gcc", "-O1", "-o", str(out / name), str(source), "-ldl", "-lpthread"], check=True
        )
    return out


@pytest.fixture(scope="session")
def libs() -> Path:
    return nvidia_libs()


@pytest.fixture
def inside(libs: Path, rootfs: Path, platform: str) -> Inside:
    return Inside(libs, rootfs, platform)


@pytest.fixture
def first(libs: Path, rootfs: Path) -> Inside:
    """On one platform: what doesn't depend on it."""
    return Inside(libs, rootfs, PLATFORMS[0])


@dataclass
class Calls:
    """Steps for the player, by the layouts of one release."""

    release: Release = field(default_factory=lambda: database().release(DRIVER))
    steps: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layouts = Layouts(self.release)

    def add(self, **step: Any) -> Calls:
        self.steps.append(step)
        return self

    def open(self, path: str, name: str) -> Calls:
        return self.add(op="open", path=path, **{"as": name})

    def fill(self, struct: str, values: dict[str, int]) -> bytes:
        buf = bytearray(self.layouts.size(struct))
        v = View(self.layouts, self.layouts.table(struct), buf)
        for name, value in values.items():
            *path, last = name.split(".")
            at = v
            for p in path:
                at = at.sub(p)
            at[last] = value
        return bytes(buf)

    def at(self, struct: str, name: str) -> tuple[int, int]:
        """Offset and size of a field."""
        v = View(self.layouts, self.layouts.table(struct), bytearray(self.layouts.size(struct)))
        *path, last = name.split(".")
        for p in path:
            v = v.sub(p)
        f = v.fields()[last]
        return v.base + f.offset, f.size

    def escape(
        self, fd: str, name: str, struct: str, values: dict[str, Any] | None = None, **more: Any
    ) -> Calls:
        """A frontend ioctl; values that are text are variables or descriptors of the player."""
        nr = next(i.id for i in self.release.ioctls.values() if i.name == name)
        plain = {k: v for k, v in (values or {}).items() if isinstance(v, int)}
        sets = [[*self._set(struct, k, v)] for k, v in (values or {}).items() if isinstance(v, str)]
        arg = self.fill(struct, plain)
        return self.add(
            op="ioctl",
            fd=fd,
            cmd=escape_cmd(nr, len(arg)),
            arg=arg.hex(),
            sets=sets + more.pop("sets", []),
            **more,
        )

    def _set(self, struct: str, name: str, value: str) -> tuple[int, str, int]:
        at, size = self.at(struct, name)
        return at, value, size

    def root(self, fd: str, handle: int) -> Calls:
        """A client with a handle of our choice."""
        return self.escape(
            fd, "NV_ESC_RM_ALLOC", "NVOS64_PARAMETERS", {"hObjectNew": handle, "hClass": 0x41}
        )

    def alloc(
        self, fd: str, client: int, parent: int, handle: int, cls: int, struct: str = "",
        values: dict[str, Any] | None = None,
    ) -> Calls:  # fmt: skip
        head = {"hRoot": client, "hObjectParent": parent, "hObjectNew": handle, "hClass": cls}
        ptrs = []
        if struct:
            plain = {k: v for k, v in (values or {}).items() if isinstance(v, int)}
            inner = [
                [*self._set(struct, k, v)] for k, v in (values or {}).items() if isinstance(v, str)
            ]
            at, _ = self.at("NVOS64_PARAMETERS", "pAllocParms")
            ptrs = [[at, self.fill(struct, plain).hex(), inner]]
        return self.escape(fd, "NV_ESC_RM_ALLOC", "NVOS64_PARAMETERS", head, ptrs=ptrs)

    def control(
        self,
        fd: str,
        client: int,
        obj: int,
        name: str | int,
        values: dict[str, Any] | None = None,
        **more: Any,
    ) -> Calls:
        """A control command, by name or, with ``raw`` parameters, by number."""
        c = self.release.command_named(name) if isinstance(name, str) else None
        data = more.pop("data", None)
        inner: list[list[Any]] = []
        if data is None:
            assert c is not None
            plain = {k: v for k, v in (values or {}).items() if isinstance(v, int)}
            inner = [
                [*self._set(c.params, k, v)]
                for k, v in (values or {}).items()
                if isinstance(v, str)
            ]
            data = self.fill(c.params, plain) if c.params else b""
        cmd = c.id if c is not None else int(name)
        head = {
            "hClient": client,
            "hObject": obj,
            "cmd": cmd,
            "paramsSize": more.pop("size", len(data)),
        }
        at, _ = self.at("NVOS54_PARAMETERS", "params")
        ptrs = [[at, data.hex(), inner]] if data else []
        return self.escape(fd, "NV_ESC_RM_CONTROL", "NVOS54_PARAMETERS", head, ptrs=ptrs, **more)

    def free(self, fd: str, client: int, handle: int) -> Calls:
        return self.escape(
            fd, "NV_ESC_RM_FREE", "NVOS00_PARAMETERS", {"hRoot": client, "hObjectOld": handle}
        )

    def view(self, struct: str, data: str) -> View:
        """A result's bytes by field."""
        return View(self.layouts, self.layouts.table(struct), bytearray.fromhex(data))

    def status(self, result: dict[str, Any], struct: str) -> int:
        return self.view(struct, result["arg"])["status"]
