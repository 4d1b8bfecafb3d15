"""The pid-file process of a container: starts the sandbox, and lives and dies with it.

Forked by `create` before it knows what for (early.py). They speak over a socket pair until the container is created: the plan →
"namespaces" → (hooks run) → "go" → "created" or an error → "stay". If create dies before "stay", so do we.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from ..failure import Failure
from ..platform.native._native import lib
from ..sandbox import control, handover
from ..sandbox.config import SandboxConfig
from ..sandbox.sentry_process import SentryProcess
from . import cgroups, namespaces, relay
from .cgroups import Groups
from .spec import Namespace

if TYPE_CHECKING:
    from ..sandbox.launch import RunningSandbox
    from ..sandbox.takeover import Takeover

OWN_SHARE: Final = 64 << 20  # bytes, more than a Sentry has
PATIENCE: Final = 5.0  # seconds for create to read why it failed


class Plan(NamedTuple):
    """What create has worked out."""

    config: SandboxConfig
    process: control.Message
    namespaces: list[Namespace]
    own_network: bool
    sysctl: dict[str, str]
    groups: Groups
    directory: str
    listener: int
    stdio: tuple[int, ...]  # what becomes 0, 1, 2… inside
    terminal: int  # the console's slave, or -1
    oom_score_adj: int | None
    pod: str  # state directory of the pod's sandbox, if it is in one
    ident: str


def give(plan: Plan, link: socket.socket) -> None:
    """Raises Failure."""
    descriptors = {plan.listener, plan.terminal, *plan.stdio, plan.config.mount_ns}
    try:
        handover.give(link, plan, descriptors | plan.config.descriptors())
    except OSError as e:
        raise Failure(f"container process: {e.strerror or e}") from None


def main(link: socket.socket) -> None:
    """In the forked child; never returns."""
    try:
        sentry = SentryProcess()  # imports what it needs while we do
        _load()
        got = handover.take(link, sentry.ctl)
        if got is None:
            return
        plan, link, (sentry.ctl,) = got
        keep = {link.fileno(), sentry.ctl.fileno(), plan.listener, plan.terminal, *plan.stdio}
        keep.add(plan.config.mount_ns)
        relay.close_except(keep)
        _oom_score(plan.oom_score_adj, os.getpid(), sentry.pid)
        namespaces.enter(plan.namespaces, os.fsdecode(plan.config.hostname))
        auto = plan.config.network == "auto"
        if auto:
            plan.config.network = "sandbox" if plan.own_network else "none"
        elif plan.config.network == "sandbox" and not plan.own_network:
            raise Failure(
                "--network=sandbox: the container has no network namespace of its own (--network=host uses the host's)"
            )
        if plan.own_network:
            namespaces.set_sysctls(plan.sysctl, plan.config.network)
        link.send(b"namespaces")  # hooks run now, beside what follows
        cgroups.join(plan.groups, os.getpid())
        if plan.pod:
            from . import pods

            sentry.drop()
            pods.run(plan, link)
        elif plan.config.network == "host":  # that of the namespace we are in now
            sentry.drop()
            _run(plan, link, auto, None)
        else:
            groups, pid = plan.groups, sentry.pid
            sentry.loaded = lambda: cgroups.join(groups, pid)  # is not charged for imports
            _run(plan, link, auto, sentry)
    except Failure as e:
        _tell(link, e)
    except OSError as e:
        _tell(link, Failure(f"container process: {e.strerror or e}"))
    except BaseException as e:
        _tell(link, Failure(f"container process: {type(e).__name__}: {e}"))
    finally:
        os._exit(1)


def _load() -> None:
    """What we share with the gofer: imported before the group is joined, which is not charged for it."""
    import gc

    from ..gofer import main  # noqa: F401
    from ..sandbox import launch  # noqa: F401

    gc.disable()
    gc.freeze()


def _tell(link: socket.socket, e: Failure) -> None:
    with contextlib.suppress(OSError):
        link.send(b"!%d %s" % (e.code, str(e).encode("utf-8", "replace")[:60000]))
        link.settimeout(PATIENCE)
        while link.recv(64):  # closing with something unread would hide what was sent
            pass


def _oom_score(adj: int | None, *pids: int) -> None:
    """Of these processes, and of their children to come; lowering it is not always permitted, and then it stays."""
    for pid in pids if adj is not None else ():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w") as f:
            f.write(str(adj))


def stubs_die_first(pids: list[int], limit: int) -> None:
    """Of a container that has used up its memory the kernel is to take a program, not the Sentry that all of it depends on: its stubs
    count for OWN_SHARE more (proc_pid_oom_score_adj(5): thousandths of what the group may have). ``limit``: bytes, 0: none."""
    if not limit:
        return
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            path = f"/proc/{pid}/oom_score_adj"
            with open(path) as f:
                now = int(f.read())
            with open(path, "w") as f:
                f.write(str(min(now + 1000 * OWN_SHARE // limit + 1, 1000)))


def children(pid: int) -> list[int]:
    """Of its first thread; none where the kernel doesn't tell."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def _take_over(sb: RunningSandbox, auto: bool, sysctl: dict[str, str]) -> Takeover | None:
    """Gives the Sentry the namespace we are in. ``auto``: if that can't be, the sandbox has loopback only. Raises Failure."""
    from ..sandbox.takeover import DEFAULT_RANGE, Takeover

    try:
        takeover = Takeover(ports=sysctl.get("net.ipv4.ip_local_port_range", DEFAULT_RANGE))
        sb.network(takeover)
    except Failure as e:
        if not auto:
            raise
        logging.getLogger("nvsandbox").warning("%s: there is only loopback inside", e)
        return None
    return takeover


