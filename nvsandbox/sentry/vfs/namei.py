"""The path walk (Linux: fs/namei.c; path_resolution(7), openat2(2)).

``walk`` is the hot one: over cached dentries it is a loop of dict look-ups with the search permission checked
inline (a directory everybody may search needs no call). ``walk_parent`` stops before the last component, for
those who create and remove names. Symbolic links are spliced into the list of components still to walk.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from .inode import MAY_EXEC, NAME_MAX, Inode
from .mount import follow_mounts
from .path import (
    MS_NODIRATIME,
    MS_NOSYMFOLLOW,
    MS_STRICTATIME,
    WALKS,
    Dentry,
    Mount,
    Path,
    Walk,
    forget_walks,
)
from .perm import may_follow_link

if TYPE_CHECKING:
    from ..kernel.task import Task

AT_FDCWD: Final = -100
MAX_LINKS: Final = 40
NO_NAMES: Final[list[bytes]] = []
MAX_WALKS: Final = 1024  # kept
MIN_PARTS: Final = 3  # of a path whose walk is kept, an absolute one's root included
_seen: Final[list[int]] = [-1] * 256  # hashes of paths: what is asked for once is not kept

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10
RESOLVE_CACHED: Final = 0x20
RESOLVE_SCOPED: Final = RESOLVE_BENEATH | RESOLVE_IN_ROOT

# What the last component was, where that is not a name.
LAST_NORM: Final = 0
LAST_DOT: Final = 1
LAST_DOTDOT: Final = 2
LAST_ROOT: Final = 3


@final
class Scope:
    """What one walk may do: its root, openat2's restrictions, and the links it has followed so far."""

    __slots__ = ("links", "resolve", "root")

    def __init__(self, root: Path, resolve: int = 0) -> None:
        self.root = root
        self.resolve = resolve
        self.links = 0


@final
class Last:
    """``walk_parent``'s answer: the directory, the last name in it, and whether slashes followed it."""

    __slots__ = ("dir", "kind", "name", "slash")

    def __init__(self, dir: Path, name: bytes, kind: int, slash: bool) -> None:
        self.dir = dir
        self.name = name
        self.kind = kind
        self.slash = slash


def start_at(t: Task, dirfd: int, path: bytes) -> Path:
    """The directory that ``path`` is relative to. Raises EBADF, ENOTDIR."""
    if path[:1] == b"/":
        return t.fs.root
    if dirfd == AT_FDCWD:
        return t.fs.cwd
    p = t.files.get_any(dirfd).path
    if p is None:
        raise SysErr(errno.ENOTDIR)
    return p


def walk_at(t: Task, dirfd: int, path: bytes, follow: bool = True) -> Path:
    """The place ``path`` names. Raises ENOENT for the empty path and whatever the walk meets."""
    return walk(t, start_at(t, dirfd, path), path, follow)


def walk(
    t: Task, base: Path, path: bytes, follow: bool = True, scope: Scope | None = None, opens: bool = False
) -> Path:  # fmt: skip
    """Walks ``path`` from ``base`` to an existing place; the last link is followed if ``follow``. ``opens``: to read the file there."""
    if not path:
        raise SysErr(errno.ENOENT)
    m, d = base.mount, base.dentry
    if path[0] == 47:
        m, d = _to_root(t, m, d, scope)
    if scope is None:
        known = WALKS.get(path)
        if known is not None and known.dentry is d and known.mount is m:
            return known.to
    from_m, from_d = m, d
    names = path.split(b"/")
    plain = scope is None and len(names) >= MIN_PARTS
    names.reverse()
    if names[0] == b"":  # a trailing slash: the last component is a directory
        names[0] = b"."
    while names:
        name = names.pop()
        if not name:
            continue
        inode = d.inode
        if inode is None:
            raise SysErr(errno.ENOENT)
        if inode.mode & 0o170111 != 0o040111:
            if inode.mode & 0o170000 != 0o040000:
                raise SysErr(errno.ENOTDIR)
            inode.permission(t, MAY_EXEC)
            plain = False
        if name == b".":
            continue
        if name == b"..":
            m, d = _up(t, m, d, scope)
            plain = False
            continue
        nd = d.children.get(name)
        if nd is None or inode.volatile:
            nd = lookup_slow(t, d, name, names, opens)
            plain = False
        if nd.mounts:
            m2, nd = _cross(m, nd, scope)
            if m2 is not m:
                m, d = m2, nd
                continue
        ni = nd.inode
        if ni is None:
            raise SysErr(errno.ENOENT)
        if ni.mode & 0o170000 == 0o120000:
            plain = False
            if follow or names:
                if scope is None:
                    scope = Scope(t.fs.root)
                if not names or (names == [b"."] and path[-1] == 47):
                    may_follow_link(t, inode, ni)
                m, d = _follow(t, m, d, nd, ni, names, scope)
                continue
        d = nd
    p = Path(m, d)
    if plain:
        _keep(path, from_m, from_d, p)
    return p


def _keep(path: bytes, m: Mount, d: Dentry, to: Path) -> None:
    """Remembers a walk from ``m`` and ``d``, if it isn't the first to that path of late."""
    h = hash(path) & 0x3FFFFFFF
    if _seen[h & 255] != h:
        _seen[h & 255] = h
        return
    if len(WALKS) >= MAX_WALKS:
        forget_walks()
    WALKS[path] = Walk(m, d, to)


