"""Credentials across execve (Linux: security/commoncap.c, fs/exec.c bprm_fill_uid; capabilities(7))."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from ..kernel.creds import CAP_FULL, CAP_SYS_PTRACE, Credentials
from ..vfs.path import MS_NOSUID

if TYPE_CHECKING:
    from ..kernel.task import Task
    from ..vfs.file import FileDescription

SECBIT_NOROOT: Final = 1
SECBIT_KEEP_CAPS: Final = 16


def exec_creds(t: Task, f: FileDescription) -> tuple[Credentials, bool]:
    """(the new credentials, whether AT_SECURE is set)."""
    old = t.creds
    euid, egid = old.euid, old.egid
    path = f.path
    nosuid = path is None or bool(path.mount.flags & MS_NOSUID) or old.no_new_privs or _watched(t)
    if path is not None and (
        path.mount.ns is not t.fs.ns or not old.userns.is_within(path.mount.fs.owner)
    ):
        nosuid = nosuid or path.mount.ns is not None  # another's mount (Linux: mnt_may_suid)
    st = f.inode.getattr(t)
    if not nosuid:
        if st.mode & stat.S_ISUID and old.userns.has_uid(st.uid) and old.userns.has_gid(st.gid):
            euid = st.uid
        if (
            st.mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP
            and old.userns.has_uid(st.uid)
            and old.userns.has_gid(st.gid)
        ):
            egid = st.gid
    permitted, effective, ambient = _caps(old, euid)
    changed = euid != old.uid or egid != old.gid or euid != old.euid
    if changed:
        ambient = 0
    new = old.replace(
        euid=euid, suid=euid, fsuid=euid, egid=egid, sgid=egid, fsgid=egid,
        cap_permitted=permitted | ambient,
        cap_effective=(permitted if effective else 0) | ambient,
        cap_ambient=ambient,
        securebits=old.securebits & ~SECBIT_KEEP_CAPS,
    )  # fmt: skip
    secure = euid != old.uid or egid != old.gid
    return new, secure


def _watched(t: Task) -> bool:
    """Whether a tracer without the right to do so would get at what the program gains (Linux: LSM_UNSAFE_PTRACE)."""
    tr = t.tracee
    return tr is not None and not tr.tracer.creds.ns_capable(t.creds.userns, CAP_SYS_PTRACE)


def _caps(old: Credentials, euid: int) -> tuple[int, bool, int]:
    """(permitted, whether effective follows, ambient): root's file capabilities are all of them."""
    root = old.userns.uid_in(0)
    if not old.securebits & SECBIT_NOROOT and root in (euid, old.uid):
        permitted = (old.cap_inheritable | CAP_FULL) & old.cap_bset | (
            old.cap_inheritable & CAP_FULL
        )
        return permitted, euid == root, old.cap_ambient
    return 0, False, old.cap_ambient
