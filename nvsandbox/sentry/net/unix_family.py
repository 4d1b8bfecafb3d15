"""The AF_UNIX family: a class for each way of sending, and socket(2)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, final

from ..abi.socket import AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM
from ..errors import SysErr
from . import unix_dgram, unix_gc, unix_stream
from .socket import Received, Socket, Ucred, register_family
from .unix import UnixSocket

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription


@final
class StreamSocket(UnixSocket):
    """SOCK_STREAM."""

    __slots__ = ()

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        if files:
            unix_gc.check_limit(t, len(files))
        return unix_stream.send(self, t, data, addr, flags, files, creds)

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        return unix_stream.recv(self, t, size, flags)


@final
class MessageSocket(UnixSocket):
    """SOCK_DGRAM and SOCK_SEQPACKET."""

    __slots__ = ()

    def send(
        self, t: Task, data: bytes, addr: bytes | None, flags: int,
        files: list[FileDescription], creds: Ucred | None,
    ) -> int:  # fmt: skip
        if files:
            unix_gc.check_limit(t, len(files))
        return unix_dgram.send(self, t, data, addr, flags, files, creds)

    def recv(self, t: Task, size: int, flags: int) -> Received | int:
        return unix_dgram.recv(self, t, size, flags)


def create_unix(t: Task, type: int, protocol: int) -> Socket:
    """Raises EPROTONOSUPPORT, ESOCKTNOSUPPORT."""
    if protocol not in (0, AF_UNIX):
        raise SysErr(errno.EPROTONOSUPPORT)
    if type == SOCK_STREAM:
        return StreamSocket(t, type)
    if type == SOCK_RAW:  # taken for SOCK_DGRAM
        type = SOCK_DGRAM
    if type not in (SOCK_DGRAM, SOCK_SEQPACKET):
        raise SysErr(errno.ESOCKTNOSUPPORT)
    return MessageSocket(t, type)


register_family(AF_UNIX, create_unix)