def walk_parent(t: Task, base: Path, path: bytes, scope: Scope | None = None) -> Last:
    """Walks to the directory of the last component of ``path``."""
    if not path:
        raise SysErr(errno.ENOENT)
    body = path.rstrip(b"/")
    if not body:
        m, d = _to_root(t, base.mount, base.dentry, scope)
        return Last(Path(m, d), b"", LAST_ROOT, True)
    cut = body.rfind(b"/") + 1
    name = body[cut:]
    if cut:
        base = walk(t, base, body[:cut], True, scope)
    elif base.inode.mode & 0o170111 != 0o040111:
        if not base.inode.is_dir():
            raise SysErr(errno.ENOTDIR)
        base.inode.permission(t, MAY_EXEC)
    kind = LAST_NORM
    if name == b".":
        kind = LAST_DOT
    elif name == b"..":
        kind = LAST_DOTDOT
    return Last(base, name, kind, len(body) != len(path))


def lookup_last(t: Task, last: Last) -> Dentry:
    """The dentry of ``last`` (maybe negative), mounts not crossed."""
    d = last.dir.dentry
    nd = d.children.get(last.name)
    if nd is None or d.node().volatile:
        nd = lookup_slow(t, d, last.name)
    return nd


def lookup_slow(
    t: Task, d: Dentry, name: bytes, rest: list[bytes] = NO_NAMES, opens: bool = False
) -> Dentry:
    """Asks the file system (``Inode.lookup_on``). A dentry that is still right is kept (mounts and open files hang on it)."""
    if len(name) > NAME_MAX:
        raise SysErr(errno.ENAMETOOLONG)
    inode = d.node()
    while True:
        seq = d.seq
        found: Inode | None
        try:
            found = inode.lookup_on(t, name, rest, opens)
        except SysErr as e:
            if e.errno != errno.ENOENT:
                raise
            found = None
        nd = d.children.get(name)
        if d.seq != seq:  # the directory changed while the look-up was suspended
            if nd is not None and nd.inode is not None:
                return nd
            continue
        if nd is not None and nd.inode is found:
            return nd
        if nd is not None:
            d.drop_child(name)
        nd = Dentry(name, d, found)
        if found is not None:
            d.children[name] = nd
        return nd


def _to_root(t: Task, m: Mount, d: Dentry, scope: Scope | None) -> tuple[Mount, Dentry]:
    """An absolute path, or a link to one."""
    if scope is None:
        root = t.fs.root
        return root.mount, root.dentry
    if scope.resolve & RESOLVE_BENEATH:
        raise SysErr(errno.EXDEV)
    root = scope.root
    if scope.resolve & RESOLVE_NO_XDEV and root.mount is not m:
        raise SysErr(errno.EXDEV)
    return root.mount, root.dentry


def _up(t: Task, m: Mount, d: Dentry, scope: Scope | None) -> tuple[Mount, Dentry]:
    """``..``: never above the root of the walk."""
    root = t.fs.root if scope is None else scope.root
    resolve = 0 if scope is None else scope.resolve
    start = m
    while True:
        if m is root.mount and d is root.dentry:
            if resolve & RESOLVE_BENEATH:
                raise SysErr(errno.EXDEV)
            break
        if d is not m.root:
            d = d.parent
            break
        at = m.mountpoint
        if m.parent is None or at is None:
            break
        m, d = m.parent, at
    if d.mounts:
        p = follow_mounts(Path(m, d))
        m, d = p.mount, p.dentry
    if resolve & RESOLVE_NO_XDEV and m is not start:
        raise SysErr(errno.EXDEV)
    return m, d


def _cross(m: Mount, d: Dentry, scope: Scope | None) -> tuple[Mount, Dentry]:
    start = m
    while d.mounts:
        up = m.children.get(d)
        if up is None:
            break
        m, d = up, up.root
    if m is not start and scope is not None and scope.resolve & RESOLVE_NO_XDEV:
        raise SysErr(errno.EXDEV)
    return m, d


def _follow(
    t: Task, m: Mount, d: Dentry, link: Dentry, inode: Inode, names: list[bytes], scope: Scope
) -> tuple[Mount, Dentry]:
    """Goes through ``link`` (in directory ``d``): its components are put before those left."""
    target = read_link(t, m, inode, scope)
    if isinstance(target, Path):
        return target.mount, target.dentry
    parts = target.split(b"/")
    parts.reverse()
    if parts[0] == b"":
        parts[0] = b"."
    names.extend(parts)
    if target[0] == 47:
        return _to_root(t, m, d, scope)
    return m, d


def read_link(t: Task, m: Mount, inode: Inode, scope: Scope) -> bytes | Path:
    """One link followed on the way: its target, with openat2's restrictions and the limit checked."""
    scope.links += 1
    if scope.links > MAX_LINKS or scope.resolve & RESOLVE_NO_SYMLINKS or m.flags & MS_NOSYMFOLLOW:
        raise SysErr(errno.ELOOP)
    target = inode.get_link(t)
    if isinstance(target, Path):
        if scope.resolve & RESOLVE_NO_MAGICLINKS:
            raise SysErr(errno.ELOOP)
        if scope.resolve & RESOLVE_SCOPED:
            raise SysErr(errno.EXDEV)
        if scope.resolve & RESOLVE_NO_XDEV and target.mount is not m:
            raise SysErr(errno.EXDEV)
        return target
    if not target:
        raise SysErr(errno.ENOENT)
    touch_atime(t, Path(m, Dentry(b"", None, inode)))
    return target


def touch_atime(t: Task, p: Path) -> None:
    """A read happened: atime by the relatime rule (Linux: touch_atime, relatime_need_update)."""
    i = p.inode
    flags = p.mount.flags
    if i.noatime or flags & 1024 or p.mount.readonly:
        return
    if flags & MS_NODIRATIME and i.mode & 0o170000 == 0o040000:
        return
    now = t.k.realtime_ns()
    if not flags & MS_STRICTATIME and i.atime > i.mtime and i.atime > i.ctime:
        if now - i.atime < 86400_000_000_000:
            return
    i.atime = now
