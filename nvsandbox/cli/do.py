"""`nvsandbox do`: one command in a fresh sandbox, on the host's root or another, which stays unchanged."""

from __future__ import annotations

import os

from ..failure import Failure
from .args import Values
from .globals import Globals, fail


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
        from ..sandbox import control
        from ..sandbox.foreground import run_foreground
        from .configure import command_config, environment, give_gpus

        for name in ("uid", "gid"):
            if not 0 <= v[name] < 0xFFFFFFFF:
                raise Failure(f"--{name} `{v[name]}`: not between 0 and 4294967294")
        rootfs = v["rootfs"]
        config = command_config(g, v)
        variables = environment(v["env"], rootfs == "/")
        give_gpus(config, variables, v["env"], v["gpus"], v["gpu_memory"])
        where = v["cwd"] or (os.getcwd() if rootfs == "/" else "/")
        process = control.process(
            [os.fsencode(c) for c in command],
            variables,
            os.fsencode(where),
            v["uid"],
            v["gid"],
            terminal=os.isatty(0) and os.isatty(1),
        )
        if kept and config.gpu is None:
            from ..sandbox import warm

            ready = warm.take(g.root, config)
            if ready is not None:
                return run_foreground(ready, process)
        from ..sandbox.launch import RunningSandbox

        return run_foreground(RunningSandbox(config, sentry=sentry, own_network=True), process)
    except Failure as e:
        if sentry is not None:
            sentry.drop()
        fail(g, str(e))
        return e.code
