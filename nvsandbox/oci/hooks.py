"""Running OCI hooks on the host (runtime-spec config.md, "POSIX-platform Hooks")."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any, Final

from ..failure import Failure, reason

DEFAULT_TIMEOUT: Final = 600  # seconds; the specification has none, but nothing may hang for ever
MAX_SHOWN: Final = 512


def run_all(
    kind: str, hooks: list[dict[str, Any]], state: dict[str, Any], enter: Callable[[], None] | None = None
) -> None:  # fmt: skip
    """One after the other, the container's state on stdin. ``enter``: called in the child before exec.

    Raises Failure at the first that fails.
    """
    for i, h in enumerate(hooks):
        _run(f"{kind} hook #{i}", h, json.dumps(state).encode(), str(state["bundle"]), enter)


def _run(
    what: str, h: dict[str, Any], stdin: bytes, cwd: str, enter: Callable[[], None] | None
) -> None:
    argv = [os.fsencode(a) for a in h.get("args") or [h["path"]]]
    given = h.get("env")
    env = dict(e.partition("=")[::2] for e in given) if given else None  # none given: ours
    try:
        p = subprocess.Popen(
            argv, executable=h["path"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, cwd=cwd if os.path.isdir(cwd) else None, start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509  one thread here
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as e:
        why = reason(e) if isinstance(e, OSError) else str(e)
        raise Failure(f"error running {what}: exec `{h['path']}`: {why}") from None
    timeout = h.get("timeout") or DEFAULT_TIMEOUT
    try:
        out, err = p.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        p.kill()
        p.wait()
        raise Failure(f"error running {what}: no end after {timeout} s, killed") from None
    if p.returncode:
        code = f"exit status {p.returncode}" if p.returncode > 0 else f"signal {-p.returncode}"
        raise Failure(f"error running {what}: {code}, stdout: {shown(out)}, stderr: {shown(err)}")


def shown(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())[:MAX_SHOWN]
