"""``nvsandbox gpu policy explain``: one name, looked up in policy and ABI together."""

from __future__ import annotations

from collections.abc import Iterator

from ..failure import Failure
from . import policy
from .abi import AbiError, Release, database
from .drivers import host_version
from .engine import ALL_HOOKS, FORWARDED
from .plan import Abi, Plan


def explain(name: str, driver: str | None, capabilities: str, path: str) -> Iterator[str]:
    """Lines for a person. Raises AbiError when the release knows no such name."""
    db = database()
    if driver is None:
        try:
            driver = host_version()
        except Failure:
            driver = db.versions[-1]
    release = db.release(driver)
    rules = policy.make(capabilities, ",".join(policy.CAPABILITIES), path)
    abi = Abi(release, rules)
    abi.hooks = ALL_HOOKS
    found = list(_find(abi, release, name))
    if not found:
        raise AbiError(f"driver {release.version} has no command, class or ioctl `{name}`")
    for p in found:
        yield from _describe(p, release)


def _find(abi: Abi, release: Release, name: str) -> Iterator[Plan]:
    number = int(name, 0) if name[:2].lower() == "0x" or name.isdigit() else None
    for c in release.commands.values():
        if c.id == number or name == c.name or name in c.aliases:
            yield abi.control(c.id)
    for k in release.classes.values():
        if k.id == number or name == k.name:
            yield abi.cls(k.id)
    for i in release.ioctls.values():
        if i.id == number or name == i.name:
            yield abi.uvm(i.id) if i.device == "uvm" else abi.escape(i.id)
    if number is not None and number not in release.commands and number > 0xFFFF:
        yield abi.control(number)


_KINDS = {"control": "control command", "class": "class", "uvm": "UVM ioctl", "frontend": "ioctl"}


def _describe(p: Plan, release: Release) -> Iterator[str]:
    unlocks = sorted(policy.table()[p.kind].get(p.name, frozenset()))
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
