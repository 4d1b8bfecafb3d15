"""One notified call and the memory of the thread that made it.

Everything read here is hostile: a value is copied once and then used from the copy; sizes are
bounded before anything is copied. A thread may die at any moment: then its answer is dropped.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import Final

from .seccomp import libc

_RECV: Final = 0xC0502100
_SEND: Final = 0xC0182101
_ID_VALID: Final = 0x40082102
_ADDFD: Final = 0x40182103
_SET_FLAGS: Final = 0x40082104
_ADDFD_SETFD: Final = 1
_ADDFD_SEND: Final = 2
_FLAG_CONTINUE: Final = 1
_NR_PIDFD_OPEN: Final = 434
_NR_PIDFD_GETFD: Final = 438
MAX_COPY: Final = 1 << 20
PATH_MAX: Final = 4096
_NOTIF: Final = struct.Struct("<QIIiIQ6Q")


class Request:
    """A notification: who called what with which arguments."""

    __slots__ = ("_listener", "answered", "args", "id", "nr", "pid")

    def __init__(self, listener: Listener, raw: bytes | bytearray) -> None:
        self._listener = listener
        self.id, self.pid, _, self.nr, _, _, *args = _NOTIF.unpack(raw)
        self.args: list[int] = args
        self.answered = False

    def read(self, addr: int, n: int) -> bytearray:
        """``n`` bytes of the caller's memory; EFAULT when they aren't all there."""
        if n == 0:
            return bytearray()
        if n > MAX_COPY or addr >= 1 << 63:
            raise OSError(errno.EFAULT, "read")
        buf = bytearray(n)
        at = (ctypes.c_char * n).from_buffer(buf)
        local = (ctypes.c_uint64 * 2)(ctypes.addressof(at), n)
        remote = (ctypes.c_uint64 * 2)(addr, n)
        if libc.process_vm_readv(self.pid, local, 1, remote, 1, 0) != n:
            raise OSError(errno.EFAULT, "read")
        return buf

    def write(self, addr: int, data: bytes | bytearray) -> None:
        """Write all of ``data``; not when the caller has gone and its pid may be reused."""
        n = len(data)
        if n == 0:
            return
        if addr >= 1 << 63 or not self.alive():
            raise OSError(errno.EFAULT, "write")
        buf = (ctypes.c_char * n).from_buffer_copy(data)
        local = (ctypes.c_uint64 * 2)(ctypes.addressof(buf), n)
        remote = (ctypes.c_uint64 * 2)(addr, n)
        if libc.process_vm_writev(self.pid, local, 1, remote, 1, 0) != n:
            raise OSError(errno.EFAULT, "write")

    def cstr(self, addr: int) -> bytes:
        """A path; reads never cross a page, which may be the last one mapped."""
        out = b""
        while len(out) < PATH_MAX:
            n = min(256, 0x1000 - (addr & 0xFFF))
            chunk = self.read(addr, n)
            end = chunk.find(0)
            if end >= 0:
                return out + bytes(chunk[:end])
            out, addr = out + bytes(chunk), addr + n
        raise OSError(errno.ENAMETOOLONG, "path")

    def alive(self) -> bool:
        """Whether the caller still waits for this answer."""
        return self._listener.valid(self.id)

    def reply(self, value: int = 0) -> None:
        """Let the call return ``value``; negative: an errno."""
        self.answered = True
        self._listener.send(self.id, max(value, 0), min(value, 0), 0)

    def proceed(self) -> None:
        """Let the kernel do the call."""
        self.answered = True
        self._listener.send(self.id, 0, 0, _FLAG_CONTINUE)

    def reply_fd(self, fd: int, cloexec: bool) -> None:
        """Let the call return a new descriptor for our file ``fd``, in one step."""
        self.answered = True
        self._listener.add_fd(self.id, fd, _ADDFD_SEND, 0, os.O_CLOEXEC if cloexec else 0)

    def replace_fd(self, fd: int, at: int, cloexec: bool) -> bool:
        """Put our file ``fd`` at the caller's descriptor ``at``."""
        return self._listener.add_fd(self.id, fd, _ADDFD_SETFD, at, os.O_CLOEXEC if cloexec else 0)

    def new_fd(self, fd: int) -> int:
        """Put our file ``fd`` at a free descriptor of the caller; its number, -1 when that can't be."""
        try:
            return self._listener.install(self.id, fd, os.O_CLOEXEC)
        except OSError:
            return -1

    def stat_fd(self, fd: int) -> tuple[int, int] | None:
        """Device and inode behind the caller's descriptor."""
        try:
            st = os.stat(f"/proc/{self.pid}/fd/{fd & 0xFFFFFFFF}")
        except OSError:
            return None
        return st.st_dev, st.st_ino

    def borrow_fd(self, fd: int) -> int:
        """Our own descriptor for the caller's open file ``fd`` (pidfd_getfd(2))."""
        return get_fd(self.tgid(), fd)

    def tgid(self) -> int:
        """The process the calling thread belongs to."""
        return thread_group(self.pid)

    def euid(self) -> int:
        """Effective user of the calling thread."""
        try:
            with open(f"/proc/{self.pid}/status", "rb") as f:
                for line in f:
                    if line.startswith(b"Uid:"):
                        return int(line.split()[2])
        except OSError:
            pass
        return 65534


