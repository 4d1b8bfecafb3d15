"""The ABI of one release and the policy of one sandbox, compiled into what the engine looks up by number.

A plan says the size a command must have, which arrays and descriptors to translate, which fields name a client, and, when it
must not be forwarded, why. It is made when first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, final

from . import rules, status
from .abi import Access, Field, Kind, Release
from .abi.model import LEGACY_BIT
from .abi.view import Layouts
from .policy import UNPUBLISHED, Policy, unlocks

BUCKETS: Final = 12
"""Of the histogram of a call's time."""
MAX_PARAMS: Final = 1 << 20
"""Bytes of parameters that a control command may have (rmapi: RMAPI_PARAM_COPY_MAX_PARAMS_SIZE)."""
PRIVILEGED_LEGACY: Final = 0xC000
_AGGREGATES: Final = (Kind.STRUCT, Kind.UNION)
_CLIENTS: Final = frozenset((
    "hClient", "hRoot", "hClientSrc", "hSrcClient", "hParentClient", "hClientShare",
    "hTargetClient",))  # fmt: skip


class Span(NamedTuple):
    """A field: offset and bytes."""

    at: int
    size: int


class Nested(NamedTuple):
    """An array that the parameters point to."""

    at: int
    factors: tuple[Span, ...]
    """Fields whose product is the number of elements; empty: ``fixed``."""
    fixed: int
    element: int
    limit: int
    copy_in: bool
    copy_out: bool


class FdField(NamedTuple):
    """A descriptor in the parameters."""

    at: int
    size: int
    kinds: frozenset[str]
    absent: bool
    none: int


@final
class Plan:
    """How to forward one command, class or ioctl. ``reason``: why not."""

    __slots__ = (
        "access",
        "after",
        "before",
        "clients",
        "fds",
        "id",
        "kind",
        "name",
        "nested",
        "ordered",
        "plain",
        "reason",
        "scrub",
        "size",
        "sized",
        "slow",
        "stats",
        "status",
        "struct",
        "why",
        "zero",
    )  # fmt: skip

    def __init__(self, kind: str, ident: int, name: str) -> None:
        self.kind = kind
        self.id = ident
        self.name = name
        self.struct = ""
        self.size = 0
        self.sized = True
        self.access = 0
        self.reason = ""
        self.status = status.NOT_SUPPORTED
        """What a refused command is answered."""
        self.why = ""
        """Who allows it."""
        self.nested: tuple[Nested, ...] = ()
        self.fds: tuple[FdField, ...] = ()
        self.clients: tuple[int, ...] = ()
        self.zero: tuple[int, ...] = ()
        self.scrub: tuple[int, ...] = ()
        self.slow = False
        self.ordered = False
        self.before: object = None
        self.after: object = None
        self.plain = True
        self.stats = [0] * (4 + BUCKETS)
        """Calls, failures, nanoseconds in all, longest; calls by their time (``audit.counters``)."""

    def finish(self) -> Plan:
        """``plain``: parameters pass as they are."""
        self.plain = not (
            self.nested or self.fds or self.clients or self.zero or self.scrub or self.before
            or self.after
        )  # fmt: skip
        return self


