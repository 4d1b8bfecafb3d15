"""Start a program under a seccomp filter whose notifications this process answers.

seccomp(2), seccomp_unotify(2). The filter looks at the architecture first, then only at call and
ioctl numbers: ``mmap`` is never notified (a memfd answers it natively). It is installed with
WAIT_KILLABLE_RECV (Linux 5.19), or a signal would make the kernel send a call twice.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import signal
import socket
import struct
from collections.abc import Sequence
from typing import Final

from .errors import SimError

libc: Final = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

AUDIT_ARCH_X86_64: Final = 0xC000003E
_NR_SECCOMP: Final = 317
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 1 << 3
_WAIT_KILLABLE_RECV: Final = 1 << 5
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_RET_ALLOW: Final = 0x7FFF0000
_RET_USER_NOTIF: Final = 0x7FC00000

NR: Final = {
    "open": 2, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "ioctl": 16, "access": 21,
    "getdents": 78, "readlink": 89, "getdents64": 217, "epoll_ctl": 233, "openat": 257,
    "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "ppoll": 271, "statx": 332,
    "openat2": 437, "faccessat2": 439,
}  # fmt: skip
"""x86-64 numbers of the calls that are notified."""
NAME_OF: Final = {nr: name for name, nr in NR.items()}

UVM_INITIALIZE: Final = 0x30000001
UVM_DEINITIALIZE: Final = 0x30000002
_UVM_LIMIT: Final = 0x800
_FRONTEND_TYPE: Final = ord("F") << 8


def _program() -> list[tuple[int, int, int, int]]:
    """Classic BPF: (code, jump if true, jump if false, operand)."""
    ld, jeq, jge, alu_and, ret = 0x20, 0x15, 0x35, 0x54, 0x06
    notify, allow = (ret, 0, 0, _RET_USER_NOTIF), (ret, 0, 0, _RET_ALLOW)
    prog = [(ld, 0, 0, 4), (jeq, 1, 0, AUDIT_ARCH_X86_64), allow, (ld, 0, 0, 0)]
    for name, nr in NR.items():
        if name != "ioctl":
            prog += [(jeq, 0, 1, nr), notify]
    prog += [(jeq, 1, 0, NR["ioctl"]), allow, (ld, 0, 0, 24)]  # low word of the second argument
    for number in (UVM_INITIALIZE, UVM_DEINITIALIZE):
        prog += [(jeq, 0, 1, number), notify]
    prog += [(jge, 1, 0, _UVM_LIMIT), notify]
    prog += [(alu_and, 0, 0, 0xFF00), (jeq, 0, 1, _FRONTEND_TYPE), notify, allow]
    return prog


def _install() -> int:
    prog = _program()
    code = b"".join(struct.pack("<HBBI", *i) for i in prog)
    buf = ctypes.create_string_buffer(code, len(code))
    fprog = ctypes.create_string_buffer(struct.pack("<H6xQ", len(prog), ctypes.addressof(buf)), 16)
    flags = _NEW_LISTENER | _WAIT_KILLABLE_RECV
    fd = int(libc.syscall(_NR_SECCOMP, _SET_MODE_FILTER, flags, fprog))
    if fd < 0 and ctypes.get_errno() == errno.EACCES:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        fd = int(libc.syscall(_NR_SECCOMP, _SET_MODE_FILTER, flags, fprog))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


_REASONS: Final = {
    errno.EBUSY: "another supervisor already listens here (a nested nvsim?); start only one",
    errno.EINVAL: "the kernel lacks WAIT_KILLABLE_RECV; Linux 5.19 or newer is needed",
    errno.EACCES: "not permitted; allow seccomp(2) and no_new_privs for this process, or be root",
    errno.EPERM: "refused, by a container's filter perhaps; allow seccomp(2) for this process",
    errno.ENOSYS: "seccomp(2) is not available here; allow it for this process",
}


def _child(sock: socket.socket, argv: Sequence[str]) -> None:
    """Install, hand the listener over, exec. Nothing in between may make a notified call.

    The command dies with its supervisor: without one every notified call would be ENOSYS.
    """
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        fd = _install()
    except OSError as e:
        sock.sendmsg([struct.pack("<i", e.errno or errno.EIO)])
        os._exit(127)
    sock.sendmsg(
        [struct.pack("<i", 0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    )
    os.close(fd)
    try:
        os.execvp(argv[0], list(argv))
    except OSError as e:
        os.write(2, f"nvsandbox: `{argv[0]}`: {e.strerror}\n".encode())
    os._exit(127 if not os.path.exists(argv[0]) else 126)


def spawn(argv: Sequence[str]) -> tuple[int, int]:
    """Start ``argv`` under the filter; its pid and the listener."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _child(theirs, argv)
        finally:
            os._exit(127)
    theirs.close()
    with ours:
        data, ancillary, _, _ = ours.recvmsg(4, socket.CMSG_SPACE(4))
    (err,) = struct.unpack("<i", data) if len(data) == 4 else (errno.EIO,)
    if err or not ancillary:
        os.waitpid(pid, 0)
        raise SimError(f"seccomp listener: {_REASONS.get(err, os.strerror(err))}")
    return pid, int(array.array("i", ancillary[0][2])[0])
