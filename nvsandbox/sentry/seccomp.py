"""An OCI seccomp profile, enforced by the Sentry (seccomp(2); OCI runtime-spec config-linux.md, seccomp).

The sandbox's table of system calls is rewritten once, before the first program: a call that the profile forbids gets a row whose
handler refuses, one that is allowed for some arguments a row that looks at them first. Calls that are allowed cost nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .errors import TaskExit
from .kernel import seccomp as own
from .syscalls.decode import Row

if TYPE_CHECKING:
    from .kernel.task import Task

SIGSYS: Final = 31
M64: Final = (1 << 64) - 1
WIDE: Final = 0  # decode.WIDTHS: unsigned long
LAST_CALL: Final = 470
ALLOWING: Final = frozenset(("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"))
Profile = dict[str, Any]
Handler = Callable[..., int]
Check = Callable[[tuple[int, ...]], bool]


def apply(table: dict[int, Row], profile: Profile) -> dict[int, Row]:
    """The table under ``profile`` (checked by ``oci/seccomp.py``)."""
    default = _refusal(profile["defaultAction"], profile.get("defaultErrnoRet"))
    rules: dict[str, list[tuple[Check | None, Handler | None]]] = {}
    for rule in profile.get("syscalls") or ():
        action = _refusal(rule["action"], rule.get("errnoRet"))
        for name in rule["names"]:
            rules.setdefault(name, []).append((_check(rule.get("args") or ()), action))
    out: dict[int, Row] = {}
    for nr in range(LAST_CALL):
        row = table.get(nr) or Row(f"#{nr}", None, (), (), "")
        new = _row(row, rules.get(row.name, []), default)
        if new.handler is not None or nr in table:
            out[nr] = new
    return out


def _row(
    row: Row, rules: list[tuple[Check | None, Handler | None]], default: Handler | None
) -> Row:
    """The first rule that applies decides, else the default."""
    chain: list[tuple[Check, Handler | None]] = []
    for check, action in rules:
        if check is None:
            default = action
            break
        chain.append((check, action))
    if all(action is default for _, action in chain):
        chain = []
    original = row.handler or _missing
    if not chain:
        return row if default is None else row._replace(handler=default)
    masks = [M64 if w == WIDE else 0xFFFF_FFFF for w in row.widths]
    masks += [M64] * (6 - len(masks))

    def decide(t: Task, *args: int) -> int:
        seen = tuple(a & m for a, m in zip((*args, *[0] * (6 - len(args))), masks, strict=True))
        for check, action in chain:
            if check(seen):
                return (action or original)(t, *args)
        return (default or original)(t, *args)

    return row._replace(handler=decide)


def _missing(_t: Task, *_args: int) -> int:
    return -errno.ENOSYS


def _refusal(action: str, ret: int | None) -> Handler | None:
    """A handler for what an action forbids; None when it allows."""
    if action in ALLOWING:
        return None
    if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        wanted = ret if ret is not None else errno.EPERM
        if action == "SCMP_ACT_TRACE":  # nobody traces: as Linux without a tracer
            wanted = errno.ENOSYS
        return lambda t, *_args: -wanted
    if action == "SCMP_ACT_TRAP":
        return _trap
    return _kill


def _trap(t: Task, *_args: int) -> int:
    return own.trap(t, t.orig_nr, 0)


def _kill(t: Task, *_args: int) -> int:
    t.tg.kill(SIGSYS)
    raise TaskExit


def _check(args: Any) -> Check | None:
    """All conditions must hold; if an argument has two, any (as libseccomp's callers mean it)."""
    tests = [(a["index"], a["op"], a["value"], a.get("valueTwo", 0)) for a in args]
    if not tests:
        return None
    indexes = [t[0] for t in tests]
    combine = all if len(set(indexes)) == len(indexes) else any
    return lambda seen: combine(_holds(seen[i], op, v, two) for i, op, v, two in tests)


def _holds(a: int, op: str, v: int, two: int) -> bool:
    if op == "SCMP_CMP_MASKED_EQ":
        return a & v == two
    return OPERATORS[op](a, v)


OPERATORS: Final[dict[str, Callable[[int, int], bool]]] = {
    "SCMP_CMP_EQ": lambda a, b: a == b, "SCMP_CMP_NE": lambda a, b: a != b, "SCMP_CMP_LT": lambda a, b: a < b,
    "SCMP_CMP_LE": lambda a, b: a <= b, "SCMP_CMP_GT": lambda a, b: a > b, "SCMP_CMP_GE": lambda a, b: a >= b,
}  # fmt: skip
