"""Sandboxes started ahead of need: a pool in one's own program, or kept by ``nvsandbox warm`` for ``nvsandbox do``.

A sandbox fits a request when its configuration is the same, its program version, its namespaces, its CPUs, and when nothing has changed
since in what it has looked at of its file trees: their roots and the entries there. Any doubt, and a sandbox is
started as always.

The keeper is one process with a socket in a directory that only its user may enter. Whoever connects gets the control
connection of a sandbox, and with it the sandbox; the program `nvsandbox` (platform/native/nvsandbox.c) sends its command line,
and gets what to say to the sandbox as well.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import select
import signal
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, final

from .. import __version__
from ..failure import Failure
from . import WARM_DIRECTORY, control
from .config import SandboxConfig
from .handle import Handle

MAX_SIZE: Final = 256
MAX_REQUEST: Final = 1 << 18
PATIENCE: Final = 2.0  # seconds a keeper may take to answer
QUIET: Final = 0.05  # seconds without a request, and what is missing is started
END_WAIT: Final = 10.0
NAMESPACES: Final = ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup")

if TYPE_CHECKING:
    from .launch import RunningSandbox

Seen = tuple[tuple[int, ...], ...]
Plan = Callable[[list[str]], tuple[SandboxConfig, control.Message] | None]  # of a command line


def key(config: SandboxConfig, pid: int = 0) -> str:
    """The same for two configurations that one sandbox can serve. ``pid``: for whom, 0 for us. Raises OSError."""
    import msgspec

    own = [os.stat(f"/proc/{pid or 'self'}/ns/{n}").st_ino for n in NAMESPACES]
    own += sorted(os.sched_getaffinity(pid))  # a sandbox runs where its launcher may
    text = json.dumps([__version__, os.geteuid(), own]).encode() + msgspec.msgpack.encode(config)
    return hashlib.sha256(text).hexdigest()[:32]


def seen(config: SandboxConfig) -> Seen:
    """What a sandbox has looked at before its first program: the trees' roots and their entries."""
    out = []
    for m in (config.root, *config.mounts):
        names = [m.source]
        with contextlib.suppress(OSError):
            names += sorted(f"{m.source}/{n}" for n in os.listdir(m.source))
        for name in names:
            with contextlib.suppress(OSError):
                st = os.lstat(name)
                out.append((st.st_dev, st.st_ino, st.st_mode, st.st_mtime_ns, st.st_ctime_ns))
    return tuple(out)


def check_size(size: int) -> None:
    """Raises Failure."""
    if not 0 <= size <= MAX_SIZE:
        raise Failure(f"a pool of {size}: 0 to {MAX_SIZE} are possible")


@final
class Pool:
    """``size`` sandboxes of one configuration, each taken once and replaced. With none, or when all are taken, one is forked from this
    process, which has imported what it needs. ``outlive``: they end with their takers."""

    def __init__(self, config: SandboxConfig, size: int, outlive: bool = False) -> None:
        from .launch import load

        check_size(size)
        load()
        self.config = config
        self.key = key(config)
        self.size = size
        self._outlive = outlive
        self._waiting: deque[tuple[RunningSandbox, Seen]] = deque()
        self.fill()
        for sb, _ in self._waiting:
            sb.ready()

    def __len__(self) -> int:
        return len(self._waiting)

    def fill(self) -> None:
        """Starts as many as are missing; they get ready by themselves. Raises Failure."""
        while len(self._waiting) < self.size:
            self._waiting.append((self._start(False), seen(self.config)))

    def _start(self, wait: bool) -> RunningSandbox:
        from .launch import RunningSandbox

        sb = RunningSandbox(copy.copy(self.config), outlives=self._outlive, wait=wait)
        if not wait:
            control.send(sb.ctl, {"op": "ready"})
        return sb

    def take(self) -> RunningSandbox:
        """A sandbox that is the caller's from now on; call ``fill`` when there is time. Raises Failure."""
        now = seen(self.config)
        while self._waiting:
            sb, then = self._waiting.popleft()
            if then == now:
                with contextlib.suppress(Failure, OSError):
                    sb.ready()
                    if not select.select([sb.ctl], [], [], 0)[
                        0
                    ]:  # it has nothing to say but its end
                        return sb
            sb.close()
        return self._start(True)

    def close(self) -> None:
        while self._waiting:
            self._waiting.popleft()[0].close()


# The keeper


def directory(root: str) -> str:
    return f"{root}/{WARM_DIRECTORY}"


def _address(root: str, ident: str) -> str:
    return f"{directory(root)}/{ident}"


def listen(root: str, ident: str) -> socket.socket:
    """The keeper's socket. Raises Failure, also when there is one for this configuration."""
    where = directory(root)
    try:
        os.makedirs(where, 0o700, exist_ok=True)
    except OSError as e:
        raise Failure(f"create `{where}`: {(e.strerror or str(e)).lower()}") from None
    _check_directory(where)
    path = _address(root, ident)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if _connect(path) is not None:
        raise Failure(
            "sandboxes of this configuration are kept already (see `nvsandbox warm --stop`)"
        )
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of one that was killed
    try:
        s.bind(path)
        s.listen(64)
    except OSError as e:
        raise Failure(f"listen on `{path}`: {(e.strerror or str(e)).lower()}") from None
    return s


def _check_directory(where: str) -> None:
    st = os.lstat(where)
    if not stat.S_ISDIR(st.st_mode) or st.st_uid != os.geteuid() or st.st_mode & 0o077:
        raise Failure(f"`{where}` is not a directory of ours alone")


