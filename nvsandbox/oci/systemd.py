"""systemd's driver for control groups (--systemd-cgroup): a container's group is a transient scope that systemd makes on request.

Asked over D-Bus (org.freedesktop.systemd1(5)), on the system bus or, where none runs, systemd's own socket. The scope is delegated: what is
below it, and its limits, are set by us as well, and told to systemd for them to survive a reload of its units. A scope needs a process from
the start: a child of ours stands in until the container's are there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Any, Final

from ..failure import Failure, reason
from ..sandbox import isolate
from . import relay
from .cgroups import UNIFIED, Groups, join, path_of
from .limits import OWN_TASKS
from .spec import Resources

BOOTED: Final = "/run/systemd/system"
"""There when systemd is the machine's init (sd_booted(3))."""
SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
PRIVATE: Final = "/run/systemd/private"
PATIENCE: Final = 25.0  # seconds for an answer; for a job
NAME, PATH, INTERFACE = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
Property = tuple[str, tuple[str, Any]]


def unit_of(cgroups_path: str, ident: str) -> tuple[str, str]:
    """(the unit's name, its slice) for a container. Raises Failure."""
    where = path_of(cgroups_path, ident, True)
    parent, _, unit = where.rpartition("/")
    return unit, parent.rpartition("/")[2] or "-.slice"


def check() -> None:
    """Raises Failure where systemd is not the init."""
    if not os.path.isdir(BOOTED):
        raise Failure(
            f"--systemd-cgroup: systemd does not run here (no `{BOOTED}`); use the engine's cgroupfs driver"
        )


def _connect(path: str) -> socket.socket:
    """A D-Bus connection that has said who we are (D-Bus Specification, "Authentication Protocol"). Raises Failure.

    BEGIN goes along with the rest, as sd-bus's clients do it: when it comes together with the first message, systemd reads both at
    once, and looks at the message only when the next one comes."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE)
    try:
        s.connect(path)
        who = str(os.geteuid()).encode().hex()
        s.sendall(b"\0AUTH EXTERNAL %s\r\nBEGIN\r\n" % who.encode())
        answer = b""
        while len(answer) < 256 and not answer.endswith(b"\r\n") and (got := s.recv(1)):
            answer += got
    except OSError as e:
        s.close()
        raise Failure(f"systemd: connect: {reason(e)}") from None
    if not answer.startswith(b"OK "):
        s.close()
        raise Failure("systemd: it does not let us in")
    return s


class Manager:
    """A connection to systemd. Raises Failure."""

    def __init__(self) -> None:
        from jeepney.low_level import Parser
        from jeepney.wrappers import DBusAddress

        self._address = DBusAddress(PATH, bus_name=NAME, interface=INTERFACE)
        self._parser = Parser()
        self._serial = 0
        bus = os.path.exists(SYSTEM_BUS)  # on systemd's own socket nobody answers a Hello
        self._sock = _connect(SYSTEM_BUS if bus else PRIVATE)
        if bus:
            from jeepney.bus_messages import MatchRule, message_bus

            self._ask(message_bus.Hello())
            self._ask(message_bus.AddMatch(MatchRule(type="signal", interface=INTERFACE)))

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._sock.close()

    def _receive(self, deadline: float) -> Any:
        """The next message. Raises Failure."""
        while (got := self._parser.get_next_message()) is None:
            try:
                self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
                data = self._sock.recv(65536)
            except OSError as e:
                late = isinstance(e, TimeoutError)
                raise Failure(
                    "systemd does not answer" if late else f"systemd: {reason(e)}"
                ) from None
            if not data:
                raise Failure("systemd closes the connection")
            self._parser.add_data(data)
        return got

    def _ask(self, message: Any, job: bool = False) -> tuple[Any, ...]:
        """The body of the answer; with ``job``, once the job that it names has ended well. Raises Failure with systemd's words."""
        from jeepney.low_level import HeaderFields, MessageType

        self._serial += 1
        deadline = time.monotonic() + PATIENCE
        try:
            self._sock.settimeout(PATIENCE)
            self._sock.sendall(message.serialise(serial=self._serial))
        except OSError as e:
            raise Failure(f"systemd: {reason(e)}") from None
        ended: dict[str, str] = {}
        body: tuple[Any, ...] | None = None
        while body is None or (job and body[0] not in ended):
            got = self._receive(deadline)
            kind, fields = got.header.message_type, got.header.fields
            if fields.get(HeaderFields.reply_serial) == self._serial:
                if kind == MessageType.error:
                    raise Failure(f"systemd: {got.body[0] if got.body else 'refused'}")
                body = got.body
            elif kind == MessageType.signal and fields.get(HeaderFields.member) == "JobRemoved":
                ended[got.body[1]] = got.body[3]
        if job and ended[body[0]] != "done":
            raise Failure(f"systemd: the job ends with `{ended[body[0]]}`")
        return body

    def _call(self, method: str, signature: str = "", *args: Any, job: bool = False) -> None:
        from jeepney.wrappers import new_method_call

        self._ask(new_method_call(self._address, method, signature or None, args), job)

    def _subscribe(self) -> None:
        """Has it tell of the ends of jobs."""
        with contextlib.suppress(Failure):  # "already subscribed" is no failure
            self._call("Subscribe")

    def start(self, unit: str, slice_: str, ident: str, pid: int) -> None:
        """Makes the scope, with process ``pid`` in it; or a slice, which needs none. Raises Failure."""
        on: Property = ("", ("b", True))
        properties: list[Property] = [
            ("Description", ("s", f"nvsandbox container {ident}")),
            ("DefaultDependencies", ("b", False)),
            *((n, on[1]) for n in ("CPUAccounting", "MemoryAccounting", "TasksAccounting", "IOAccounting")),
        ]  # fmt: skip
        if unit.endswith(".slice"):
            properties.append(("Wants", ("as", [slice_])))
        else:
            properties += [("Slice", ("s", slice_)), ("Delegate", on[1]), ("PIDs", ("au", [pid]))]
        self._subscribe()
        self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", properties, [], job=True)  # fmt: skip

    def limit(self, unit: str, r: Resources, groups: Groups) -> None:
        """Tells it the limits that have been written (``limits.apply``). Raises Failure."""
        found = properties_of(r, UNIFIED in groups and "memory" not in groups)
        if found:
            self._call("SetUnitProperties", "sba(sv)", unit, True, found)

    def stop(self, unit: str) -> None:
        """The unit goes, whatever state it is in, and is gone afterwards; one that has gone by itself is no failure."""
        self._subscribe()
        with contextlib.suppress(Failure):
            self._call("StopUnit", "ss", unit, "replace", job=True)
        with contextlib.suppress(Failure):
            self._call("ResetFailedUnit", "s", unit)


