"""add_key(2), request_key(2), keyctl(2) (Linux: security/keys/keyctl.c, process_keys.c, request_key.c)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from ..kernel.creds import CAP_SETUID, CAP_SYS_ADMIN
from ..kernel.keys import (
    DEFAULT_PERM,
    KEYRING,
    LINK,
    LOGON,
    NEGATIVE_SECONDS,
    NSEC,
    PAYLOAD_MAX,
    PERMISSIONS,
    READ,
    SEARCH,
    SESSION_PERM,
    SETATTR,
    TASK_PERM,
    VIEW,
    WRITE,
    Key,
    KeyTable,
)
from ..kernel.userns import INVALID
from .decode import CInt, CULong, Table, UserPtr, partial

if TYPE_CHECKING:
    from ..kernel.task import Task

TYPE_MAX: Final = 32
DESC_MAX: Final = 4096
CALLOUT_MAX: Final = 4096
DATA_MAX: Final = (1 << 20) - 1
UPDATE_MAX: Final = 4096
THREAD, PROCESS, SESSION, USER_RING, USER_SESSION, GROUP = -1, -2, -3, -4, -5, -6
DEFAULTS: Final = (-1, 0, 1, 2, 3, 4, 5, 7)  # KEYCTL_SET_REQKEY_KEYRING
MOVE_EXCL: Final = 1
# What KEYCTL_CAPABILITIES tells: persistent keyrings, invalidate, restrict, move; names and tags by namespace.
CAPABILITIES: Final = bytes((0x01 | 0x02 | 0x20 | 0x40 | 0x80, 0x03))


@final
class Found:
    """A key, and whether the caller possesses it."""

    __slots__ = ("key", "possessed")

    def __init__(self, key: Key, possessed: bool) -> None:
        self.key = key
        self.possessed = possessed


def _table(t: Task) -> KeyTable:
    return t.tg.container.keys(t.k)


def _text(t: Task, addr: int, limit: int) -> bytes:
    """A string with its NUL within ``limit`` bytes. Raises EFAULT, EINVAL."""
    try:
        return t.copy_in_str(addr, limit)
    except SysErr as e:
        raise SysErr(errno.EINVAL if e.errno == errno.ENAMETOOLONG else e.errno) from None


def _type(t: Task, addr: int) -> bytes:
    """Raises EINVAL, EPERM for those of the kernel's own."""
    kind = _text(t, addr, TYPE_MAX)
    if not kind:
        raise SysErr(errno.EINVAL)
    if kind[:1] == b".":
        raise SysErr(errno.EPERM)
    return kind


# Finding a key by its number (Linux: lookup_user_key)
def _special(t: Task, ident: int, create: bool) -> Key:
    """Raises ENOKEY for a keyring that isn't there yet, EINVAL."""
    table, held, c = _table(t), t.keys, t.creds
    if ident == THREAD or ident == PROCESS:
        here = held.thread if ident == THREAD else held.process[0] if held.process else None
        if here is None:
            if not create:
                raise SysErr(errno.ENOKEY)
            if ident == THREAD:
                here = held.thread = table.of_thread(c)
            else:
                here = table.new(KEYRING, b"_pid", c.uid, c.gid, TASK_PERM, c.userns, True)
                held.process.append(here)
        return here
    if ident == SESSION:
        session = held.session
        if session is None or (create and session is table.of_user(c.userns, c.uid)[1]):
            if create:
                return join(t, None)
            session = held.session = table.of_user(c.userns, c.uid)[1]
        return session
    if ident == USER_RING:
        return table.of_user(c.userns, c.uid)[0]
    if ident == USER_SESSION:
        return table.of_user(c.userns, c.uid)[1]
    raise SysErr(errno.ENOKEY if ident in (-7, -8) else errno.EINVAL)


def _find(t: Task, ident: int, create: bool, valid: bool = True) -> Found:
    """No permission is asked. ``valid`` False: one that is revoked or expired will do."""
    table = _table(t)
    if ident < 0:
        found = Found(_special(t, ident, create), True)
    else:
        if ident == 0:
            raise SysErr(errno.EINVAL)
        table.sweep()
        key = table.keys.get(ident)
        if key is None or key.invalid:
            raise SysErr(errno.ENOKEY)
        found = Found(key, table.possessed(t.keys, t.creds, key))
    if valid:
        found.key.validate(table.now())
    return found


