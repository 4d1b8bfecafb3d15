"""`nvsandbox do`: one command in a fresh sandbox, on the host's root or another, which stays unchanged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..failure import Failure
from .args import UsageError, Values, parse
from .globals import Globals, fail, from_values

if TYPE_CHECKING:
    from ..sandbox.config import SandboxConfig
    from ..sandbox.control import Message


def plan(g: Globals, v: Values, command: list[str]) -> tuple[SandboxConfig, Message]:
    """The sandbox and the process in it. Raises Failure."""
    from ..sandbox import control
    from .configure import command_config, environment, give_gpus

    for name in ("uid", "gid"):
        if not 0 <= v[name] < 0xFFFFFFFF:
            raise Failure(f"--{name} `{v[name]}`: not between 0 and 4294967294")
    rootfs = v["rootfs"]
    config = command_config(g, v)
    variables = environment(v["env"], rootfs == "/")
    give_gpus(config, variables, v["env"], v["gpus"], v["gpu_memory"])
    where = v["cwd"] or (os.getcwd() if rootfs == "/" else "/")
    argv = [os.fsencode(c) for c in command]
    return config, control.process(argv, variables, os.fsencode(where), v["uid"], v["gid"])


def asked(argv: list[str]) -> tuple[SandboxConfig, Message] | None:
    """``plan`` of a whole command line, in its caller's environment and directory; None for one that needs more than a kept
    sandbox, or is wrong: that is for an interpreter of its own."""
    from ..nvproxy.options import wanted
    from .table import COMMANDS, GLOBAL

    try:
        values, rest = parse(GLOBAL, argv)
        v, command = parse(COMMANDS["do"].opts or (), rest[1:])
        own = [os.fsencode(e) for e in v["env"]]
        if (
            rest[0] != "do"
            or v["help"]
            or not command
            or v["gpus"]
            or v["gpu_memory"]
            or wanted(own, (), {})
        ):
            return None
        return plan(from_values(values), v, command)
    except (UsageError, Failure, OSError, ValueError):
        return None


def do(g: Globals, v: Values, command: list[str]) -> int:
    """The command's exit code; 127 and 126 when it can't be run."""
    from ..sandbox import WARM_DIRECTORY
    from ..sandbox.sentry_process import SentryProcess

    kept = os.path.isdir(
        f"{g.root}/{WARM_DIRECTORY}"
    )  # sandboxes that are ready, see sandbox/warm.py
    sentry: SentryProcess | None = None
    try:
        if not kept:
            sentry = SentryProcess()  # loads its modules while we load ours
        from ..sandbox.foreground import run_foreground

        config, process = plan(g, v, command)
        process["terminal"] = os.isatty(0) and os.isatty(1)
        if kept and config.gpu is None:
            from ..sandbox import warm

            ready = warm.take(g.root, config)
            if ready is not None:
                return run_foreground(ready, process)
        if v["keep"] is not None:
            from .warm import keep

            keep(g, config, v["keep"])
        from ..sandbox.launch import RunningSandbox

        sb = RunningSandbox(config, sentry=sentry, own_network=True)
        return run_foreground(sb, process, g.program)
    except Failure as e:
        if sentry is not None:
            sentry.drop()
        fail(g, str(e))
        return e.code
