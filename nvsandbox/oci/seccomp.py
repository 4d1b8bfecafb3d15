"""Checking an OCI seccomp profile before it goes to the Sentry."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..failure import Failure
from .spec import Seccomp

ACTIONS: Final = frozenset(
    f"SCMP_ACT_{a}" for a in ("ALLOW", "LOG", "ERRNO", "TRAP", "TRACE", "KILL", "KILL_THREAD", "KILL_PROCESS")
)  # fmt: skip
OPERATORS: Final = frozenset(
    f"SCMP_CMP_{o}" for o in ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")
)
NATIVE: Final = "SCMP_ARCH_X86_64"


def profile_of(s: Seccomp | None) -> dict[str, Any] | None:
    """The profile as plain data, None when there is none. Raises Failure naming the JSON path."""
    if s is None:
        return None
    at = "$.linux.seccomp"
    if s.listenerPath or any("NOTIFY" in r.action for r in s.syscalls):
        raise Failure(f"{at}: SCMP_ACT_NOTIFY is not supported")
    _action(s.defaultAction, f"{at}.defaultAction")
    for i, r in enumerate(s.syscalls):
        _action(r.action, f"{at}.syscalls[{i}].action")
        for a in r.args:
            if a.op not in OPERATORS:
                raise Failure(f"{at}.syscalls[{i}].args: unknown operator `{a.op}`")
    out: dict[str, Any] = msgspec.to_builtins(s)
    return out


def _action(name: str, at: str) -> None:
    if name not in ACTIONS:
        raise Failure(f"{at}: unknown action `{name}`")
