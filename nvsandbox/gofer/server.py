"""The file server: answers the Sentry's requests within the container's mounts (protocol.py).

Every request is hostile. A handle is an O_PATH descriptor beneath one mount's root and inherits its read-only
flag; names are single components; nothing but regular files is ever opened for data, after an O_PATH descriptor
has shown what it is (hazard F6). The server holds no state that a request could make inconsistent: handles only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from typing import Final, final

import msgspec

from . import host
from . import protocol as p

MAX_HANDLES: Final = 1 << 18


@final
class Mount:
    """One tree the container may see."""

    __slots__ = ("fd", "readonly")

    def __init__(self, fd: int, readonly: bool) -> None:
        self.fd = fd
        self.readonly = readonly


@final
class Handle:
    __slots__ = ("fd", "mount")

    def __init__(self, fd: int, mount: Mount) -> None:
        self.fd = fd
        self.mount = mount


def attr_of(st: os.stat_result, target: bytes = b"") -> p.Attr:
    return p.Attr(
        st.st_dev, st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev,
        st.st_size, st.st_blocks, st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns, target,
    )  # fmt: skip


def attr_from(record: bytes) -> p.Attr:
    f = p.ENTRY.unpack(record)
    return p.Attr(f[0], f[1], f[8], f[9], f[10], f[11], f[2], f[3], f[4], f[5], f[6], f[7])


def attr_at(dirfd: int, name: bytes) -> p.Attr:
    """Attributes of an entry, and of a link its target."""
    st = os.stat(name, dir_fd=dirfd, follow_symlinks=False)
    if stat.S_ISLNK(st.st_mode):
        return attr_of(st, os.readlink(name, dir_fd=dirfd))
    return attr_of(st)


@final
class Server:
    """Serves one connection. ``proc_fd`` is a descriptor of this process's own /proc/self/fd."""

    __slots__ = ("handles", "mounts", "proc_fd", "sock")

    def __init__(self, sock: socket.socket, mounts: Iterable[Mount], proc_fd: int) -> None:
        self.sock = sock
        self.mounts = list(mounts)
        self.proc_fd = proc_fd
        self.handles = {i: Handle(m.fd, m) for i, m in enumerate(self.mounts)}

    def serve(self) -> None:
        """Until the Sentry closes its end."""
        while True:
            data = self.sock.recv(p.MAX_MESSAGE)
            if not data:
                return
            try:
                req = p.request_decoder.decode(data)
            except msgspec.MsgspecError:
                return  # not our Sentry any more
            self._answer(req)

    def _answer(self, req: p.AnyRequest) -> None:
        if isinstance(req, p.Forget):
            self._forget(req)
            return
        fds: list[int] = []
        try:
            reply = self._dispatch(req, fds)
            reply.fds = len(fds)
        except OSError as e:
            reply = p.Reply(req.id, e.errno or errno.EIO)
            for fd in fds:
                os.close(fd)
            fds = []
        self._send(reply, fds)
        for fd in fds:
            os.close(fd)

    def _send(self, reply: p.Reply, fds: list[int]) -> None:
        data = p.encoder.encode(reply)
        if fds:
            socket.send_fds(self.sock, [data], fds)
        else:
            self.sock.send(data)

    def _dispatch(self, req: p.AnyRequest, fds: list[int]) -> p.Reply:
        if isinstance(req, p.Find):
            return self._find(req, fds)
        if isinstance(req, p.List):
            return self._list(req)
        if isinstance(req, p.Walk):
            return self._walk(req, fds)
        if isinstance(req, p.Open):
            return self._open(req, fds)
        if isinstance(req, p.OpenDir):
            return self._open_dir(req)
        if isinstance(req, p.Memfds):
            return self._memfds(req, fds)
        if isinstance(req, p.Xattrs):
            return self._xattrs(req)
        if isinstance(req, p.Hello):
            if req.version != p.VERSION:
                raise OSError(errno.EPROTO, "version")
            roots = [os.fstat(m.fd) for m in self.mounts]
            sizes = [st.st_blksize for st in roots]
            return p.Reply(req.id, attrs=[attr_of(st) for st in roots], nums=[p.VERSION, *sizes])
        if isinstance(req, p.StatFs):
            return p.Reply(req.id, nums=host.fstatfs(self._handle(req.handle).fd))
        return self._change(req)

    # Reading
    def _handle(self, n: int) -> Handle:
        h = self.handles.get(n)
        if h is None:
            raise OSError(errno.EBADF, "handle")
        return h

    def _find(self, req: p.Find, fds: list[int]) -> p.Reply:
        h = self._handle(req.handle)
        if not req.names:
            return p.Reply(req.id, attrs=[attr_of(os.fstat(h.fd))])
        for name in req.names:
            p.check_name(name)
        *through, last = req.names
        if through:
            self._check_new(req.new, len(through))
        reply = p.Reply(req.id)
        at = h
        try:
            for i, name in enumerate(through):
                try:
                    fd = host.openat2(at.fd, name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY)
                except OSError as e:
                    if e.errno not in (errno.ENOTDIR, errno.ELOOP):
                        raise
                    a = attr_at(at.fd, name)
                    if stat.S_ISDIR(a.mode):
                        raise  # since just now
                    reply.attrs.append(a)
                    return reply
                at = self.handles[req.new + i] = Handle(fd, h.mount)
                reply.attrs.append(attr_of(os.fstat(fd)))
            a = attr_at(at.fd, last)
        except OSError as e:
            if not reply.attrs:
                raise
            if e.errno == errno.ENOENT:
                reply.nums = [1]
            return reply
        if req.open and stat.S_ISREG(a.mode):
            with contextlib.suppress(OSError):  # asked for when it is needed, and refused then
                a = self._open_file(at, last, os.O_RDONLY, fds)
        reply.attrs.append(a)
        return reply

    def _list(self, req: p.List) -> p.Reply:
        """Sends all parts but the last."""
        at = self._handle(req.handle).fd
        fd = host.openat2(at, b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            reply = p.Reply(req.id)
            count = 0
            end = False
            while not end and count < p.MAX_LISTING:
                records, text, end = host.listing(fd)
                if not records:
                    break
                if reply.values:
                    self._send_part(reply, [])
                reply = p.Reply(req.id, values=[records, text])
                count += len(records) // p.ENTRY.size
            return reply
        finally:
            os.close(fd)

    def _walk(self, req: p.Walk, fds: list[int]) -> p.Reply:
        h = self._handle(req.handle)
        p.check_name(req.names[0])
        self._check_new(req.new, req.most)
        names = [n for n in req.names if p.name_ok(n)]
        host.walk_begin(
            h.fd, names, req.most, req.deep, req.brief, req.files, p.WALK_ENTRIES, p.WALK_FDS, self.proc_fd,
        )  # fmt: skip
        while True:
            b = host.walk_next()
            for i, fd in b.dirs:
                self.handles[req.new + i] = Handle(fd, h.mount)
            reply = p.Reply(req.id, values=b.values, nums=b.files)
            fds += b.fds
            if b.last:
                return reply
            self._send_part(reply, fds)
            os.sched_yield()  # one who spins for it may share this core

    def _send_part(self, reply: p.Reply, fds: list[int]) -> None:
        """Sends what isn't the last part of an answer, and closes its descriptors."""
        reply.more = True
        reply.fds = len(fds)
        self._send(reply, fds)
        for fd in fds:
            os.close(fd)
        fds.clear()

    def _open_dir(self, req: p.OpenDir) -> p.Reply:
        """As a place, for which nobody need be allowed to read it."""
        h = self._handle(req.handle)
        p.check_name(req.name)
        self._check_new(req.new, 1)
        fd = host.openat2(h.fd, req.name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY)
        self.handles[req.new] = Handle(fd, h.mount)
        return p.Reply(req.id, attrs=[attr_of(os.fstat(fd))])

    def _check_new(self, new: int, count: int) -> None:
        """Raises OSError if these numbers can't become handles."""
        if new < len(self.mounts) or any(n in self.handles for n in range(new, new + count)):
            raise OSError(errno.EINVAL, "handle in use")
        if len(self.handles) + count > MAX_HANDLES:
            raise OSError(errno.ENFILE, "handles")

    def _path_fd(self, h: Handle, name: bytes) -> int:
        """An O_PATH descriptor of the object; the caller closes it."""
        if not name:
            return os.dup(h.fd)
        p.check_name(name)
        return host.openat2(h.fd, name, os.O_PATH | os.O_NOFOLLOW, 0, host.RESOLVE_LAST)

    def _reopen(self, fd: int, flags: int) -> int:
        return os.open(str(fd), flags | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=self.proc_fd)

    def _open(self, req: p.Open, fds: list[int]) -> p.Reply:
        h = self._handle(req.handle)
        if req.write and h.mount.readonly:
            raise OSError(errno.EROFS, "mount")
        flags = os.O_RDWR if req.write else os.O_RDONLY
        reply = p.Reply(req.id, attrs=[self._open_file(h, req.name, flags, fds)])
        if req.ahead:
            reply.names = []
            for name in req.ahead:
                try:
                    reply.attrs.append(self._open_file(h, name, os.O_RDONLY, fds))
                except OSError:
                    continue  # asked for when it is needed, and refused then
                reply.names.append(name)
        return reply

    def _open_file(self, h: Handle, name: bytes, flags: int, fds: list[int]) -> p.Attr:
        if name:
            p.check_name(name)
        fd, record = host.open_file(h.fd, name, flags, self.proc_fd)
        fds.append(fd)
        return attr_from(record)

    def _memfds(self, req: p.Memfds, fds: list[int]) -> p.Reply:
        for _ in range(req.count):
            rw = os.memfd_create("nvsandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fds.append(rw)
            fds.append(self._reopen(rw, os.O_RDONLY))
        return p.Reply(req.id)

    def _at(self, h: Handle, name: bytes) -> tuple[bytes, bool]:
        """A path relative to the working directory, for calls without an *at form, and whether to follow it: a handle's
        own object, which need not be a directory, is reached by its descriptor."""
        if name:
            p.check_name(name)
            os.fchdir(h.fd)
            return name, False
        os.fchdir(self.proc_fd)
        return b"%d" % h.fd, True

    def _xattrs(self, req: p.Xattrs) -> p.Reply:
        path, follow = self._at(self._handle(req.handle), req.name)
        reply = p.Reply(req.id)
        reply.names, reply.values = [], []
        try:
            keys = os.listxattr(path, follow_symlinks=follow)
        except OSError as e:
            if e.errno == errno.EOPNOTSUPP:
                return reply
            raise
        size = 0
        for key in keys:
            raw = os.fsencode(key)
            try:
                value = os.getxattr(path, raw, follow_symlinks=follow)
            except OSError:
                continue
            size += len(raw) + len(value)
            if size > p.XATTR_BYTES:
                break
            reply.names.append(raw)
            reply.values.append(value)
        return reply

    # Changing (writable mounts only)
    def _writable(self, n: int) -> Handle:
        h = self._handle(n)
        if h.mount.readonly:
            raise OSError(errno.EROFS, "mount")
        return h

    def _change(self, req: p.AnyRequest) -> p.Reply:
        if isinstance(req, p.Create):
            return self._create(req)
        if isinstance(req, p.SetAttr):
            return self._setattr(req)
        if isinstance(req, p.Unlink):
            p.check_name(req.name)
            at = self._writable(req.handle).fd
            if req.directory:
                os.rmdir(req.name, dir_fd=at)
            else:
                os.unlink(req.name, dir_fd=at)
        elif isinstance(req, p.Link):
            p.check_name(req.name)
            p.check_name(req.new_name)
            os.link(
                req.name, req.new_name, follow_symlinks=False,
                src_dir_fd=self._writable(req.handle).fd, dst_dir_fd=self._writable(req.new_handle).fd,
            )  # fmt: skip
        elif isinstance(req, p.Rename):
            p.check_name(req.name)
            p.check_name(req.new_name)
            old, new = self._writable(req.handle), self._writable(req.new_handle)
            host.renameat2(old.fd, req.name, new.fd, req.new_name, req.flags & 3)
        elif isinstance(req, p.SetXattr):
            path, follow = self._at(self._writable(req.handle), req.name)
            if req.flags == p.REMOVE:
                os.removexattr(path, req.key, follow_symlinks=follow)
            else:
                os.setxattr(path, req.key, req.value, req.flags & 3, follow_symlinks=follow)
        elif isinstance(req, p.Sync):
            fd = self._reopen(self._writable(req.handle).mount.fd, os.O_RDONLY)
            try:
                host.syncfs(fd)
            finally:
                os.close(fd)
        else:
            raise OSError(errno.EINVAL, "request")
        return p.Reply(req.id)

    def _create(self, req: p.Create) -> p.Reply:
        at = self._writable(req.handle).fd
        p.check_name(req.name)
        kind = stat.S_IFMT(req.mode)
        perm = req.mode & 0o7777
        if kind == stat.S_IFDIR:
            os.mkdir(req.name, 0o700, dir_fd=at)
        elif kind == stat.S_IFLNK:
            os.symlink(req.target, req.name, dir_fd=at)
        elif kind in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK):
            os.mknod(req.name, kind | 0o600, dir_fd=at)
        elif kind == stat.S_IFCHR and req.rdev == 0:
            os.mknod(req.name, kind | 0o600, 0, dir_fd=at)
        else:
            raise OSError(errno.EPERM, "device")
        fd = host.openat2(at, req.name, os.O_PATH | os.O_NOFOLLOW, 0, host.RESOLVE_LAST)
        try:
            host.chown_fd(fd, req.uid, req.gid)
            if kind != stat.S_IFLNK:
                os.chmod(str(fd), perm, dir_fd=self.proc_fd)
            st = os.fstat(fd)
        finally:
            os.close(fd)
        return p.Reply(req.id, attrs=[attr_of(st, req.target if kind == stat.S_IFLNK else b"")])

    def _setattr(self, req: p.SetAttr) -> p.Reply:
        h = self._writable(req.handle)
        fd = self._path_fd(h, req.name)
        try:
            kind = stat.S_IFMT(os.fstat(fd).st_mode)
            if req.valid & 8:
                if kind != stat.S_IFREG:
                    raise OSError(errno.EINVAL, "size")
                data = self._reopen(fd, os.O_WRONLY)
                try:
                    os.ftruncate(data, req.size)
                finally:
                    os.close(data)
            if req.valid & 6:
                keep = 0xFFFFFFFF
                uid = req.uid if req.valid & 2 else keep
                host.chown_fd(fd, uid, req.gid if req.valid & 4 else keep)
            if req.valid & 1 and kind != stat.S_IFLNK:
                os.chmod(str(fd), req.mode & 0o7777, dir_fd=self.proc_fd)
            if req.valid & 48:
                st = os.fstat(fd)
                times = (
                    req.atime if req.valid & 16 else st.st_atime_ns,
                    req.mtime if req.valid & 32 else st.st_mtime_ns,
                )
                if kind == stat.S_IFLNK:
                    os.utime(req.name, ns=times, dir_fd=h.fd, follow_symlinks=False)
                else:
                    os.utime(str(fd), ns=times, dir_fd=self.proc_fd)
            st = os.fstat(fd)
        finally:
            os.close(fd)
        return p.Reply(req.id, attrs=[attr_of(st)])

    def _forget(self, req: p.Forget) -> None:
        for n in req.handles:
            if n >= len(self.mounts):
                h = self.handles.pop(n, None)
                if h is not None:
                    os.close(h.fd)
