"""`nvsandbox warm`: keeps sandboxes ready for `nvsandbox do` with the same root and flags."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..failure import Failure
from .args import Values
from .do import asked
from .globals import Globals

if TYPE_CHECKING:
    import socket

    from ..sandbox.config import SandboxConfig


def warm(g: Globals, v: Values, _args: list[str]) -> int:
    from ..sandbox import warm as w

    if v["stop"]:
        ended = [w.stop(path) for path in w.keepers(g.root)]
        print(f"{sum(ended)} stopped")
        return 0
    from .configure import command_config

    config = command_config(g, v)
    if config.network != "none" or config.strace or config.debug:
        raise Failure("warm: not with --network, --strace or --debug")
    ident = w.key(config)
    listener = w.listen(g.root, ident)
    path = listener.getsockname()
    if v["foreground"]:
        pool = w.Pool(config, v["number"], outlive=True)
        print(f"{pool.size} ready", flush=True)
        w.keep(pool, listener, path, asked)
        return 0
    return _background(config, v["number"], listener, path)


def _background(config: SandboxConfig, number: int, listener: socket.socket, path: str) -> int:
    """The keeper goes on alone; we tell what became of it."""
    from ..sandbox import isolate
    from ..sandbox import warm as w

    r, wr = os.pipe()
    if os.fork() == 0:
        try:
            os.setsid()
            os.chdir("/")
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            isolate.set_name("nv-warm")
            pool = w.Pool(config, number, outlive=True)
            os.write(wr, b"\n")
            os.close(wr)
            w.keep(pool, listener, path, asked)
        except Failure as e:
            os.unlink(path)
            os.write(wr, str(e).encode())
        finally:
            os._exit(0)
    os.close(wr)
    with os.fdopen(r, "rb") as f:
        word = f.read()
    if word != b"\n":
        raise Failure(word.decode("utf-8", "replace") or "the keeper did not start")
    print(f"{number} ready; `nvsandbox warm --stop` ends them")
    return 0
