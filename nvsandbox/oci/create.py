"""`create` and `run`: from a bundle to a container, with everything taken back when a step fails."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import userns
from ..failure import Failure
from ..nvproxy.options import set_gpus
from ..sandbox.config import SandboxConfig
from . import cgroups, client, convert, early, limits, monitor, namespaces, pods, relay, spec, state
from .cgroups import Groups
from .early import Begun, Process
from .streams import Pump, console
from .sysctl import check as check_sysctls

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals
    from .systemd import Scope


class Streams(NamedTuple):
    """Where the program's standard streams are."""

    stdio: tuple[int, ...]
    terminal: int
    pump: Pump | None = None


class Made(NamedTuple):
    directory: str
    pid: int
    pump: Pump | None  # between the caller's streams and the program's terminal


def create(g: Globals, v: Values, ident: str, begun: Begun) -> int:
    """Everything but the start of the program. Raises Failure."""
    with contextlib.ExitStack() as undo:
        make(g, v, ident, begun, False, undo)
        undo.pop_all()
    return 0


def run(g: Globals, v: Values, ident: str, begun: Begun) -> int:
    """create, start, and unless detached: wait, delete. Raises Failure."""
    from . import commands, delete

    with contextlib.ExitStack() as undo:
        made = make(g, v, ident, begun, not v["detach"], undo)
        commands.start_container(g, ident)
        undo.pop_all()
    if v["detach"]:
        return 0
    status = _wait_forwarding(made.pid, made.pump)
    if not v["keep"]:
        delete.remove_container(g, ident, force=True)
    return status


def make(
    g: Globals, v: Values, ident: str, begun: Begun, foreground: bool, undo: contextlib.ExitStack
) -> Made:
    """Creates a container. ``undo`` takes everything back if it is left with an exception. Raises Failure."""
    process = begun.process
    if process is not None:
        undo.callback(_end, process, {}, False)
    bundle = os.path.abspath(v["bundle"] or ".")
    if not os.path.isdir(bundle):
        raise Failure(f"bundle `{bundle}`: no such directory")
    state.check_id(ident)
    from ..cli.configure import sandbox_config

    s = spec.load(bundle)
    base = sandbox_config(g, bundle, "")
    base.root.on_disk = g.overlay2 == "root:self"
    if base.gpu_options is not None:
        set_gpus(base.gpu_options, v.get("gpus") or "")
    config = convert.config_of(s, bundle, base)
    if not foreground and not config.log_path:
        # whoever called us waits for the end of our stderr, which the Sentry would keep
        config.debug = config.strace = False
    sandbox = pods.sandbox_of(s.annotations)
    alone = sandbox and pods.without_infra(g.root, sandbox, s.linux.namespaces)
    pod = pods.check(g.root, sandbox) if sandbox and not alone else ""
    if pods.is_sandbox(s.annotations) and config.gpu_options is not None:
        from ..nvproxy.inject import stand_by

        stand_by(config)
    namespaces.check(s.linux.namespaces, bool(pod))
    check_sysctls(s)
    if process is None:
        g = _rootless(g, config)
        process = early.start()
        undo.callback(_end, process, {}, False)
    pid, link = process.pid, process.link
    directory = state.claim(g.root, ident)
    undo.callback(state.remove, directory)
    stack = contextlib.ExitStack()  # others wait until the container is there, or gone
    stack.enter_context(state.locked(g.root, ident))
    undo.callback(stack.close)
    streams = _streams(s, v, foreground, begun.more, undo)
    rootless = _is_rootless(g)
    scope = None
    if g.systemd_cgroup and not rootless:
        from .systemd import Scope

        scope = Scope(s.linux.cgroupsPath, ident)
        undo.callback(scope.drop)
    groups, shared = _groups(g, s, ident, config, undo, rootless, scope)
    if s.hooks is not None and s.hooks.createContainer:
        config.mount_ns = namespaces.mount_namespace(config.root.source)
        undo.callback(os.close, config.mount_ns)
    listener = client.listen(directory)
    undo.callback(listener.close)
    plan = monitor.Plan(
        config, _process(s, begun.activated), s.linux.namespaces,
        namespaces.own_network(s.linux.namespaces), s.linux.sysctl, groups, directory, listener.fileno(),
        streams.stdio, streams.terminal, s.process.oomScoreAdj, pod, ident,
    )  # fmt: skip
    monitor.give(plan, link)
    undo.callback(_end, process, groups, shared)
    cgroups.hasten(groups, link.fileno())
    st = _state(ident, pid, bundle, s, config, groups)
    st["pod"] = pod
    st["shared"] = shared
    st["unit"] = scope.unit if scope is not None else ""
    _expect(link, b"namespaces")
    state.save(directory, st)
    _create_hooks(s, st, pid, config.mount_ns)
    link.send(b"go")
    cgroups.hasten(groups, link.fileno())
    _expect(link, b"created")
    st["status"] = state.CREATED
    st["sessions"] = sorted(cgroups.sessions_below(groups, pid))
    state.save(directory, st)
    if v["pid_file"]:
        undo.callback(_unlink, v["pid_file"])
        relay.write_pid_file(v["pid_file"], pid)
    link.send(b"stay")
    if scope is not None:
        scope.release()
    stack.close()
    return Made(directory, pid, streams.pump)


