"""Talking to a running sandbox through its control socket (sandbox/control.py)."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

from ..failure import Failure, reason
from ..sandbox import control

SOCKET: Final = "control.sock"
PATIENCE: Final = 10.0  # seconds for an answer


def listen(directory: str) -> socket.socket:
    """The control socket of a new sandbox. The name may be longer than a socket address: bound through /proc."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.bind(f"/proc/self/fd/{fd}/{SOCKET}")
        os.chmod(f"/proc/self/fd/{fd}/{SOCKET}", 0o600)
        sock.listen(64)
    finally:
        os.close(fd)
    return sock


def connect(directory: str) -> socket.socket:
    """Raises Failure when the sandbox is not there."""
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise Failure("container does not exist") from None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.settimeout(PATIENCE)
        sock.connect(f"/proc/self/fd/{fd}/{SOCKET}")
    except OSError as e:
        sock.close()
        if isinstance(e, (FileNotFoundError, ConnectionRefusedError)):
            raise Failure("container not running") from None
        raise Failure(f"connect to the sandbox: {reason(e)}") from None
    finally:
        os.close(fd)
    return sock


def receive(sock: socket.socket) -> control.Message:
    """The next message. Raises Failure when the sandbox is gone or silent."""
    msg, fds = receive_fds(sock)
    for fd in fds:
        os.close(fd)
    return msg


def receive_fds(sock: socket.socket) -> tuple[control.Message, list[int]]:
    """The next message with its descriptors. Raises Failure when the sandbox is gone or silent."""
    try:
        got = control.receive(sock)
    except TimeoutError:
        raise Failure("the sandbox does not answer") from None
    except (OSError, ValueError) as e:
        raise Failure(f"the sandbox answers nonsense: {e}") from None
    if got is None:
        raise Failure("container not running")
    return got


def request(directory: str, msg: control.Message) -> control.Message:
    """One order and its answer. Raises Failure."""
    with contextlib.closing(connect(directory)) as sock:
        try:
            control.send(sock, msg)
        except OSError:
            raise Failure("container not running") from None
        answer = receive(sock)
    if answer.get("ev") == "failed":
        raise Failure(str(answer.get("msg")))
    return answer