def look_up(t: Task, ident: int, need: int, create: bool = False, partial: bool = False) -> Found:
    """As ``_find``, and all of ``need`` is permitted. ``partial``: a key of which it is known that there is none will do.
    Raises ENOKEY, EACCES."""
    f = _find(t, ident, create)
    if f.key.negative and not partial:
        raise SysErr(errno.ENOKEY)
    f.key.need(t.creds, need, f.possessed)
    return f


def join(t: Task, name: bytes | None) -> Key:
    """A new session keyring, or the one of that name (Linux: join_session_keyring). Raises EDQUOT."""
    table, c = _table(t), t.creds
    key = table.named(name, c) if name is not None else None
    if key is None:
        perm = SESSION_PERM | (LINK << 16 if name is not None else 0)
        table.sweep()
        key = table.new(
            KEYRING, b"_ses" if name is None else name, c.uid, c.gid, perm, c.userns, name is None
        )
    t.keys.session = key
    return key


def sys_add_key(
    t: Task, kind: UserPtr, description: UserPtr, payload: UserPtr, size: CULong, ring: CInt
) -> int:
    """add_key(2). Raises EINVAL, EPERM, EFAULT, ENODEV, EACCES, EDQUOT and what is wrong with the keyring."""
    if size > DATA_MAX:
        raise SysErr(errno.EINVAL)
    what = _type(t, kind)
    name = _text(t, description, DESC_MAX) if description else b""
    if name[:1] == b"." and what.startswith(KEYRING):
        raise SysErr(errno.EPERM)
    data = t.copy_in(payload, size) if size else b""
    into = look_up(t, ring, WRITE, True)
    if what not in DEFAULT_PERM:
        raise SysErr(errno.ENODEV)
    if not name:
        raise SysErr(errno.EINVAL)
    links = into.key.ring()
    _check_payload(what, data)
    if what == LOGON and name.find(b":") < 1:
        raise SysErr(errno.EINVAL)
    table, c = _table(t), t.creds
    if into.key.restricted:
        raise SysErr(errno.EPERM)
    old = links.get((what, name))
    if old is not None and what != KEYRING:
        old.need(c, WRITE, into.possessed)
        old.validate(table.now())
        table.fill(old, data)
        old.expiry, old.negative = 0, False
        return old.serial
    new = table.new(what, name, c.fsuid, c.fsgid, DEFAULT_PERM[what], c.userns)
    table.fill(new, data)
    table.link(into.key, new)
    return new.serial


def _check_payload(kind: bytes, data: bytes) -> None:
    if bool(data) == (kind == KEYRING) or len(data) > PAYLOAD_MAX:
        raise SysErr(errno.EINVAL)


def _matcher(kind: bytes, name: bytes) -> Callable[[Key], bool]:
    return lambda k: k.kind == kind and k.description == name


def sys_request_key(
    t: Task, kind: UserPtr, description: UserPtr, callout: UserPtr, ring: CInt
) -> int:
    """request_key(2): what is there; nobody is asked to make it. Raises ENOKEY, ENOENT if somebody should be, and what is wrong with a key that matches."""
    what = _type(t, kind)
    name = _text(t, description, DESC_MAX)
    if callout:
        _text(t, callout, CALLOUT_MAX)
    into = look_up(t, ring, WRITE, True) if ring else None
    if what not in DEFAULT_PERM:
        raise SysErr(errno.ENOKEY)
    table = _table(t)
    try:
        key = table.search_task(t.keys, t.creds, _matcher(what, name), True)
    except SysErr as e:
        if e.errno != errno.EAGAIN:
            raise
        if callout and what != KEYRING:
            _no_such_key(t, what, name, into.key if into is not None else _destination(t))
            raise SysErr(errno.ENOENT) from None  # of /sbin/request-key
        raise SysErr(errno.ENOKEY) from None
    if into is not None:
        table.link(into.key, key)
    return key.serial


