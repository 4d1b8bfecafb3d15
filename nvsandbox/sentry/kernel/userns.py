"""User namespaces: which ids there are in one, and who may do what in it (Linux: kernel/user_namespace.c; user_namespaces(7)).

Everywhere in the kernel an id is that of the initial namespace. Where a program names or is shown one, it is translated by the
maps of the program's own namespace; an id that is not in them is shown as 65534.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, final

from ..errors import SysErr

if TYPE_CHECKING:
    from .creds import Credentials
    from .task import Task

INVALID: Final = 0xFFFFFFFF
OVERFLOW: Final = 65534
MAX_LEVEL: Final = 32
MAX_NAMESPACES: Final = 16000  # of each kind, at first: half as many as there may be threads
INT_MAX: Final = (1 << 31) - 1
MAX_EXTENTS: Final = 340
MAP_BYTES: Final = 4096
FIRST_INO: Final = 0xF0000000
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_SYS_ADMIN: Final = 21
CAP_SETFCAP: Final = 31

_inos = FIRST_INO


def new_ino() -> int:
    """An inode number for a namespace; those of the initial ones lie below."""
    global _inos
    _inos += 1
    return _inos


class Namespace:
    """What all kinds have: a number, and the user namespace whose capabilities count for it (``owner``)."""

    __slots__ = ("ino", "maker", "owner")

    kind: ClassVar[bytes] = b""
    flag: ClassVar[int] = 0  # its CLONE_NEW*

    def __init__(self, owner: UserNamespace | None, ino: int = 0) -> None:
        self.owner = owner
        self.ino = ino or new_ino()
        self.maker = -1  # the effective uid for which it counts; those from before the first program count for nobody

    def administrator(self) -> UserNamespace:
        """The user namespace whose capabilities count: the initial one for that itself."""
        return self.owner if self.owner is not None else INIT_USER


class Extent(NamedTuple):
    """``size`` ids from ``first`` on are those from ``lower`` on of the initial namespace."""

    first: int
    lower: int
    size: int


EVERYTHING: Final = (Extent(0, 0, INVALID),)


@final
class UserNamespace(Namespace):
    """``owner`` is its parent; ``creator`` the effective uid that made it, which has all capabilities in it."""

    __slots__ = (
        "creator", "creator_gid", "gid_map", "level", "limits", "may_setgroups", "parent_had_setfcap", "uid_map",
    )  # fmt: skip

    kind: ClassVar[bytes] = b"user"
    flag: ClassVar[int] = 0x10000000

    def __init__(
        self, parent: UserNamespace | None, creator: int, creator_gid: int, ino: int = 0
    ) -> None:
        super().__init__(parent, ino)
        self.creator = creator
        if parent is not None:
            self.maker = creator
        self.limits: dict[int, int] = {}  # CLONE_NEW*: how many each user may have
        self.creator_gid = creator_gid
        self.level: int = parent.level + 1 if parent is not None else 0
        self.uid_map: tuple[Extent, ...] = () if parent is not None else EVERYTHING
        self.gid_map: tuple[Extent, ...] = self.uid_map
        self.may_setgroups: bool = parent is None or parent.may_setgroups
        self.parent_had_setfcap = False

    def is_within(self, other: UserNamespace) -> bool:
        """Whether it is ``other`` or a descendant of it."""
        ns: UserNamespace | None = self
        while ns is not None:
            if ns is other:
                return True
            ns = ns.owner
        return False

    def limit(self, flag: int) -> int:
        """How many namespaces of a kind each user may have in it (/proc/sys/user)."""
        return self.limits.get(flag, MAX_NAMESPACES if self.owner is None else INT_MAX)

    # Ids
    def uid_in(self, uid: int) -> int:
        """The kernel's number of what a program calls ``uid``; INVALID where it has no meaning."""
        return uid if self.owner is None else _down(self.uid_map, uid)

    def gid_in(self, gid: int) -> int:
        return gid if self.owner is None else _down(self.gid_map, gid)

    def uid_out(self, uid: int) -> int:
        """What a program is shown for ``uid``."""
        return uid if self.owner is None else _munged(_up(self.uid_map, uid))

    def gid_out(self, gid: int) -> int:
        return gid if self.owner is None else _munged(_up(self.gid_map, gid))

    def has_uid(self, uid: int) -> bool:
        return self.owner is None or _up(self.uid_map, uid) != INVALID

    def has_gid(self, gid: int) -> bool:
        return self.owner is None or _up(self.gid_map, gid) != INVALID


INIT_USER: Final[UserNamespace] = UserNamespace(None, 0, 0, 0xEFFFFFFD)


def _down(extents: tuple[Extent, ...], ident: int) -> int:
    for e in extents:
        if e.first <= ident < e.first + e.size:
            return e.lower + ident - e.first
    return INVALID


def _up(extents: tuple[Extent, ...], ident: int) -> int:
    for e in extents:
        if e.lower <= ident < e.lower + e.size:
            return e.first + ident - e.lower
    return INVALID


def _munged(ident: int) -> int:
    return OVERFLOW if ident == INVALID else ident


