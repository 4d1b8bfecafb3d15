"""The Python library: ``with Sandbox(rootfs=…) as sb: sb.run([...])``."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, final

from ..nvproxy.options import GpuOptions, set_gpus
from . import control
from .config import DEFAULT_INNER, Failure, HostMount, SandboxConfig
from .foreground import exit_code
from .launch import RunningSandbox, load
from .warm import Pool

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PIPE: Final = subprocess.PIPE
Arg = str | bytes | os.PathLike[str]


class SandboxError(Exception):
    """The sandbox could not be started, or died."""


@final
class Result:
    """What a command left: ``returncode`` (128 + signal when killed), ``stdout``, ``stderr``."""

    __slots__ = ("returncode", "stderr", "stdout")

    def __init__(self, returncode: int, stdout: bytes, stderr: bytes) -> None:
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self) -> str:
        return (
            f"Result(returncode={self.returncode}, stdout={self.stdout!r}, stderr={self.stderr!r})"
        )


@final
class Process:
    """A running command; ``stdin``, ``stdout``, ``stderr`` are binary files."""

    def __init__(
        self, sandbox: Sandbox, ident: int, pipes: tuple[IO[bytes], IO[bytes], IO[bytes]]
    ) -> None:
        self._sandbox = sandbox
        self._ident = ident
        self.stdin, self.stdout, self.stderr = pipes
        self.returncode: int | None = None

    def send_signal(self, sig: int) -> None:
        if self.returncode is None:
            self._sandbox._running().signal(self._ident, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def poll(self) -> int | None:
        if self.returncode is None:
            status = self._sandbox._running().wait(self._ident, 0)
            if status is not None:
                self.returncode = exit_code(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            status = self._sandbox._running().wait(self._ident, timeout)
            if status is None:
                raise subprocess.TimeoutExpired("sandbox", timeout or 0)
            self.returncode = exit_code(status)
        return self.returncode

    def communicate(self, input: bytes = b"", timeout: float | None = None) -> tuple[bytes, bytes]:
        """Feeds stdin, reads both outputs to their ends, waits. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        feeder = threading.Thread(target=self._feed, args=(input,), daemon=True)
        feeder.start()
        out: dict[int, list[bytes]] = {self.stdout.fileno(): [], self.stderr.fileno(): []}
        files = [self.stdout.fileno(), self.stderr.fileno()]
        live = list(files)
        while live:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select(live, [], [], left)
            if not ready:
                raise subprocess.TimeoutExpired("sandbox", timeout or 0)
            for fd in ready:
                data = os.read(fd, 1 << 16)
                if data:
                    out[fd].append(data)
                else:
                    live.remove(fd)
        self.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
        feeder.join(1)
        return b"".join(out[files[0]]), b"".join(out[files[1]])

    def _feed(self, data: bytes) -> None:
        try:
            self.stdin.write(data)
            self.stdin.close()
        except (BrokenPipeError, ValueError):
            pass


