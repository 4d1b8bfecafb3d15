"""What the Sentry and the gofer may ask of the host once they are locked down.

Allow-lists with argument checks; everything else fails with EPERM, opening files with EACCES. The Sentry can't open a
file, make a process, change an address space to executable, or signal anybody but its own stubs (by thread
and with the kick signal, or by pidfd with SIGKILL).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from . import bpf
from .bpf import Rule, allow, eq, mask, refuse
from .interface import KICK_SIGNAL
from .stub_filter import CLONE_THREAD_FLAGS

AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
# SIOCGIF NAME CONF FLAGS ADDR DSTADDR BRDADDR NETMASK METRIC MTU HWADDR INDEX TXQLEN
INTERFACE_IOCTLS: Final = (
    0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942,
)  # fmt: skip
NO_EXEC: Final = 3
TERMINAL_IOCTLS: Final = (
    0x5401, 0x5402, 0x5403, 0x5404, 0x5409, 0x540A, 0x540B, 0x540F, 0x5410, 0x5411, 0x5413, 0x5414, 0x541B,
    0x5421, 0x5425, 0x5429, 0x5450, 0x5451,
)  # fmt: skip

# read write close fstat lseek rt_sigprocmask rt_sigreturn pread64 pwrite64 readv writev sched_yield dup
# sendto recvfrom sendmsg recvmsg shutdown getsockname getsockopt setsockopt exit wait4 fsync fdatasync ftruncate
# fstatfs futex sched_getaffinity exit_group epoll_wait epoll_ctl clock_gettime clock_getres clock_nanosleep waitid
# fallocate eventfd2 epoll_create1 pipe2 preadv pwritev getrandom memfd_create copy_file_range preadv2 pwritev2
# pidfd_open epoll_pwait2 epoll_pwait ppoll poll nanosleep brk munmap mremap madvise getpid gettid getppid uname sysinfo
# getrusage set_robust_list rseq rt_sigaction sigaltstack getuid getgid geteuid getegid fcntl newfstatat sync_file_range
# get_robust_list membarrier fadvise64 readahead select pselect6 accept4
SENTRY_PLAIN: Final = (
    0, 1, 3, 5, 8, 14, 15, 17, 18, 19, 20, 24, 32, 44, 45, 46, 47, 48, 51, 54, 55, 60, 61, 74, 75, 77, 138, 202,
    204, 231, 232, 233, 228, 229, 230, 247, 285, 290, 291, 293, 295, 296, 318, 319, 326, 327, 328, 434, 441, 281,
    271, 7, 35, 12, 11, 25, 28, 39, 186, 110, 63, 99, 98, 273, 334, 13, 131, 102, 104, 107, 108, 72, 262, 277,
    274, 324, 221, 187, 23, 270, 27, 26, 4, 6, 127, 128, 288,
)  # fmt: skip


def sentry_rules(traces: bool) -> list[Rule]:
    """``traces``: the ptrace platform, whose tracer the Sentry is."""
    rules = [allow(nr) for nr in SENTRY_PLAIN]
    rules += [
        allow(9, mask(2, NO_EXEC)),  # mmap
        allow(10, mask(2, NO_EXEC)),  # mprotect
        allow(53, eq(0, AF_UNIX)),  # socketpair
        allow(56, eq(0, CLONE_THREAD_FLAGS)),  # a worker thread
        refuse(435, errno.ENOSYS),  # clone3: the C library then uses clone
        allow(16, eq(1, *TERMINAL_IOCTLS)),  # ioctl on the launcher's terminal
        allow(234, eq(2, KICK_SIGNAL)),  # tgkill
        allow(424, eq(1, 9)),  # pidfd_send_signal(SIGKILL)
        allow(302, eq(2, 0)),  # prlimit64, reading only
        allow(157, eq(0, 15)),  # prctl(PR_SET_NAME)
        *(refuse(nr, errno.EACCES) for nr in (2, 257, 437, 85)),
    ]
    if traces:
        rules.append(allow(101))
    return rules


def sentry_filter(traces: bool, extra: Sequence[Rule] = ()) -> bytes:
    """``struct sock_filter`` array for the Sentry. ``extra``: what a device proxy needs besides."""
    return bpf.program([*extra, *sentry_rules(traces)], bpf.RET_ERRNO | errno.EPERM)


def host_network_rules() -> list[Rule]:
    """For --network=host: internet sockets and routing queries, without a capability in their namespace."""
    rules = [allow(41, eq(0, AF_INET, AF_INET6, AF_NETLINK))]
    rules += [allow(nr) for nr in (42, 49, 50, 52)]  # connect bind listen getpeername
    rules.append(allow(16, eq(1, *INTERFACE_IOCTLS)))
    return rules


# recvmsg sendmsg openat2 openat close fstat newfstatat statx getdents64 lseek readlinkat mkdirat mknodat symlinkat
# linkat unlinkat renameat2 fchmodat fchmod chmod fchownat fchown ftruncate utimensat fchdir listxattr llistxattr
# lgetxattr lsetxattr lremovexattr syncfs fstatfs memfd_create fcntl brk munmap mremap madvise futex rt_sigreturn
# rt_sigaction exit_group getrandom clock_gettime read write rt_sigprocmask exit getpid gettid sched_yield readlink
# sendto recvfrom shutdown poll ppoll getxattr flistxattr fgetxattr setxattr fsetxattr removexattr fremovexattr fsync
# fdatasync truncate pread64 pwrite64 dup dup2 dup3 umask fallocate statfs fchmodat2
GOFER_PLAIN: Final = (
    47, 46, 437, 257, 3, 5, 262, 332, 217, 8, 267, 258, 259, 266, 265, 263, 316, 268, 91, 90, 260, 93, 77, 280, 81,
    194, 195, 192, 189, 198, 306, 138, 319, 72, 12, 11, 25, 28, 202, 15, 13, 231, 318, 228, 0, 1, 14, 60, 39, 186,
    24, 89, 44, 45, 48, 7, 271, 191, 196, 193, 188, 190, 197, 199, 74, 75, 76, 17, 18, 32, 33, 292, 95, 285, 137, 452,
)  # fmt: skip


def gofer_filter() -> bytes:
    """``struct sock_filter`` array for the gofer."""
    rules = [allow(nr) for nr in GOFER_PLAIN]
    rules += [allow(9, mask(2, NO_EXEC)), allow(10, mask(2, NO_EXEC)), refuse(435, errno.ENOSYS)]
    return bpf.program(rules, bpf.RET_ERRNO | errno.EPERM)
