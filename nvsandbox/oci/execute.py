"""`exec`: another program in a running container, and OCI's startContainer hooks, which run the same way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

from ..failure import Failure
from ..sandbox import control
from . import cgroups, client, relay, state

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals
    from .cgroups import Groups
    from .streams import Pump

HOOK_TIMEOUT: Final = 600  # seconds, where a hook has none of its own


def execute(g: Globals, v: Values, args: list[str]) -> int:
    """Exit code of the program, or 0 when detached. Raises Failure."""
    ident = args[0]
    st = state.load(g.root, ident)
    now = state.status(st)
    if now == state.STOPPED:
        raise Failure("cannot exec in a stopped container")
    if now == state.CREATING:
        raise Failure("cannot exec in a container that is being created")
    if now == state.PAUSED and not v["ignore_paused"]:
        raise Failure("cannot exec in a paused container (use --ignore-paused to override)")
    process = _from_file(v) if v["process"] else _from_flags(v, args[1:], st)
    if v["tty"]:
        process["terminal"] = True
    stdio, terminal, pump = _streams(v, bool(process.get("terminal")))
    directory, name = state.control(g.root, ident, st)
    process["container"] = name
    process["make_cwd"] = False  # as with runc: only create makes it
    groups: Groups = st.get("cgroup") or {}
    if not v["detach"]:
        return _foreground(directory, process, stdio, terminal, pump, v["pid_file"], groups)
    return _detached(directory, process, stdio, terminal, v["pid_file"], groups)


def _join(groups: Groups) -> None:
    """Who stands for a program by its pid is in the container's group, as the program is with runc."""
    with contextlib.suppress(Failure):
        cgroups.join(groups, os.getpid())


def _from_file(v: Values) -> control.Message:
    from . import convert, spec

    return convert.process_of(spec.load_process(v["process"]))


def _from_flags(v: Values, argv: list[str], st: state.State) -> control.Message:
    """The container's own process with what the flags change."""
    if not argv:
        raise Failure("exec: a command is needed, or --process")
    p: dict[str, Any] = st.get("process") or {}
    user: dict[str, Any] = dict(p.get("user") or {})
    if v["user"]:
        uid, _, gid = v["user"].partition(":")
        user.update(uid=_number(uid, "--user"), gid=_number(gid or "0", "--user"))
    groups = [_number(x, "--additional-gids") for x in v["additional_gids"]]
    from .capabilities import mask, sets

    caps = sets(p.get("capabilities"))
    if v["cap"]:
        extra = mask(list(v["cap"]))  # unknown names are left out, as with runc
        if (
            caps is not None
        ):  # bounding, effective, permitted; the inheritable and ambient ones stay
            caps = [c | extra if i in (0, 1, 3) else c for i, c in enumerate(caps)]
    from .rlimits import numbers

    return control.process(
        [os.fsencode(a) for a in argv], environment((*(p.get("env") or ()), *v["env"])),
        os.fsencode(v["cwd"] or p.get("cwd") or "/"), int(user.get("uid", 0)), int(user.get("gid", 0)),
        groups=groups or list(user.get("additionalGids") or ()), rlimits=numbers(p.get("rlimits") or ()),
        caps=caps, no_new_privs=bool(v["no_new_privs"] or p.get("noNewPrivileges")),
        terminal=bool(v["tty"]), umask=0o022 if user.get("umask") is None else int(user["umask"]),
    )  # fmt: skip


def environment(variables: tuple[str, ...]) -> list[bytes]:
    """One of each name, the last."""
    last = {e.partition("=")[0]: e for e in variables}
    return [os.fsencode(e) for e in last.values()]


