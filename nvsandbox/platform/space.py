"""Host processes: the zygote, clean stubs and forked stubs, whatever the platform.

A ``Space`` is one host process, so one application address space. Its descriptors and mappings are made by the
Sentry; the process gets them over the socket of the one that clones it. Who a process is, the host kernel says
(SCM_CREDENTIALS on its own socket), never the stub.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import resource
import signal
from collections.abc import Callable
from typing import Any, ClassVar, Final, final

from .interface import (
    CMD_LEN,
    KICK_SIGNAL,
    LOW_RET,
    LOW_TABLE,
    OP_FORK,
    OP_MOVE,
    OP_RECVFD,
    REGION_LEN,
    SLOT_LEN,
    SLOT_OFF,
    SLOT_SIZE,
    SLOTS,
    VDSO_OFF,
    WIN_OFF,
)
from .native._native import ffi, lib
from .native.hot import Trap
from .stub_filter import stub_filter

F_ADD_SEALS: Final = 1033
F_SEAL_SEAL: Final = 1
F_SEAL_SHRINK: Final = 2
F_SEAL_GROW: Final = 4
F_SEAL_FUTURE_WRITE: Final = 16
ZYGOTE_BASE: Final = 0x6000_0000_0000


class PlatformError(Exception):
    """The host did not do what the platform needs."""


@final
class Thread:
    """A host thread of a stub: its slot, and the native record through which it is answered."""

    __slots__ = ("cdata", "ev", "index", "mem", "regs", "space", "trap")

    def __init__(self, space: Space, index: int, task_id: int) -> None:
        self.space = space
        self.index = index
        base = SLOT_OFF + space.base if space.base else 0
        self.cdata = lib.nv_task_new(task_id, space.slots, space.cmds, base, index)
        if self.cdata == ffi.NULL:
            raise MemoryError
        self.trap = Trap(int(ffi.cast("uintptr_t", self.cdata)))
        whole = memoryview(ffi.buffer(self.cdata))
        nev = int(lib.NV_E_N) * 8
        self.ev = whole[:nev].cast("q")
        self.regs = whole[nev : nev + 18 * 8].cast("Q")
        slot = ffi.buffer(space.slots + index * SLOT_SIZE, SLOT_SIZE)
        self.mem = memoryview(slot)

    def set_id(self, task_id: int) -> None:
        self.cdata.id = task_id

    def host_tid(self) -> int:
        return int(lib.nv_slot_tid(self.cdata))


@final
class Shell:
    """Slots, commands and socket of a space whose process isn't there yet.

    Never used twice: a process that was tampered with may have left a clone behind that still has the memory.
    """

    __slots__ = ("child_sock", "cmds", "cmds_fd", "slots", "slots_fd", "sock")

    def __init__(self) -> None:
        self.slots_fd = _memfd("nv-slots", SLOT_LEN)
        self.cmds_fd = _memfd("nv-cmds", CMD_LEN)
        both = lib.nv_map_pair(self.cmds_fd, CMD_LEN, self.slots_fd, SLOT_LEN)
        if both == ffi.NULL:
            raise PlatformError("cannot map a stub's slots")
        self.cmds = ffi.cast("char *", both)
        self.slots = self.cmds + CMD_LEN
        seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
        fcntl.fcntl(self.slots_fd, F_ADD_SEALS, seals)
        fcntl.fcntl(self.cmds_fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE)
        pair = ffi.new("int[2]")
        r = lib.nv_socketpair(pair)
        if r < 0:
            raise PlatformError(f"socketpair: {os.strerror(-r)}")
        self.sock, self.child_sock = int(pair[0]), int(pair[1])

    def close_child_side(self) -> None:
        for fd in (self.slots_fd, self.cmds_fd, self.child_sock):
            os.close(fd)


# Made ahead of time, while the host forks a stub and the Sentry would only wait
_spare: Final[list[Shell]] = []
MAX_SPARE: Final = 2


def prepare_shell() -> None:
    """Makes a shell for the next fork. Raises PlatformError, OSError."""
    if len(_spare) < MAX_SPARE:
        _spare.append(Shell())


def take_shell() -> Shell:
    return _spare.pop() if _spare else Shell()


def _memfd(name: str, size: int) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    return fd


@final
class Space:
    """One stub process. ``mm`` is the kernel's address space that lives in it."""

    __slots__ = (
        "_free",
        "_next",
        "_zombie_slots",
        "base",
        "cmds",
        "dead",
        "identified",
        "killed",
        "on_death",
        "pid",
        "pidfd",
        "platform",
        "slots",
        "sock",
        "threads",
        "users",
    )  # fmt: skip

    def __init__(self, platform: HostPlatform, shell: Shell, base: int) -> None:
        self.platform = platform
        self.base = base
        self.slots = shell.slots
        self.cmds = shell.cmds
        self.sock = shell.sock
        self.pid = 0
        self.pidfd = -1
        self.identified = 0
        self.dead = False  # reaped
        self.killed = False
        self.users = 0  # kernel threads that still hold its mappings
        self.threads: dict[int, Thread] = {}
        self._free: list[int] = []
        self._zombie_slots: list[Thread] = []
        self._next = 0
        self.on_death: Callable[[int], None] | None = None

    def vdso_base(self) -> int:
        """Where the vdso's ELF header lies in this space."""
        return self.base + VDSO_OFF + self.platform.vdso_distance

    def new_thread(self, task_id: int) -> Thread:
        """Takes a free slot. Raises MemoryError when all are taken."""
        if self._zombie_slots:
            self._reap_slots()
        if self._free:
            index = self._free.pop()
        else:
            index = self._next
            if index >= SLOTS:
                raise MemoryError
            self._next += 1
        th = Thread(self, index, task_id)
        if self.platform.tracing and lib.nv_pt_new(th.cdata, self.base):
            raise MemoryError
        self.threads[index] = th
        return th

    def _reap_slots(self) -> None:
        """A slot can be used again once the host kernel has cleared its thread's tid."""
        left = []
        for th in self._zombie_slots:
            if th.host_tid():
                left.append(th)
            else:
                self._free.append(th.index)
                free_thread(th)
        self._zombie_slots = left

    def thread_failed(self, th: Thread) -> None:
        """The host thread for this slot never came to be."""
        self.threads.pop(th.index, None)
        self._zombie_slots.append(th)

    def never_born(self) -> None:
        """The process for this space never came to be."""
        if self.reaped():
            self.release()

    def thread_exited(self, th: Thread) -> None:
        """The host thread has been told to exit; its signal stack is in use until it has."""
        self.threads.pop(th.index, None)
        lib.nv_drop(th.cdata)
        self._zombie_slots.append(th)

    def send_fds(self, *fds: int) -> None:
        """Queues descriptors for a RECVFD operation. Raises PlatformError."""
        r = self.try_send(*fds)
        if r < 0:
            raise PlatformError(f"send descriptors: {os.strerror(-r)}")

    def try_send(self, *fds: int) -> int:
        """As ``send_fds``: 0, or a negative errno."""
        return int(lib.nv_send_fds(self.sock, list(fds), len(fds)))

    def set_pid(self, pid: int) -> None:
        """``pid`` as the cloning stub told it: believed for now, checked by ``identify``."""
        if pid <= 0 or pid in self.platform.by_pid:
            raise PlatformError(f"stub names pid {pid}, which is not its child")
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError as e:
            raise PlatformError(f"stub has died: {e}") from None
        self.pid = pid
        self.platform.by_pid[pid] = self
        if self.killed:  # before we knew whom to kill
            lib.nv_dying(1)
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def identify(self) -> bool:
        """Whether the process on the socket is the one whose pid we hold."""
        if not self.identified:
            pid = lib.nv_recv_pid(self.sock)
            if pid == 0:
                return True  # nothing said yet
            self.identified = 1
            return bool(pid == self.pid)
        return True

    def kick(self, th: Thread) -> None:
        """Makes a thread that runs the application trap, if it still does."""
        tid = th.host_tid() or self.pid
        lib.nv_tgkill(self.pid, tid, KICK_SIGNAL)

    def kill(self) -> None:
        """Ends the process for good; its memory is released once it is reaped and no task uses it."""
        if self.killed:
            return
        self.killed = True
        for th in self.threads.values():
            lib.nv_drop(th.cdata)
        if self.pidfd >= 0:
            lib.nv_dying(1)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def put(self) -> None:
        """One kernel thread less uses it."""
        self.users -= 1
        if self.dead and self.users == 0:
            self.release()

    def reaped(self) -> bool:
        """The host process is gone. Whether no task uses it any more, and ``release`` is to be called."""
        if self.killed and self.pidfd >= 0:
            lib.nv_dying(-1)
        self.killed = self.dead = True
        for th in self.threads.values():
            lib.nv_drop(th.cdata)
        return self.users == 0

    def release(self) -> None:
        """Lets go of its memory and descriptors."""
        for th in [*self.threads.values(), *self._zombie_slots]:
            free_thread(th)
        self.threads.clear()
        self._zombie_slots.clear()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        os.close(self.sock)
        lib.nv_unmap(self.cmds, CMD_LEN + SLOT_LEN)