def keep(pool: Pool, listener: socket.socket, path: str, plan: Plan) -> None:
    """Serves until it is told to stop, or by SIGTERM or SIGINT."""
    r, w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(w, warn_on_full_buffer=False)
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(s, lambda _s, _f: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        while True:
            missing = len(pool) < pool.size
            ready, _, _ = select.select([listener.fileno(), r], [], [], QUIET if missing else None)
            if not ready:
                with contextlib.suppress(Failure):
                    pool.fill()
            if r in ready:
                got = os.read(r, 512)
                if signal.SIGTERM in got or signal.SIGINT in got:
                    return
                _reap()
            if listener.fileno() in ready and not _serve(pool, listener, plan):
                return
    finally:
        os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))
        listener.close()
        pool.close()


def _reap() -> None:
    """Those that were taken are our children, too."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _peer(s: socket.socket) -> tuple[int, int]:
    """Who is at the other end: pid, uid (unix(7), SO_PEERCRED)."""
    pid, uid, _gid = struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _serve(pool: Pool, listener: socket.socket, plan: Plan) -> bool:
    """One connection; False when it is to be the last."""
    with contextlib.suppress(OSError):
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(PATIENCE)
            pid, uid = _peer(conn)
            if uid not in (os.geteuid(), 0):
                return True
            data, fds, _flags, _addr = socket.recv_fds(conn, MAX_REQUEST, 1)
            try:
                if data == b"stop":
                    conn.send(b"ok")
                    return False
                if data == b"take":
                    _hand_over(pool, conn, None)
                elif data[:3] == b"do\0" and fds and uid == os.geteuid():
                    process = _planned(pool, data, fds[0], pid, plan)
                    if process is not None:
                        _hand_over(pool, conn, process)
            finally:
                for fd in fds:
                    os.close(fd)
    return True


def _planned(pool: Pool, data: bytes, cwd: int, pid: int, plan: Plan) -> control.Message | None:
    """The process that a command line asks for; None when it is not for our sandboxes."""
    words = data.split(b"\0")[1:-1]
    try:
        argc = int(words[0])
        argv, env = words[1 : 1 + argc], words[1 + argc :]
        with _in_place_of(env, cwd):
            made = plan([os.fsdecode(a) for a in argv])
            if made is None or key(made[0], pid) != pool.key:
                return None
    except (IndexError, ValueError, OSError):
        return None
    return made[1]


@contextlib.contextmanager
def _in_place_of(env: list[bytes], cwd: int) -> Iterator[None]:
    """With another's environment and working directory. Raises OSError."""
    ours = dict(os.environb)
    try:
        os.fchdir(cwd)
        os.environb.clear()
        for e in env:
            name, eq, value = e.partition(b"=")
            if name and eq:
                os.environb[name] = value
        yield
    finally:
        os.chdir("/")
        os.environb.clear()
        os.environb.update(ours)


def _hand_over(pool: Pool, conn: socket.socket, process: control.Message | None) -> None:
    """Gives a sandbox away, with the order that starts ``process`` in it. The pool is filled when nobody waits."""
    try:
        sb = pool.take()
    except Failure as e:
        conn.send(json.dumps({"error": str(e)}).encode())
        return
    answer: control.Message = {"pids": [sb.sentry_pid, sb.gofer_pid]}
    if process is not None:
        answer = {"op": "spawn", "id": 1, "process": process}
    with contextlib.suppress(OSError):
        control.send(conn, answer, (sb.ctl.fileno(),))
    sb.ctl.close()


# Whoever wants one


@final
class TakenSandbox(Handle):
    """One that a keeper has started: its processes are the keeper's children."""

    def __init__(self, ctl: socket.socket, pids: list[int]) -> None:
        super().__init__(ctl)
        self._pids = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._pids.append(os.pidfd_open(pid))

    def _await_end(self) -> None:
        deadline = time.monotonic() + END_WAIT
        for fd in self._pids:
            select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            os.close(fd)
        self._pids = []


def _connect(path: str) -> socket.socket | None:
    """A connection to a keeper of ours; None if there is none."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(PATIENCE)
    try:
        s.connect(path)
        uid = _peer(s)[1]
    except OSError:
        uid = -1
    if uid != os.geteuid():
        s.close()
        return None
    return s


def take(root: str, config: SandboxConfig) -> TakenSandbox | None:
    """A sandbox that waits for this configuration; None if there is none, for whatever reason."""
    try:
        _check_directory(directory(root))
        s = _connect(_address(root, key(config)))
        if s is None:
            return None
        with s:
            s.send(b"take")
            data, fds, _flags, _addr = socket.recv_fds(s, 4096, 1)
            if len(fds) == 1:
                return TakenSandbox(socket.socket(fileno=fds[0]), json.loads(data)["pids"])
    except (OSError, Failure, ValueError, KeyError):
        pass
    return None


def keepers(root: str) -> list[str]:
    """The addresses of all keepers of ours."""
    try:
        names = os.listdir(directory(root))
    except OSError:
        return []
    return [_address(root, n) for n in sorted(names)]


def stop(path: str) -> bool:
    """Tells a keeper to end; False if there is none."""
    s = _connect(path)
    if s is None:
        with contextlib.suppress(OSError):
            os.unlink(path)
            os.rmdir(os.path.dirname(path))
        return False
    with s, contextlib.suppress(OSError):
        s.send(b"stop")
        s.recv(16)
        return True
    return False
