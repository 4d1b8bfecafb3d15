"""The Sentry's end of the gofer connection.

``call`` sends a request and suspends the caller until its answer is there; several callers' requests are under way
at once. Before the event loop runs (``loop`` None) it just blocks. What the gofer says is validated: a message
that does not decode, a wrong number of descriptors or a kind that cannot be ends the connection, and every
later call fails with EIO.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import socket
import struct
from collections import OrderedDict
from typing import Any, Final, Protocol, final

import msgspec

from ...gofer import protocol as p
from ...platform.native._native import lib
from ..errors import SysErr
from .gofer_ahead import Ahead, Listed
from .gofer_flight import Call, Flight, Incoming, Opening
from .gofer_listing import mode_ok
from .gofer_node import Node

ERRNOS: Final = frozenset(errno.errorcode)
MAX_DIR_HANDLES: Final = 4096
MAX_BLOCK_SIZE: Final = 1 << 30
MAX_READ_FDS: Final = 16384  # and no more than half of all that the Sentry may open
CONTROL_SIZE: Final = socket.CMSG_SPACE(4 * p.MAX_FDS)


def _descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])
    return fds


class Loop(Protocol):
    """What the client uses of the event loop."""

    def watch_fd(self, fd: int, events: int, callback: Any) -> None: ...
    def token(self) -> Any: ...
    def suspend(self) -> Any: ...
    def resume(self, token: Any, value: Any = None) -> None: ...


@final
class GoferClient:
    """The connection and the two caches of scarce things: directory handles and read descriptors."""

    __slots__ = (
        "ahead", "block_sizes", "broken", "buffer", "calls", "dirs", "flights", "loop", "max_read_fds", "mount_count", "next_handle", "next_id", "out",
        "read_fds", "received", "requests", "roots", "sent", "sock",
    )  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.buffer = memoryview(bytearray(p.MAX_MESSAGE))
        self.loop: Loop | None = None
        self.calls: dict[int, Call] = {}
        self.out: list[bytes] = []
        self.next_id = 0
        self.broken = False
        self.requests = self.sent = self.received = 0  # counters; the latter two in bytes
        self.dirs: OrderedDict[Node, None] = OrderedDict()
        self.read_fds: OrderedDict[Node, int] = OrderedDict()
        self.max_read_fds = min(MAX_READ_FDS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self.ahead = Ahead(self.forget)
        self.flights: list[tuple[Flight, Call]] = []  # walks under way
        self.roots: list[Node] = []
        r = self.call(p.Hello(self.new_id(), p.VERSION))
        if len(r.nums) != 1 + len(r.attrs) or r.nums[0] != p.VERSION:
            raise self.fail()
        self.block_sizes = r.nums[1:]
        if not all(512 <= n <= MAX_BLOCK_SIZE for n in self.block_sizes):
            raise self.fail()
        self.next_handle = self.mount_count = len(r.attrs)
        for i, a in enumerate(r.attrs):
            self.check(a)
            self.roots.append(Node(self, None, b"", a, i))

    def attach_loop(self, loop: Loop) -> None:
        """From now on waiting suspends. Called once, when the event loop is about to run."""
        self.loop = loop
        self._watch()

    # Transport
    def new_id(self) -> int:
        self.next_id = (self.next_id + 1) & 0xFFFFFFFF
        return self.next_id

    def fail(self) -> SysErr:
        """The gofer is gone or lies: fail everything."""
        self.broken = True
        for c in self.calls.values():
            c.done = True
            c.answers = [p.Reply(0, errno.EIO)]
            if c.flight is not None:
                c.flight.lost()
            self._came(c)
        self.calls.clear()
        self.flights.clear()
        lib.nv_await(0)
        if self.loop is not None:
            self.loop.watch_fd(self.sock.fileno(), 0, self._on_ready)
        return SysErr(errno.EIO)

    def _watch(self) -> None:
        if self.loop is not None:
            events = select.POLLIN | (select.POLLOUT if self.out else 0)
            self.loop.watch_fd(self.sock.fileno(), events, self._on_ready)

    def _send(self, data: bytes) -> None:
        if self.out:
            self.out.append(data)
            return
        try:
            self.sock.send(data)
        except BlockingIOError:
            self.out.append(data)
            self._watch()
        except OSError:
            raise self.fail() from None

    def _on_ready(self, events: int) -> None:
        while self.out:
            try:
                self.sock.send(self.out[0])
            except BlockingIOError:
                break
            except OSError:
                self.fail()
                return
            del self.out[0]
            if not self.out:
                self._watch()
        while not self.broken and self._receive():
            pass

    def _receive(self) -> bool:
        """Takes one message in; False when there is none."""
        try:
            n, control, flags, _ = self.sock.recvmsg_into(
                [self.buffer], CONTROL_SIZE, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError:
            self.fail()
            return False
        fds = _descriptors(control) if control else []
        try:
            r = p.reply_decoder.decode(self.buffer[:n])
        except msgspec.MsgspecError:
            r = p.Reply(0, errno.EPROTO)
        self.received += n
        c = self.calls.get(r.id)
        if (
            c is None or not n or r.fds != len(fds) or flags & (0x20 | socket.MSG_CTRUNC)
            or (c.flight is not None and not c.flight.part(r, fds))
        ):  # fmt: skip
            for fd in fds:
                os.close(fd)
            self.fail()
            return False
        if c.flight is None:
            c.answers.append(r)
            c.fds += fds
        else:
            c.answers = [r]
        if not r.more:
            del self.calls[r.id]
            lib.nv_await(len(self.calls))
            if isinstance(c.flight, Flight):
                self.flights.remove((c.flight, c))
            c.done = True
        if c.done or c.flight is not None:
            self._came(c)
        return True

    def _came(self, c: Call) -> None:
        """Those who wait for ``c`` look again."""
        tokens, c.tokens = c.tokens, []
        if self.loop is not None:
            for token in tokens:
                self.loop.resume(token)

    def begin(self, req: p.Request, flight: Incoming | None = None) -> Call:
        return self._begin(req, Call(flight))

    def _begin(self, req: p.Request, c: Call) -> Call:
        if self.broken:
            raise SysErr(errno.EIO)
        self.calls[req.id] = c
        lib.nv_await(len(self.calls))
        data = p.encoder.encode(req)
        self.requests += 1
        self.sent += len(data)
        self._send(data)
        return c

    def finish(self, c: Call) -> list[p.Reply]:
        """Waits for the answer. Raises the gofer's error."""
        while not c.done:
            self._wait(c)
        err = c.answers[-1].err
        if err:
            for fd in c.fds:
                os.close(fd)
            raise SysErr(err if err in ERRNOS else errno.EIO)
        return c.answers

    def _wait(self, c: Call) -> None:
        """Until more of ``c``'s answer is there, perhaps."""
        if self.loop is not None:
            c.tokens.append(self.loop.token())
            self.loop.suspend()
        else:
            poll = select.poll()
            poll.register(self.sock.fileno(), select.POLLIN | (select.POLLOUT if self.out else 0))
            poll.poll()
            self._on_ready(0)

    def call(self, req: p.Request) -> p.Reply:
        """One request, one answer."""
        return self.finish(self.begin(req))[-1]

    def call_fds(self, req: p.Request, count: int = -1) -> tuple[p.Reply, list[int]]:
        """As ``call`` for an answer with ``count`` descriptors, which become the caller's; -1: one for each of its attributes."""
        c = self.begin(req)
        r = self.finish(c)[-1]
        if len(c.fds) != (len(r.attrs) if count < 0 else count):
            for fd in c.fds:
                os.close(fd)
            raise self.fail()
        return r, c.fds

    def check(self, a: p.Attr) -> p.Attr:
        """Attributes a file can have. Breaks the connection otherwise."""
        if not mode_ok(a.mode):
            raise self.fail()
        return a

    def one_attr(self, r: p.Reply) -> p.Attr:
        if len(r.attrs) != 1:
            raise self.fail()
        return self.check(r.attrs[0])

    # The two caches
    def refill_memfds(self, t: object) -> list[tuple[int, int]]:
        """For MemfdPool."""
        _, fds = self.call_fds(p.Memfds(self.new_id(), p.MEMFD_BATCH), 2 * p.MEMFD_BATCH)
        return list(zip(fds[0::2], fds[1::2], strict=True))

    def handle(self, n: Node) -> int:
        """A handle of directory ``n``, opened if there is none now."""
        if n.handle >= 0:
            return self._used(n)
        if n.parent is None:
            raise SysErr(errno.ESTALE)
        new = self._new_handles(1)
        r = self.call(p.OpenDir(self.new_id(), self.handle(n.parent), n.name, new))
        a = self.one_attr(r)
        return self._opened(n, new, a.dev, a.ino)

    def _used(self, n: Node) -> int:
        if n in self.dirs:
            self.dirs.move_to_end(n)
        return n.handle

    def find(
        self, n: Node, names: list[bytes], opens: bool
    ) -> tuple[list[tuple[Node, p.Attr]], bool]:
        """Looks for ``names`` one below the other in directory ``n``, in one round trip with the opening of those
        above that have no handle: what was found, and whether the next is known not to be there. With ``opens`` the last
        one's descriptor is there for ``read_fd`` if it is a regular file. Raises ENOENT when the first isn't there, ESTALE."""
        above: list[Node] = []
        at = n
        while at.handle < 0:
            if at.parent is None:
                raise SysErr(errno.ESTALE)
            above.append(at)
            at = at.parent
            if len(above) + len(names) >= p.MAX_CHAIN:
                self.handle(at)
        above.reverse()
        chain = [*(d.name for d in above), *names]
        through = len(chain) - 1
        new = self._new_handles(through) if through else 0
        c = self.begin(p.Find(self.new_id(), self._used(at), chain, new, opens))
        r = self.finish(c)[-1]
        gone = r.nums == [1]
        whole = len(r.attrs) == len(chain)
        last = r.attrs[-1].mode & 0o170000 if r.attrs else 0
        if (
            not 0 < len(r.attrs) <= len(chain)
            or any(a.mode & 0o170000 != 0o040000 for a in r.attrs[:-1])
            or not all(mode_ok(a.mode) for a in r.attrs)
            or (gone and (whole or last != 0o040000))
            or len(c.fds) > (opens and whole and last == 0o100000)
        ):
            for fd in c.fds:
                os.close(fd)
            raise self.fail()
        found: list[tuple[Node, p.Attr]] = []
        for name, a in zip(names, r.attrs[len(above) :], strict=False):
            found.append((Node(self, found[-1][0] if found else n, name, a), a))
        dirs = len(r.attrs) - (whole or last != 0o040000)  # that have a handle now
        for fd in c.fds:
            self._keep_fd(found[-1][0], fd)
        for i in range(len(above), dirs):
            self._keep_dir(found[i - len(above)][0], new + i)
        for i, d in enumerate(above):
            if i >= dirs:  # or it is no directory any more
                raise SysErr(errno.ENOENT if gone else errno.ESTALE)
            a = r.attrs[i]
            try:
                self._opened(d, new + i, a.dev, a.ino)
            except SysErr:
                self.forget(list(range(new + i + 1, new + min(dirs, len(above)))))
                raise
        if found:
            return found, gone
        if gone:
            raise SysErr(errno.ENOENT)
        return self.find(n, names, opens)  # which will say why, now that ``n`` has a handle

    def _opened(self, n: Node, new: int, dev: int, ino: int) -> int:
        """The gofer has opened ``n``'s name as handle ``new``. Raises ESTALE if another object is there now."""
        if dev != n.dev or ino != n.ino:
            self.forget([new])
            raise SysErr(errno.ESTALE)
        if n.handle >= 0:  # another task was faster
            self.forget([new])
            return n.handle
        self._keep_dir(n, new)
        return new

    def _keep_dir(self, n: Node, handle: int) -> None:
        n.handle = handle
        self.dirs[n] = None
        while len(self.dirs) > MAX_DIR_HANDLES:
            old, _ = self.dirs.popitem(last=False)
            self.forget([old.handle])
            old.handle = -1

    def _new_handles(self, count: int) -> int:
        """The first of ``count`` numbers never used before."""
        first = self.next_handle + 1
        self.next_handle += count
        if self.next_handle > 0xFFFFFFFF:
            raise self.fail()
        return first

    def walk(self, n: Node) -> Listed:
        """Opens directory ``n`` and lists it, and with it those that a walk of its parent will come to."""
        self.ahead.visit(n)
        got = self.ahead.take_dir(n)
        while got is None:
            c = self._coming(n)
            if c is None:
                got = self._walk(n)
            else:
                if not self._receive():
                    self._wait(c)
                got = self.ahead.take_dir(n)
        files = got.files.items()
        try:
            self._opened(n, got.handle, got.dev, got.ino)
        except SysErr:
            for _, (fd, _, _) in files:
                os.close(fd)
            raise
        for name, (fd, dev, ino) in files:
            self.ahead.add_file(n, name, fd, dev, ino)
        return got

    def _coming(self, n: Node) -> Call | None:
        """A walk that will perhaps bring ``n``."""
        if n.parent is not None:
            handle = n.parent.handle
            for flight, c in self.flights:
                if flight.expects(handle, n.name):
                    return c
        return None

    def _walk(self, n: Node) -> Listed:
        parent = n.parent
        assert parent is not None
        at = self.handle(parent)
        names, most, deep = self.ahead.walk(n)
        new = self._new_handles(most)
        brief = deep and not self.ahead.looks
        files = 0 if brief else self.ahead.walk_files()
        req = p.Walk(self.new_id(), at, names, new, most, deep, files, brief)
        flight = Flight(self.ahead, at, req)
        c = self.begin(req, flight)
        self.flights.append((flight, c))
        while flight.first is None and not c.done:
            self._wait(c)
        d = flight.first
        if d is None:
            self.finish(c)
            raise self.fail()
        return d

    def take_file(self, n: Node) -> int:
        """A descriptor of ``n`` that came ahead, or is coming, the caller's to close; or -1."""
        fd = self.ahead.take_file(n)
        dir = n.parent
        if dir is None:
            return fd
        while fd < 0:
            coming = dir.opening
            if coming is None or n.name not in coming.names:
                return -1
            self._wait(coming.call)
            fd = self.ahead.take_file(n)
        if dir.files is not None and dir.opening is None and dir.handle >= 0 and not self.broken:
            names = dir.files.took()
            if names:
                dir.opening = Opening(self.ahead, dir, names)
                req = p.Open(self.new_id(), dir.handle, names[0], False, names[1:])
                with contextlib.suppress(SysErr):  # who asks next is told
                    self._begin(req, dir.opening.call)
        return fd

    def forget(self, handles: list[int]) -> None:
        if not self.broken:
            with contextlib.suppress(SysErr):  # who asks next is told
                self._send(p.encoder.encode(p.Forget(0, handles)))

    def drop(self, n: Node) -> None:
        """``n`` is gone: lets go of what is held for it."""
        if n in self.dirs:
            del self.dirs[n]
            self.forget([n.handle])
            n.handle = -1
        fd = self.read_fds.pop(n, -1)
        if fd >= 0:
            os.close(fd)

    def read_fd(self, n: Node) -> int:
        """A read-only descriptor of regular file ``n``; valid until the next call of this."""
        fd = self.read_fds.get(n, -1)
        if fd >= 0:
            self.read_fds.move_to_end(n)
            return fd
        fd = n.open(False)
        if n in self.read_fds:
            os.close(fd)
            return self.read_fds[n]
        self._keep_fd(n, fd)
        return fd

    def _keep_fd(self, n: Node, fd: int) -> None:
        self.read_fds[n] = fd
        while len(self.read_fds) > self.max_read_fds:
            _, old = self.read_fds.popitem(last=False)
            os.close(old)
