"""Pods: the containers of one share a Sentry (the annotations are the CRI's: containerd's and CRI-O's).

The pod's sandbox container is an ordinary one. Each of the others has a gofer, a pid-file process, stubs and a group of its own,
and one more control connection to the pod's Sentry, which keeps a file tree, a pid namespace and a seccomp profile for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

from ..failure import Failure
from ..sandbox import control, tree
from . import cgroups, client, relay, state

if TYPE_CHECKING:
    from ..nvproxy.model import GpuConfig
    from ..sandbox.config import SandboxConfig
    from .cgroups import Groups
    from .monitor import Plan
    from .spec import Namespace

KEYS: Final = (
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
)


def sandbox_of(annotations: dict[str, str]) -> str:
    """The id of the pod's sandbox that a container joins; empty if it is one itself, or in no pod. Raises Failure."""
    for kind, sandbox in KEYS:
        if annotations.get(kind) == "container":
            ident = annotations.get(sandbox, "")
            if not ident:
                raise Failure(f"$.annotations: `{kind}` is container, but `{sandbox}` is missing")
            state.check_id(ident)
            return ident
    return ""


def without_infra(root: str, sandbox: str, namespaces: list[Namespace]) -> bool:
    """Whether a pod has no sandbox container (`podman pod create --infra=false`): its containers then share no namespace of ours,
    and there is no container of that name."""
    return not any(
        n.path and n.type in ("ipc", "pid", "uts") for n in namespaces
    ) and not os.path.exists(state.directory(root, sandbox))


def is_sandbox(annotations: dict[str, str]) -> bool:
    """Whether it is a pod's sandbox, which others join."""
    return any(annotations.get(kind) == "sandbox" for kind, _ in KEYS)


def check(root: str, sandbox: str) -> str:
    """The state directory of a pod's running sandbox. Raises Failure."""
    try:
        st = state.load(root, sandbox)
    except Failure as e:
        raise Failure(f"pod sandbox `{sandbox}`: {e}") from None
    now = state.status(st)
    if now not in (state.RUNNING, state.CREATED):
        raise Failure(f"pod sandbox `{sandbox}` is {now}")
    return state.directory(root, sandbox)


def start(
    config: SandboxConfig, directory: str, ident: str, shares_pids: bool, groups: Groups
) -> tuple[socket.socket, int]:
    """A gofer for a container, known to the pod's Sentry, and the container's stubs in its control group: (control connection,
    the gofer's pid). Raises Failure."""
    from ..sandbox import launch
    from .monitor import stubs_die_first

    gofer, pid, ready = launch.start_gofer(config)
    try:
        launch.gofer_ready(ready, pid)
        sock = client.connect(directory)
        order = {
            "op": "container", "container": ident, "tree": tree.encode(config), "seccomp": config.seccomp,
            "shares_pids": shares_pids,
        }  # fmt: skip
        fds = [gofer.fileno()]
        if config.gpu is not None:
            order["gpu"], more = _gpus(config.gpu)
            fds += more
        control.send(sock, order, tuple(fds))
        for fd in fds[1:]:
            os.close(fd)
        answer, fds = client.receive_fds(sock)
        try:
            if answer.get("ev") != "done":
                raise Failure(str(answer.get("msg")))
            if groups:
                zygote = _host_pid(fds)
                cgroups.join(groups, zygote)
                stubs_die_first([zygote], config.memory)
        finally:
            for fd in fds:
                os.close(fd)
    except (Failure, OSError) as e:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise e if isinstance(e, Failure) else Failure(f"pod sandbox: {e}") from None
    finally:
        gofer.close()
    return sock, pid


def _host_pid(fds: list[int]) -> int:
    """The process that the Sentry's one descriptor, a pidfd, stands for, by its number here. Raises Failure."""
    if len(fds) == 1:
        with open(f"/proc/self/fdinfo/{fds[0]}") as f:
            for line in f:
                name, _, value = line.partition(":")
                if name == "Pid" and value.strip().isdigit() and int(value) > 0:
                    return int(value)
    raise Failure("the pod's sandbox names no process for the container")


def _gpus(gpu: GpuConfig) -> tuple[str, list[int]]:
    """What the pod's Sentry is told of a container's GPUs, with a broker of the container's own."""
    import base64

    from ..nvproxy import attach, broker

    if not gpu.null:
        gpu.broker_fd, _pid = broker.start(gpu.devices)
    data, fds = attach.message(gpu)
    return base64.b64encode(data).decode(), fds


def run(plan: Plan, link: socket.socket) -> None:
    """The pid-file process of a container in a pod, from its start to its end; as ``monitor._run``."""
    from .monitor import wait_for_hooks

    os.close(plan.listener)
    hooked = plan.config.mount_ns >= 0
    if hooked:
        wait_for_hooks(link)
    own = any(n.type == "pid" and not n.path for n in plan.namespaces)
    sock, gofer = start(plan.config, plan.pod, plan.ident, not own, plan.groups)
    if not hooked:
        wait_for_hooks(link)
    relay.prepare_terminal(plan.process, plan.terminal)
    order = {
        "op": "spawn",
        "id": 1,
        "process": plan.process,
        "init": True,
        "hold": True,
        "container": plan.ident,
    }
    control.send(sock, order, plan.stdio)
    answer = client.receive(sock)
    if answer.get("ev") != "started":
        err = answer.get("errno")
        raise Failure(
            str(answer.get("msg")), control.exit_code_of(err) if isinstance(err, int) else 1
        )
    link.send(b"created")
    if link.recv(64) != b"stay":
        raise Failure("create was interrupted")
    link.close()
    relay.detach_stdio()
    disk = relay.open_disk(plan.config)
    relay.close_except({sock.fileno(), plan.terminal, disk})
    relay.set_title([control.raw(a) for a in plan.process["argv"]])
    r = relay.Relay(sock, 1, plan.terminal)
    r.disk = disk
    if plan.terminal >= 0:
        r.resize()
    status = r.run([os.pidfd_open(gofer)])
    sock.close()
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(gofer, signal.SIGKILL)
        os.waitpid(gofer, 0)
    relay.end_as(status, lambda: relay.note_exit(plan.directory, status))
