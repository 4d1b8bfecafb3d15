"""The namespaces of a task, and changing them: unshare(2), clone(2), setns(2) (Linux: kernel/nsproxy.c; namespaces(7)).

The mount namespace is the file context's (``FsContext.ns``), the user namespace the credentials', the pid namespace the process's.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from ..errors import SysErr
from ..vfs.mount import unshare_mounts
from . import userns
from .creds import CAP_SYS_ADMIN, CAP_SYS_CHROOT
from .userns import INIT_USER, INT_MAX, MAX_NAMESPACES, Namespace, UserNamespace

if TYPE_CHECKING:
    from ..ipc.namespace import IpcNamespace
    from ..net.state import NetState
    from ..vfs.mount import MountNamespace
    from .creds import Credentials
    from .pids import PidNamespace
    from .task import Task

CLONE_NEWTIME: Final = 0x80
CLONE_NEWNS: Final = 0x20000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
PROXIED: Final = CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
ALL: Final = PROXIED | CLONE_NEWNS | CLONE_NEWUSER


@final
class UtsNamespace(Namespace):
    """uts_namespaces(7)."""

    __slots__ = ("domainname", "hostname")

    kind: ClassVar[bytes] = b"uts"
    flag: ClassVar[int] = CLONE_NEWUTS

    def __init__(
        self, owner: UserNamespace, hostname: bytes, domainname: bytes, ino: int = 0
    ) -> None:
        super().__init__(owner, ino)
        self.hostname = hostname
        self.domainname = domainname


@final
class CgroupNamespace(Namespace):
    """cgroup_namespaces(7): every process is in the root group, so they are all alike."""

    __slots__ = ()

    kind: ClassVar[bytes] = b"cgroup"
    flag: ClassVar[int] = CLONE_NEWCGROUP


@final
class TimeNamespace(Namespace):
    """time_namespaces(7): there is one, without offsets."""

    __slots__ = ()

    kind: ClassVar[bytes] = b"time"
    flag: ClassVar[int] = CLONE_NEWTIME


# Kinds that belong to layers above: CLONE_NEW* -> the first one, and what makes another.
KINDS: Final[dict[int, tuple[Namespace, Callable[[UserNamespace], Namespace]]]] = {}


def register_kind(first: Namespace, make: Callable[[UserNamespace], Namespace]) -> None:
    """Before the kernel is made."""
    KINDS[first.flag] = first, make


INIT_CGROUP: Final[CgroupNamespace] = CgroupNamespace(INIT_USER, 0xEFFFFFFB)
INIT_TIME: Final[TimeNamespace] = TimeNamespace(INIT_USER, 0xEFFFFFFA)


@final
class NsProxy:
    """Immutable: a change makes a copy."""

    __slots__ = ("cgroup", "ipc", "net", "pids_for_children", "uts")

    def __init__(
        self, uts: UtsNamespace, ipc: IpcNamespace, net: NetState, cgroup: CgroupNamespace, pids: PidNamespace
    ) -> None:  # fmt: skip
        self.uts = uts
        self.ipc = ipc
        self.net = net
        self.cgroup = cgroup
        self.pids_for_children = pids

    def replace(self, **changes: Any) -> NsProxy:
        new = NsProxy(self.uts, self.ipc, self.net, self.cgroup, self.pids_for_children)
        for k, v in changes.items():
            setattr(new, k, v)
        return new


def first_namespaces(uts: UtsNamespace, pids: PidNamespace) -> NsProxy:
    """Those that a sandbox starts with."""
    ipc: Any = KINDS[CLONE_NEWIPC][0]
    net: Any = KINDS[CLONE_NEWNET][0]
    return NsProxy(uts, ipc, net, INIT_CGROUP, pids)


# Limits (Linux: kernel/ucount.c)
def check_limit(t: Task, flag: int, owner: UserNamespace, uid: int) -> None:
    """May user ``uid`` have one more namespace of a kind in ``owner``, and those who made ``owner`` and so on? Raises ENOSPC."""
    tasks = t.k.every_task()
    most = 2 * len(tasks) + 1 if flag != CLONE_NEWUSER else INT_MAX  # there can't be more alive
    living: set[Namespace] | None = None
    at: UserNamespace | None = owner
    while at is not None:
        limit = at.limit(flag)
        if limit < min(most, MAX_NAMESPACES):
            if living is None:
                living = _living(tasks)
            if sum(ns.flag == flag and _counts(ns, at, uid) for ns in living) >= limit:
                raise SysErr(errno.ENOSPC)
        uid, at = at.creator, at.owner


def _living(tasks: list[Task]) -> set[Namespace]:
    """Namespaces with a process in them, or in one within them."""
    out: set[Namespace] = set()
    for u in tasks:
        p = u.ns
        out.update((p.uts, p.ipc, p.net, p.cgroup, u.fs.ns))
        users: UserNamespace | None = u.creds.userns
        while users is not None:
            out.add(users)
            users = users.owner
        pids: PidNamespace | None = p.pids_for_children
        while pids is not None:
            out.add(pids)
            pids = pids.parent
    return out


def _counts(ns: Namespace, users: UserNamespace, uid: int) -> bool:
    """Whether ``ns`` counts for user ``uid`` of ``users``."""
    at, who = ns.owner, ns.maker
    while at is not None and who >= 0:
        if at is users and who == uid:
            return True
        who, at = at.creator, at.owner
    return False


def new_user(t: Task) -> Credentials:
    """The caller's credentials as the first of a new user namespace. Raises EPERM, ENOSPC."""
    ctx = t.fs
    check_limit(t, CLONE_NEWUSER, t.creds.userns, t.creds.euid)
    plain = ctx.root.same(ctx.ns.root_path())
    return t.creds.full_in(userns.create(t.creds, plain))