def wait_for_hooks(link: socket.socket) -> None:
    """Until create has run them. Raises Failure."""
    if link.recv(64) != b"go":
        raise Failure("create was interrupted")


def _run(plan: Plan, link: socket.socket, auto: bool, sentry: SentryProcess | None) -> None:
    from ..sandbox.launch import RunningSandbox

    hooked = plan.config.mount_ns >= 0  # the gofer is to see what hooks mount
    if hooked:
        wait_for_hooks(link)
    listener = socket.socket(fileno=plan.listener)
    sb = RunningSandbox(plan.config, listener, own_name="nv-init", sentry=sentry)
    stubs_die_first(children(sb.sentry_pid), plan.config.memory)
    listener.close()
    if not hooked:
        wait_for_hooks(link)
    relay.prepare_terminal(plan.process, plan.terminal)
    takeover = _take_over(sb, auto, plan.sysctl) if plan.config.network == "sandbox" else None
    ident = sb.spawn(plan.process, plan.stdio, init=True, hold=True)
    link.send(b"created")
    if link.recv(64) != b"stay":
        raise Failure("create was interrupted")
    link.close()
    relay.detach_stdio()
    disk = relay.open_disk(plan.config)
    keep = {sb.ctl.fileno(), plan.terminal, disk, *sb.kept_fds()}
    if takeover is not None:
        keep |= takeover.fds()
    relay.close_except(keep)
    relay.set_title([control.raw(a) for a in plan.process["argv"]])
    lib.nv_forget_text()  # of it all, little is needed to wait
    r = relay.Relay(sb.ctl, ident, plan.terminal)
    r.disk = disk
    watched = [os.pidfd_open(sb.gofer_pid), os.pidfd_open(sb.sentry_pid)]
    if plan.terminal >= 0:
        r.resize()  # it may have changed meanwhile
    if takeover is not None:
        follow = takeover
        r.follow(follow.changes.fileno(), lambda: sb.network(follow))
    status = r.run(watched, sb.take_events())
    if status is None:
        for pid in (sb.sentry_pid, sb.gofer_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if takeover is not None:
        takeover.close()
    sb.close()
    relay.end_as(status, lambda: relay.note_exit(plan.directory, status))
