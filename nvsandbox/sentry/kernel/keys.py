"""Keys and keyrings of one container (Linux: security/keys/key.c, keyring.c; keyrings(7)).

A key lives as long as a keyring or a task holds it. Nobody counts: ``KeyTable.sweep`` looks which ones can still be reached
before a key is looked up by its number or counted against a quota. Not modelled: keys that a helper in user space makes
(``/sbin/request-key``), so nothing is ever under construction; keys of asymmetric and encrypted types.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, final

from ..errors import SysErr
from .userns import INVALID, OVERFLOW, UserNamespace

if TYPE_CHECKING:
    from .creds import Credentials

# Permissions, for possessor (<< 24), owner (<< 16), group (<< 8) and others.
VIEW, READ, WRITE, SEARCH, LINK, SETATTR = 1, 2, 4, 8, 16, 32
POS_ALL: Final = 0x3F000000
PERMISSIONS: Final = 0x3F3F3F3F
TASK_PERM: Final = POS_ALL | VIEW << 16
SESSION_PERM: Final = TASK_PERM | READ << 16
USER_PERM: Final = (POS_ALL & ~(SETATTR << 24)) | 0x3F0000
PERSISTENT_PERM: Final = (POS_ALL & ~(SETATTR << 24)) | (VIEW | READ) << 16

KEYRING: Final = b"keyring"
USER: Final = b"user"
LOGON: Final = b"logon"
DEFAULT_PERM: Final = {KEYRING: 0x3F010000, USER: 0x3F010000, LOGON: 0x3D010000}
PAYLOAD_MAX: Final = 32767  # bytes, of a user or logon key

MAX_DEPTH: Final = 6  # keyrings within keyrings
LINK_BYTES: Final = 4  # what a link costs of the quota
NEGATIVE_SECONDS: Final = 60
PERSISTENT_SECONDS: Final = 3 * 24 * 3600
NSEC: Final = 10**9
HARD_KEYS: Final = 40000  # of all users: the memory is the Sentry's
HARD_BYTES: Final = 64 << 20


@final
class Quota:
    """Keys and bytes that a user may have (/proc/sys/kernel/keys); root's number of keys is below Linux's."""

    __slots__ = ("bytes", "keys")

    def __init__(self, keys: int, size: int) -> None:
        self.keys = keys
        self.bytes = size


ROOT_QUOTA: Final[Quota] = Quota(20000, 25_000_000)
USER_QUOTA: Final[Quota] = Quota(200, 20_000)


def quota_of(uid: int) -> Quota:
    return ROOT_QUOTA if uid == 0 else USER_QUOTA


@final
class Key:
    """One key. ``links``: a keyring's keys by type and description; None for other types."""

    __slots__ = (
        "description", "expiry", "gid", "invalid", "kind", "links", "negative", "payload", "perm", "restricted", "revoked", "serial",
        "size", "uid", "users",
    )  # fmt: skip

    def __init__(
        self, kind: bytes, description: bytes, uid: int, gid: int, perm: int, users: UserNamespace
    ) -> None:
        self.kind = kind
        self.description = description
        self.uid = uid
        self.gid = gid
        self.perm = perm
        self.serial = 0
        self.payload = b""
        self.links: dict[tuple[bytes, bytes], Key] | None = {} if kind == KEYRING else None
        self.users = users  # the namespace in which a keyring has its name
        self.expiry = 0  # ns of the realtime clock, 0: never
        self.revoked = False
        self.invalid = False
        self.negative = False  # it is known that there is no such key
        self.restricted = False  # nothing can be linked to it any more
        self.size = 0  # bytes it counts for

    def ring(self) -> dict[tuple[bytes, bytes], Key]:
        """Raises ENOTDIR for what is no keyring."""
        if self.links is None:
            raise SysErr(errno.ENOTDIR)
        return self.links

    def validate(self, now: int) -> None:
        """Raises ENOKEY, EKEYREVOKED, EKEYEXPIRED."""
        if self.invalid:
            raise SysErr(errno.ENOKEY)
        if self.revoked:
            raise SysErr(errno.EKEYREVOKED)
        if self.expiry and now >= self.expiry:
            raise SysErr(errno.EKEYEXPIRED)

    def allows(self, c: Credentials, need: int, possessed: bool) -> bool:
        """Whether all of ``need`` is permitted (Linux: key_task_permission)."""
        perm = self.perm
        if self.uid == c.fsuid:
            mine = perm >> 16
        elif self.gid != INVALID and perm & 0x3F00 and c.in_group(self.gid):
            mine = perm >> 8
        else:
            mine = perm
        if possessed:
            mine |= perm >> 24
        return mine & need == need

    def need(self, c: Credentials, need: int, possessed: bool) -> None:
        """Raises EACCES."""
        if not self.allows(c, need, possessed):
            raise SysErr(errno.EACCES)

    def group_seen(self, users: UserNamespace) -> int:
        return OVERFLOW if self.gid == INVALID else users.gid_out(self.gid)


