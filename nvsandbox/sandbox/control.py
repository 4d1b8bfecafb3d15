"""Control sockets of a Sentry: one JSON object a packet, descriptors beside it.

The launcher has one connection from the start; when it ends, the sandbox ends. With a listening socket (OCI containers)
others connect, each with numbers of its own for its processes, which die with their connection.

To the Sentry:
  {"op": "spawn", "id": N, "process": {...}, "init": bool, "hold": bool, "container": C}  with descriptors 0, 1, 2…
  {"op": "container", "container": C, "tree": {...}, "seccomp": {...} or null, "shares_pids": bool}    one more of a pod; with
      its gofer's descriptor
  {"op": "start", "container": C}     the program that was held goes
  {"op": "signal", "id": N, "sig": S}
  {"op": "kill", "sig": S, "all": bool, "container": C}     its first program, or all of its processes
  {"op": "resize", "id": N, "rows": R, "cols": C}   of a process with "terminal"
  {"op": "ps", "container": C} · {"op": "stats"} · {"op": "limits", "container": C, "memory": BYTES or null, "pids": N or null,
      "cpu_max": [QUOTA, PERIOD] or null}
  {"op": "network", "links": […], "addresses": […], …}     all there is now (sandbox/takeover.py), with sockets
  {"op": "files"}     with pairs of descriptors, read-write and read-only, of fresh files (sandbox/disk_files.py)
  {"op": "ready"}     nothing is to be done for now: time to get ready for the first program
  {"op": "stop"}
From the Sentry:
  {"ev": "ready"} · {"ev": "started", "id": N, "pid": P} · {"ev": "failed", "id": N, "errno": E, "msg": TEXT} ·
  {"ev": "exited", "id": N, "status": wait status} · {"ev": "done", …}: answer to start, kill, ps, stats, limits ·
  {"ev": "network"}: asks the launcher for a "network" · {"ev": "files"}: for "files"
Bytes travel as latin-1 text, so that every name is representable.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Final

MAX_PACKET: Final = 1 << 20
MAX_FDS: Final = 250

Message = dict[str, Any]


def send(sock: socket.socket, msg: Message, fds: tuple[int, ...] = ()) -> None:
    """Raises OSError when the other side is gone."""
    data = json.dumps(msg).encode()
    if fds:
        socket.send_fds(sock, [data], list(fds))
    else:
        sock.send(data)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message; None at end of file. Raises BlockingIOError, ValueError for what is not a message."""
    data, fds, _flags, _addr = socket.recv_fds(sock, MAX_PACKET, MAX_FDS)
    if not data:
        return None
    msg = json.loads(data)
    if not isinstance(msg, dict):
        raise ValueError("not an object")
    return msg, list(fds)


def text(b: bytes) -> str:
    return b.decode("latin-1")


def raw(s: str) -> bytes:
    return s.encode("latin-1", "replace")


def process(
    argv: list[bytes], env: list[bytes], cwd: bytes = b"/", uid: int = 0, gid: int = 0, **more: Any
) -> Message:
    """The ``process`` object of a spawn message."""
    return {
        "argv": [text(a) for a in argv],
        "env": [text(e) for e in env],
        "cwd": text(cwd),
        "uid": uid,
        "gid": gid,
        **more,
    }


def exit_code_of(err: int) -> int:
    """A shell's exit code for a program that can't be run: 127 not found, 126 anything else."""
    return 127 if err in (2, 20) else 126