def _no_such_key(t: Task, kind: bytes, name: bytes, ring: Key) -> None:
    """What remains of a key that nobody could make (Linux: key_reject_and_link)."""
    table, c = _table(t), t.creds
    key = table.new(kind, name, c.fsuid, c.fsgid, DEFAULT_PERM[kind], c.userns)
    key.negative = True
    key.expiry = table.now() + NEGATIVE_SECONDS * NSEC
    table.link(ring, key)


def _destination(t: Task) -> Key:
    """The keyring for a key that is made on request (Linux: construct_get_dest_keyring). Raises EACCES."""
    held = t.keys
    which = -held.default if 0 < held.default < 6 else 0
    if not which:
        which = THREAD if held.thread is not None else PROCESS if held.process else SESSION
    key = _special(t, which, False)
    key.need(t.creds, WRITE, True)
    return key


# keyctl(2). Arguments are unsigned 64-bit numbers; ids are their lower halves.
def _id(v: int) -> int:
    v &= 0xFFFFFFFF
    return v - (1 << 32) if v >> 31 else v


def _get_keyring_id(t: Task, a: int, b: int, c: int, d: int) -> int:
    return look_up(t, _id(a), SEARCH, bool(b & 0xFFFFFFFF)).key.serial


def _join_session(t: Task, a: int, b: int, c: int, d: int) -> int:
    name = _text(t, a, DESC_MAX) if a else None
    if name is not None and name[:1] == b".":
        raise SysErr(errno.EPERM)
    return join(t, name).serial


def _update(t: Task, a: int, b: int, c: int, d: int) -> int:
    if c > UPDATE_MAX:
        raise SysErr(errno.EINVAL)
    data = t.copy_in(b, c) if c else b""
    key = look_up(t, _id(a), WRITE).key
    if key.kind == KEYRING:
        raise SysErr(errno.EOPNOTSUPP)
    _check_payload(key.kind, data)
    _table(t).fill(key, data)
    key.expiry, key.negative = 0, False
    return 0


def _revoke(t: Task, a: int, b: int, c: int, d: int) -> int:
    f = _find(t, _id(a), False)
    if f.key.negative:
        raise SysErr(errno.ENOKEY)
    if not f.key.allows(t.creds, WRITE, f.possessed):
        f.key.need(t.creds, SETATTR, f.possessed)
    _table(t).revoke(f.key)
    return 0


def _chown(t: Task, a: int, b: int, c: int, d: int) -> int:
    uid, gid, users = b & INVALID, c & INVALID, t.creds.userns
    to_uid, to_gid = users.uid_in(uid), users.gid_in(gid)
    if (uid != INVALID and to_uid == INVALID) or (gid != INVALID and to_gid == INVALID):
        raise SysErr(errno.EINVAL)
    if uid == INVALID and gid == INVALID:
        return 0
    key = look_up(t, _id(a), SETATTR, True, True).key
    if not t.creds.capable(CAP_SYS_ADMIN):
        if uid != INVALID and key.uid != to_uid:
            raise SysErr(errno.EACCES)
        if gid != INVALID and to_gid != key.gid and not t.creds.in_group(to_gid):
            raise SysErr(errno.EACCES)
    if uid != INVALID and to_uid != key.uid:
        _table(t).change_owner(key, to_uid)
    if gid != INVALID:
        key.gid = to_gid
    return 0


def _setperm(t: Task, a: int, b: int, c: int, d: int) -> int:
    perm = b & 0xFFFFFFFF
    if perm & ~PERMISSIONS:
        raise SysErr(errno.EINVAL)
    key = look_up(t, _id(a), SETATTR, True, True).key
    if key.uid != t.creds.fsuid and not t.creds.capable(CAP_SYS_ADMIN):
        raise SysErr(errno.EACCES)
    key.perm = perm
    return 0


def _give(t: Task, addr: int, size: int, data: bytes) -> int:
    """All of ``data`` or nothing of it. Returns how much there is."""
    if addr and size >= len(data):
        t.copy_out(addr, data)
    return len(data)


