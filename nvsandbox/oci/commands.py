"""The short runtime commands. Engines call them several times a container: nothing heavy is imported here."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from ..failure import Failure, reason
from . import client, state

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals

NOT_RUNNING: Final = "container not running"
OWN_NAMES: Final = (
    "nv-gofer",
    "nv-sentry",
    "nv-pidns",
)  # processes of a sandbox that stand for no program


def start(g: Globals, _v: Values, args: list[str]) -> int:
    start_container(g, args[0])
    return 0


def start_container(g: Globals, ident: str) -> None:
    """Starts the program of a created container, with the hooks around it. Raises Failure."""
    with state.locked(g.root, ident):
        st = state.load(g.root, ident)
        now = state.status(st)
        if now == state.STOPPED:
            raise Failure("cannot start a container that has stopped")
        if now != state.CREATED:
            raise Failure(f"cannot start a container in the {now} state")
        directory, name = state.control(g.root, ident, st)
        kinds: dict[str, list[dict[str, Any]]] = st.get("hooks") or {}
        if kinds.get("startContainer"):
            from .execute import run_inside

            run_inside(directory, name, st, kinds["startContainer"])
        try:
            client.request(directory, {"op": "start", "container": name})
        except Failure as e:
            if str(e) == NOT_RUNNING:  # gone at once, as fast programs are
                raise Failure("cannot start a container that has stopped") from None
            raise
        st["status"] = state.RUNNING
        state.save(state.directory(g.root, ident), st)
        if kinds.get("poststart"):
            from . import hooks

            try:
                hooks.run_all("poststart", kinds["poststart"], state.about(st))
            except Failure:
                _kill_process(st, signal.SIGKILL)
                raise


def kill(g: Globals, v: Values, args: list[str]) -> int:
    """Signals the first program, or all."""
    st = state.load(g.root, args[0])
    sig = parse_signal(args[1] if len(args) > 1 else "SIGTERM")
    now = state.status(st)
    if now == state.STOPPED:
        if v["all"]:  # engines do it to sweep up; there is nothing
            return 0
        raise Failure(NOT_RUNNING)
    if now == state.CREATING:
        raise Failure(NOT_RUNNING)
    if now == state.PAUSED:  # the Sentry is frozen: it can't be asked
        _kill_process(st, sig)
        return 0
    directory, name = state.control(g.root, args[0], st)
    order = {"op": "kill", "sig": sig, "all": v["all"], "container": name}
    try:
        client.request(directory, order)
    except Failure as e:
        if not state.alive(st):
            raise Failure(NOT_RUNNING) from None
        if sig != signal.SIGKILL:
            raise e
        _kill_process(st, sig)  # it does not answer: its whole family goes
    return 0


def _kill_process(st: state.State, sig: int) -> None:
    """To the pid-file process, which passes signals on; SIGKILL ends the sandbox."""
    try:
        if state.alive(st):
            os.kill(st["pid"], sig)
    except ProcessLookupError:
        raise Failure(NOT_RUNNING) from None


def parse_signal(text: str) -> int:
    """A number, TERM or SIGTERM, SIGRTMIN+3. Raises Failure."""
    if text.isdecimal():
        n = int(text)
    else:
        name = text.upper().removeprefix("SIG")
        base, plus, offset = name.partition("+")
        found = getattr(signal, f"SIG{base}", None)
        if not isinstance(found, signal.Signals) or (plus and not offset.isdecimal()):
            raise Failure(f"unknown signal `{text}`")
        n = int(found) + (int(offset) if plus else 0)
    if not 0 <= n <= 64:
        raise Failure(f"unknown signal `{text}`")
    return n


def print_state(g: Globals, ident: str) -> dict[str, Any]:
    st = state.load(g.root, ident)
    out = state.about(st)
    return {
        "ociVersion": out["ociVersion"], "id": out["id"], "pid": out["pid"], "status": out["status"],
        "bundle": out["bundle"], "rootfs": st.get("rootfs", ""), "created": st.get("created", ""),
        **({"annotations": out["annotations"]} if out["annotations"] else {}),
        "owner": st.get("owner", ""),
    }  # fmt: skip


# The name is the command's.
def state_(g: Globals, _v: Values, args: list[str]) -> int:
    print(json.dumps(print_state(g, args[0]), indent=2))
    return 0


def list_containers(g: Globals, v: Values, _args: list[str]) -> int:
    rows = []
    for ident in state.all_ids(g.root):
        try:
            rows.append(print_state(g, ident))
        except Failure:
            continue  # gone meanwhile, or not ours
    if v["quiet"]:
        for r in rows:
            print(r["id"])
    elif v["format"] == "json":
        print(json.dumps(rows, separators=(",", ":")) if rows else "null")
    else:
        table = [["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]]
        table += [[str(r[k]) for k in ("id", "pid", "status", "bundle", "created", "owner")] for r in rows]  # fmt: skip
        print_table(table)
    return 0


def print_table(rows: list[list[str]]) -> None:
    """As Go's tabwriter does with runc's settings: cells of at least 12, 3 blanks between."""
    widths = [max(12, *(len(r[i]) + 3 for r in rows)) for i in range(len(rows[0]))]
    for r in rows:
        print("".join(c.ljust(w) for c, w in zip(r[:-1], widths, strict=False)) + r[-1])


def ps(g: Globals, v: Values, args: list[str]) -> int:
    """Host pids: the container's pid-file process and those of its execs, whose command lines are the programs'."""
    st = state.load(g.root, args[0])
    pids = relay_pids(st)
    if v["format"] == "json":
        print(json.dumps(pids, separators=(",", ":")))
        return 0
    import subprocess

    options = args[1:] or ["-ef"]
    done = subprocess.run(["ps", *options], stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise Failure(f"ps exited with status {done.returncode}")
    if "PID" not in lines[0].split():
        raise Failure("couldn't find PID field in ps output")
    column = lines[0].split().index("PID")
    print(lines[0])
    for line in lines[1:]:
        words = line.split(None, column + 1)
        if len(words) > column and words[column].isdigit() and int(words[column]) in pids:
            print(line)
    return 0


def relay_pids(st: state.State) -> list[int]:
    """The processes that stand for programs: those in the group that are not Sentry, gofer or stub."""
    if not state.alive(st):
        return []
    from . import cgroups

    init = int(st["pid"])
    found = {init}
    try:
        ours = os.readlink(f"/proc/{init}/exe")
        for pid in cgroups.pids(st.get("cgroup") or {}):
            if os.readlink(f"/proc/{pid}/exe") == ours and _comm(pid) not in OWN_NAMES:
                found.add(pid)
    except OSError:
        pass  # gone meanwhile
    return sorted(found)


def _comm(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as f:
        return f.read().strip()


def pause(g: Globals, _v: Values, args: list[str]) -> int:
    from . import cgroups

    with state.locked(g.root, args[0]):
        st = state.load(g.root, args[0])
        now = state.status(st)
        if now not in (state.RUNNING, state.CREATED):
            raise Failure(f"cannot pause a container in the {now} state: {NOT_RUNNING}")
        cgroups.freeze(st.get("cgroup") or {}, True)
    return 0


def resume(g: Globals, _v: Values, args: list[str]) -> int:
    from . import cgroups

    with state.locked(g.root, args[0]):
        st = state.load(g.root, args[0])
        if state.status(st) != state.PAUSED:
            raise Failure("container not paused")
        cgroups.freeze(st.get("cgroup") or {}, False)
    return 0


def wait(g: Globals, _v: Values, args: list[str]) -> int:
    """Prints the exit code of the container's program once there is one."""
    directory = state.directory(g.root, args[0])
    st = state.load(g.root, args[0])
    try:
        fd = os.pidfd_open(st["pid"]) if st["pid"] else -1
    except ProcessLookupError:
        fd = -1
    if fd >= 0 and state.alive(st):
        import select

        select.select([fd], [], [])
    try:
        with open(os.path.join(directory, "exit")) as f:
            print(int(f.read() or 137))
    except (OSError, ValueError):
        print(137)  # killed before it could say
    return 0


def spec(_g: Globals, v: Values, _args: list[str]) -> int:
    from .template import default_spec

    path = os.path.join(v["bundle"], "config.json")
    try:
        with open(path, "x") as f:
            json.dump(default_spec(v["rootless"]), f, indent="\t")
            f.write("\n")
    except FileExistsError:
        raise Failure(f"file `{path}` exists. Remove it first") from None
    except OSError as e:
        raise Failure(f"create `{path}`: {reason(e)}") from None
    return 0


def unsupported(_g: Globals, _v: Values, _args: list[str]) -> int:
    raise Failure("checkpoint and restore are not yet supported")


def wait_gone(st: state.State, seconds: float) -> bool:
    """Whether the container's process is gone in time."""
    deadline = time.monotonic() + seconds
    while state.alive(st):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
