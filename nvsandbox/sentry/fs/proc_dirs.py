"""The directories of procfs: /proc itself, /proc/PID, task, ns (Linux: fs/proc/base.c, root.c, self.c)."""

from __future__ import annotations

import errno
import functools
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.cputime import look
from ..vfs.inode import Inode, Stat
from ..vfs.path import Path, path_name
from ..vfs.synthetic import DynDir, GenFile, StaticDir, SynthLink
from . import proc_ids, proc_mem, proc_memory, proc_mounts, proc_pid
from .nsfs import NAMES, label, namespace_of, place
from .proc_fd import FdDir, FdInfoDir

if TYPE_CHECKING:
    from ..kernel.task import Task, ThreadGroup
    from ..kernel.userns import Namespace
    from ..mm.mm import MM
    from .proc import ProcFs


@final
class PlaceLink(SynthLink):
    """exe, cwd, root: a magic link to a place."""

    __slots__ = ("place", "tg")

    def __init__(self, fs: ProcFs, tg: ThreadGroup, place: Callable[[Task], Path | None]) -> None:
        super().__init__(fs, b"", 0o777)
        self.tg = tg
        self.place = place

    def _where(self, t: Task) -> Path:
        proc_pid.check_access(t, self.tg)
        u = proc_pid.leader(self.tg)
        p = self.place(u) if u is not None else None
        if p is None:
            raise SysErr(errno.ENOENT)
        return p

    def readlink(self, t: Task) -> bytes:
        return path_name(self._where(t), t.fs.root)

    def get_link(self, t: Task) -> bytes | Path:
        return self._where(t)


def _exe(u: Task) -> Path | None:
    mm = u.memory()
    return mm.exe if mm is not None else None


class ProcDir(DynDir):
    """A directory of procfs: a name that isn't there can't be made either, and that is ENOENT (Linux's look-ups here
    leave no negative entry behind that an operation could work on)."""

    __slots__ = ()

    def create(self, t: Task, name: bytes, mode: int) -> Inode:
        raise SysErr(errno.ENOENT)

    def mkdir(self, t: Task, name: bytes, mode: int) -> Inode:
        raise SysErr(errno.ENOENT)

    def mknod(self, t: Task, name: bytes, mode: int, rdev: int) -> Inode:
        raise SysErr(errno.ENOENT)

    def symlink(self, t: Task, name: bytes, target: bytes) -> Inode:
        raise SysErr(errno.ENOENT)

    def link(self, t: Task, name: bytes, inode: Inode) -> None:
        raise SysErr(errno.ENOENT)