@final
class Sandbox:
    """One sandbox; commands run in it share its processes, its file system and its memory overlay.

    ``mounts`` maps paths inside to host paths, ``"/host/path"`` or ``("/host/path", "ro")``.
    ``gpus``: "all" or a list of indexes, UUIDs, MIG ids; ``gpu_memory``: what it may use of each, "8g"; ``driver_root``: where the
    driver's user-space lies on the host.
    """

    def __init__(
        self,
        rootfs: Arg = "/",
        mounts: Mapping[str, str | tuple[str, str]] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        hostname: str = "nvsandbox",
        network: str = "none",
        platform: str = "auto",
        gpus: str = "",
        gpu_memory: str = "",
        driver_root: str = "/",
    ) -> None:
        self._env = {"PATH": DEFAULT_PATH, "HOME": "/root", **(env or {})}
        self._cwd = cwd
        host = []
        for target, where in (mounts or {}).items():
            source, mode = (where, "rw") if isinstance(where, str) else where
            host.append(
                HostMount(
                    os.path.abspath(source),
                    os.fsencode(target),
                    mode == "ro",
                    mode != "ro",
                    int(mode == "ro"),
                )
            )
        root = HostMount(os.path.abspath(os.fsdecode(rootfs)))
        self._config = SandboxConfig(
            root, host, list(DEFAULT_INNER), hostname.encode(), network=network, platform=platform
        )
        self._gpus = GpuOptions(gpus, memory=gpu_memory, driver_root=driver_root, required=True)
        self._sb: RunningSandbox | None = None

    def _give_gpus(self) -> None:
        if self._gpus.gpus:
            from ..nvproxy.inject import apply

            set_gpus(self._gpus, self._gpus.gpus)
            apply(self._config, self._env, self._gpus)

    def __enter__(self) -> Sandbox:
        try:
            if self._sb is None:  # not one of a pool
                self._give_gpus()
                load()  # once, for all sandboxes of this program
                self._sb = RunningSandbox(self._config, own_network=True)
        except Failure as e:
            raise SandboxError(str(e)) from None
        return self

    @classmethod
    def pool(cls, n: int, **options: Any) -> SandboxPool:
        """``n`` sandboxes with these options of ``Sandbox``, started now and kept ready; see ``SandboxPool``."""
        return SandboxPool(cls(**options), n)

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process of the sandbox."""
        sb, self._sb = self._sb, None
        if sb is not None:
            sb.close()

    def _running(self) -> RunningSandbox:
        if self._sb is None:
            raise SandboxError("the sandbox is not running (use it in a with statement)")
        return self._sb

    def popen(
        self, args: Sequence[Arg], *, env: Mapping[str, str] | None = None, cwd: str | None = None, uid: int = 0, gid: int = 0
    ) -> Process:  # fmt: skip
        """Starts a command with pipes. Raises FileNotFoundError, PermissionError, SandboxError."""
        sb = self._running()
        merged = {**self._env, **(env or {})}
        process = control.process(
            [os.fsencode(a) for a in args], [os.fsencode(f"{k}={v}") for k, v in merged.items()],
            os.fsencode(cwd or self._cwd), uid, gid,
        )  # fmt: skip
        (r0, w0), (r1, w1), (r2, w2) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        try:
            ident = sb.spawn(process, (r0, w1, w2))
        except Failure as e:
            for fd in (w0, r1, r2):
                os.close(fd)
            kind = {127: FileNotFoundError, 126: PermissionError}.get(e.code, SandboxError)
            raise kind(str(e)) from None
        finally:
            for fd in (r0, w1, w2):
                os.close(fd)
        return Process(
            self, ident, (os.fdopen(w0, "wb", 0), os.fdopen(r1, "rb", 0), os.fdopen(r2, "rb", 0))
        )

    def run(
        self, args: Sequence[Arg], *, input: bytes | str = b"", timeout: float | None = None,
        env: Mapping[str, str] | None = None, cwd: str | None = None, uid: int = 0, gid: int = 0,
    ) -> Result:  # fmt: skip
        """Runs a command to its end. Raises subprocess.TimeoutExpired (the command is killed then)."""
        p = self.popen(args, env=env, cwd=cwd, uid=uid, gid=gid)
        try:
            out, err = p.communicate(input.encode() if isinstance(input, str) else input, timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait(5)
            raise
        finally:
            for f in (p.stdin, p.stdout, p.stderr):
                f.close()
        return Result(p.wait(), out, err)


@final
class SandboxPool:
    """Sandboxes that are ready for their first command: ``with Sandbox.pool(4, rootfs=…) as pool, pool.take() as sb: sb.run(…)``.

    One that is taken is replaced at once, in the background. One whose file trees have changed since it was started, or that has
    died, is replaced when it would be taken; that takes a moment longer.
    """

    def __init__(self, model: Sandbox, n: int) -> None:
        """Raises SandboxError."""
        if model._gpus.gpus:
            raise SandboxError("a pool of sandboxes with GPUs is not possible")
        self._model = model
        try:
            self._pool = Pool(model._config, n)
        except Failure as e:
            raise SandboxError(str(e)) from None

    def take(self) -> Sandbox:
        """A running sandbox, the caller's to close (or to use in a with statement). Raises SandboxError."""
        sb = Sandbox.__new__(Sandbox)
        sb.__dict__.update(self._model.__dict__)
        try:
            sb._sb = self._pool.take()
            self._pool.fill()
        except Failure as e:
            raise SandboxError(str(e)) from None
        return sb

    def close(self) -> None:
        """Ends those that were not taken."""
        self._pool.close()

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
