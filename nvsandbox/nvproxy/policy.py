"""Who may do what: capabilities unlock names, the operator bounds them, a policy file narrows or widens.

``data/policy.toml`` is the allow-list that comes with the package. A name is allowed when a capability that unlocks it is
held, unless the policy file denies it; a file can also allow a name that nothing unlocks, as long as the ABI database shows how
to forward it safely (``plan.py`` refuses what it can't translate, whatever the policy says).
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ..failure import Failure
from .options import ANNOTATION

CAPABILITIES: Final = (
    "compute", "utility", "graphics", "video", "display", "profiling", "rdma", "imex",
)  # fmt: skip
DEFAULT: Final = frozenset(("compute", "utility"))
ON_THE_BASE: Final = frozenset(("graphics", "video", "display"))
"""They need what compute and utility both unlock: clients, objects, memory."""
PRIVILEGED: Final = frozenset(("profiling", "rdma", "imex"))
"""What `all` leaves out: images ask for `all` by habit, and these reach beyond a container's own work."""
ALIASES: Final = {"fabric-imex-mgmt": "imex"}
"""As gVisor spells it."""
ALL: Final = "all"
NO_OPERATION: Final = frozenset(("ngx", "compat32"))
"""Capabilities of NVIDIA's toolkit that only choose libraries."""
KINDS: Final = ("frontend", "uvm", "control", "class")
UNPUBLISHED: Final = "UNPUBLISHED"
"""The name under which commands that no header names are allowed or denied together."""
_TABLE: Final = Path(__file__).with_name("data") / "policy.toml"
_CHOICE: Final = f"annotation {ANNOTATION}policy"
_MAX_NAMES: Final = 256
_FILE_KEYS: Final = frozenset(("capabilities", "allow", "deny"))


@functools.cache
def table() -> dict[str, dict[str, frozenset[str]]]:
    """kind -> name -> capabilities, any of which unlocks it."""
    with _TABLE.open("rb") as f:
        raw = tomllib.load(f)
    return {k: {n: frozenset(c.split()) for n, c in raw[k].items()} for k in KINDS}


def unlocks(kind: str, name: str) -> frozenset[str]:
    """Capabilities any of which is enough for ``name``."""
    need = table()[kind].get(name, frozenset())
    return need | ON_THE_BASE if need >= DEFAULT else need


def parse_capabilities(text: str, what: str) -> frozenset[str]:
    """``compute,utility`` or ``all``, which stands for those that aren't privileged. Raises Failure for a name that isn't one."""
    names = [ALIASES.get(n, n) for n in words(text)]
    for n in names:
        if n not in CAPABILITIES and n not in NO_OPERATION and n != ALL:
            raise Failure(
                f"{what} `{text}`: `{n}` is not a driver capability; there are {', '.join(CAPABILITIES)}, all"
            )
    more = frozenset(CAPABILITIES) - PRIVILEGED if ALL in names else frozenset()
    return (frozenset(names) | more) - NO_OPERATION - {ALL}


def libraries_only(asked: str | None) -> frozenset[str]:
    """Of what a container asks for, the capabilities that only choose libraries."""
    names = frozenset(words(asked or ""))
    return NO_OPERATION if ALL in names else NO_OPERATION & names


def words(text: str) -> list[str]:
    """The names of a list as NVIDIA_DRIVER_CAPABILITIES has it."""
    return [n.strip() for n in text.replace(" ", ",").split(",") if n.strip()]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is allowed, and why."""

    allowed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The capabilities held, and the exceptions of the policy file (names or patterns)."""

    capabilities: frozenset[str] = DEFAULT
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    source: str = ""
    """The policy file, for messages."""
    bounded: frozenset[str] = field(default_factory=frozenset)
    """Capabilities the container asked for and the operator doesn't allow."""

    def judge(self, kind: str, name: str) -> Verdict:
        """Whether ``name`` may pass."""
        hit = _match(self.deny, name)
        if hit:
            return Verdict(False, f"denied by `{hit}` in {self.source}")
        hit = _match(self.allow, name)
        if hit:
            return Verdict(True, f"allowed by `{hit}` in {self.source}")
        if name == UNPUBLISHED:
            need = DEFAULT | ON_THE_BASE
        else:
            need = unlocks(kind, name)
        held = sorted(need & self.capabilities)
        if held:
            return Verdict(True, f"allowed by capability {held[0]}")
        if not need:
            return Verdict(False, "no capability unlocks it; a policy file may allow it by name")
        asked = f"needs capability {' or '.join(sorted(need))}"
        if need & self.bounded:
            return Verdict(
                False, f"{asked}, which --nvproxy-allowed-driver-capabilities leaves out"
            )
        return Verdict(False, f"{asked} (NVIDIA_DRIVER_CAPABILITIES)")


