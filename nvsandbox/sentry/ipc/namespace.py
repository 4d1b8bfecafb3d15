"""IPC namespaces: System V objects, POSIX message queues and their limits (Linux: ipc/namespace.c; ipc_namespaces(7))."""

from __future__ import annotations

from typing import ClassVar, Final, final

from ..kernel.namespaces import register_kind
from ..kernel.userns import INIT_USER, Namespace, UserNamespace
from ..refs import Cache
from . import msg, sem, shm
from .ids import IpcTable
from .mqueue import MqueueFs
from .msg import MsgQueue
from .sem import SemSet
from .shm import Segment


@final
class IpcNamespace(Namespace):
    """``dying``: segments that are destroyed and still attached somewhere: found by identifier, held by the mappings alone."""

    __slots__ = (
        "dying",
        "mqueues",
        "msg_limits",
        "msgs",
        "sem_limits",
        "sems",
        "shm_limits",
        "shms",
    )

    kind: ClassVar[bytes] = b"ipc"
    flag: ClassVar[int] = 0x08000000

    def __init__(self, owner: UserNamespace, ino: int = 0) -> None:
        super().__init__(owner, ino)
        self.msgs: IpcTable[MsgQueue] = IpcTable(msg.MSGMNI)
        self.msg_limits = msg.Limits()
        self.sems: IpcTable[SemSet] = IpcTable(sem.SEMMNI)
        self.sem_limits = sem.Limits()
        self.shms: IpcTable[Segment] = IpcTable(shm.SHMMNI)
        self.shm_limits = shm.Limits()
        self.dying: Cache[int, Segment] = Cache()
        self.mqueues = MqueueFs()

    def semaphores(self) -> int:
        """How many there are in all sets."""
        return sum(len(s.values) for s in self.sems.by_index.values())

    def shared_bytes(self) -> int:
        """Of all segments, in whole pages."""
        return sum((s.size + 4095) & ~4095 for s in self.shms.by_index.values())


INIT_IPC: Final[IpcNamespace] = IpcNamespace(INIT_USER, 0xEFFFFFFF)
register_kind(INIT_IPC, IpcNamespace)