def _describe(t: Task, a: int, b: int, c: int, d: int) -> int:
    key = look_up(t, _id(a), VIEW, False, True).key
    users = t.creds.userns
    ids = users.uid_out(key.uid), key.group_seen(users)
    line = b"%s;%d;%d;%08x;%s\0" % (key.kind, *ids, key.perm, key.description)
    return _give(t, b, c, line)


def _clear(t: Task, a: int, b: int, c: int, d: int) -> int:
    _table(t).clear(look_up(t, _id(a), WRITE, True).key)
    return 0


def _link(t: Task, a: int, b: int, c: int, d: int) -> int:
    ring = look_up(t, _id(b), WRITE, True).key
    _table(t).link(ring, look_up(t, _id(a), LINK, True).key)
    return 0


def _unlink(t: Task, a: int, b: int, c: int, d: int) -> int:
    ring = look_up(t, _id(b), WRITE).key
    _table(t).unlink(ring, _find(t, _id(a), False, valid=False).key)
    return 0


def _search(t: Task, a: int, b: int, c: int, d: int) -> int:
    kind = _type(t, b)
    name = _text(t, c, DESC_MAX)
    ring = look_up(t, _id(a), SEARCH)
    into = look_up(t, _id(d), WRITE, True) if d & 0xFFFFFFFF else None
    if kind not in DEFAULT_PERM:
        raise SysErr(errno.ENOKEY)
    table = _table(t)
    try:
        key = table.search(ring.key, t.creds, ring.possessed, _matcher(kind, name), True)
    except SysErr as e:
        raise SysErr(errno.ENOKEY if e.errno == errno.EAGAIN else e.errno) from None
    if into is not None:
        key.need(t.creds, LINK, ring.possessed)
        table.link(into.key, key)
    return key.serial


def _read(t: Task, a: int, b: int, c: int, d: int) -> int:
    try:
        f = _find(t, _id(a), False, False)
    except SysErr:
        raise SysErr(errno.ENOKEY) from None
    key = f.key
    if key.negative:
        raise SysErr(errno.ENOKEY)
    if not key.allows(t.creds, READ, f.possessed) and not f.possessed:
        raise SysErr(errno.EACCES)
    key.validate(_table(t).now())
    if key.kind == LOGON:
        raise SysErr(errno.EOPNOTSUPP)
    data = key.payload
    if key.links is not None:
        data = b"".join(struct.pack("<i", k.serial) for k in key.links.values())
    return _give(t, b, c, data)


def _no_authority(t: Task, a: int, b: int, c: int, d: int) -> int:
    """Instantiating a key: only for whom the kernel has asked to."""
    raise SysErr(errno.EPERM)


def _set_default(t: Task, a: int, b: int, c: int, d: int) -> int:
    v = _id(a)
    old = t.keys.default
    if v not in DEFAULTS:
        raise SysErr(errno.EINVAL)
    if v in (1, 2):  # that keyring must be there
        _special(t, -v, True)
    if v >= 0:
        t.keys.default = v
    return old


def _set_timeout(t: Task, a: int, b: int, c: int, d: int) -> int:
    key = look_up(t, _id(a), SETATTR, True, True).key
    seconds = b & 0xFFFFFFFF
    key.expiry = _table(t).now() + seconds * NSEC if seconds else 0
    return 0


def _assume(t: Task, a: int, b: int, c: int, d: int) -> int:
    if _id(a) < 0:
        raise SysErr(errno.EINVAL)
    if _id(a):
        raise SysErr(errno.ENOKEY)
    return 0


def _security(t: Task, a: int, b: int, c: int, d: int) -> int:
    look_up(t, _id(a), VIEW, False, True)
    return _give(t, b, c, b"\0")