def _number(text: str, flag: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise Failure(f"{flag}: `{text}` is not a number")
    return int(text)


def _streams(v: Values, terminal: bool) -> tuple[tuple[int, ...], int, Pump | None]:
    """(descriptors for the program, the terminal's slave or -1, what copies to and from our streams)."""
    from .streams import Pump, console, preserved

    more = preserved(v["preserve_fds"])
    if not terminal:
        if v["console_socket"]:
            raise Failure("--console-socket is only for a process with a terminal")
        return (0, 1, 2, *more), -1, None
    if v["console_socket"]:
        slave = console(v["console_socket"])
        return (os.dup(slave), os.dup(slave), *more), slave, None
    if v["detach"]:
        raise Failure("cannot allocate a terminal for a detached process without --console-socket")
    pump = Pump()
    return (os.dup(pump.slave), os.dup(pump.slave), *more), pump.slave, pump


def spawn(sock: socket.socket, process: control.Message, fds: tuple[int, ...]) -> int:
    """Starts a program; its number on this connection. Raises Failure."""
    try:
        control.send(
            sock,
            {"op": "spawn", "id": 1, "process": process, "container": process.get("container", "")},
            fds,
        )
    except OSError:
        raise Failure("container not running") from None
    answer = client.receive(sock)
    if answer.get("ev") != "started":
        err = answer.get("errno")
        code = control.exit_code_of(err) if isinstance(err, int) else 1
        raise Failure(f"exec failed: {answer.get('msg')}", code)
    return 1


def _foreground(
    directory: str, process: control.Message, fds: tuple[int, ...], terminal: int, pump: Pump | None, pid_file: str,
    groups: Groups,
) -> int:  # fmt: skip
    with contextlib.closing(client.connect(directory)) as sock:
        if terminal >= 0:
            _size(process, terminal)
        ident = spawn(sock, process, fds)
        r = relay.Relay(sock, ident, terminal)
        if pid_file:
            _join(groups)  # the program runs meanwhile
            relay.write_pid_file(pid_file, os.getpid())
        if pump is not None:
            for fd in fds[:2]:
                os.close(fd)
            r.window_changed = pump.resize
            pump.start()
        try:
            status = r.run()
        finally:
            if pump is not None:
                pump.finish()
    return 137 if status is None else relay.exit_code(status)


def _size(process: control.Message, terminal: int) -> None:
    rows, cols = relay.window_size(terminal)
    if rows and cols:
        process["rows"], process["cols"] = rows, cols


def _detached(
    directory: str, process: control.Message, fds: tuple[int, ...], terminal: int, pid_file: str, groups: Groups
) -> int:  # fmt: skip
    """A process of its own stands for the program; we return when that has started."""
    r, w = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(r)
        _stand_in(directory, process, fds, terminal, w, groups)
    os.close(w)
    cgroups.hasten(groups, r)
    with os.fdopen(r, "rb") as f:
        word = f.read()
    if word != b"started":
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        code, _, text = word.decode("utf-8", "replace").partition(" ")
        raise Failure(text or "exec failed: the process died", int(code) if code.isdigit() else 1)
    if pid_file:
        try:
            relay.write_pid_file(pid_file, pid)
        except Failure:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
    return 0


def _stand_in(
    directory: str, process: control.Message, fds: tuple[int, ...], terminal: int, word: int, groups: Groups
) -> None:  # fmt: skip
    """In the forked child; never returns."""
    status: int | None = 1 << 8
    try:
        os.setsid()
        relay.close_except({word, terminal, *fds})
        if terminal >= 0:
            relay.take_terminal(terminal)
            _size(process, terminal)
        sock = client.connect(directory)
        ident = spawn(sock, process, fds)
        r = relay.Relay(sock, ident, terminal)
        _join(groups)
        os.write(word, b"started")
        os.close(word)
        relay.detach_stdio()
        relay.close_except({sock.fileno(), terminal, *r.fds()})
        relay.set_title([control.raw(a) for a in process["argv"]])
        if terminal >= 0:
            r.resize()
        status = r.run()
    except Failure as e:
        with contextlib.suppress(OSError):
            os.write(word, f"{e.code} {e}".encode())
    except BaseException as e:
        with contextlib.suppress(OSError):
            os.write(word, f"1 exec: {type(e).__name__}: {e}".encode())
    finally:
        relay.end_as(status)


def run_inside(directory: str, name: str, st: state.State, hooks: list[dict[str, Any]]) -> None:
    """startContainer hooks: programs of the container's root, the state on stdin. Raises Failure."""
    about = json.dumps(state.about(st)).encode()
    for i, h in enumerate(hooks):
        argv = [os.fsencode(a) for a in h.get("args") or [h["path"]]]
        argv[0] = os.fsencode(h["path"])
        process = control.process(
            argv, [os.fsencode(e) for e in h.get("env") or ()], container=name
        )
        with contextlib.closing(client.connect(directory)) as sock:
            r, w = os.pipe2(os.O_CLOEXEC)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            try:
                spawn(sock, process, (r, null, null))
                os.write(w, about)
            except Failure as e:
                raise Failure(f"error running startContainer hook #{i}: {e}") from None
            finally:
                for fd in (r, w, null):
                    os.close(fd)
            sock.settimeout(h.get("timeout") or HOOK_TIMEOUT)
            answer = client.receive(sock)
        if answer.get("status") != 0:
            raise Failure(
                f"error running startContainer hook #{i}: wait status {answer.get('status')}"
            )