def create(c: Credentials, may_chroot: bool) -> UserNamespace:
    """A new namespace made by ``c`` (Linux: create_user_ns). ``may_chroot``: its root is the one of its mount namespace.
    Raises ENOSPC when nested too deeply, EPERM in a chroot and for ids that its own namespace doesn't have."""
    parent = c.userns
    if parent.level > MAX_LEVEL:
        raise SysErr(errno.ENOSPC)
    if not may_chroot or not parent.has_uid(c.euid) or not parent.has_gid(c.egid):
        raise SysErr(errno.EPERM)
    ns = UserNamespace(parent, c.euid, c.egid)
    ns.parent_had_setfcap = c.has(CAP_SETFCAP)
    return ns


# /proc/PID/uid_map, gid_map, setgroups
def show_map(reader: UserNamespace, ns: UserNamespace, groups: bool) -> bytes:
    """A map as a program of ``reader`` sees it: in ids of its namespace, of the parent for one that is in ``ns`` itself."""
    seen = ns.owner if reader is ns and ns.owner is not None else reader
    out = []
    for e in ns.gid_map if groups else ns.uid_map:
        lower = e.lower
        if seen.owner is not None:
            lower = _up(seen.gid_map if groups else seen.uid_map, lower)
        out.append(b"%10d %10d %10d\n" % (e.first, lower, e.size))
    return b"".join(out)


def write_map(t: Task, opener: Credentials, ns: UserNamespace, groups: bool, data: bytes) -> int:
    """A program sets the map of ``ns``, once (Linux: map_write, new_idmap_permitted). ``opener``: who opened the file.
    Raises EPERM, EINVAL."""
    if len(data) >= MAP_BYTES:
        raise SysErr(errno.EINVAL)
    if ns.gid_map if groups else ns.uid_map:
        raise SysErr(errno.EPERM)
    parent = ns.owner
    if parent is None or not t.creds.ns_capable(ns, CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)
    extents = _parse(data)
    if t.creds.userns is not ns and t.creds.userns is not parent:
        raise SysErr(errno.EPERM)
    if not _permitted(t, opener, ns, parent, groups, extents):
        raise SysErr(errno.EPERM)
    outer = parent.gid_map if groups else parent.uid_map
    mapped = []
    for e in extents:
        lower = _range(outer, e.lower, e.size)
        if lower == INVALID:
            raise SysErr(errno.EPERM)
        mapped.append(Extent(e.first, lower, e.size))
    if groups:
        ns.gid_map = tuple(mapped)
    else:
        ns.uid_map = tuple(mapped)
    for u in t.k.every_task():
        if u.creds.userns is ns and u.has_thread():
            u.publish()
    return len(data)


def _parse(data: bytes) -> list[Extent]:
    """Lines of three numbers, without overlap. Raises EINVAL."""
    out: list[Extent] = []
    for line in data.split(b"\0")[0].rstrip(b"\n").split(b"\n"):
        words = line.split()
        if len(words) != 3 or not all(w.isdigit() and len(w) <= 10 for w in words):
            raise SysErr(errno.EINVAL)
        e = Extent(int(words[0]), int(words[1]), int(words[2]))
        if (
            INVALID in (e.first, e.lower)
            or e.size == 0
            or e.first + e.size > INVALID
            or e.lower + e.size > INVALID
            or len(out) >= MAX_EXTENTS
            or any(
                (e.first < o.first + o.size and o.first < e.first + e.size)
                or (e.lower < o.lower + o.size and o.lower < e.lower + e.size)
                for o in out
            )
        ):  # fmt: skip
            raise SysErr(errno.EINVAL)
        out.append(e)
    return out


def _range(extents: tuple[Extent, ...], first: int, count: int) -> int:
    """``first`` translated, where one extent has all of the range; else INVALID."""
    for e in extents:
        if e.first <= first and first + count <= e.first + e.size:
            return e.lower + first - e.first
    return INVALID


def _permitted(
    t: Task, opener: Credentials, ns: UserNamespace, parent: UserNamespace, groups: bool, new: list[Extent]
) -> bool:  # fmt: skip
    if not groups and any(e.lower == 0 for e in new):  # may root of the parent be mapped at all?
        if opener.userns is ns:
            if not ns.parent_had_setfcap:
                return False
        elif not opener.ns_capable(parent, CAP_SETFCAP):
            return False
    c = opener
    if len(new) == 1 and new[0].size == 1 and ns.creator == c.euid:
        own = parent.gid_in(new[0].lower) if groups else parent.uid_in(new[0].lower)
        if groups:
            if not ns.may_setgroups and own == c.egid:
                return True
        elif own == c.euid:
            return True
    cap = CAP_SETGID if groups else CAP_SETUID
    return t.creds.ns_capable(parent, cap) and opener.ns_capable(parent, cap)


def write_setgroups(t: Task, ns: UserNamespace, data: bytes) -> int:
    """``allow`` or ``deny``: the latter for good, and before there is a group map. Raises EPERM, EINVAL."""
    if not t.creds.ns_capable(ns, CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)
    if len(data) >= 8:
        raise SysErr(errno.EINVAL)
    word = data.split(b"\0")[0].rstrip()
    if word == b"allow":
        if not ns.may_setgroups:
            raise SysErr(errno.EPERM)
    elif word == b"deny":
        if ns.gid_map:
            raise SysErr(errno.EPERM)
        ns.may_setgroups = False
    else:
        raise SysErr(errno.EINVAL)
    return len(data)


def setgroups_allowed(ns: UserNamespace) -> bool:
    """Whether setgroups(2) is there in ``ns``: not before there is a group map."""
    return bool(ns.gid_map) and ns.may_setgroups
