"""open(2) (Linux: fs/namei.c path_openat, fs/open.c do_dentry_open; open(2)).

The order of checks is that of ``do_open``: O_EXCL, directory rules, read-only mount for O_TRUNC, then ``may_open``,
then the file's own open, then the truncation.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from ..errors import SysErr
from .file import FileDescription
from .inode import MAY_EXEC, Inode, creation_mode
from .mount import follow_mounts
from .namei import LAST_NORM, Scope, lookup_last, read_link, walk, walk_parent
from .notify import IN_OPEN, notify
from .path import MS_NOEXEC, Dentry, Path
from .perm import (
    MAY_WX,
    access_mask,
    may_create,
    may_create_in_sticky,
    may_follow_link,
    may_open,
    truncate,
)

if TYPE_CHECKING:
    from ..kernel.task import Task

O_LARGEFILE: Final = 0o100000
O_TMPFILE_BIT: Final = 0o20000000
O_PATH_KEEPS: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_PATH | os.O_CLOEXEC
O_DROPPED: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC | os.O_CLOEXEC

LINKABLE: Final = object()  # ``Inode.special`` of an O_TMPFILE that linkat(2) may give a name


class PathFile(FileDescription):
    """An O_PATH description: a place, and nothing can be done with the file."""

    __slots__ = ()

    @property
    def inode(self) -> Inode:
        assert self.path is not None
        return self.path.inode

    def pollable(self) -> bool:
        return False


def open_path(
    t: Task, base: Path, path: bytes, flags: int, mode: int, scope: Scope | None = None
) -> FileDescription:
    """Opens ``path`` relative to ``base``; ``flags`` are valid already. May suspend."""
    if flags & O_TMPFILE_BIT:
        return _open_tmpfile(t, base, path, flags, mode, scope)
    if flags & os.O_PATH:
        p = walk(t, base, path, not flags & os.O_NOFOLLOW, scope)
        if flags & os.O_DIRECTORY and not p.inode.is_dir():
            raise SysErr(errno.ENOTDIR)
        return PathFile(flags & ~os.O_CLOEXEC, p)
    try:
        return _open_once(t, base, path, flags, mode, scope)
    except SysErr as e:
        if e.errno != errno.ESTALE:
            raise
    return _open_once(t, base, path, flags, mode, scope)  # the dentry that was stale is gone


def _open_once(
    t: Task, base: Path, path: bytes, flags: int, mode: int, scope: Scope | None
) -> FileDescription:
    """Raises ESTALE, having forgotten the dentry, when somebody outside has put another file in its place (Linux tries once more
    then, too: do_filp_open)."""
    if not flags & os.O_CREAT:
        reads = not flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_DIRECTORY)
        p, made = walk(t, base, path, not flags & os.O_NOFOLLOW, scope, reads), False
    else:
        p, made = _find_or_create(t, base, path, flags, mode, scope)
    try:
        return open_found(t, p, flags, made)
    except SysErr as e:
        d = p.dentry
        if e.errno == errno.ESTALE and d.parent is not d and d.parent.children.get(d.name) is d:
            d.parent.drop_child(d.name)
        raise


def _find_or_create(
    t: Task, base: Path, path: bytes, flags: int, mode: int, scope: Scope | None
) -> tuple[Path, bool]:
    """O_CREAT: the last component by hand, since a dangling link there makes its target."""
    if scope is None:
        scope = Scope(t.fs.root)
    while True:
        last = walk_parent(t, base, path, scope)
        if last.kind != LAST_NORM:  # a directory for certain: the caller finds the right error
            return walk(t, base, path, True, scope), False
        if last.slash:
            raise SysErr(errno.EISDIR)
        d = lookup_last(t, last)
        i = d.inode
        if i is None:
            last.dir.mount.want_write()
            may_create(t, last.dir.dentry)
            full = stat.S_IFREG | creation_mode(t, last.dir.inode, mode)
            try:
                new = last.dir.inode.create(t, last.name, full)
            except SysErr as e:
                if e.errno == errno.EEXIST and not flags & os.O_EXCL:
                    continue  # somebody else made it while we were suspended
                raise
            from .dirops import created

            return Path(last.dir.mount, created(last, new)), True
        p = follow_mounts(Path(last.dir.mount, d))
        if not i.is_lnk() or flags & (os.O_EXCL | os.O_NOFOLLOW):
            return p, False
        may_follow_link(t, last.dir.inode, i)
        target = read_link(t, p.mount, i, scope)
        if isinstance(target, Path):
            return target, False
        base, path = last.dir, target


def open_found(t: Task, p: Path, flags: int, made: bool) -> FileDescription:
    """The second half: ``p`` exists (``made``: since just now, so its mode is not asked)."""
    i = p.inode
    kind = i.mode & 0o170000
    if flags & os.O_CREAT and not made:
        if flags & os.O_EXCL:
            raise SysErr(errno.EEXIST)
        if kind == stat.S_IFDIR:
            raise SysErr(errno.EISDIR)
        may_create_in_sticky(t, p.dentry.parent.node(), i)
    if flags & os.O_DIRECTORY and kind != stat.S_IFDIR:
        raise SysErr(errno.ENOTDIR)
    trunc = False
    mask = 0
    if not made:
        if kind == stat.S_IFREG:
            trunc = bool(flags & os.O_TRUNC)
            if trunc:
                p.mount.want_write()
        mask = access_mask(flags)
    may_open(t, p, flags, mask)
    if flags & 3 and kind in (stat.S_IFREG, stat.S_IFDIR):
        p.mount.want_write()
    drop = O_DROPPED
    if kind == stat.S_IFCHR:  # opening a terminal asks for it
        drop &= ~os.O_NOCTTY
    f = i.open(t, p, flags & ~drop | O_LARGEFILE)
    f.flags &= ~os.O_NOCTTY
    if trunc:
        try:
            truncate(t, i, 0)
        except SysErr:
            f.incref().decref()
            raise
    notify(p.dentry, IN_OPEN)
    return f


def _open_tmpfile(
    t: Task, base: Path, path: bytes, flags: int, mode: int, scope: Scope | None
) -> FileDescription:
    p = walk(t, base, path, True, scope)
    if not p.inode.is_dir():
        raise SysErr(errno.ENOTDIR)
    p.mount.want_write()
    p.inode.permission(t, MAY_WX)
    i = p.inode.tmpfile(t, stat.S_IFREG | creation_mode(t, p.inode, mode))
    if not flags & os.O_EXCL:
        i.special = LINKABLE
    d = Dentry(b"#%d" % i.ino, p.dentry, i)
    d.unlinked = True
    keep = flags & ~(O_DROPPED | O_TMPFILE_BIT | os.O_DIRECTORY) | O_LARGEFILE
    return i.open(t, Path(p.mount, d), keep | flags & (O_TMPFILE_BIT | os.O_DIRECTORY))


def check_exec(t: Task, p: Path) -> None:
    """execve(2)'s rules for the file at ``p`` (Linux: do_open_execat). Raises EACCES."""
    i = p.inode
    if not i.is_reg() or p.mount.flags & MS_NOEXEC:
        raise SysErr(errno.EACCES)
    i.permission(t, MAY_EXEC)


def open_exec(
    t: Task, base: Path, path: bytes, follow: bool = True, scope: Scope | None = None
) -> FileDescription:
    """Opens a program to execute it, ``base`` itself if ``path`` is empty. The caller brackets its use with
    ``inode.deny_write``/``allow_write``."""
    p = walk(t, base, path, follow, scope, True) if path else base
    if p.inode.is_lnk():
        raise SysErr(errno.ELOOP)
    check_exec(t, p)
    return p.inode.open(t, p, os.O_RDONLY | O_LARGEFILE)
