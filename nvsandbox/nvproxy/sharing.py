"""Who may duplicate whose objects (``rs_access.h``, RS_SHARE_POLICY): CUDA's IPC shares memory by a policy on the object.

The host takes all of a sandbox for one process, so it is only ever told "the same process", which keeps other sandboxes out whatever
the application says; what the application said is kept here and obeyed between the sandbox's own processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from . import status
from .control import Call
from .escapes import Argument

if TYPE_CHECKING:
    from ..sentry.kernel.task import Task
    from .abi.view import View
    from .devices import NvFile
    from .engine import Engine
    from .objects import Client, Obj
    from .plan import Plan

NONE, ALL, USER, CLIENT, PID = range(5)
"""RS_SHARE_TYPE_NONE, _ALL, _OS_SECURITY_TOKEN, _CLIENT, _PID; MIG partitions, cards and fabric managers are not ours to share with."""
REVOKE: Final = 1
COMPOSE: Final = 4
"""RS_SHARE_ACTION_FLAG_*; without COMPOSE a policy replaces what was there."""
MAX_RULES: Final = 64


class Rule(NamedTuple):
    """One policy. ``euid``: of the process that made it."""

    type: int
    target: int
    euid: int


def note(t: Task, o: Obj, share: View) -> None:
    """Keep a policy for ``o`` and what is below it, and change ``share`` into what the host is told. Raises Refused."""
    kind, target, action = share["type"], share["target"], share["action"]
    if kind not in (NONE, ALL, USER, CLIENT, PID):
        raise status.Refused(status.INSUFFICIENT_PERMISSIONS)
    rule = Rule(kind, target, t.creds.euid)
    if action & REVOKE:
        o.shares = [r for r in o.shares if r[:2] != rule[:2]]
    elif not action & COMPOSE:
        o.shares = [rule]
    elif len(o.shares) < MAX_RULES:
        o.shares = [*o.shares, rule]
    else:
        raise status.Refused(status.INSUFFICIENT_RESOURCES)
    if kind != NONE:
        share.put(type=PID, target=0)


def may_duplicate(e: Engine, t: Task, f: NvFile, to: Client, source: Client, o: Obj | None) -> bool:
    """Whether the calling process may duplicate an object of another's client."""
    if e.objects.of_process(source.handle, t.tg.pid, f):
        return True
    while o is not None:
        for r in o.shares:
            if (
                r.type == ALL
                or (r.type == USER and r.euid == t.creds.euid)
                or (r.type == CLIENT and r.target == to.handle)
            ):
                return True
        o = o.parent
    return False


def rm_share(e: Engine, t: Task, f: NvFile, plan: Plan, size: int, addr: int) -> int:
    """NVOS57: a policy on one object."""
    with Argument(e, t, f, plan, size, addr) as x:
        p = x.p
        share = p.sub("sharePolicy")
        before = (share["type"], share["target"])
        try:
            client = e.objects.usable(p["hClient"], f)
            o = client.objects.get(p["hObject"])
            if o is None:
                raise status.Refused(status.OBJECT_NOT_FOUND)
            note(t, o, share)
        except status.Refused as r:
            p["status"] = r.status
            return x.finish()
        got = x.forward()
        share.put(type=before[0], target=before[1])
        return got if got < 0 else x.finish()


def before_inherited(c: Call) -> int | None:
    """CLIENT_SET_INHERITED_SHARE_POLICY, CLIENT_SHARE_OBJECT: a policy for what a client makes, or on one object."""
    p = c.p
    client = c.engine.objects.clients[c.client]
    o = client.objects.get(p["hObject"]) if "hObject" in p else client.root
    if o is None:
        return status.OBJECT_NOT_FOUND
    share = p.sub("sharePolicy")
    f = share.fields()["type"]
    for name in ("type", "target"):
        f = share.fields()[name]
        at = share.base + f.offset
        c.undo.append((at, bytes(c.arena.buf[at : at + f.size])))
    try:
        note(c.task, o, share)
    except status.Refused as r:
        return r.status
    return None


HOOKS: Final[dict[str, tuple[object, object]]] = {
    "NV0000_CTRL_CMD_CLIENT_SET_INHERITED_SHARE_POLICY": (before_inherited, None),
    "NV0000_CTRL_CMD_CLIENT_SHARE_OBJECT": (before_inherited, None),
}
HANDLERS: Final = {"NV_ESC_RM_SHARE": rm_share}