def _match(patterns: Sequence[str], name: str) -> str:
    return next((p for p in patterns if p == name or fnmatch.fnmatchcase(name, p)), "")


def choose(where: str, name: str) -> str:
    """The policy file of a container: ``where`` itself (--nvproxy-policy), or if it is a directory the container's choice of what the
    operator has put there (annotation dev.nvsandbox.gpu.policy); without a choice default.toml, if there is one. Raises Failure."""
    if not os.path.isdir(where):
        if name:
            raise Failure(
                f"{_CHOICE} `{name}`: --nvproxy-policy must name a directory for containers to choose from"
            )
        return where
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}|", name):
        raise Failure(f"{_CHOICE} `{name[:80]}`: not a name")
    path = os.path.join(where, f"{name or 'default'}.toml")
    if name and not os.path.isfile(path):
        there = sorted(p.removesuffix(".toml") for p in os.listdir(where) if p.endswith(".toml"))
        raise Failure(f"{_CHOICE} `{name}`: there are {', '.join(there) or 'none'}")
    return path if os.path.isfile(path) else ""


def most(allowed: str, where: str) -> Policy:
    """What any container may get: of the files that it can choose from, all that they allow. Raises Failure."""
    if not os.path.isdir(where):
        return make(ALL, allowed, where)
    paths = [os.path.join(where, p) for p in sorted(os.listdir(where)) if p.endswith(".toml")]
    files = [make(ALL, allowed, p) for p in paths]
    allow = tuple(dict.fromkeys(n for f in files for n in f.allow))
    return replace(make(ALL, allowed), allow=allow, source=f"`{where}`")


def make(asked: str | None, allowed: str, path: str = "", without: str = "") -> Policy:
    """The policy of a sandbox.

    ``asked``: NVIDIA_DRIVER_CAPABILITIES of the container, None or empty when it says nothing. ``allowed``: what the operator
    permits. ``path``: a policy file, or "". ``without``: names and patterns that are denied besides. Raises Failure.
    """
    permitted = parse_capabilities(allowed, "--nvproxy-allowed-driver-capabilities")
    wanted = parse_capabilities(asked, "NVIDIA_DRIVER_CAPABILITIES") if asked else DEFAULT
    if asked and ALL in words(asked):
        wanted = permitted  # all that the operator permits
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    if path:
        narrowed, allow, deny = _read(path)
        if narrowed is not None:
            permitted &= narrowed
    less = tuple(without.replace(",", " ").split())
    if len(less) > _MAX_NAMES:
        raise Failure(f"annotation {ANNOTATION}deny: more than {_MAX_NAMES} names")
    _check_known(less, f"annotation {ANNOTATION}deny")
    source = f"`{path}`" if path else f"annotation {ANNOTATION}deny"
    return Policy(wanted & permitted, allow, (*deny, *less), source, wanted - permitted)


def _read(path: str) -> tuple[frozenset[str] | None, tuple[str, ...], tuple[str, ...]]:
    try:
        with open(path, "rb") as f:
            raw = tomllib.load(f)
    except OSError as e:
        raise Failure(f"policy file `{path}`: {e.strerror}") from None
    except tomllib.TOMLDecodeError as e:
        raise Failure(f"policy file `{path}`: {e}") from None
    unknown = sorted(raw.keys() - _FILE_KEYS)
    if unknown:
        raise Failure(
            f"policy file `{path}`: unknown key `{unknown[0]}`; there are {', '.join(sorted(_FILE_KEYS))}"
        )
    lists = {k: _strings(raw.get(k, []), path, k) for k in _FILE_KEYS}
    narrowed = None
    if "capabilities" in raw:
        narrowed = parse_capabilities(",".join(lists["capabilities"]), f"policy file `{path}`")
    for key in ("allow", "deny"):
        _check_known(lists[key], f"policy file `{path}`: {key}")
    return narrowed, lists["allow"], lists["deny"]


def _strings(value: object, path: str, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise Failure(f"policy file `{path}`: `{key}` must be a list of strings")
    return tuple(value)


def _check_known(names: Iterable[str], what: str) -> None:
    """A misspelt name would silently allow or deny nothing. Asks every release only for what the newest doesn't know."""
    from .abi import database

    for n in names:
        for version in ("", *reversed(database().versions)):
            if n == UNPUBLISHED or any(fnmatch.fnmatchcase(k, n) for k in _names(version)):
                break
        else:
            raise Failure(f"{what}: `{n}` names nothing in any driver release")


@functools.cache
def _names(version: str) -> frozenset[str]:
    """Names that a release has; "": those of the allow-list."""
    from .abi import database

    if not version:
        return frozenset(n for k in KINDS for n in table()[k])
    r = database().release(version)
    found = {c.name for c in r.commands.values()} | {c.name for c in r.classes.values()}
    return frozenset(found | {i.name for i in r.ioctls.values()})
