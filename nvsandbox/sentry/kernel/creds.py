"""Credentials of a task (Linux: kernel/cred.c, security/commoncap.c; credentials(7), capabilities(7)).

Immutable by convention: a change makes a copy (``replace``), so that a file description may keep the
credentials it was opened with.
"""

from __future__ import annotations

import copy
from typing import Any, Final, final

from .userns import INIT_USER, UserNamespace

CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_DAC_READ_SEARCH: Final = 2
CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4
CAP_KILL: Final = 5
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_SETPCAP: Final = 8
CAP_LINUX_IMMUTABLE: Final = 9
CAP_NET_BIND_SERVICE: Final = 10
CAP_NET_BROADCAST: Final = 11
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
CAP_IPC_LOCK: Final = 14
CAP_IPC_OWNER: Final = 15
CAP_SYS_MODULE: Final = 16
CAP_SYS_RAWIO: Final = 17
CAP_SYS_CHROOT: Final = 18
CAP_SYS_PTRACE: Final = 19
CAP_SYS_PACCT: Final = 20
CAP_SYS_ADMIN: Final = 21
CAP_SYS_BOOT: Final = 22
CAP_SYS_NICE: Final = 23
CAP_SYS_RESOURCE: Final = 24
CAP_SYS_TIME: Final = 25
CAP_SYS_TTY_CONFIG: Final = 26
CAP_MKNOD: Final = 27
CAP_LEASE: Final = 28
CAP_AUDIT_WRITE: Final = 29
CAP_AUDIT_CONTROL: Final = 30
CAP_SETFCAP: Final = 31
CAP_MAC_OVERRIDE: Final = 32
CAP_MAC_ADMIN: Final = 33
CAP_SYSLOG: Final = 34
CAP_WAKE_ALARM: Final = 35
CAP_BLOCK_SUSPEND: Final = 36
CAP_AUDIT_READ: Final = 37
CAP_PERFMON: Final = 38
CAP_BPF: Final = 39
CAP_CHECKPOINT_RESTORE: Final = 40
CAP_LAST: Final = 40
CAP_FULL: Final = (1 << (CAP_LAST + 1)) - 1


@final
class Credentials:
    """Ids, groups and capability sets (bit masks) of one task."""

    __slots__ = (
        "cap_ambient", "cap_bset", "cap_effective", "cap_inheritable", "cap_permitted",
        "egid", "euid", "fsgid", "fsuid", "gid", "groups", "no_new_privs", "securebits",
        "sgid", "suid", "uid", "userns",
    )  # fmt: skip

    def __init__(self, uid: int = 0, gid: int = 0, groups: tuple[int, ...] = ()) -> None:
        self.uid = self.euid = self.suid = self.fsuid = uid
        self.gid = self.egid = self.sgid = self.fsgid = gid
        self.groups: tuple[int, ...] = groups
        caps = CAP_FULL if uid == 0 else 0
        self.cap_permitted = self.cap_effective = caps
        self.cap_bset = CAP_FULL
        self.cap_inheritable = self.cap_ambient = 0
        self.securebits = 0
        self.no_new_privs = False
        self.userns: UserNamespace = INIT_USER

    def capable(self, cap: int) -> bool:
        """For what belongs to the whole sandbox: a capability in the initial user namespace."""
        return bool(self.cap_effective >> cap & 1) and self.userns is INIT_USER

    def has(self, cap: int) -> bool:
        """For what belongs to its own user namespace."""
        return bool(self.cap_effective >> cap & 1)

    def ns_capable(self, ns: UserNamespace, cap: int) -> bool:
        """For what belongs to ``ns``: one has all capabilities in namespaces that one has made (Linux: cap_capable)."""
        at: UserNamespace | None = ns
        while at is not None:
            if at is self.userns:
                return bool(self.cap_effective >> cap & 1)
            if at.level <= self.userns.level:
                return False
            if at.owner is self.userns and at.creator == self.euid:
                return True
            at = at.owner
        return False

    def capable_over(self, uid: int, gid: int, cap: int) -> bool:
        """For a file of ``uid`` and ``gid``: its own user namespace must have both (Linux: capable_wrt_inode_uidgid)."""
        if not self.cap_effective >> cap & 1:
            return False
        ns = self.userns
        return ns is INIT_USER or (ns.has_uid(uid) and ns.has_gid(gid))

    def full_in(self, ns: UserNamespace) -> Credentials:
        """As the first in ``ns``: all capabilities there, none kept from outside (Linux: set_cred_user_ns)."""
        return self.replace(
            userns=ns, securebits=0, cap_inheritable=0, cap_permitted=CAP_FULL, cap_effective=CAP_FULL,
            cap_ambient=0, cap_bset=CAP_FULL,
        )  # fmt: skip

    def in_group(self, gid: int) -> bool:
        """Whether ``gid`` is the file-system group or a supplementary one."""
        return gid == self.fsgid or gid in self.groups

    def replace(self, **changes: Any) -> Credentials:
        new = copy.copy(self)
        for k, v in changes.items():
            setattr(new, k, v)
        return new
