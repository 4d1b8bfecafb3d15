"""A running sandbox from outside: its control connection, and processes started through it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time

from ..failure import Failure
from . import control


class Handle:
    """Whoever has the control connection has the sandbox: it ends with it."""

    def __init__(self, ctl: socket.socket) -> None:
        self.ctl = ctl
        self._next = 0
        self._events: list[control.Message] = []

    def spawn(
        self,
        process: control.Message,
        fds: tuple[int, ...],
        init: bool = False,
        hold: bool = False,
    ) -> int:
        """Starts a process, or prepares it (``hold``); its id. Raises Failure (code 127, 126) when it can't be run."""
        self._next += 1
        ident = self._next
        order = {"op": "spawn", "id": ident, "process": process, "init": init, "hold": hold}
        control.send(self.ctl, order, fds)
        msg = self.wait_for("started", ident)
        if msg["ev"] == "failed":
            raise Failure(str(msg["msg"]), control.exit_code_of(int(msg["errno"])))
        return ident

    def signal(self, ident: int, sig: int) -> None:
        with contextlib.suppress(OSError):
            control.send(self.ctl, {"op": "signal", "id": ident, "sig": sig})

    def resize(self, ident: int, rows: int, cols: int) -> None:
        with contextlib.suppress(OSError):
            control.send(self.ctl, {"op": "resize", "id": ident, "rows": rows, "cols": cols})

    def wait(self, ident: int, timeout: float | None = None) -> int | None:
        """The wait status of a process, None when ``timeout`` seconds pass first. Raises Failure."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while deadline is not None and not self.heard_of(ident):
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.ctl], [], [], left)[0]:
                return None
            self._take()
        return int(self.wait_for("exited", ident)["status"])

    def wait_for(self, kind: str, ident: int) -> control.Message:
        """The next message of that kind, or "failed", about process ``ident`` (0: about none). Raises Failure."""
        while True:
            for i, m in enumerate(self._events):
                if m.get("id", 0) == ident and m["ev"] in (kind, "failed"):
                    return self._events.pop(i)
            self._take()

    def _take(self) -> None:
        """One more message from the Sentry. Raises Failure when it is dead."""
        got = control.receive(self.ctl)
        if got is None:
            raise Failure("the sandbox died unexpectedly")
        msg, fds = got
        for fd in fds:
            os.close(fd)
        if msg["ev"] == "dead":
            raise Failure(str(msg["msg"]))
        self._events.append(msg)

    def heard_of(self, ident: int) -> bool:
        """Whether a message about a process waits to be looked at."""
        return any(m.get("id") == ident for m in self._events)

    def children(self) -> list[int]:
        """The processes whose end is all there is to wait for after the sandbox's; none: there is more."""
        return []

    def take_events(self) -> list[control.Message]:
        """Messages that came while another was waited for."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Ends the sandbox and waits for its processes."""
        with contextlib.suppress(OSError):
            control.send(self.ctl, {"op": "stop"})
        self.ctl.close()
        self._await_end()

    def _await_end(self) -> None:
        raise NotImplementedError
