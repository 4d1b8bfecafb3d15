"""Answer the notified system calls of a tree of processes (seccomp_unotify(2)).

One thread, one loop: the listener, inotify (files that went away), and polls that wait. A call
that doesn't concern our paths or descriptors is handed back to the kernel (CONTINUE). That the
kernel then reads the path again is harmless: nothing is permitted or refused by it.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import stat
import time
from collections.abc import Callable, Sequence
from typing import Final

from . import frontend, uvm
from .errors import SimError
from .files import OpenFile
from .nodes import Node
from .polling import Poller
from .seccomp import NAME_OF, NR, spawn
from .simulator import Simulator
from .statbuf import dirent, stat_bytes, statx_bytes
from .task import Listener, Request

AT_FDCWD: Final = 0xFFFFFF9C
_AT_EMPTY_PATH: Final = 0x1000
_PREFIXES: Final = (b"/dev", b"/proc/d", b"/sys/bus/pci")
_PATH_FIRST: Final = frozenset({"open", "stat", "lstat", "access", "readlink"})
_O_PATH: Final = 0o10000000


class Supervisor:
    """Runs a command under a simulator."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self._poller = Poller(sim)
        self._listed: set[tuple[int, int, int]] = set()
        """Merged directories whose own entries are still to be listed."""
        handlers: dict[str, Callable[[Request], None]] = {
            "ioctl": self._ioctl, "open": self._open, "openat": self._open,
            "openat2": self._open, "stat": self._stat, "lstat": self._stat,
            "newfstatat": self._stat, "statx": self._stat, "fstat": self._fstat,
            "access": self._access, "faccessat": self._access, "faccessat2": self._access,
            "readlink": self._readlink, "readlinkat": self._readlink,
            "getdents": self._getdents, "getdents64": self._getdents,
            "poll": self._poller.poll, "ppoll": self._poller.poll,
            "epoll_ctl": self._poller.epoll_ctl,
        }  # fmt: skip
        self._handlers = {NR[name]: fn for name, fn in handlers.items()}

    def run(self, argv: Sequence[str]) -> int:
        """Run ``argv`` to its end and that of all it left behind; its exit status."""
        pid, fd = spawn(argv)
        _raise_file_limit()  # after the command has started: it keeps its own
        listener = Listener(fd)
        previous = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: _forward(pid)),
        }
        try:
            self._loop(listener)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(fd)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def _loop(self, listener: Listener) -> None:
        poll = select.poll()
        poll.register(listener.fd, select.POLLIN)
        poll.register(self.sim.files.inotify, select.POLLIN)
        while True:
            for fd, events in poll.poll(self._timeout()):
                if fd == self.sim.files.inotify:
                    self.sim.files.drain()
                elif events & select.POLLIN:
                    request = listener.receive()
                    if request is not None:
                        self.handle(request)
                elif events & select.POLLHUP:  # no task uses the filter any more
                    self.sim.channels.finish()
                    return
            self.sim.channels.step()
            self.sim.faults.apply(self.sim.rm, self.sim.events)
            self._poller.check()

    def _timeout(self) -> int | None:
        """Milliseconds until something is due."""
        dues = [d for d in (self.sim.faults.next_due(), self._poller.next_due()) if d is not None]
        interval = self.sim.channels.interval()
        if not dues:
            return None if interval is None else int(interval * 1000)
        due = max(0, int((min(dues) - time.monotonic()) * 1000) + 1)
        return due if interval is None else min(due, int(interval * 1000))

    def handle(self, request: Request) -> None:
        """Answer one call; whatever it holds, nothing of ours may escape."""
        handler = self._handlers.get(request.nr)
        if handler is None:
            request.proceed()
            return
        try:
            handler(request)
        except OSError as e:
            if not request.answered:
                request.reply(-(e.errno or errno.EIO))
        except Exception as e:  # ours, whatever it is: the program must not be able to stop us
            self.sim.log(f"{NAME_OF[request.nr]}: {type(e).__name__}: {e}")
            if not request.answered:
                request.reply(-errno.EINVAL)

    # ------------------------------------------------------------------ paths

    def _path(self, request: Request, dirfd: int, addr: int) -> str | None:
        """The absolute path meant, if it may be one of ours; ``None``: not ours."""
        try:
            raw = request.cstr(addr)
        except OSError:
            return None
        if raw.startswith(b"/"):
            if not raw.startswith(_PREFIXES) and b"/." not in raw and b"//" not in raw:
                return None
            return os.path.normpath(os.fsdecode(raw)) if b"/." in raw or b"//" in raw else (
                os.fsdecode(raw.rstrip(b"/"))
            )  # fmt: skip
        base = self._directory(request, dirfd & 0xFFFFFFFF)
        if base is None:
            return None
        return os.path.normpath(os.path.join(base, os.fsdecode(raw))) if raw else base

    def _directory(self, request: Request, dirfd: int) -> str | None:
        if dirfd != AT_FDCWD:
            file = self.sim.files.find(request.stat_fd(dirfd)) if len(self.sim.files) else None
            if file is not None:
                return file.path
        name = "cwd" if dirfd == AT_FDCWD else f"fd/{dirfd}"
        try:
            return os.readlink(f"/proc/{request.pid}/{name}")
        except OSError:
            return None

    def _node(self, request: Request) -> tuple[str, Node] | None:
        """Path and node of a call that names a file, if it is ours alone."""
        args = request.args
        dirfd, addr = (AT_FDCWD, args[0]) if self._first(request) else (args[0], args[1])
        path = self._path(request, dirfd, addr)
        node = self.sim.nodes.get(path) if path is not None else None
        return None if path is None or node is None or node.merged else (path, node)

    @staticmethod
    def _first(request: Request) -> bool:
        return NAME_OF[request.nr] in _PATH_FIRST

    def _open(self, request: Request) -> None:
        found = self._node(request)
        if found is None:
            request.proceed()
            return
        path, node = found
        flags = request.args[1] if self._first(request) else request.args[2]
        if NAME_OF[request.nr] == "openat2":
            flags = int.from_bytes(request.read(flags, 8), "little")
        is_dir = stat.S_ISDIR(node.mode)
        if flags & os.O_DIRECTORY and not is_dir:
            raise OSError(errno.ENOTDIR, path)
        if is_dir and flags & os.O_ACCMODE:
            raise OSError(errno.EISDIR, path)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, path)
        if len(self.sim.files) >= 4096:
            raise OSError(errno.ENFILE, path)
        file = OpenFile(path, node.kind, node.rdev[1])
        fd = self.sim.files.open(file, None if node.is_device or is_dir else node.content)
        try:
            request.reply_fd(fd, bool(flags & os.O_CLOEXEC))
        finally:
            os.close(fd)

    def _stat(self, request: Request) -> None:
        name, args = NAME_OF[request.nr], request.args
        found = self._by_descriptor(request) or self._node(request)
        if found is None:
            request.proceed()
            return
        if name == "statx":
            request.write(args[4], statx_bytes(*found))
        else:
            request.write(args[2] if name == "newfstatat" else args[1], stat_bytes(*found))
        request.reply()

    def _by_descriptor(self, request: Request) -> tuple[str, Node] | None:
        """newfstatat and statx with an empty path mean the descriptor itself."""
        name, args = NAME_OF[request.nr], request.args
        flags = {"newfstatat": args[3], "statx": args[2]}.get(name, 0)
        if not flags & _AT_EMPTY_PATH or not len(self.sim.files):
            return None
        if request.args[1] and request.cstr(request.args[1]):
            return None
        return self._opened(request, args[0])

    def _opened(self, request: Request, fd: int) -> tuple[str, Node] | None:
        file = self.sim.files.find(request.stat_fd(fd))
        node = self.sim.nodes.get(file.path) if file else None
        return (file.path, node) if file and node else None

    def _fstat(self, request: Request) -> None:
        found = self._opened(request, request.args[0]) if len(self.sim.files) else None
        if found is None:
            request.proceed()
            return
        request.write(request.args[1], stat_bytes(*found))
        request.reply()

    def _access(self, request: Request) -> None:
        found = self._node(request)
        if found is None:
            request.proceed()
            return
        mode = request.args[1] if self._first(request) else request.args[2]
        node = found[1]
        refused = mode & os.X_OK and not stat.S_ISDIR(node.mode)
        request.reply(-errno.EACCES if refused else 0)

    def _readlink(self, request: Request) -> None:
        found = self._node(request)
        if found is None:
            request.proceed()
        else:
            request.reply(-errno.EINVAL)  # none of ours is a symbolic link

    # ------------------------------------------------------------------ directories

    def _getdents(self, request: Request) -> None:
        fd = request.args[0] & 0xFFFFFFFF
        file = self.sim.files.find(request.stat_fd(fd)) if len(self.sim.files) else None
        if file is not None and file.kind == "dir":
            self._list(request, file.path, self.sim.nodes[file.path].entries)
            return
        try:
            path = os.readlink(f"/proc/{request.pid}/fd/{fd}")
        except OSError:
            path = ""
        node = self.sim.nodes.get(path)
        if node is None or not node.merged:
            request.proceed()
            return
        self._list_merged(request, path, node)

    def _list_merged(self, request: Request, path: str, node: Node) -> None:
        """Ours first, then the real entries; the directory's own offset 0 means "at the start"."""
        ours = request.borrow_fd(request.args[0] & 0xFFFFFFFF)
        try:
            first = os.lseek(ours, 0, os.SEEK_CUR) == 0
            key = os.fstat(ours).st_ino, request.tgid(), request.args[0]
        finally:
            os.close(ours)
        if not first or key in self._listed:
            self._listed.discard(key)
            request.proceed()
            return
        real = set(os.listdir(path)) if os.path.isdir(path) else set()
        names = tuple(n for n in node.entries if n not in real)
        if not names:
            request.proceed()
            return
        self._listed.add(key)
        out, _ = self._entries(request, path, names, 0)
        request.write(request.args[1], out)
        request.reply(len(out))

    def _list(self, request: Request, path: str, names: tuple[str, ...]) -> None:
        """A directory that is all ours; its position is the memfd's file offset."""
        ours = request.borrow_fd(request.args[0] & 0xFFFFFFFF)
        try:
            at = os.lseek(ours, 0, os.SEEK_CUR)
            out, done = self._entries(request, path, (".", "..", *names)[at:], at)
            request.write(request.args[1], out)
            # before the answer: the caller may seek as soon as it has it
            os.lseek(ours, at + done, os.SEEK_SET)
            request.reply(len(out))
        finally:
            os.close(ours)

    def _entries(
        self, request: Request, path: str, names: tuple[str, ...], at: int
    ) -> tuple[bytes, int]:
        """As many entries as fit the caller's buffer, and how many."""
        room, out, done = min(request.args[2], 1 << 20), b"", 0
        wide = NAME_OF[request.nr] == "getdents64"
        for name in names:
            child = os.path.normpath(os.path.join(path, name))
            node = self.sim.nodes.get(child)
            mode = node.mode if node else stat.S_IFDIR
            entry = dirent(name, mode, at + done + 1, child, wide)
            if len(out) + len(entry) > room:
                break
            out, done = out + entry, done + 1
        if names and not done:
            raise OSError(errno.EINVAL, "buffer")
        return out, done

    # ------------------------------------------------------------------ ioctl

    def _ioctl(self, request: Request) -> None:
        fd, cmd, arg = request.args[0] & 0xFFFFFFFF, request.args[1] & 0xFFFFFFFF, request.args[2]
        file = self.sim.files.find(request.stat_fd(fd)) if len(self.sim.files) else None
        if file is None:
            request.proceed()
            return
        if file.kind in ("uvm", "uvm-tools"):
            handler = uvm.answer
        elif file.kind in ("ctl", "gpu") and cmd >> 8 & 0xFF == ord("F"):
            handler = frontend.answer
        else:
            request.reply(-errno.ENOTTY)
            return
        try:
            result = handler(self.sim, request, file, cmd, arg)
        except OSError as e:
            result = -(e.errno or errno.EIO)
        request.reply(result)


def _raise_file_limit() -> None:
    """Each memory object that is mapped or copied has a descriptor here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _forward(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass


def run(sim: Simulator, argv: Sequence[str]) -> int:
    """Run ``argv`` under ``sim``."""
    if not argv:
        raise SimError("give a command after --")
    return Supervisor(sim).run(argv)