@final
class Abi:
    """Plans of one release under one policy, by number."""

    def __init__(self, release: Release, policy: Policy) -> None:
        self.release = release
        self.policy = policy
        self.layouts = Layouts(release)
        self.controls: dict[int, Plan] = {}
        self.classes: dict[int, Plan] = {}
        self.uvms: dict[int, Plan] = {}
        self.escapes: dict[int, Plan] = {}
        self.hooks: dict[str, tuple[object, object]] = {}
        """Name -> what the engine does before and after forwarding."""

    # ------------------------------------------------------------------ lookups

    def control(self, cmd: int) -> Plan:
        """The plan of a control command."""
        known = self.controls.get(cmd)
        if known is None:
            known = self._control(cmd)
            if len(self.controls) < 8192:  # unknown numbers are free to invent
                self.controls[cmd] = known
        return known

    def cls(self, number: int) -> Plan:
        """The plan of a class."""
        known = self.classes.get(number)
        if known is None:
            known = self._class(number)
            if len(self.classes) < 4096:
                self.classes[number] = known
        return known

    def uvm(self, number: int) -> Plan:
        """The plan of a UVM ioctl."""
        known = self.uvms.get(number)
        if known is None:
            known = self._ioctl("uvm", number)
            if len(self.uvms) < 4096:
                self.uvms[number] = known
        return known

    def escape(self, number: int) -> Plan:
        """The plan of a frontend escape (one byte)."""
        known = self.escapes.get(number)
        if known is None:
            known = self.escapes[number] = self._ioctl("frontend", number)
        return known

    # ------------------------------------------------------------------ compiling

    def _control(self, cmd: int) -> Plan:
        c = self.release.commands.get(cmd)
        if c is None:
            return self._unpublished(cmd)
        p = Plan("control", cmd, c.name)
        p.size, p.access, p.struct = c.size, c.access, c.params
        verdict = self.policy.judge("control", c.name)
        if not verdict.allowed:
            for alias in c.aliases:
                other = self.policy.judge("control", alias)
                if other.allowed:
                    verdict = other
                    break
        if not verdict.allowed and cmd & PRIVILEGED_LEGACY == LEGACY_BIT:
            # published later under the number that older releases forward unnamed
            unnamed = self.policy.judge("control", UNPUBLISHED)
            denied = verdict.why.startswith("denied")
            verdict = verdict if denied or not unnamed.allowed else unnamed
        p.why = verdict.why
        if c.exported and not c.access & Access.USER:
            p.reason = "the driver keeps it for privileged callers"
            p.status = status.INSUFFICIENT_PERMISSIONS
        elif not verdict.allowed:
            p.reason = verdict.why
        elif c.params and c.params in self.release.structs:
            names = (c.name, *c.aliases)
            arrays = next((rules.POINTERS[n] for n in names if n in rules.POINTERS), ())
            fds = next((rules.DESCRIPTORS[n] for n in names if n in rules.DESCRIPTORS), ())
            self._translate(p, c.params, arrays, fds)
        elif not c.size:
            p.sized = not c.params
        p.slow = c.name in rules.SLOW_CONTROLS
        p.ordered = c.name in rules.ORDERED
        p.before, p.after = self.hooks.get(c.name, (None, None))
        if self.release.later and c.name not in rules.OWN:
            # plain in every release so far; its size may have changed, and what of it is looked at here is nothing
            looked = p.nested or p.fds or p.zero or p.scrub or p.clients or p.before or p.after
            p.sized = p.sized and bool(looked)
        return p.finish()

    def _unpublished(self, cmd: int) -> Plan:
        p = Plan("control", cmd, f"{cmd:#010x}")
        p.sized = False
        by_number = self.policy.judge("control", p.name)
        p.why = by_number.why
        if by_number.allowed:
            return p.finish()  # by number: no header names it, and it is known to hold plain values
        if unlocks("control", p.name):
            p.reason = by_number.why
        elif not cmd & LEGACY_BIT:
            p.reason = f"driver {self.release.version} has no such command"
        elif cmd & PRIVILEGED_LEGACY == PRIVILEGED_LEGACY:
            p.reason = "an unpublished command for privileged callers"
            p.status = status.INSUFFICIENT_PERMISSIONS
        else:
            verdict = self.policy.judge("control", UNPUBLISHED)
            p.why = verdict.why
            p.reason = "" if verdict.allowed else f"unpublished commands: {verdict.why}"
        return p.finish()

    def _class(self, number: int) -> Plan:
        c = self.release.classes.get(number)
        if c is None:
            p = Plan("class", number, f"{number:#06x}")
            p.reason = f"driver {self.release.version} has no such class"
            return p.finish()
        p = Plan("class", number, c.name)
        p.access, p.struct = c.access, c.params
        verdict = self.policy.judge("class", c.name)
        p.why = verdict.why
        if not verdict.allowed:
            p.reason = verdict.why
        elif c.internal != "RmClientResource" and not c.access & Access.USER:
            p.reason = "the driver keeps it for privileged callers"
        elif c.params and c.params in self.release.structs:
            self._translate(p, c.params, (), rules.CLASS_DESCRIPTORS.get(c.name, ()))
        elif c.params == "NvHandle":
            p.size = 4
        elif c.params:
            p.reason = f"its parameters (`{c.params}`) are not in the ABI database"
        p.before, p.after = self.hooks.get(c.name, (None, None))
        return p.finish()

    def _ioctl(self, device: str, number: int) -> Plan:
        i = self.release.ioctls.get((device, number))
        p = Plan(device, number, i.name if i else f"{device} ioctl {number:#x}")
        if i is None:
            p.reason = f"driver {self.release.version} has no such ioctl"
            return p.finish()
        verdict = self.policy.judge(device, i.name)
        p.why = verdict.why
        p.reason = "" if verdict.allowed else verdict.why
        if device == "uvm":
            if i.params and i.params[0] in self.release.structs:
                p.struct = i.params[0]
                self._translate(p, p.struct, (), rules.UVM_DESCRIPTORS.get(i.name, ()))
            elif i.name != "UVM_DEINITIALIZE" and not p.reason:
                p.reason = "its parameters are not in the ABI database"
            p.slow = True
        else:
            p.struct = i.params[0] if i.params else ""
            if p.struct in self.release.structs:
                p.size = self.layouts.size(p.struct)
            p.slow = i.name in rules.SLOW_ESCAPES
        p.before, p.after = self.hooks.get(i.name, (None, None))
        return p.finish()

    def _translate(
        self, p: Plan, struct: str, arrays: Sequence[rules.Array], fds: Sequence[rules.Fd]
    ) -> None:
        """Fills in sizes and translations; sets ``reason`` when something can't be translated."""
        size = self.layouts.size(struct)
        p.struct, p.size = struct, p.size or size
        fields = dict(self._flat(self.release.structs[struct].fields))
        unknown = next((n for n, f in fields.items() if f.kind is Kind.POINTER and f.dims), "")
        if unknown:
            p.reason = p.reason or f"its array of pointers `{unknown}` can't be translated"
            return
        p.nested = tuple(n for n in (self._nested(a, fields) for a in arrays) if n is not None)
        p.fds = tuple(
            FdField(fields[d.field].offset, fields[d.field].size, d.kinds, d.absent, d.none)
            for d in fds
            if d.field in fields
        )
        done = {n.at for n in p.nested} | {f.at for f in p.fds}
        zero: list[int] = []
        scrub: list[int] = []
        for name, f in fields.items():
            if f.offset in done and f.kind in (Kind.POINTER, Kind.DESCRIPTOR, Kind.UINT, Kind.INT):
                continue
            if f.kind is Kind.POINTER:
                known = f"{struct}.{name}" in rules.SCRUBBED
                (scrub if known else zero).append(f.offset)
            elif f.kind is Kind.DESCRIPTOR:
                # NV0005_ALLOC_PARAMETERS.data is a pointer in all classes but the OS event
                if p.kind == "class" and f.size == 8:
                    zero.append(f.offset)
                else:
                    p.reason = p.reason or f"its descriptor `{name}` can't be translated"
        p.zero, p.scrub = tuple(zero), tuple(scrub)
        p.clients = tuple(
            f.offset
            for name, f in fields.items()
            if name.rpartition(".")[2] in _CLIENTS and f.size == 4 and not f.dims
        )

    def _nested(self, a: rules.Array, fields: dict[str, Field]) -> Nested | None:
        pointer = fields.get(a.pointer)
        if pointer is None:
            return None
        element = a.element if isinstance(a.element, int) else 8
        if isinstance(a.element, str) and a.element in self.release.structs:
            element = self.layouts.size(a.element)
        count: tuple[Span, ...] = ()
        if isinstance(a.number, str):
            names = a.number.split("*")
            count = tuple(Span(fields[n].offset, fields[n].size) for n in names)
        fixed = a.number if isinstance(a.number, int) else 0
        return Nested(
            pointer.offset, count, fixed, element, a.limit, "i" in a.way, "o" in a.way
        )  # fmt: skip

    def _flat(
        self, fields: Iterable[Field], base: int = 0, prefix: str = ""
    ) -> Iterator[tuple[str, Field]]:
        """(dotted name, field at its offset from the start) of every scalar; arrays of structs by their first element,
        with ``dims`` set."""
        for f in fields:
            at = base + f.offset
            if f.kind in _AGGREGATES:
                inner = (
                    self.release.structs[f.ref].fields
                    if f.ref in self.release.structs
                    else f.fields
                )
                for name, g in self._flat(inner, at, f"{prefix}{f.name}."):
                    yield name, Field(g.name, g.offset, g.size, g.kind, g.dims or f.dims)
            else:
                yield prefix + f.name, Field(f.name, at, f.size, f.kind, f.dims)

    # ------------------------------------------------------------------ for the Sentry's filter

    def host_ioctls(self) -> tuple[list[int], list[int]]:
        """(frontend, UVM) ioctl numbers that the enabled set makes of the host; nothing else passes its filter."""
        frontend: set[int] = set()
        for (device, number), i in self.release.ioctls.items():
            if device != "frontend" or not self.policy.judge("frontend", i.name).allowed:
                continue
            sizes = {self.layouts.size(s) for s in i.params if s in self.release.structs}
            for size in sizes:
                if i.name == "NV_ESC_CARD_INFO":
                    frontend.update(escape_cmd(number, size * n) for n in (32, 16, 8, 1))
                elif size < 1 << 14:
                    frontend.add(escape_cmd(number, size))
            if i.name == "NV_ESC_ATTACH_GPUS_TO_FD":
                frontend.update(escape_cmd(number, 4 * n) for n in range(1, 33))
        uvm = [
            number
            for (device, number), i in self.release.ioctls.items()
            if device == "uvm" and self.policy.judge("uvm", i.name).allowed
        ]
        return sorted(frontend), sorted(uvm)


def escape_cmd(number: int, size: int) -> int:
    """``_IOWR('F', number, size)``."""
    return 0xC0000000 | size << 16 | ord("F") << 8 | number
