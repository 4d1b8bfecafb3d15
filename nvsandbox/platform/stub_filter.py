"""What a stub may ask of the host: the seccomp filter of every stub process (hazards A1, A2, A6).

The application can jump to any ``syscall`` instruction of the stub image with registers of its own, so each rule is
judged as if the application had written the arguments itself. Whether a call traps to the Sentry is decided by the
instruction pointer; what passes is decided here.
"""

from __future__ import annotations

from typing import Final

from . import bpf
from .bpf import allow, eq, mask

PROT_ALL: Final = 7
# SHARED PRIVATE FIXED ANONYMOUS NORESERVE POPULATE NONBLOCK STACK FIXED_NOREPLACE; no HUGETLB, LOCKED, GROWSDOWN, SYNC
MMAP_FLAGS: Final = 0x1 | 0x2 | 0x10 | 0x20 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x100000
MREMAP_FLAGS: Final = 0x1 | 0x2 | 0x4
# NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED FREE REMOVE DONTFORK DOFORK MERGEABLE UNMERGEABLE HUGEPAGE NOHUGEPAGE
# DONTDUMP DODUMP WIPEONFORK KEEPONFORK COLD PAGEOUT POPULATE_READ POPULATE_WRITE
MADVICE: Final = (0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
CLONE_THREAD_FLAGS: Final = 0x3D0F00
CLONE_FORK_FLAGS: Final = 0x00008000 | 17  # CLONE_PARENT | SIGCHLD
ARCH_SET_GS: Final = 0x1001
ARCH_SET_FS: Final = 0x1002
ARCH_GET_FS: Final = 0x1003
ARCH_GET_GS: Final = 0x1004
FUTEX_WAIT: Final = 0
FUTEX_WAKE: Final = 1
# membarrier: QUERY, PRIVATE_EXPEDITED, REGISTER_…, …_SYNC_CORE, REGISTER_…
MEMBARRIER: Final = (0, 8, 16, 32, 64)

RULES: Final = (
    allow(15),  # rt_sigreturn
    allow(202, eq(1, FUTEX_WAIT, FUTEX_WAKE)),
    allow(1, eq(0, 0), eq(2, 8)),  # write: the eventfd
    allow(1, eq(0, 1), eq(2, 1)),  # write: one byte of identity
    allow(9, mask(2, PROT_ALL), mask(3, MMAP_FLAGS)),
    allow(11),  # munmap
    allow(10, mask(2, PROT_ALL)),  # mprotect: no GROWSDOWN/GROWSUP
    allow(3),  # close
    allow(47, eq(0, 1), eq(2, 0)),  # recvmsg: its own socket
    allow(17),  # pread64
    allow(18),  # pwrite64
    allow(25, mask(3, MREMAP_FLAGS)),
    allow(28, eq(2, *MADVICE)),
    allow(56, eq(0, CLONE_THREAD_FLAGS, CLONE_FORK_FLAGS)),
    allow(60),  # exit
    allow(231),  # exit_group
    allow(14, eq(0, 2)),  # rt_sigprocmask(SIG_SETMASK): no more than a forged sigreturn could do
    allow(131),  # sigaltstack
    allow(158, eq(0, ARCH_SET_FS, ARCH_SET_GS, ARCH_GET_FS, ARCH_GET_GS)),
    allow(292, eq(1, 1), eq(2, 0)),  # dup3 onto its socket number
    allow(24),  # sched_yield
    allow(26),  # msync
    allow(27),  # mincore
    allow(149),  # mlock: bounded by the host's RLIMIT_MEMLOCK
    allow(150),  # munlock
    allow(324, eq(0, *MEMBARRIER)),
    allow(228, eq(0, 3)),  # clock_gettime of the thread's own CPU time
    allow(98, eq(0, 0, 1)),  # getrusage of the process or thread itself
    allow(334),  # rseq
)


_made: Final[list[bytes]] = []  # one, to be moved: most of it is the same for every stub


def stub_filter(image_base: int, image_len: int) -> bytes:
    """The filter for a stub whose image is mapped at ``image_base``; ``struct sock_filter`` array."""
    where = (image_base, image_base + image_len)
    if not _made:
        _made.append(bpf.program(RULES, bpf.RET_TRAP, where))
    return bpf.moved(_made[0], where)