def _rootless(g: Globals, config: SandboxConfig) -> Globals:
    """For an ordinary user: a user namespace, no control groups of ours. Raises Failure."""
    from ..sandbox import isolate

    if any(m.count != 1 for m in (*config.uid_maps, *config.gid_maps)):
        raise Failure("$.linux.uidMappings: an ordinary user can map one id only, its own")
    isolate.become_root()
    config.uid_maps, config.gid_maps = [], []  # that is what we are in now
    return g._replace(rootless="true")


def _process(s: spec.Spec, n: int) -> dict[str, Any]:
    """The first program; sockets of systemd's activation are announced to it."""
    if n and not s.process.terminal:
        s.process.env += [f"LISTEN_FDS={n}", "LISTEN_PID=1"]
    return convert.process_of(s.process)


def _state(
    ident: str, pid: int, bundle: str, s: spec.Spec, config: SandboxConfig, groups: Groups
) -> state.State:
    import msgspec

    return {
        "ociVersion": state.OCI_VERSION, "id": ident, "status": state.CREATING, "pid": pid,
        "start": state.start_time(pid), "bundle": bundle, "rootfs": config.root.source,
        "created": state.now_text(), "owner": _owner(), "annotations": s.annotations, "cgroup": groups,
        "process": msgspec.to_builtins(s.process),
        "hooks": msgspec.to_builtins(s.hooks) if s.hooks is not None else {},
    }  # fmt: skip


def _owner() -> str:
    if os.geteuid() == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _is_rootless(g: Globals) -> bool:
    """Whether control groups are made only where that is permitted."""
    return g.rootless == "true" or (
        g.rootless == "auto" and (os.geteuid() != 0 or not userns.initial())
    )


def _groups(
    g: Globals,
    s: spec.Spec,
    ident: str,
    config: SandboxConfig,
    undo: contextlib.ExitStack,
    rootless: bool,
    scope: Scope | None,
) -> tuple[Groups, bool]:
    """The control group with its limits, whether others are in it; and what of them the application shall see."""
    groups = cgroups.create(s.linux.cgroupsPath, ident, g.systemd_cgroup, rootless)
    others = cgroups.pids(groups) if scope is None and groups else []
    undo.callback(_remove_groups, groups, bool(others))
    if others:
        text = f"container's cgroup is not empty: {len(others)} process(es) found"
        os.write(2, f"nvsandbox: warning: {text}\n".encode())
    r = s.linux.resources
    asked = r.memory.limit if r is not None and r.memory is not None else None
    if r is not None:
        limits.apply(groups, r, rootless)
        if scope is not None:
            scope.limit(r, groups)
        config.pids = r.pids.limit if r.pids is not None and r.pids.limit > 0 else 0
    config.memory = limits.memory_limit(groups)
    if asked is not None and asked > 0:
        config.memory = min(config.memory, asked) or asked
    config.cpu_max = limits.cpu_max(groups)
    config.ncpu = min(config.ncpu, limits.cpus(groups) or config.ncpu)
    return groups, bool(others)


