"""See every ioctl of a tree of processes and what it changed (ptrace(2), x86-64).

Works on a real driver as on the simulated one, because it only watches: argument and nested
parameters are read when the call is entered and again when it returns.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable, Sequence
from typing import Final

from .errors import SimError
from .seccomp import NR, libc

_TRACEME_SEIZE: Final = 0x4206
_SYSCALL: Final = 24
_CONT: Final = 7
_GETREGS: Final = 12
_LISTEN: Final = 0x4208
_OPTIONS: Final = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x100000  # sysgood, fork … exec, exitkill
_WALL: Final = 0x40000000
_EVENT_STOP: Final = 128
_REGS: Final = struct.Struct("<27Q")
_SYSGOOD: Final = signal.SIGTRAP | 0x80
MAX_READ: Final = 1 << 20

Callback = Callable[[int, int, int, int], object]
"""(pid, fd, cmd, arg) at entry; its result goes to the exit callback."""


class Reader:
    """Memory of a traced process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def read(self, addr: int, n: int) -> bytes:
        """``n`` bytes; empty when they aren't there."""
        if not 0 < n <= MAX_READ or not addr or addr >= 1 << 63:
            return b""
        buf = (ctypes.c_char * n)()
        local = (ctypes.c_uint64 * 2)(ctypes.addressof(buf), n)
        remote = (ctypes.c_uint64 * 2)(addr, n)
        if libc.process_vm_readv(self.pid, local, 1, remote, 1, 0) != n:
            return b""
        return buf.raw


def _ptrace(request: int, pid: int, addr: int = 0, data: object = 0) -> int:
    libc.ptrace.restype = ctypes.c_long
    value = data if not isinstance(data, int) else ctypes.c_void_p(data)
    return int(libc.ptrace(request, pid, ctypes.c_void_p(addr), value))


def _registers(pid: int) -> tuple[int, ...] | None:
    buf = ctypes.create_string_buffer(_REGS.size)
    if _ptrace(_GETREGS, pid, 0, buf) < 0:
        return None
    return _REGS.unpack(buf.raw)


def _start(argv: Sequence[str]) -> int:
    """The command, stopped until it is traced."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(ready, 1)
        try:
            os.execvp(argv[0], list(argv))
        except OSError as e:
            os.write(2, f"nvsandbox: `{argv[0]}`: {e.strerror}\n".encode())
        os._exit(127)
    os.close(ready)
    if _ptrace(_TRACEME_SEIZE, pid, 0, _OPTIONS) < 0:
        err = ctypes.get_errno()
        os.close(go)
        os.waitpid(pid, 0)
        raise SimError(f"ptrace: {os.strerror(err)}; allow tracing of child processes")
    os.write(go, b"x")
    os.close(go)
    return pid


class Tracer:
    """Runs a command and reports its ioctls."""

    def __init__(self, enter: Callback, leave: Callable[[object, int, int], None]) -> None:
        self._enter, self._leave = enter, leave
        self._inside: dict[int, object] = {}
        self._in_call: dict[int, bool] = {}

    def run(self, argv: Sequence[str]) -> int:
        """Trace ``argv`` to its end; its exit status."""
        if not argv:
            raise SimError("give a command after --")
        first, code = _start(argv), 0
        _ptrace(_SYSCALL, first)
        while True:
            try:
                pid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                return code
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                self._inside.pop(pid, None)
                self._in_call.pop(pid, None)
                if pid == first:
                    got = os.waitstatus_to_exitcode(status)
                    code = 128 - got if got < 0 else got
                continue
            self._stopped(pid, status)

    def _stopped(self, pid: int, status: int) -> None:
        number, event, deliver = os.WSTOPSIG(status), status >> 16, 0
        if number == _SYSGOOD:
            self._system_call(pid)
        elif event == _EVENT_STOP and number in (
            signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU
        ):  # fmt: skip
            _ptrace(_LISTEN, pid)
            return
        elif event == 0:
            deliver = number
        elif event == 4:  # exec: the call that was entered doesn't return in the usual way
            self._in_call[pid] = True
        _ptrace(_SYSCALL, pid, 0, deliver)

    def _system_call(self, pid: int) -> None:
        entering = not self._in_call.get(pid, False)
        self._in_call[pid] = entering
        regs = _registers(pid)
        if regs is None or regs[15] != NR["ioctl"]:
            return
        fd, cmd, arg = regs[14] & 0xFFFFFFFF, regs[13] & 0xFFFFFFFF, regs[12]
        if entering:
            self._inside[pid] = self._enter(pid, fd, cmd, arg)
        else:
            token = self._inside.pop(pid, None)
            if token is not None:
                raw = regs[10]
                self._leave(token, pid, raw - (1 << 64) if raw >> 63 else raw)


def device_kind(pid: int, fd: int) -> tuple[str, str] | None:
    """Kind (frontend, uvm) and path of a descriptor, if it is a device of the driver."""
    try:
        path = os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError as e:
        if e.errno == errno.EPERM:
            raise SimError("/proc: not permitted to look at the traced process") from None
        return None
    name = path.removeprefix("/memfd:").removesuffix(" (deleted)").rsplit("/", 1)[-1]
    if name.startswith("nvidia-uvm"):
        return "uvm", f"/dev/{name}"
    if name == "nvidiactl" or (name.startswith("nvidia") and name[6:].isdigit()):
        return "frontend", f"/dev/{name}"
    if path.startswith("/memfd:nvidia-"):  # an nvsim descriptor prepared for mmap
        return "frontend", "/dev/nvidia?"
    return None
