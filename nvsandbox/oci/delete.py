"""`delete`: what a container has on the host is taken away."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from ..failure import Failure
from . import cgroups, state
from .commands import wait_gone

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals


def delete(g: Globals, v: Values, args: list[str]) -> int:
    """With --force a container that runs is killed, and one that is not there is no error."""
    for ident in args:
        remove_container(g, ident, v["force"])
    return 0


def remove_container(g: Globals, ident: str, force: bool) -> None:
    """Raises Failure."""
    if force and not os.path.isdir(state.directory(g.root, ident)):
        return
    if force:
        _stop_creation(g.root, ident)
    with state.locked(g.root, ident):
        try:
            st = state.load(g.root, ident)
        except Failure:
            if not force:
                raise
            st = {"id": ident, "pid": 0, "start": 0}
        now = state.status(st)
        if now in (state.RUNNING, state.PAUSED, state.CREATING) and not force:
            raise Failure(f"cannot delete container {ident} that is not stopped: {now}")
        groups: cgroups.Groups = st.get("cgroup") or {}
        if now != state.STOPPED:
            with contextlib.suppress(ProcessLookupError):
                if st["pid"]:
                    os.kill(st["pid"], signal.SIGKILL)
            if now == state.PAUSED:
                cgroups.freeze(groups, False)
            if not wait_gone(st, cgroups.PATIENCE):
                raise Failure(f"container {ident} does not die")
        if groups:
            sessions = _sessions(g.root, st)
            cgroups.kill_all(groups, sessions)
            if cgroups.pids(groups) and not _shared(g.root, ident, st):
                sessions = None
                cgroups.kill_all(groups)
            if st.get("unit"):
                from .systemd import stop

                stop(st["unit"])
            cgroups.remove(groups, sessions)
        _poststop(st)
        state.remove(state.directory(g.root, ident))


def _sessions(root: str, st: state.State) -> set[int] | None:
    """Those of the container's processes; stubs of a pod's containers are in the pod's. None: whatever is in its group."""
    sessions = set(st.get("sessions") or ())
    if st.get("pod"):
        with contextlib.suppress(Failure):
            sessions |= set(state.load(root, os.path.basename(st["pod"])).get("sessions") or ())
    return sessions or None


def _shared(root: str, ident: str, st: state.State) -> bool:
    """Whether others may be in the container's group: they were when it was made, or another container has the same."""
    if st.get("shared"):
        return True
    for other in state.all_ids(root):
        with contextlib.suppress(Failure):
            if other != ident and state.load(root, other).get("cgroup") == st["cgroup"]:
                return True
    return False


def _stop_creation(root: str, ident: str) -> None:
    """A creation that is under way holds the lock: it ends when its container's process does."""
    with contextlib.suppress(Failure):
        st = state.load(root, ident)
        if state.status(st) == state.CREATING and st["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(st["pid"], signal.SIGKILL)


def _poststop(st: state.State) -> None:
    """A failing hook is told, and stops nothing."""
    kinds: dict[str, list[dict[str, Any]]] = st.get("hooks") or {}
    if not kinds.get("poststop"):
        return
    from . import hooks

    for h in kinds["poststop"]:
        try:
            hooks.run_all("poststop", [h], state.about(st))
        except Failure as e:
            os.write(2, f"nvsandbox: warning: {e}\n".encode())
