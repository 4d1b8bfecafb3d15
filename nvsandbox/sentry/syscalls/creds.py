"""User and group ids, groups, capabilities (Linux: kernel/sys.c, kernel/groups.c, kernel/capability.c; credentials(7))."""

from __future__ import annotations

import errno
import struct
from typing import Final

from ..errors import SysErr
from ..kernel.creds import CAP_FULL, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, Credentials
from ..kernel.task import Task
from ..kernel.userns import setgroups_allowed
from .decode import CInt, CUInt, Table, UserPtr, full

KEEP: Final = 0xFFFFFFFF
NGROUPS_MAX: Final = 65536
SECBIT_KEEP_CAPS: Final = 16
SECBIT_NO_SETUID_FIXUP: Final = 4
CAP_V1: Final = 0x19980330
CAP_V2: Final = 0x20071026
CAP_V3: Final = 0x20080522
FS_CAPS: Final = 0x1FF & ~(1 << 5 | 1 << 6 | 1 << 7 | 1 << 8) | 1 << 9 | 1 << 27 | 1 << 32


def _commit(t: Task, old: Credentials, new: Credentials) -> int:
    """The capability effects of a uid change (capabilities(7), "Effect of user ID changes")."""
    if not old.securebits & SECBIT_NO_SETUID_FIXUP:
        root = old.userns.uid_in(0)
        had_root = root in (old.uid, old.euid, old.suid)
        if had_root and root not in (new.uid, new.euid, new.suid):
            if not old.securebits & SECBIT_KEEP_CAPS:
                new.cap_permitted = new.cap_effective = 0
            new.cap_ambient = 0
        if old.euid == root != new.euid:
            new.cap_effective = 0
        elif old.euid != root == new.euid:
            new.cap_effective = new.cap_permitted
    if (old.euid, old.egid) != (new.euid, new.egid):
        t.tg.dumpable = 0
        t.pdeath_signal = 0
    t.creds = new
    t.publish()
    return 0


def sys_getuid(t: Task) -> int:
    return t.creds.userns.uid_out(t.creds.uid)


def sys_geteuid(t: Task) -> int:
    return t.creds.userns.uid_out(t.creds.euid)


def sys_getgid(t: Task) -> int:
    return t.creds.userns.gid_out(t.creds.gid)


def sys_getegid(t: Task) -> int:
    return t.creds.userns.gid_out(t.creds.egid)


def _uid(t: Task, uid: int, keep: bool = True) -> int:
    """The kernel's number of an argument, KEEP as it is if allowed. Raises EINVAL for one that the user namespace doesn't have."""
    found = t.creds.userns.uid_in(uid)
    if found == KEEP and not (keep and uid == KEEP):
        raise SysErr(errno.EINVAL)
    return found


def _gid(t: Task, gid: int, keep: bool = True) -> int:
    found = t.creds.userns.gid_in(gid)
    if found == KEEP and not (keep and gid == KEEP):
        raise SysErr(errno.EINVAL)
    return found


def sys_setuid(t: Task, uid: CUInt) -> int:
    """setuid(2)."""
    uid = _uid(t, uid, False)
    c = t.creds
    if c.has(CAP_SETUID):
        return _commit(t, c, c.replace(uid=uid, euid=uid, suid=uid, fsuid=uid))
    if uid not in (c.uid, c.suid):
        raise SysErr(errno.EPERM)
    return _commit(t, c, c.replace(euid=uid, fsuid=uid))


def sys_setgid(t: Task, gid: CUInt) -> int:
    """setgid(2)."""
    gid = _gid(t, gid, False)
    c = t.creds
    if c.has(CAP_SETGID):
        return _commit(t, c, c.replace(gid=gid, egid=gid, sgid=gid, fsgid=gid))
    if gid not in (c.gid, c.sgid):
        raise SysErr(errno.EPERM)
    return _commit(t, c, c.replace(egid=gid, fsgid=gid))


def sys_setreuid(t: Task, ruid: CUInt, euid: CUInt) -> int:
    """setreuid(2)."""
    ruid, euid = _uid(t, ruid), _uid(t, euid)
    c = t.creds
    priv = c.has(CAP_SETUID)
    new = c.replace()
    if ruid != KEEP:
        if not priv and ruid not in (c.uid, c.euid):
            raise SysErr(errno.EPERM)
        new.uid = ruid
    if euid != KEEP:
        if not priv and euid not in (c.uid, c.euid, c.suid):
            raise SysErr(errno.EPERM)
        new.euid = euid
    if ruid != KEEP or (euid != KEEP and euid != c.uid):
        new.suid = new.euid
    new.fsuid = new.euid
    return _commit(t, c, new)