def _to_parent(t: Task, a: int, b: int, c: int, d: int) -> int:
    """The parent gets the caller's session keyring. Raises EPERM."""
    parent = t.tg.parent
    session = look_up(t, SESSION, LINK).key
    tasks = list(parent.tasks.values()) if parent is not None else []
    if len(tasks) != 1 or parent is None or parent.is_init:
        raise SysErr(errno.EPERM)
    p, me = tasks[0].creds, t.creds
    same = {p.uid, p.euid, p.suid} == {me.euid} and {p.gid, p.egid, p.sgid} == {me.egid}
    old = tasks[0].keys.session
    if not same or (old is not None and old.uid != me.euid) or session.uid != me.euid:
        raise SysErr(errno.EPERM)
    tasks[0].keys.session = session
    return 0


def _invalidate(t: Task, a: int, b: int, c: int, d: int) -> int:
    key = look_up(t, _id(a), SEARCH).key
    key.invalid = True
    _table(t).sweep()
    return 0


def _persistent(t: Task, a: int, b: int, c: int, d: int) -> int:
    users, me = t.creds.userns, t.creds
    uid = me.uid if a & INVALID == INVALID else users.uid_in(a & INVALID)
    if uid == INVALID:
        raise SysErr(errno.EINVAL)
    if uid not in (me.uid, me.euid) and not me.has(CAP_SETUID):
        raise SysErr(errno.EPERM)
    ring = look_up(t, _id(b), WRITE, True).key
    ring.ring()
    table = _table(t)
    key = table.persistent_of(users, uid)
    key.need(me, LINK, True)
    table.link(ring, key)
    return key.serial


def _restrict(t: Task, a: int, b: int, c: int, d: int) -> int:
    """Nothing more may be linked; restrictions by type are those of types that aren't there."""
    key = look_up(t, _id(a), SETATTR).key
    if b:
        _type(t, b)
        raise SysErr(errno.ENOENT)
    if c:
        raise SysErr(errno.EINVAL)
    key.ring()
    if key.restricted:
        raise SysErr(errno.EEXIST)
    key.restricted = True
    return 0


def _move(t: Task, a: int, b: int, c: int, d: int) -> int:
    flags = d & 0xFFFFFFFF
    if flags & ~MOVE_EXCL:
        raise SysErr(errno.EINVAL)
    key = look_up(t, _id(a), LINK, True).key
    old = look_up(t, _id(b), WRITE).key
    new = look_up(t, _id(c), WRITE, True).key
    before, after = old.ring(), new.ring()
    if old is new:
        return 0
    name = key.kind, key.description
    if before.get(name) is not key:
        raise SysErr(errno.ENOENT)
    if flags & MOVE_EXCL and name in after:
        raise SysErr(errno.EEXIST)
    table = _table(t)
    table.link(new, key)
    table.unlink(old, key)
    return 0


def _capabilities(t: Task, a: int, b: int, c: int, d: int) -> int:
    size = min(b, 4096)
    if size:
        t.copy_out(a, CAPABILITIES[:size].ljust(size, b"\0"))
    return len(CAPABILITIES)


OPERATIONS: Final[dict[int, Callable[[Task, int, int, int, int], int]]] = {
    0: _get_keyring_id, 1: _join_session, 2: _update, 3: _revoke, 4: _chown, 5: _setperm, 6: _describe, 7: _clear, 8: _link,
    9: _unlink, 10: _search, 11: _read, 12: _no_authority, 13: _no_authority, 14: _set_default, 15: _set_timeout, 16: _assume,
    17: _security, 18: _to_parent, 19: _no_authority, 20: _no_authority, 21: _invalidate, 22: _persistent, 29: _restrict,
    30: _move, 31: _capabilities,
}  # fmt: skip


def sys_keyctl(t: Task, op: CInt, a: CULong, b: CULong, c: CULong, d: CULong) -> int:
    """keyctl(2). Raises EOPNOTSUPP for what isn't there."""
    fn = OPERATIONS.get(op)
    if fn is None:
        raise SysErr(errno.EOPNOTSUPP)
    return fn(t, a, b, c, d)


TABLE: Final[Table] = {
    248: partial("add_key", sys_add_key, "types other than user, logon and keyring"),
    249: partial("request_key", sys_request_key, "no helper in user space is started"),
    250: partial("keyctl", sys_keyctl, "Diffie-Hellman, public keys, watching"),
}