def new_proxy(t: Task, flags: int, creds: Credentials) -> NsProxy:
    """The caller's namespaces with new ones of the kinds in ``flags``, owned by the user namespace of ``creds``. Raises EPERM,
    ENOSPC."""
    if not flags & (PROXIED | CLONE_NEWNS):
        return t.ns
    if not creds.has(CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)
    owner, old = creds.userns, t.ns
    for flag in (
        CLONE_NEWNS,
        CLONE_NEWUTS,
        CLONE_NEWIPC,
        CLONE_NEWPID,
        CLONE_NEWCGROUP,
        CLONE_NEWNET,
    ):
        if flags & flag:
            check_limit(t, flag, owner, creds.euid)
    if not flags & PROXIED:
        return t.ns
    new = old.replace()
    if flags & CLONE_NEWUTS:
        new.uts = UtsNamespace(owner, old.uts.hostname, old.uts.domainname)
    if flags & CLONE_NEWIPC:
        ipc: Any = KINDS[CLONE_NEWIPC][1](owner)
        new.ipc = ipc
    if flags & CLONE_NEWNET:
        net: Any = KINDS[CLONE_NEWNET][1](owner)
        new.net = net
    if flags & CLONE_NEWCGROUP:
        new.cgroup = CgroupNamespace(owner)
    if flags & CLONE_NEWPID:
        if old.pids_for_children is not t.tg.pidns:  # one unshare, or setns, is enough
            raise SysErr(errno.EINVAL)
        new.pids_for_children = t.tg.pidns.nested(owner)
    for made in (new.uts, new.ipc, new.net, new.cgroup, new.pids_for_children):
        if flags & made.flag:
            made.maker = creds.euid
    return new


# setns(2)
def _admin(c: Credentials, ns: Namespace) -> None:
    owner = ns.owner
    if owner is None or not c.ns_capable(owner, CAP_SYS_ADMIN):
        raise SysErr(errno.EPERM)


@final
class Entering:
    """What setns is about to change; ``commit`` does it once every namespace has agreed."""

    __slots__ = ("creds", "mnt", "proxy", "t")

    def __init__(self, t: Task) -> None:
        self.t = t
        self.creds = t.creds
        self.proxy = t.ns.replace()
        self.mnt: MountNamespace | None = None

    def enter(self, ns: Namespace) -> None:
        """Raises EPERM, EINVAL."""
        t = self.t
        if isinstance(ns, UserNamespace):
            if ns is t.creds.userns or len(t.tg.tasks) > 1 or t.fs.refs > 1:
                raise SysErr(errno.EINVAL)
            if not t.creds.ns_capable(ns, CAP_SYS_ADMIN):
                raise SysErr(errno.EPERM)
            self.creds = t.creds.full_in(ns)
            return
        c = self.creds
        _admin(c, ns)
        if not c.has(CAP_SYS_ADMIN):
            raise SysErr(errno.EPERM)
        p = self.proxy
        if isinstance(ns, UtsNamespace):
            p.uts = ns
        elif ns.flag == CLONE_NEWIPC:
            ipc: Any = ns
            p.ipc = ipc
        elif ns.flag == CLONE_NEWNET:
            net: Any = ns
            p.net = net
        elif isinstance(ns, CgroupNamespace):
            p.cgroup = ns
        elif ns.flag == CLONE_NEWPID:
            self._pids(ns)
        elif ns.flag == CLONE_NEWNS:
            if not c.has(CAP_SYS_CHROOT):
                raise SysErr(errno.EPERM)
            if t.fs.refs > 1:
                raise SysErr(errno.EINVAL)
            mnt: Any = ns
            self.mnt = mnt

    def _pids(self, ns: Namespace) -> None:
        pids: Any = ns
        if not pids.is_within(self.t.tg.pidns):
            raise SysErr(errno.EINVAL)
        self.proxy.pids_for_children = pids

    def commit(self) -> None:
        t = self.t
        t.ns = self.proxy
        if self.creds is not t.creds:
            t.creds = self.creds
            t.publish()
        if self.mnt is not None:
            t.fs.enter(self.mnt)
        t.k.namespaces_left()


def unshare_mount_namespace(t: Task) -> None:
    """A copy of the mount tree, owned by the task's user namespace; its file context is its own."""
    unshare_mounts(t.fs, t.creds.userns)
    t.fs.ns.maker = t.creds.euid


def unshare(t: Task, flags: int) -> None:
    """The part of unshare(2) that is about namespaces. Raises EPERM, ENOSPC, EINVAL."""
    creds = new_user(t) if flags & CLONE_NEWUSER else t.creds
    proxy = new_proxy(t, flags, creds)
    t.ns = proxy
    if creds is not t.creds:
        t.creds = creds
        t.publish()
    if flags & CLONE_NEWNS:
        unshare_mount_namespace(t)
    t.k.namespaces_left()