def free_thread(th: Thread) -> None:
    th.ev.release()
    th.regs.release()
    th.mem.release()
    th.trap.close()
    lib.nv_task_free(th.cdata)
    th.cdata = ffi.NULL


class HostPlatform:
    """The part of a platform that all share: starts the zygote, makes clean stubs, reaps."""

    NAME: ClassVar[str] = ""
    TRACES: ClassVar[bool] = False

    __slots__ = (
        "by_pid", "image_len", "kuser", "kuser_fd", "low", "low_fd", "tracing", "vdso",
        "vdso_distance", "zygote", "zygote_thread",
    )  # fmt: skip

    def __init__(self, image: bytes, elf: bytes) -> None:
        self.by_pid: dict[int, Space] = {}
        self.image_len = len(image)
        self.tracing = False
        image_fd = os.memfd_create("nv-stub", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(image_fd, image)
        fcntl.fcntl(image_fd, F_ADD_SEALS, 0xF)
        self.kuser_fd = _memfd("nv-kuser", 4096)
        self.kuser = lib.nv_map(self.kuser_fd, 4096, 1)
        fcntl.fcntl(
            self.kuser_fd,
            F_ADD_SEALS,
            F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE,
        )
        # The shared part of what patched call sites jump through
        self.low_fd = _memfd("nv-low", LOW_RET - LOW_TABLE)
        low = lib.nv_map(self.low_fd, LOW_RET - LOW_TABLE, 1)
        if low == ffi.NULL:
            raise PlatformError("cannot map the trampolines")
        self.low: memoryview | None = memoryview(ffi.buffer(low, LOW_RET - LOW_TABLE))
        fcntl.fcntl(
            self.low_fd,
            F_ADD_SEALS,
            F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE,
        )
        self.vdso: list[tuple[int, int]] = []
        self.vdso_distance = 0
        self.zygote, self.zygote_thread = self._start_zygote(image_fd, elf)
        self.tracing = self.TRACES  # the zygote itself runs nothing but ours
        os.close(image_fd)

    def start_loop(self, eventfd: int, epfd: int, ncpu: int) -> None:
        """Hands the native loop its descriptors."""
        r = lib.nv_init(eventfd, epfd, ffi.cast("struct nv_kuser *", self.kuser), ncpu)
        if r < 0:
            raise PlatformError(f"epoll: {os.strerror(-r)}")

    def _start_zygote(self, image_fd: int, elf: bytes) -> tuple[Space, Thread]:
        global _eventfd
        _eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        shell = Shell()
        exe = os.memfd_create("nv-zygote", os.MFD_CLOEXEC)
        os.write(exe, elf)
        wanted = {
            0: _eventfd, 1: shell.child_sock, 2: image_fd, 3: self.kuser_fd, 4: shell.slots_fd,
            5: shell.cmds_fd, 6: self.low_fd,
        }  # fmt: skip
        pid = os.fork()
        if pid == 0:
            _exec_zygote(exe, wanted)
        os.close(exe)
        shell.close_child_side()
        space = Space(self, shell, ZYGOTE_BASE)
        space.set_pid(pid)
        th = space.new_thread(0)
        return space, th

    @property
    def eventfd(self) -> int:
        return _eventfd

    def find_vdso(
        self, layout: list[tuple[int, int, bool]], run: Callable[[Thread], object]
    ) -> None:
        """Where the host put vvar and vdso in the zygote: it knows the vdso; ``layout`` (see vdso_layout) the rest."""
        run(
            self.zygote_thread
        )  # no operations: an acknowledgement that carries what the zygote left there
        ehdr = int(self.zygote_thread.ev[int(lib.NV_E_CRET)])
        if self.TRACES or self.zygote_thread.ev[int(lib.NV_E_FAIL)] or not lib.nv_can_patch():
            self.low = None  # call sites stay as they are
        at = next((lo for lo, _n, code in layout if code), 0)
        if not ehdr or len(layout) > 3:
            raise PlatformError("unknown vdso layout")
        self.vdso = [(ehdr + lo - at, n) for lo, n, _code in layout]
        self.vdso_distance = ehdr - self.vdso[0][0]

    def fork_zygote(self, run: Callable[[Thread], object]) -> Thread:
        """One more zygote, a clone of the first; ``run`` as for ``prepare_clean``. Raises PlatformError, OSError."""
        shell = Shell()
        self.zygote.send_fds(shell.slots_fd, shell.cmds_fd, shell.child_sock)
        space = Space(self, shell, ZYGOTE_BASE)
        tracing, self.tracing = self.tracing, False  # it runs nothing but ours, as the first
        th = space.new_thread(0)
        self.tracing = tracing
        self.clone(self.zygote_thread, space, shell, run)
        return th

    def prepare_clean(self, zt: Thread, run: Callable[[Thread], object]) -> Space:
        """A clean stub at a random base, from the zygote whose thread is ``zt``. ``run`` executes its queued operations and
        returns when done. Raises PlatformError, OSError."""
        shell = Shell()
        zt.space.send_fds(shell.slots_fd, shell.cmds_fd, shell.child_sock)
        base = _random_base(self.image_len)
        space = Space(self, shell, base)
        th = space.new_thread(0)
        # The child's first orders wait in its slot: fetch its descriptors again, move, lock down.
        r = lib.nv_send_fds(shell.sock, [shell.slots_fd, shell.cmds_fd], 2)
        if r < 0:
            raise PlatformError("send descriptors")
        prog = stub_filter(base, self.image_len)
        head = array.array("Q", [0] * 6)
        for i, (lo, n) in enumerate(self.vdso):
            head[2 * i], head[2 * i + 1] = lo, n
        blob = head.tobytes() + prog
        th.mem[WIN_OFF : WIN_OFF + len(blob)] = blob
        th.trap.op(OP_RECVFD, 0, 0, 2, 0, 0, 0, 0, 0)
        th.trap.op(OP_MOVE, 0, 0, base, len(prog) // 8, 0, 0, 0, 0)
        lib.nv_post(th.cdata)
        th.trap.rest()  # once it is ready it waits for an exec
        self.clone(zt, space, shell, run)
        zt.trap.rest()
        return space

    def clone(
        self, zt: Thread, space: Space, shell: Shell, run: Callable[[Thread], object]
    ) -> None:
        """Has a zygote or a clean stub clone itself; the descriptors of ``shell`` are on their way to it."""
        zt.trap.op(OP_RECVFD, 0, 0, 3, 0, 0, 0, 0, 0)
        zt.trap.op(OP_FORK, 0, 0, 0, 0, 0, 0, 0, 0)
        _close_received(zt)
        try:
            run(zt)
            space.set_pid(int(zt.ev[int(lib.NV_E_CRET)]))
        finally:
            shell.close_child_side()

    def fork_shell(self, parent: Space) -> tuple[Space, Thread, Shell]:
        """The child's side of a fork, its descriptors sent to ``parent``'s socket; the caller closes those of the shell."""
        shell = take_shell()
        parent.send_fds(shell.slots_fd, shell.cmds_fd, shell.child_sock)
        space = Space(self, shell, parent.base)
        return space, space.new_thread(0), shell

    def watch_children(self, sigfd: int) -> None:
        """``sigfd``: SIGCHLD's descriptor, already in the loop's epoll set."""

    def clean_ready(self, space: Space) -> None:
        """A clean stub has locked itself down and waits for orders. Raises PlatformError."""

    def reap(self) -> list[tuple[Space | None, int]]:
        """Collects dead children: (space or None for a stranger, wait status)."""
        out: list[tuple[Space | None, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return out
            if pid == 0:
                return out
            out.append((self.by_pid.pop(pid, None), status))


def vdso_layout() -> list[tuple[int, int, bool]]:
    """(start, length, whether it is the vdso) of this process's vvar and vdso mappings: distances are the same
    in every process of one host kernel."""
    out = []
    with open("/proc/self/maps") as f:
        for line in f:
            name = line.split()[-1]
            if name in ("[vdso]", "[vvar]", "[vvar_vclock]"):
                lo, hi = (int(x, 16) for x in line.split()[0].split("-"))
                out.append((lo, hi - lo, name == "[vdso]"))
    return out


def _close_received(th: Thread) -> None:
    """Queues the closing of the three descriptors of a fork in the parent."""
    from .interface import OF_FD0, OF_IGNORE, OP_SYSCALL

    for i in range(3):
        th.trap.op(OP_SYSCALL, OF_FD0 | OF_IGNORE, 3, i, 0, 0, 0, 0, 0)


def _random_base(image_len: int) -> int:
    """64 KiB aligned, far below the stack's area, image within one 4 GiB area."""
    while True:
        base = 0x7D00_0000_0000 + (int.from_bytes(os.urandom(3), "little") << 16)
        if base >> 32 == (base + image_len) >> 32 and REGION_LEN < 1 << 40:
            return base


_eventfd = -1


def _exec_zygote(exe: int, wanted: dict[int, int]) -> Any:
    """In the child: descriptors in place, signals and limits reset, then the stub's ELF."""
    try:
        moved = {n: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for n, fd in wanted.items()}
        exe = fcntl.fcntl(exe, fcntl.F_DUPFD_CLOEXEC, 100)
        for n, fd in moved.items():
            os.dup2(fd, n)
        os.closerange(7, 100)
        for s in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(s, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
        for lim in (resource.RLIMIT_STACK, resource.RLIMIT_AS, resource.RLIMIT_DATA):
            hard = resource.getrlimit(lim)[1]
            resource.setrlimit(lim, (hard, hard))
        os.execve(exe, ["nv-stub"], {})
    finally:
        os._exit(97)