def sys_setregid(t: Task, rgid: CUInt, egid: CUInt) -> int:
    """setregid(2)."""
    rgid, egid = _gid(t, rgid), _gid(t, egid)
    c = t.creds
    priv = c.has(CAP_SETGID)
    new = c.replace()
    if rgid != KEEP:
        if not priv and rgid not in (c.gid, c.egid):
            raise SysErr(errno.EPERM)
        new.gid = rgid
    if egid != KEEP:
        if not priv and egid not in (c.gid, c.egid, c.sgid):
            raise SysErr(errno.EPERM)
        new.egid = egid
    if rgid != KEEP or (egid != KEEP and egid != c.gid):
        new.sgid = new.egid
    new.fsgid = new.egid
    return _commit(t, c, new)


def sys_setresuid(t: Task, ruid: CUInt, euid: CUInt, suid: CUInt) -> int:
    """setresuid(2)."""
    ruid, euid, suid = _uid(t, ruid), _uid(t, euid), _uid(t, suid)
    c = t.creds
    mine = (c.uid, c.euid, c.suid)
    if not c.has(CAP_SETUID) and any(v != KEEP and v not in mine for v in (ruid, euid, suid)):
        raise SysErr(errno.EPERM)
    new = c.replace()
    new.uid = ruid if ruid != KEEP else c.uid
    new.euid = euid if euid != KEEP else c.euid
    new.suid = suid if suid != KEEP else c.suid
    new.fsuid = new.euid
    return _commit(t, c, new)


def sys_setresgid(t: Task, rgid: CUInt, egid: CUInt, sgid: CUInt) -> int:
    """setresgid(2)."""
    rgid, egid, sgid = _gid(t, rgid), _gid(t, egid), _gid(t, sgid)
    c = t.creds
    mine = (c.gid, c.egid, c.sgid)
    if not c.has(CAP_SETGID) and any(v != KEEP and v not in mine for v in (rgid, egid, sgid)):
        raise SysErr(errno.EPERM)
    new = c.replace()
    new.gid = rgid if rgid != KEEP else c.gid
    new.egid = egid if egid != KEEP else c.egid
    new.sgid = sgid if sgid != KEEP else c.sgid
    new.fsgid = new.egid
    return _commit(t, c, new)


def sys_getresuid(t: Task, r: UserPtr, e: UserPtr, s: UserPtr) -> int:
    for addr, v in ((r, t.creds.uid), (e, t.creds.euid), (s, t.creds.suid)):
        t.copy_out(addr, t.creds.userns.uid_out(v).to_bytes(4, "little"))
    return 0


def sys_getresgid(t: Task, r: UserPtr, e: UserPtr, s: UserPtr) -> int:
    for addr, v in ((r, t.creds.gid), (e, t.creds.egid), (s, t.creds.sgid)):
        t.copy_out(addr, t.creds.userns.gid_out(v).to_bytes(4, "little"))
    return 0


def sys_setfsuid(t: Task, uid: CUInt) -> int:
    """setfsuid(2): always the previous value."""
    c = t.creds
    uid = c.userns.uid_in(uid)
    if uid in (c.uid, c.euid, c.suid, c.fsuid) or (uid != KEEP and c.has(CAP_SETUID)):
        new = c.replace(fsuid=uid)
        root = c.userns.uid_in(0)
        if c.fsuid == root != uid:
            new.cap_effective &= ~FS_CAPS
        elif c.fsuid != root == uid:
            new.cap_effective |= new.cap_permitted & FS_CAPS
        t.creds = new
    return c.userns.uid_out(c.fsuid)


def sys_setfsgid(t: Task, gid: CUInt) -> int:
    """setfsgid(2)."""
    c = t.creds
    gid = c.userns.gid_in(gid)
    if gid in (c.gid, c.egid, c.sgid, c.fsgid) or (gid != KEEP and c.has(CAP_SETGID)):
        t.creds = c.replace(fsgid=gid)
    return c.userns.gid_out(c.fsgid)