def _remove_groups(groups: Groups, shared: bool) -> None:
    with contextlib.suppress(Failure):
        cgroups.remove(groups, {os.getpid()} if shared else None)


def _end(process: Process, groups: Groups, shared: bool) -> None:
    """A half-made container, which may be gone by now: its processes are killed, the pid-file process is reaped."""
    sessions = cgroups.sessions_below(groups, process.pid) if shared else None
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
    if groups:
        cgroups.kill_all(groups, sessions)
    process.link.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, 0)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _expect(link: socket.socket, word: bytes) -> None:
    """The monitor's next message. Raises the Failure it reports."""
    got = link.recv(1 << 16)
    if got == word:
        return
    if got[:1] == b"!":
        code, _, text = got[1:].decode("utf-8", "replace").partition(" ")
        raise Failure(text, int(code) if code.isdigit() else 1)
    raise Failure("the container process died")


def _create_hooks(s: spec.Spec, st: state.State, pid: int, mount_ns: int) -> None:
    """prestart, createRuntime in the caller's namespaces, createContainer in the container's network and mount namespaces."""
    if s.hooks is None:
        return
    from . import hooks

    kinds: dict[str, list[dict[str, Any]]] = st["hooks"]
    about = {**state.about(st), "pid": pid, "status": state.CREATING}
    hooks.run_all("prestart", kinds.get("prestart", []), about)
    hooks.run_all("createRuntime", kinds.get("createRuntime", []), about)
    inside = kinds.get("createContainer", [])
    if inside:
        bundle = str(about["bundle"])
        hooks.run_all("createContainer", inside, about, lambda: _enter(pid, mount_ns, bundle))


def _enter(pid: int, mount_ns: int, cwd: str) -> None:
    """In a hook's process: the container's network namespace, and the one its root file system is mounted in. Raises OSError."""
    from ..platform.native._native import lib

    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    for ns, kind in ((fd, namespaces.CLONE["network"]), (mount_ns, namespaces.MOUNT)):
        r = lib.nv_setns(ns, kind)
        if r < 0:
            raise OSError(-r, os.strerror(-r))
    os.chdir(cwd)  # joining a mount namespace leads to its root


# Standard streams
def _streams(
    s: spec.Spec, v: Values, foreground: bool, more: list[int], undo: contextlib.ExitStack
) -> Streams:
    """Descriptors for the program: ours, or a console."""
    where = v["console_socket"]
    if not s.process.terminal:
        if where:
            raise Failure("--console-socket is only for a process with a terminal")
        return Streams((0, 1, 2, *more), -1)
    if where:
        slave = console(where)
        undo.callback(os.close, slave)
        return Streams((os.dup(slave), os.dup(slave), *more), slave)
    if not foreground:
        raise Failure(
            "cannot allocate a terminal for a detached container without --console-socket"
        )
    pump = Pump()
    undo.callback(pump.finish)
    return Streams((os.dup(pump.slave), os.dup(pump.slave), *more), pump.slave, pump)


def _wait_forwarding(pid: int, pump: Pump | None) -> int:
    """Waits for a child, passing signals on; its exit code."""

    def forward(sig: int, _frame: object) -> None:
        if sig == signal.SIGWINCH and pump is not None:
            pump.resize()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)

    for s in signal.valid_signals() - relay.OWN - {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(s, forward)
    if pump is not None:
        pump.start()
    try:
        return relay.exit_code(os.waitpid(pid, 0)[1])
    finally:
        if pump is not None:
            pump.finish()