def thread_group(tid: int) -> int:
    """Process id of a thread; the thread's own when it has gone."""
    try:
        with open(f"/proc/{tid}/status", "rb") as f:
            for line in f:
                if line.startswith(b"Tgid:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return tid


def get_fd(pid: int, fd: int) -> int:
    """Duplicate descriptor ``fd`` of process ``pid``."""
    pidfd = int(libc.syscall(_NR_PIDFD_OPEN, pid, 0))
    if pidfd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_open")
    try:
        got = int(libc.syscall(_NR_PIDFD_GETFD, pidfd, fd, 0))
    finally:
        os.close(pidfd)
    if got < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return got


class Listener:
    """The descriptor notifications come from."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._buf = bytearray(_NOTIF.size)
        try:
            fcntl.ioctl(fd, _SET_FLAGS, 1)  # wake on the same CPU; only faster, 6.6 and newer
        except OSError:
            pass

    def receive(self) -> Request | None:
        """The next notification; ``None`` when its caller has gone meanwhile."""
        self._buf[:] = bytes(_NOTIF.size)
        try:
            fcntl.ioctl(self.fd, _RECV, self._buf, True)
        except (FileNotFoundError, InterruptedError):
            return None
        return Request(self, self._buf)

    def valid(self, ident: int) -> bool:
        """Whether the notification is still waited for."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, struct.pack("<Q", ident))
        except OSError:
            return False
        return True

    def send(self, ident: int, value: int, err: int, flags: int) -> None:
        """Answer; silently dropped when the caller is gone."""
        try:
            fcntl.ioctl(self.fd, _SEND, struct.pack("<QqiI", ident, value, err, flags))
        except FileNotFoundError:
            pass

    def install(self, ident: int, fd: int, fd_flags: int) -> int:
        """A new descriptor in the caller. Raises OSError."""
        order = bytearray(
            struct.pack("<QIIII", ident, 0, fd, 0, fd_flags)
        )  # one that can be changed: then it returns a number
        return int(fcntl.ioctl(self.fd, _ADDFD, order, True))

    def add_fd(self, ident: int, fd: int, flags: int, at: int, fd_flags: int) -> bool:
        """Install our descriptor in the caller."""
        try:
            fcntl.ioctl(self.fd, _ADDFD, struct.pack("<QIIII", ident, flags, fd, at, fd_flags))
        except FileNotFoundError:
            return False
        except OSError as e:
            if flags & _ADDFD_SEND:
                self.send(ident, 0, -(e.errno or errno.EIO), 0)
            return False
        return True
