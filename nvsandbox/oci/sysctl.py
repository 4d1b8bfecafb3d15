"""Which sysctls a container may set: those of a namespace that it does not share with the host (as runc has it)."""

from __future__ import annotations

from typing import Final

from ..failure import Failure
from .namespaces import is_own
from .spec import Spec

IPC: Final = frozenset(
    f"kernel.{n}" for n in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)  # fmt: skip


def check(s: Spec) -> None:
    """Raises Failure."""
    own = {n.type for n in s.linux.namespaces if not (n.path and is_own(n))}
    for name in s.linux.sysctl:
        at = f"$.linux.sysctl: `{name}`"
        dotted = name.replace("/", ".")
        if dotted in IPC or dotted.startswith("fs.mqueue."):
            needed = "ipc"
        elif dotted.startswith("net."):
            needed = "network"
        elif dotted == "kernel.domainname":
            if s.domainname and s.domainname != s.linux.sysctl[name]:
                raise Failure(f"{at} conflicts with $.domainname")
            needed = "uts"
        elif dotted == "kernel.hostname":
            raise Failure(f"{at} conflicts with $.hostname")
        else:
            raise Failure(f"{at} is not in a separate kernel namespace")
        if needed not in own:
            raise Failure(
                f"{at} is not allowed as the container shares the host's {needed} namespace"
            )