def properties_of(r: Resources, v2: bool) -> list[Property]:
    """Limits as properties of a unit (systemd.resource-control(5))."""
    endless = (1 << 64) - 1
    out: list[Property] = []
    if r.memory is not None and r.memory.limit:
        value = r.memory.limit if r.memory.limit > 0 else endless
        out.append(("MemoryMax" if v2 else "MemoryLimit", ("t", value)))
    if r.pids is not None and r.pids.limit:
        out.append(("TasksMax", ("t", r.pids.limit + OWN_TASKS if r.pids.limit > 0 else endless)))
    c = r.cpu
    if c is not None:
        if c.shares:
            weight = 1 + (max(c.shares, 2) - 2) * 9999 // 262142
            out.append(("CPUWeight", ("t", weight)) if v2 else ("CPUShares", ("t", c.shares)))
        if c.quota:
            period = c.period or 100_000
            per_second = c.quota * 1_000_000 // period if c.quota > 0 else endless
            # systemd keeps hundredths of a percent, and must not cut off a little of what was asked for
            if c.quota > 0 and per_second % 10_000:
                per_second = (per_second // 10_000 + 1) * 10_000
            out.append(("CPUQuotaPerSecUSec", ("t", per_second)))
            out.append(("CPUQuotaPeriodUSec", ("t", period)))
    return out


class Scope:
    """A scope that is being made: a child of ours keeps it from ending for want of processes."""

    def __init__(self, cgroups_path: str, ident: str) -> None:
        """Raises Failure."""
        check()
        self.unit, slice_ = unit_of(cgroups_path, ident)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            isolate.die_with_parent(parent)
            relay.close_except(set())
            while True:
                signal.pause()
        try:
            with Manager() as m:
                m.start(self.unit, slice_, ident, self._pid)
        except Failure:
            self.release()
            raise

    def limit(self, r: Resources, groups: Groups) -> None:
        """``Manager.limit``, with our child in every hierarchy: empty groups of controllers that systemd has no use for it would remove.
        Raises Failure."""
        join(groups, self._pid)
        with Manager() as m:
            m.limit(self.unit, r, groups)

    def release(self) -> None:
        """The container's own processes are there, or it has failed."""
        pid, self._pid = self._pid, 0
        if pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def drop(self) -> None:
        """Takes the scope back."""
        self.release()
        stop(self.unit)


def stop(unit: str) -> None:
    """A container is gone: so is its unit. Where systemd is out of reach nothing can be done."""
    with contextlib.suppress(Failure), Manager() as m:
        m.stop(unit)