def sys_getgroups(t: Task, size: CInt, out: UserPtr) -> int:
    """getgroups(2)."""
    g = t.creds.groups
    if size < 0:
        raise SysErr(errno.EINVAL)
    if size:
        if len(g) > size:
            raise SysErr(errno.EINVAL)
        users = t.creds.userns
        t.copy_out(out, struct.pack(f"<{len(g)}I", *(users.gid_out(v) for v in g)))
    return len(g)


def sys_setgroups(t: Task, size: CInt, addr: UserPtr) -> int:
    """setgroups(2)."""
    users = t.creds.userns
    if not t.creds.has(CAP_SETGID) or not setgroups_allowed(users):
        raise SysErr(errno.EPERM)
    if not 0 <= size <= NGROUPS_MAX:
        raise SysErr(errno.EINVAL)
    g = struct.unpack(f"<{size}I", t.copy_in(addr, 4 * size))
    t.creds = t.creds.replace(groups=tuple(sorted(_gid(t, v, False) for v in g)))
    return 0


def _cap_header(t: Task, addr: int) -> tuple[int, int]:
    """(number of 32-bit words a set has, pid)."""
    version, pid = struct.unpack("<Ii", t.copy_in(addr, 8))
    if version not in (CAP_V1, CAP_V2, CAP_V3):
        t.copy_out(addr, CAP_V3.to_bytes(4, "little"))
        return 0, pid
    return 1 if version == CAP_V1 else 2, pid


def sys_capget(t: Task, hdr: UserPtr, data: UserPtr) -> int:
    """capget(2)."""
    words, pid = _cap_header(t, hdr)
    if not words:
        if not data:
            return 0
        t.flush()
        raise SysErr(errno.EINVAL)
    if pid < 0:
        raise SysErr(errno.EINVAL)
    u = t.tg.pidns.find_task(pid) if pid else t
    if u is None:
        raise SysErr(errno.ESRCH)
    if not data:
        return 0
    c = u.creds
    out = b""
    for i in range(words):
        sets = (c.cap_effective, c.cap_permitted, c.cap_inheritable)
        out += struct.pack("<III", *(s >> (32 * i) & 0xFFFFFFFF for s in sets))
    t.copy_out(data, out)
    return 0


def sys_capset(t: Task, hdr: UserPtr, data: UserPtr) -> int:
    """capset(2)."""
    words, pid = _cap_header(t, hdr)
    if not words:
        t.flush()
        raise SysErr(errno.EINVAL)
    if pid not in (0, t.nr):
        raise SysErr(errno.EPERM)
    raw = struct.unpack(f"<{3 * words}I", t.copy_in(data, 12 * words))
    eff = perm = inh = 0
    for i in range(words):
        eff |= raw[3 * i] << (32 * i)
        perm |= raw[3 * i + 1] << (32 * i)
        inh |= raw[3 * i + 2] << (32 * i)
    eff, perm, inh = eff & CAP_FULL, perm & CAP_FULL, inh & CAP_FULL
    c = t.creds
    if not c.has(CAP_SETPCAP) and inh & ~(c.cap_inheritable | c.cap_permitted):
        raise SysErr(errno.EPERM)
    if inh & ~(c.cap_inheritable | c.cap_bset) or perm & ~c.cap_permitted or eff & ~perm:
        raise SysErr(errno.EPERM)
    t.creds = c.replace(
        cap_effective=eff,
        cap_permitted=perm,
        cap_inheritable=inh,
        cap_ambient=c.cap_ambient & perm & inh,
    )
    return 0


TABLE: Final[Table] = {
    102: full("getuid", sys_getuid),
    104: full("getgid", sys_getgid),
    105: full("setuid", sys_setuid),
    106: full("setgid", sys_setgid),
    107: full("geteuid", sys_geteuid),
    108: full("getegid", sys_getegid),
    113: full("setreuid", sys_setreuid),
    114: full("setregid", sys_setregid),
    115: full("getgroups", sys_getgroups),
    116: full("setgroups", sys_setgroups),
    117: full("setresuid", sys_setresuid),
    118: full("getresuid", sys_getresuid),
    119: full("setresgid", sys_setresgid),
    120: full("getresgid", sys_getresgid),
    122: full("setfsuid", sys_setfsuid),
    123: full("setfsgid", sys_setfsgid),
    125: full("capget", sys_capget),
    126: full("capset", sys_capset),
}
