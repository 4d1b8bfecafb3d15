"""/proc/sysvipc (Linux: ipc/util.c sysvipc_proc_show, ipc/shm.c, sem.c, msg.c; proc(5)): what ipcs(1) reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..fs.proc import DIRECTORIES
from .ids import IpcObject
from .shm import attachments

if TYPE_CHECKING:
    from ..kernel.task import Task

SHM_HEAD: Final = (
    "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime"
    "      ctime                   rss                  swap\n"
)
SEM_HEAD: Final = (
    "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
)
MSG_HEAD: Final = (
    "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime"
    "      ctime\n"
)


def _head(o: IpcObject) -> str:
    return f"{o.key:10d} {o.id:10d}  {o.mode:4o}"


def _owners(o: IpcObject) -> str:
    return f"{o.uid:5d} {o.gid:5d} {o.cuid:5d} {o.cgid:5d}"


def shm(t: Task) -> bytes:
    rows = [SHM_HEAD]
    for s in t.ns.ipc.shms.by_index.values():
        rows.append(
            f"{_head(s)} {s.size:21d} {s.cpid:5d} {s.lpid:5d}  {attachments(t.k, s):5d} {_owners(s)} {s.atime:10d} "
            f"{s.dtime:10d} {s.ctime:10d} {s.present():21d} {0:21d}\n"
        )
    return "".join(rows).encode()


def sem(t: Task) -> bytes:
    rows = [SEM_HEAD]
    for s in t.ns.ipc.sems.by_index.values():
        rows.append(f"{_head(s)} {len(s.values):10d} {_owners(s)} {s.otime:10d} {s.ctime:10d}\n")
    return "".join(rows).encode()


def msg(t: Task) -> bytes:
    rows = [MSG_HEAD]
    for q in t.ns.ipc.msgs.by_index.values():
        rows.append(
            f"{_head(q)}  {q.bytes:10d} {len(q.messages):10d} {q.lspid:5d} {q.lrpid:5d} {_owners(q)} {q.stime:10d} "
            f"{q.rtime:10d} {q.ctime:10d}\n"
        )
    return "".join(rows).encode()


def register() -> None:
    """Before the first procfs is made."""
    DIRECTORIES[b"sysvipc"] = {b"shm": shm, b"sem": sem, b"msg": msg}