@final
class TaskKeys:
    """Keyrings of one task; the process's is shared by its threads."""

    __slots__ = ("default", "process", "session", "thread")

    def __init__(self) -> None:
        self.thread: Key | None = None
        self.process: list[Key] = []  # none or one
        self.session: Key | None = None
        self.default = 0  # KEYCTL_SET_REQKEY_KEYRING

    def inherit(self, same_process: bool) -> TaskKeys:
        """For a new thread, or a new process."""
        new = TaskKeys()
        new.session, new.default = self.session, self.default
        if same_process:
            new.process = self.process
        return new

    def held(self) -> Iterator[Key]:
        if self.thread is not None:
            yield self.thread
        yield from self.process
        if self.session is not None:
            yield self.session


Match = Callable[[Key], bool]


@final
class KeyTable:
    """Every key of a container, by number, and what its users have."""

    __slots__ = ("by_user", "holders", "keys", "now", "persistent", "used")

    def __init__(self, now: Callable[[], int], holders: Callable[[], list[TaskKeys]]) -> None:
        self.now = now  # ns of the realtime clock
        self.holders = holders  # of all tasks
        self.keys: dict[int, Key] = {}
        self.by_user: dict[tuple[int, int], tuple[Key, Key]] = {}  # namespace, uid: _uid, _uid_ses
        self.persistent: dict[tuple[int, int], Key] = {}
        self.used: dict[int, tuple[int, int]] = {}  # uid: keys, bytes

    # Being born and dying
    def sweep(self) -> None:
        """Keys that nobody holds any more are gone."""
        now = self.now()
        todo = [k for h in self.holders() for k in h.held()]
        todo += [k for pair in self.by_user.values() for k in pair]
        self.persistent = {n: k for n, k in self.persistent.items() if now < k.expiry}
        todo += self.persistent.values()
        live: set[int] = set()
        while todo:
            k = todo.pop()
            if k.serial in live:
                continue
            live.add(k.serial)
            if k.links:
                for name in [n for n, x in k.links.items() if x.invalid]:
                    del k.links[name]
                    self._charge(k, -LINK_BYTES)
                todo += k.links.values()
        for serial in [s for s in self.keys if s not in live]:
            k = self.keys.pop(serial)
            keys, size = self.used[k.uid]
            self.used[k.uid] = keys - 1, size - k.size

    def _charge(self, k: Key, size: int, keys: int = 0, force: bool = False) -> None:
        """``size`` bytes more (or fewer) for ``k``. Raises EDQUOT."""
        have, used = self.used.get(k.uid, (0, 0))
        most = quota_of(k.uid)
        if size > 0 and not force and (have + keys > most.keys or used + size > most.bytes):
            raise SysErr(errno.EDQUOT)
        total = sum(b for _, b in self.used.values())
        if size > 0 and (len(self.keys) + keys > HARD_KEYS or total + size > HARD_BYTES):
            raise SysErr(errno.EDQUOT)
        self.used[k.uid] = have + keys, used + size
        k.size += size

    def new(
        self, kind: bytes, description: bytes, uid: int, gid: int, perm: int, users: UserNamespace, force: bool = False
    ) -> Key:  # fmt: skip
        """A key without a payload, in no keyring. ``force``: above the quota, too. Raises EDQUOT."""
        k = Key(kind, description, uid, gid, perm, users)
        cost = len(description) + 1
        try:
            self._charge(k, cost, 1, force)
        except SysErr:
            self.sweep()
            self._charge(k, cost, 1, force)
        while k.serial < 3 or k.serial in self.keys:
            k.serial = int.from_bytes(os.getrandom(4), "little") >> 1
        self.keys[k.serial] = k
        return k

    def fill(self, k: Key, payload: bytes) -> None:
        """Raises EDQUOT."""
        self._charge(k, len(payload) - len(k.payload))
        k.payload = payload

    def change_owner(self, k: Key, uid: int) -> None:
        """Raises EDQUOT."""
        size = k.size
        have, used = self.used.get(uid, (0, 0))
        most = quota_of(uid)
        if have + 1 > most.keys or used + size > most.bytes:
            raise SysErr(errno.EDQUOT)
        old, before = self.used[k.uid]
        self.used[k.uid] = old - 1, before - size
        self.used[uid] = have + 1, used + size
        k.uid = uid

    # Keyrings that are there by themselves
    def of_thread(self, c: Credentials) -> Key:
        """A thread keyring. Raises EDQUOT."""
        return self.new(KEYRING, b"_tid", c.uid, c.gid, TASK_PERM, c.userns, True)

    def of_user(self, users: UserNamespace, uid: int) -> tuple[Key, Key]:
        """The user keyring and the user session keyring of ``uid``. Raises EDQUOT."""
        pair = self.by_user.get((users.ino, uid))
        if pair is None:
            shown = users.uid_out(uid)
            own = self.new(KEYRING, b"_uid.%d" % shown, uid, INVALID, USER_PERM, users)
            session = self.new(KEYRING, b"_uid_ses.%d" % shown, uid, INVALID, USER_PERM, users)
            self.by_user[users.ino, uid] = own, session
            self.link(session, own)
            pair = own, session
        return pair

    def persistent_of(self, users: UserNamespace, uid: int) -> Key:
        """A user's keyring that stays for three days after its last use. Raises EDQUOT."""
        k = self.persistent.get((users.ino, uid))
        if k is None or self.now() >= k.expiry:
            name = b"_persistent.%d" % users.uid_out(uid)
            k = self.new(KEYRING, name, uid, INVALID, PERSISTENT_PERM, users, True)
            self.persistent[users.ino, uid] = k
        k.expiry = self.now() + PERSISTENT_SECONDS * NSEC
        return k

    def named(self, name: bytes, c: Credentials) -> Key | None:
        """A keyring that may be joined by its name."""
        for k in self.keys.values():
            if k.kind == KEYRING and k.description == name and k.users is c.userns:
                if not k.revoked and not k.invalid and k.allows(c, SEARCH, False):
                    return k
        return None

    # Links
    def link(self, ring: Key, k: Key) -> None:
        """``k`` takes the place of a key with its type and name. Raises ENOTDIR, EKEYREVOKED, EPERM, EDEADLK, ELOOP, EDQUOT."""
        links = ring.ring()
        if ring.revoked:
            raise SysErr(errno.EKEYREVOKED)
        if ring.restricted:
            raise SysErr(errno.EPERM)
        if k.links is not None:
            _no_cycle(ring, k, 0)
        name = k.kind, k.description
        if name not in links:
            self._charge(ring, LINK_BYTES)
        links[name] = k

    def unlink(self, ring: Key, k: Key) -> None:
        """Raises ENOTDIR, ENOENT."""
        links = ring.ring()
        name = k.kind, k.description
        if links.get(name) is not k:
            raise SysErr(errno.ENOENT)
        del links[name]
        self._charge(ring, -LINK_BYTES)

    def clear(self, ring: Key) -> None:
        """Raises ENOTDIR."""
        links = ring.ring()
        self._charge(ring, -LINK_BYTES * len(links))
        links.clear()

    def revoke(self, k: Key) -> None:
        if k.links is not None:
            self.clear(k)
        else:
            self.fill(k, b"")
        k.revoked = True

    # Searching
    def search(self, ring: Key, c: Credentials, possessed: bool, match: Match, check: bool) -> Key:
        """The first key that ``match``es in ``ring`` or below, nearer ones first. ``check``: only a valid one. Raises EAGAIN for none,
        EACCES, ENOTDIR and what is wrong with one that matches (Linux: keyring_search_rcu)."""
        ring.ring()
        ring.need(c, SEARCH, possessed)
        if check:
            ring.validate(self.now())
        error = errno.EAGAIN
        seen: set[int] = set()
        todo = [(ring, 0)]
        while todo:
            r, depth = todo.pop()
            if r.serial in seen:
                continue
            seen.add(r.serial)
            links = list(r.ring().values())
            for k in links:
                if not match(k):
                    continue
                try:
                    if check:
                        k.validate(self.now())
                    k.need(c, SEARCH, possessed)
                    if check and k.negative:
                        raise SysErr(errno.ENOKEY)
                    return k
                except SysErr as e:
                    error = e.errno
            if depth < MAX_DEPTH:
                below = [
                    k for k in links if k.links is not None and not k.revoked and k.allows(c, SEARCH, possessed)
                ]  # fmt: skip
                todo += [(k, depth + 1) for k in reversed(below)]
        raise SysErr(error)

    def search_task(self, held: TaskKeys, c: Credentials, match: Match, check: bool) -> Key:
        """In the keyrings of a task: its thread's, its process's, its session's or its user's. Raises as ``search``."""
        rings = list(held.held())
        if held.session is None and (c.userns.ino, c.uid) in self.by_user:
            rings.append(self.by_user[c.userns.ino, c.uid][1])
        error = errno.EAGAIN
        for ring in rings:
            if not check and match(ring) and ring.allows(c, SEARCH, True):
                return ring
            try:
                return self.search(ring, c, True, match, check)
            except SysErr as e:
                if error == errno.EAGAIN:
                    error = e.errno
        raise SysErr(error)

    def possessed(self, held: TaskKeys, c: Credentials, key: Key) -> bool:
        """Whether a task's keyrings lead to ``key``."""
        try:
            self.search_task(held, c, lambda k: k is key, False)
        except SysErr:
            return False
        return True


def _no_cycle(ring: Key, k: Key, depth: int) -> None:
    """Raises EDEADLK if ``ring`` is in ``k``, ELOOP when that goes too deep (Linux: keyring_detect_cycle)."""
    if k is ring:
        raise SysErr(errno.EDEADLK)
    if depth > MAX_DEPTH:
        raise SysErr(errno.ELOOP)
    for x in (k.links or {}).values():
        if x.links is not None:
            _no_cycle(ring, x, depth + 1)
