"""``nvsandbox gpu policy explain``: one name, looked up in policy and ABI together."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator
from typing import Final

from ..failure import Failure
from . import policy
from .abi import AbiError, Release, as_number, database
from .drivers import choose, host_version
from .engine import ALL_HOOKS, FORWARDED
from .plan import Abi, Plan

MAX_FOUND: Final = 200
_UNNAMED: Final = "UNKNOWN_CONTROL_COMMAND_"
"""How the policy names commands that no header does."""


def explain(name: str, driver: str | None, capabilities: str, path: str) -> Iterator[str]:
    """Lines for a person. Raises AbiError when the release knows no such name, Failure for a driver of an unknown branch."""
    db = database()
    if driver is None:
        try:
            driver = host_version()
        except Failure:
            driver = db.versions[-1]
    release = db.release(choose(driver).abi)
    rules = policy.make(capabilities, ",".join(policy.CAPABILITIES), path)
    abi = Abi(release, rules)
    abi.hooks = ALL_HOOKS
    found = list(_find(abi, release, name))
    if not found:
        raise AbiError(
            f"driver {release.version} has no command, class or ioctl `{name[:80]}`{_hint(release, name)}"
        )
    if len(found) > MAX_FOUND:
        raise AbiError(
            f"`{name[:80]}` are {len(found)} names; at most {MAX_FOUND} are explained at once"
        )
    for p in found:
        yield from _describe(p, release)


def _names(release: Release) -> dict[str, tuple[str, int]]:
    """Name -> kind and number, aliases included."""
    out: dict[str, tuple[str, int]] = {}
    for c in release.commands.values():
        for n in (c.name, *c.aliases):
            out[n] = ("control", c.id)
    out |= {k.name: ("class", k.id) for k in release.classes.values()}
    out |= {i.name: (i.device, i.id) for i in release.ioctls.values()}
    out |= {
        n: ("control", int(n[len(_UNNAMED) :], 16))
        for n in policy.table()["control"]
        if n.startswith(_UNNAMED)
    }
    return out


def _find(abi: Abi, release: Release, name: str) -> Iterator[Plan]:
    """By number, by name in any case, by pattern."""
    number = as_number(name)
    names = _names(release)
    if number is not None:
        wanted = [w for w in dict.fromkeys(names.values()) if w[1] == number]
        if not any(kind == "control" for kind, _ in wanted) and number > 0xFFFF:
            wanted.append(("control", number))
    else:
        pattern = name.upper()
        wanted = [w for n, w in names.items() if fnmatch.fnmatchcase(n.upper(), pattern)]
    look = {"control": abi.control, "class": abi.cls, "uvm": abi.uvm, "frontend": abi.escape}
    for kind, nr in dict.fromkeys(wanted):
        yield look[kind](nr)


def _hint(release: Release, name: str) -> str:
    """Other releases that have it, or what it may be meant to be."""
    if name.upper() == policy.UNPUBLISHED:
        return f"; {name} stands for all control commands that no header names: ask by a number, like 0x20808159"
    having = (
        [v for v in database().versions if name in _names(database().release(v))]
        if name in _known()
        else []
    )
    if having:
        return f"; releases {having[0]} to {having[-1]} have it (--driver VERSION asks about one)"
    near = difflib.get_close_matches(name.upper(), list(_names(release)), 3)
    return f"; there are {', '.join(near)}" if near else ""


def _known() -> frozenset[str]:
    return frozenset(n for kind in policy.KINDS for n in policy.table()[kind])


_KINDS = {"control": "control command", "class": "class", "uvm": "UVM ioctl", "frontend": "ioctl"}


def _describe(p: Plan, release: Release) -> Iterator[str]:
    unlocks = sorted(policy.unlocks(p.kind, p.name))
    if p.kind == "control" and p.id not in release.commands and not unlocks:
        unlocks = [f"{c} (as {policy.UNPUBLISHED})" for c in sorted(policy.DEFAULT)]
    reason = p.reason
    if not reason and p.kind == "frontend" and p.name not in FORWARDED:
        reason = "it is not forwarded"
    yield f"{_KINDS[p.kind]} {p.name} {p.id:#x}, driver {release.version}"
    yield f"  {'refused: ' + reason if reason else 'allowed: ' + p.why}"
    yield f"  unlocked by: {', '.join(unlocks) or 'no capability'}"
    if p.size:
        yield f"  parameters: {p.struct or 'unknown struct'}, {p.size} bytes"
    if p.nested:
        yield f"  arrays copied in and out: {len(p.nested)}"
    for f in p.fds:
        yield f"  descriptor at +{f.at}: must be a {' or '.join(sorted(f.kinds))} file"
    for at in p.clients:
        yield f"  client at +{at}: must be the calling process's own"
    for at in p.zero:
        yield f"  pointer at +{at}: must be null"
    if p.before or p.after:
        yield "  answered or filtered here (docs/nvproxy.md)"
