"""The control socket between a launcher and its Sentry: one JSON object a packet, descriptors beside it.

Launcher to Sentry:
  {"op": "spawn", "id": N, "process": {...}, "init": bool}  with the descriptors for 0, 1, 2
  {"op": "signal", "id": N, "sig": S}
  {"op": "resize", "id": N, "rows": R, "cols": C}   of a process with "terminal"
  {"op": "stop"}
Sentry to launcher:
  {"ev": "ready"} · {"ev": "started", "id": N, "pid": P} · {"ev": "failed", "id": N, "errno": E, "msg": TEXT} ·
  {"ev": "exited", "id": N, "status": wait status}
Bytes travel as latin-1 text, so that every name is representable.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Final

MAX_PACKET: Final = 1 << 20
MAX_FDS: Final = 16

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
