"""An object of the gofer's, as the Sentry knows it, and what can be asked of it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, final

from ...gofer import protocol as p
from ..errors import SysErr
from .gofer_ahead import Order
from .gofer_listing import Listing

if TYPE_CHECKING:
    from .gofer_client import GoferClient
    from .gofer_flight import Opening


@final
class Node:
    """An object of the gofer's: where it is (parent, name) and which it is (dev, ino)."""

    __slots__ = ("client", "dev", "files", "handle", "ino", "name", "opening", "parent", "subdirs")

    def __init__(
        self, client: GoferClient, parent: Node | None, name: bytes, a: p.Attr, handle: int = -1
    ) -> None:
        self.client = client
        self.parent = parent
        self.name = name
        self.dev = a.dev
        self.ino = a.ino
        self.handle = handle
        self.opening: Opening | None = None  # files of a directory that will be there soon
        self.files: Order | None = None  # of a directory that was listed
        self.subdirs: Order | None = None

    def at(self) -> tuple[int, bytes]:
        """(handle, name) that a request names it by."""
        if self.parent is None:
            return self.handle, b""
        return self.client.handle(self.parent), self.name

    def block_size(self) -> int:
        """Of a mount's root: the block size for I/O, in bytes."""
        return self.client.block_sizes[self.handle]

    def find(self, name: bytes) -> p.Attr | None:
        """Attributes of an entry, or None when there is none."""
        try:
            found, _ = self.client.find(self, [name], False)
        except SysErr as e:
            if e.errno == errno.ENOENT:
                return None
            raise
        return found[0][1]

    def list_dir(self, now: bool = False) -> tuple[Listing, dict[bytes, int]]:
        """All entries, as they are ``now`` or as they were when they were listed ahead, and their names."""
        c = self.client
        came = 0
        if self.handle >= 0 or self.parent is None or now:
            listing = Listing()
            for r in c.finish(c.begin(p.List(c.new_id(), c.handle(self)))):
                if not listing.add_answer(r.values):
                    raise c.fail()
        else:
            d = c.walk(self)
            listing = d.listing
            came = len(d.files)
        names, files, subdirs = listing.names()
        self.files = Order(files, came)
        self.subdirs = Order(subdirs)
        return listing, names

    def open(self, write: bool) -> int:
        """A descriptor of the regular file, the caller's to close. Raises ESTALE if it is another file now."""
        c = self.client
        if not write:
            fd = c.take_file(self)
            if fd >= 0:
                return fd
        handle, name = self.at()
        dir = self.parent
        more: list[bytes] = []
        if not write and dir is not None and dir.files is not None:
            more = dir.files.following(name)
            if dir.files.hits:
                c.ahead.opened()
        r, fds = c.call_fds(p.Open(c.new_id(), handle, name, write, more))
        if len(fds) != 1 + len(r.names) or any(n not in more for n in r.names):
            for fd in fds:
                os.close(fd)
            raise c.fail()
        if dir is not None:
            for n, fd, a in zip(r.names, fds[1:], r.attrs[1:], strict=True):
                c.check(a)
                c.ahead.add_file(dir, n, fd, a.dev, a.ino)
        a = c.check(r.attrs[0])
        if (a.dev, a.ino) != (self.dev, self.ino):
            os.close(fds[0])
            raise SysErr(errno.ESTALE)
        return fds[0]

    def attr(self) -> p.Attr:
        """Attributes now. Raises ESTALE."""
        c = self.client
        if self.parent is None:
            return c.one_attr(c.call(p.Find(c.new_id(), self.handle, [])))
        a = self.parent.find(self.name)
        if a is None or (a.dev, a.ino) != (self.dev, self.ino):
            raise SysErr(errno.ESTALE)
        return c.check(a)

    def xattrs(self) -> dict[bytes, bytes]:
        c = self.client
        handle, name = self.at()
        r = c.call(p.Xattrs(c.new_id(), handle, name))
        if len(r.names) != len(r.values):
            raise c.fail()
        return dict(zip(r.names, r.values, strict=True))

    def setattr(
        self, valid: int, mode: int = 0, uid: int = 0, gid: int = 0, size: int = 0,
        atime: int = 0, mtime: int = 0,
    ) -> p.Attr:  # fmt: skip
        c = self.client
        handle, name = self.at()
        r = c.call(
            p.SetAttr(c.new_id(), handle, name, valid, mode, uid, gid, size, atime, mtime)
        )  # fmt: skip
        return c.one_attr(r)

    def create(
        self, name: bytes, mode: int, uid: int, gid: int, rdev: int = 0, target: bytes = b""
    ) -> p.Attr:
        c = self.client
        r = c.call(p.Create(c.new_id(), c.handle(self), name, mode, uid, gid, rdev, target))
        return c.one_attr(r)

    def statfs(self) -> list[int]:
        c = self.client
        dir = self
        while dir.parent is not None and dir.handle < 0:
            dir = dir.parent
        nums = c.call(p.StatFs(c.new_id(), dir.handle)).nums
        if len(nums) != 8:
            raise c.fail()
        return nums
