"""The state of a container: ``ROOT/ID/state.json``, there from create to delete.

What changes by itself (running, paused, stopped) is not written down but seen: the process of the pid file lives exactly as
long as the container, its start time guards against a pid used again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import string
import time
from collections.abc import Iterator
from typing import Any, Final

from ..failure import Failure, reason

OCI_VERSION: Final = "1.0.2"
ALLOWED: Final = frozenset(string.ascii_letters + string.digits + "_+.-")
MAX_ID: Final = 1024
MAX_STATE: Final = 16 << 20
CREATING: Final = "creating"
CREATED: Final = "created"
RUNNING: Final = "running"
PAUSED: Final = "paused"
STOPPED: Final = "stopped"
State = dict[str, Any]


def check_id(ident: str) -> None:
    """runc's rule for ids. Raises Failure."""
    if not 0 < len(ident) <= MAX_ID or not set(ident) <= ALLOWED or ident in (".", ".."):
        shown = ident if len(ident) <= 80 else ident[:77] + "..."
        raise Failure(
            f"invalid container id `{shown}`: only letters, digits and _ + - . are allowed"
        )


def directory(root: str, ident: str) -> str:
    check_id(ident)
    return os.path.join(root, ident)


def claim(root: str, ident: str) -> str:
    """Makes the state directory. Raises Failure when the id is taken."""
    path = directory(root, ident)
    try:
        os.makedirs(root, 0o711, exist_ok=True)
        os.mkdir(path, 0o711)
    except FileExistsError:
        raise Failure(f"container with id exists already: {ident}") from None
    except OSError as e:
        raise Failure(f"create `{path}`: {reason(e)}") from None
    return path


def remove(path: str) -> None:
    """Removes a state directory; it is known to hold plain files only."""
    with contextlib.suppress(OSError):
        for name in os.listdir(path):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(path, name))
        os.rmdir(path)


def save(path: str, state: State) -> None:
    """Writes ``state.json`` whole or not at all. Raises Failure."""
    write_file(os.path.join(path, "state.json"), json.dumps(state), 0o600)


def write_file(path: str, text: str, mode: int = 0o644) -> None:
    """Atomically. Raises Failure."""
    tmp = os.path.join(os.path.dirname(path) or ".", f".{os.path.basename(path)}.{os.getpid()}")
    try:
        fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            data = text.encode()
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        os.rename(tmp, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            os.unlink(tmp)
        raise Failure(f"write `{path}`: {reason(e)}") from None


def load(root: str, ident: str) -> State:
    """The state of a container that exists. Raises Failure."""
    path = os.path.join(directory(root, ident), "state.json")
    try:
        with open(path, "rb") as f:
            state = json.loads(f.read(MAX_STATE))
    except FileNotFoundError:
        if os.path.isdir(os.path.dirname(path)):  # between claim and the first save
            return {
                "id": ident,
                "pid": 0,
                "status": CREATING,
                "start": 0,
                "bundle": "",
                "created": "",
            }
        raise Failure("container does not exist") from None
    except OSError as e:
        raise Failure(f"open `{path}`: {reason(e)}") from None
    except ValueError:
        raise Failure(f"`{path}`: not a state file") from None
    if not isinstance(state, dict) or not isinstance(state.get("pid"), int):
        raise Failure(f"`{path}`: not a state file")
    return state


def start_time(pid: int) -> int:
    """Clock ticks after boot at which a process started; 0 if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read(4096).rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[19]) if len(fields) > 19 and fields[0] not in (b"Z", b"X") else 0


def alive(state: State) -> bool:
    pid = int(state["pid"])
    return pid > 0 and start_time(pid) == state.get("start") != 0


def status(state: State) -> str:
    """The OCI status as of now."""
    if state.get("status") == CREATING and (not state["pid"] or alive(state)):
        return CREATING
    if not alive(state):
        return STOPPED
    groups = state.get("cgroup")
    if groups:
        from . import cgroups

        if cgroups.frozen(groups):
            return PAUSED
    return CREATED if state.get("status") == CREATED else RUNNING


def about(state: State) -> State:
    """What `state` prints and hooks get on stdin."""
    now = status(state)
    return {
        "ociVersion": OCI_VERSION, "id": state["id"], "status": now,
        "pid": 0 if now == STOPPED else state["pid"], "bundle": state.get("bundle", ""),
        "annotations": state.get("annotations") or {},
    }  # fmt: skip


@contextlib.contextmanager
def locked(root: str, ident: str) -> Iterator[None]:
    """One command that changes a container at a time. Raises Failure when it does not exist."""
    try:
        fd = os.open(directory(root, ident), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        gone = isinstance(e, (FileNotFoundError, NotADirectoryError))
        raise Failure(
            "container does not exist" if gone else f"open `{ident}`: {reason(e)}"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def control(root: str, ident: str, st: State) -> tuple[str, str]:
    """(directory of the control socket, the container's name there): a pod's, or its own."""
    return (st["pod"], ident) if st.get("pod") else (directory(root, ident), "")


def all_ids(root: str) -> list[str]:
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    return [n for n in names if set(n) <= ALLOWED and os.path.isdir(os.path.join(root, n))]


def now_text() -> str:
    """RFC 3339 with nanoseconds, as Go prints it."""
    ns = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"
