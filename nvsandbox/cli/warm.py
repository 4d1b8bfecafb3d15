"""`nvsandbox warm`: keeps sandboxes ready for `nvsandbox do` with the same root and flags."""

from __future__ import annotations

import contextlib
import gc
import os
from typing import TYPE_CHECKING

from ..failure import Failure
from .args import Values
from .do import asked
from .globals import Globals

if TYPE_CHECKING:
    import socket

    from ..sandbox.config import SandboxConfig
    from ..sandbox.warm import Pool


def warm(g: Globals, v: Values, _args: list[str]) -> int:
    from ..sandbox import warm as w

    if v["stop"]:
        ended = [w.stop(path) for path in w.keepers(g.root)]
        print(f"{sum(ended)} stopped")
        return 0
    from .configure import command_config

    config = command_config(g, v)
    _check(config, "warm")
    listener = w.listen(g.root, w.key(config))
    path = listener.getsockname()
    if v["foreground"]:
        pool = _pool(config, v["number"])
        print(f"{pool.size} ready", flush=True)
        w.keep(pool, listener, path, asked)
        return 0
    with os.fdopen(_keeper(config, v["number"], listener, path), "rb") as f:
        word = f.read()
    if word != b"\n":
        raise Failure(word.decode("utf-8", "replace") or "the keeper did not start")
    print(f"{v['number']} ready; `nvsandbox warm --stop` ends them")
    return 0


def keep(g: Globals, config: SandboxConfig, number: int) -> None:
    """Sandboxes like this one are kept from now on, for the next command, if they aren't yet. Whatever prevents it makes that one slower,
    no more. Raises Failure for what can't be kept."""
    from ..sandbox import warm as w

    _check(config, "do --keep")
    w.check_size(number)
    with contextlib.suppress(Failure):
        listener = w.listen(g.root, w.key(config))
        os.close(_keeper(config, number, listener, listener.getsockname()))
        listener.close()


def _check(config: SandboxConfig, what: str) -> None:
    if config.network != "none" or config.strace or config.debug or config.gpu is not None:
        raise Failure(f"{what}: not with --network, --strace, --debug or --gpus")


def _pool(config: SandboxConfig, number: int) -> Pool:
    from ..sandbox.launch import load
    from ..sandbox.warm import Pool

    load()
    gc.freeze()  # what is shared with the sandboxes is not looked at again
    gc.enable()
    return Pool(config, number, outlive=True)


def _keeper(config: SandboxConfig, number: int, listener: socket.socket, path: str) -> int:
    """Starts the keeper, which goes on alone; a descriptor on which it says "\\n" when it is ready, or what is wrong."""
    from ..sandbox import isolate
    from ..sandbox import warm as w

    r, wr = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            if os.fork():
                os._exit(0)
            os.setsid()
            os.chdir("/")
            isolate.close_others({listener.fileno(), wr})
            isolate.set_name("nv-warm")
            pool = _pool(config, number)
            with contextlib.suppress(BrokenPipeError):
                os.write(wr, b"\n")
            os.close(wr)
            w.keep(pool, listener, path, asked)
        except Failure as e:
            os.unlink(path)
            with contextlib.suppress(BrokenPipeError):
                os.write(wr, str(e).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(wr)
    return r