class ProcessDir(ProcDir):
    """/proc/PID, and (``tid``) /proc/PID/task/TID. Entries are made at their first look-up."""

    __slots__ = ("made", "makers", "proc", "tg", "tid")

    def __init__(self, fs: ProcFs, tg: ThreadGroup, tid: int) -> None:
        super().__init__(fs, 0o555)
        self.proc = fs
        self.tg = tg
        self.tid = tid
        self.set_times(tg.k.realtime_ns())
        self.made: dict[bytes, Inode] = {}
        self.makers: dict[bytes, tuple[int, Callable[[], Inode]]] = {}
        self._fill()

    def task(self) -> Task | None:
        return self.tg.tasks.get(self.tid) or (
            proc_pid.leader(self.tg) if self.tid == self.tg.pid else None
        )

    def _stat(self, t: Task) -> bytes:
        if t.tg is self.tg:
            look(t)
        size = proc_memory.sizes(t, self._mm())
        return proc_pid.stat(self.proc.pids, self.tg, self.task(), self.tid, size)

    def _status(self, t: Task) -> bytes:
        if t.tg is self.tg:
            look(t)
        size = proc_memory.sizes(t, self._mm())
        return proc_pid.status(t, self.proc.pids, self.tg, self.task(), self.tid, size)

    def live(self) -> Task:
        """Raises ESRCH once it is dead."""
        u = self.task()
        if u is None or u.fs is None:
            raise SysErr(errno.ESRCH)
        return u

    # Entries
    def gen(
        self, name: bytes, fn: Callable[[Task], bytes], mode: int = 0o444,
        write: Callable[[Task, bytes], int] | None = None, private: bool = False,
    ) -> None:  # fmt: skip
        """A generated file; ``private``: only for who may trace the process."""
        tg = self.tg

        def guarded(t: Task) -> bytes:
            proc_pid.check_access(t, tg)
            return fn(t)

        use = guarded if private else fn
        self.makers[name] = (stat.S_IFREG, lambda: GenFile(self.fs, use, mode, 0, 0, write))

    def mount_file(self, name: bytes, fn: Callable[[Task], bytes]) -> None:
        fs = self.proc
        self.makers[name] = (
            stat.S_IFREG,
            lambda: proc_mounts.MountsFile(fs, lambda t: fn(self.live()), self.live),
        )

    def text(self, name: bytes, value: bytes, mode: int = 0o444) -> None:
        self.gen(name, lambda t: value, mode)

    def place_link(self, name: bytes, place: Callable[[Task], Path | None]) -> None:
        fs = self.proc
        self.makers[name] = (stat.S_IFLNK, lambda: PlaceLink(fs, self.tg, place))

    def dir(self, name: bytes, make: Callable[[], Inode]) -> None:
        self.makers[name] = (stat.S_IFDIR, make)

    def _fill(self) -> None:
        tg, fs = self.tg, self.proc
        self.gen(b"stat", self._stat)
        self.gen(b"statm", lambda t: proc_memory.statm(t, self._mm()))
        self.gen(b"status", self._status)
        self.gen(b"cmdline", self._cmdline)
        self.gen(
            b"comm", lambda t: proc_pid.comm_of(tg, self.task()) + b"\n", 0o644, self._comm_write
        )
        self.gen(b"environ", self._environ, 0o400, private=True)
        self.makers[b"mem"] = (stat.S_IFREG, lambda: proc_mem.MemFile(self.fs, tg))
        self.gen(b"auxv", lambda t: self._auxv(), 0o400, private=True)
        self.gen(b"limits", lambda t: proc_pid.limits(tg))
        self.gen(b"maps", self._maps, private=True)
        self.gen(b"smaps", self._smaps, private=True)
        self.gen(b"smaps_rollup", self._rollup, private=True)
        self.mount_file(b"mounts", proc_mounts.mounts)
        self.mount_file(b"mountinfo", proc_mounts.mountinfo)
        self.gen(b"mountstats", lambda t: proc_mounts.mountstats(self.live()), 0o400)
        self.gen(b"io", lambda t: IO, 0o400, private=True)
        self.text(b"oom_score", b"0\n")
        self.gen(
            b"oom_score_adj", lambda t: b"%d\n" % tg.oom_score_adj, 0o644,
            lambda t, d: proc_pid.oom_score_adj_write(t, tg, d),
        )  # fmt: skip
        self.gen(b"oom_adj", lambda t: b"%d\n" % (tg.oom_score_adj * 17 // 1000))
        self.text(b"cgroup", b"0::/\n")
        self.text(b"cpuset", b"/\n")
        self.text(b"wchan", b"0")
        self.text(b"stack", b"", 0o400)
        self.gen(b"syscall", lambda t: b"running\n", 0o400, private=True)
        self.gen(b"personality", lambda t: b"%08x\n" % self.live().personality, 0o400, private=True)
        self.gen(
            b"sched",
            lambda t: (
                b"%s (%d, #threads: %d)\n"
                % (self.live().comm, self.proc.pids.number(self.tid), len(tg.tasks))
            ),
        )
        self.text(b"schedstat", b"0 0 0\n")
        self.gen(b"loginuid", lambda t: b"%d" % tg.loginuid)
        self.text(b"sessionid", b"4294967295")
        for name in (b"uid_map", b"gid_map", b"projid_map", b"setgroups"):
            self.makers[name] = (stat.S_IFREG, functools.partial(proc_ids.MapFile, fs, self, name))
        self.gen(
            b"coredump_filter", lambda t: b"%08x\n" % tg.core_filter, 0o644,
            lambda t, d: proc_pid.core_filter_write(tg, d),
        )  # fmt: skip
        self.place_link(b"exe", _exe)
        self.place_link(b"cwd", lambda u: u.fs.cwd)
        self.place_link(b"root", lambda u: u.fs.root)
        self.dir(b"fd", lambda: FdDir(self.fs, tg))
        self.dir(b"fdinfo", lambda: FdInfoDir(self.fs, tg))
        self.dir(b"ns", lambda: make_ns(self.proc, self))
        self.dir(b"net", lambda: self.proc.net)
        if self.tid == tg.pid:
            self.gen(b"timerslack_ns", lambda t: b"%d\n" % self.live().timer_slack, 0o666)

    def _mm(self) -> MM | None:
        u = self.task()
        return u.memory() if u is not None else None

    def _cmdline(self, t: Task) -> bytes:
        mm = self._mm()
        return proc_mem.arguments(t, mm) if mm is not None else b""

    def _environ(self, t: Task) -> bytes:
        mm = self._mm()
        return proc_mem.environment(t, mm) if mm is not None else b""

    def _auxv(self) -> bytes:
        mm = self._mm()
        return mm.auxv if mm is not None else b""

    def _maps(self, t: Task) -> bytes:
        mm = self._mm()
        return proc_pid.maps(t, mm) if mm is not None else b""

    def _smaps(self, t: Task) -> bytes:
        mm = self._mm()
        return proc_memory.smaps(t, mm) if mm is not None else b""

    def _rollup(self, t: Task) -> bytes:
        mm = self._mm()
        return proc_memory.smaps_rollup(t, mm) if mm is not None else b""

    def _comm_write(self, t: Task, data: bytes) -> int:
        return proc_pid.comm_write(t, self.live(), data)

    def lookup(self, t: Task, name: bytes) -> Inode:
        i = self.made.get(name)
        if i is None:
            maker = self.makers.get(name)
            if maker is None:
                raise SysErr(errno.ENOENT)
            i = self.made[name] = maker[1]()
        if i is not self.proc.net:
            i.uid, i.gid = self.uid, self.gid
        return i

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        # An inode number that is stable without making the inode.
        return [
            (n, self.ino * 256 + k + 0x1000000, kind)
            for k, (n, (kind, _)) in enumerate(self.makers.items())
        ]

    def own(self) -> None:
        """Its owner is the process's effective user, root's when it is not dumpable."""
        c = proc_pid.creds_of(self.tg)
        if c is not None:
            self.uid, self.gid = (c.euid, c.egid) if self.tg.dumpable == 1 else (0, 0)


@final
class PidDir(ProcessDir):
    """/proc/PID."""

    __slots__ = ()

    def _fill(self) -> None:
        super()._fill()
        self.dir(b"task", lambda: TaskDir(self.proc, self.tg))


@final
class TaskDir(ProcDir):
    """/proc/PID/task."""

    __slots__ = ("made", "proc", "tg")

    def __init__(self, fs: ProcFs, tg: ThreadGroup) -> None:
        super().__init__(fs, 0o555)
        self.proc = fs
        self.tg = tg
        self.made: dict[int, ProcessDir] = {}

    def getattr(self, t: Task) -> Stat:
        self.nlink = 2 + len(self.tg.tasks)
        return super().getattr(t)

    def lookup(self, t: Task, name: bytes) -> Inode:
        tid = self.proc.pids.outer(int(name)) if name.isdigit() and len(name) < 9 else 0
        if tid not in self.tg.tasks:
            self.made.pop(tid, None)
            raise SysErr(errno.ENOENT)
        d = self.made.get(tid)
        if d is None:
            d = self.made[tid] = ProcessDir(self.proc, self.tg, tid)
        d.own()
        return d

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        shown = sorted(self.proc.pids.number(n) for n in self.tg.tasks)
        return [(b"%d" % n, 0x200000 + n, stat.S_IFDIR) for n in shown if n]


@final
class NsLink(SynthLink):
    """/proc/PID/ns/NAME."""

    __slots__ = ("dir", "name")

    def __init__(self, fs: ProcFs, dir: ProcessDir, name: bytes) -> None:
        super().__init__(fs, b"", 0o777)
        self.dir = dir
        self.name = name

    def _namespace(self, t: Task) -> Namespace:
        try:
            proc_pid.check_access(t, self.dir.tg)
            u = self.dir.live()
        except SysErr as e:
            raise SysErr(errno.ENOENT if e.errno == errno.ESRCH else e.errno) from None
        ns = namespace_of(u, self.name)
        if ns is None:
            raise SysErr(errno.ENOENT)
        return ns

    def readlink(self, t: Task) -> bytes:
        return label(self._namespace(t))

    def get_link(self, t: Task) -> bytes | Path:
        return place(self._namespace(t))


def make_ns(fs: ProcFs, dir: ProcessDir) -> StaticDir:
    """/proc/PID/ns."""
    d = StaticDir(fs, 0o511)
    for name in NAMES:
        d.add(name, NsLink(fs, dir, name))
    return d


IO: Final = b"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"


@final
class SelfLink(SynthLink):
    """/proc/self and /proc/thread-self."""

    __slots__ = ("proc", "thread")

    def __init__(self, fs: ProcFs, thread: bool) -> None:
        super().__init__(fs, b"", 0o777)
        self.proc = fs
        self.thread = thread

    def readlink(self, t: Task) -> bytes:
        ns = self.proc.pids
        own = ns.number(t.tg.pid)
        if (
            t.tg.pids is not ns.root or not own
        ):  # another container's /proc, or an inner namespace's
            raise SysErr(errno.ENOENT)
        if self.thread:
            return b"%d/task/%d" % (own, ns.number(t.tid))
        return b"%d" % own


@final
class ProcRoot(ProcDir):
    """/proc."""

    __slots__ = ("dirs", "pids", "proc", "static")

    def __init__(self, fs: ProcFs) -> None:
        super().__init__(fs, 0o555)
        self.proc = fs
        self.pids = fs.pids
        self.static: dict[bytes, Inode] = {}
        self.dirs: dict[int, PidDir] = {}

    def lookup(self, t: Task, name: bytes) -> Inode:
        i = self.static.get(name)
        if i is not None:
            return i
        if not name.isdigit() or len(name) > 9 or name[0] == 48:
            raise SysErr(errno.ENOENT)
        pid = self.pids.outer(int(name))
        tg = self.pids.root.procs.get(pid)
        if tg is None:
            u = self.pids.root.tasks.get(pid)  # /proc/TID works although it is not listed
            tg = u.tg if u is not None else None
        if tg is None:
            self.dirs.pop(pid, None)
            raise SysErr(errno.ENOENT)
        d = self.dirs.get(pid)
        if d is None or d.tg is not tg:
            self._forget_dead()
            d = self.dirs[pid] = PidDir(self.proc, tg, pid)
        d.own()
        return d

    def _forget_dead(self) -> None:
        procs = self.pids.root.procs
        if len(self.dirs) > 2 * len(procs) + 64:
            for pid in [p for p, d in self.dirs.items() if procs.get(p) is not d.tg]:
                del self.dirs[pid]

    def names(self, t: Task) -> list[tuple[bytes, int, int]]:
        out = [(n, i.ino, i.mode) for n, i in self.static.items()]
        shown = sorted(self.pids.number(tg.pid) for tg in self.pids.members())
        return out + [(b"%d" % p, 0x300000 + p, stat.S_IFDIR) for p in shown if p]
