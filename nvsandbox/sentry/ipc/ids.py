"""What the three System V mechanisms share: keys, identifiers, permissions (Linux: ipc/util.c; sysvipc(7))."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar, final

from ..errors import SysErr
from ..kernel.creds import CAP_IPC_OWNER, CAP_SYS_ADMIN
from ..kernel.userns import INVALID

if TYPE_CHECKING:
    from ..kernel.task import Task

IPC_PRIVATE: Final = 0
IPC_CREAT: Final = 0o1000
IPC_EXCL: Final = 0o2000
IPC_NOWAIT: Final = 0o4000
IPC_RMID: Final = 0
IPC_SET: Final = 1
IPC_STAT: Final = 2
IPC_INFO: Final = 3
IPC_64: Final = 0x100  # a flag of old callers; ignored on x86-64
SEQ_SHIFT: Final = 15
INDEX_MASK: Final = (1 << SEQ_SHIFT) - 1
PERM: Final = struct.Struct("<iIIIIIHH4xQQ")  # struct ipc64_perm, 48 bytes
assert PERM.size == 48
READ: Final = 0o444
WRITE: Final = 0o222


class IpcObject:
    """The permission part (struct kern_ipc_perm)."""

    __slots__ = ("cgid", "ctime", "cuid", "dead", "gid", "id", "key", "mode", "uid")

    def __init__(self, t: Task, key: int, mode: int) -> None:
        c = t.creds
        self.key = key
        self.uid = self.cuid = c.euid
        self.gid = self.cgid = c.egid
        self.mode = mode & 0o777
        self.id = 0
        self.ctime = t.k.realtime_ns() // 10**9
        self.dead = False

    def pack_perm(self, t: Task) -> bytes:
        ns = t.creds.userns
        return PERM.pack(
            self.key,
            ns.uid_out(self.uid),
            ns.gid_out(self.gid),
            ns.uid_out(self.cuid),
            ns.gid_out(self.cgid),
            self.mode,
            self.id >> SEQ_SHIFT,
            0,
            0,
            0,
        )

    def check(self, t: Task, want: int) -> None:
        """``want``: bits of READ and WRITE, or a mode given to *get. Raises EACCES."""
        c = t.creds
        asked = (want >> 6 | want >> 3 | want) & 7
        granted = self.mode
        if c.euid in (self.cuid, self.uid):
            granted >>= 6
        elif c.egid in (self.cgid, self.gid) or self.cgid in c.groups or self.gid in c.groups:
            granted >>= 3
        if asked & ~granted & 7 and not c.ns_capable(t.ns.ipc.administrator(), CAP_IPC_OWNER):
            raise SysErr(errno.EACCES)

    def check_owner(self, t: Task) -> None:
        """IPC_SET and IPC_RMID. Raises EPERM."""
        c = t.creds
        if c.euid not in (self.cuid, self.uid) and not c.ns_capable(
            t.ns.ipc.administrator(), CAP_SYS_ADMIN
        ):
            raise SysErr(errno.EPERM)

    def set_perm(self, t: Task, raw: bytes) -> None:
        _, uid, gid, _, _, mode, *_ = PERM.unpack(raw)
        ns = t.creds.userns
        uid, gid = ns.uid_in(uid), ns.gid_in(gid)
        if ns.owner is not None and INVALID in (uid, gid):
            raise SysErr(errno.EINVAL)
        self.uid, self.gid = uid, gid
        self.mode = self.mode & ~0o777 | mode & 0o777
        self.ctime = t.k.realtime_ns() // 10**9


T = TypeVar("T", bound=IpcObject)


@final
class IpcTable(Generic[T]):
    """Objects of one kind by identifier and key. An identifier carries a sequence number, so that old ones die."""

    __slots__ = ("by_index", "by_key", "free", "limit", "next_id", "seq")

    def __init__(self, limit: int) -> None:
        self.by_index: dict[int, T] = {}
        self.by_key: dict[int, T] = {}
        self.limit = limit
        self.free = 0  # no index below it is
        self.next_id = -1  # what the next one is to be called (*_next_id of proc_sys(5))
        self.seq = 0

    def get(
        self, t: Task, key: int, flags: int, make: Callable[[], T], check: Callable[[T], None]
    ) -> int:
        """The *get calls. Raises ENOENT, EEXIST, EACCES, ENOSPC and what ``make`` and ``check`` raise."""
        if key != IPC_PRIVATE:
            old = self.by_key.get(key)
            if old is not None:
                if flags & IPC_CREAT and flags & IPC_EXCL:
                    raise SysErr(errno.EEXIST)
                check(old)
                old.check(t, flags)
                return old.id
            if not flags & IPC_CREAT:
                raise SysErr(errno.ENOENT)
        new = make()
        if len(self.by_index) >= self.limit:
            raise SysErr(errno.ENOSPC)
        index = self.free if self.next_id < 0 else self.next_id & INDEX_MASK
        while index in self.by_index:
            index += 1
        if index > INDEX_MASK:
            raise SysErr(errno.ENOSPC)
        if self.next_id < 0:
            self.free = index + 1
            new.id = self.seq << SEQ_SHIFT | index
            self.seq = (self.seq + 1) & 0xFFFF
        else:
            new.id = self.next_id & ~INDEX_MASK | index
            self.next_id = -1
        self.by_index[index] = new
        if key != IPC_PRIVATE:
            self.by_key[key] = new
        return new.id

    def find(self, id: int) -> T:
        """Raises EINVAL; EIDRM for an identifier whose place has been taken by another object."""
        o = self.by_index.get(id & INDEX_MASK) if id >= 0 else None
        if o is None:
            raise SysErr(errno.EINVAL)
        if o.id != id:
            raise SysErr(errno.EIDRM)
        return o

    def at_index(self, index: int) -> T:
        """The *_STAT commands. Raises EINVAL."""
        o = self.by_index.get(index)
        if o is None:
            raise SysErr(errno.EINVAL)
        return o

    def unkey(self, o: T) -> None:
        """It can no longer be found by key."""
        if self.by_key.get(o.key) is o:
            del self.by_key[o.key]

    def remove(self, o: T) -> None:
        self.unkey(o)
        self.by_index.pop(o.id & INDEX_MASK, None)
        self.free = min(self.free, o.id & INDEX_MASK)
        o.dead = True

    def highest(self) -> int:
        return max(self.by_index, default=0)
