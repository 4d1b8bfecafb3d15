"""Entry of the command line. What engines call is served here with few imports; the rest goes to click (``app.py``)."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .args import UsageError, Values, options_text, parse, usage
from .globals import Globals, debug, fail, from_values
from .table import COMMANDS, GLOBAL

if TYPE_CHECKING:
    from types import ModuleType


def main(flags: Sequence[str] = (), program: str = "") -> None:
    """Exit codes: the container's where a container ran, 1 for errors and bad usage, as runc's.

    ``flags`` come before the command line's own. ``program``: where native/nvsandbox.c is, if it started us.
    """
    code = call([*flags, *sys.argv[1:]], program)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as e:
        if not isinstance(e, BrokenPipeError):
            os.write(2, f"nvsandbox: write: {e.strerror}\n".encode())
        code = code or 1
    os._exit(
        code
    )  # there is nothing to clean up: taking the interpreter down costs more than many a call


def call(argv: list[str], program: str = "") -> int:
    """Runs a command line; the exit code."""
    try:
        values, rest = parse(GLOBAL, argv)
    except UsageError as e:
        fail(None, f"{e} (see 'nvsandbox --help')")
        return 1
    if rest and rest[0] in COMMANDS and not values["help"] and not values["version"]:
        return _runtime(from_values(values, program), rest[0], rest[1:])
    if values["version"]:
        return _version()
    return _people(values, rest)


def _runtime(g: Globals, name: str, argv: list[str]) -> int:
    """One of the runtime commands. They import and are done: looking for garbage meanwhile takes 5 ms. What lives on turns that on again."""
    gc.disable()
    _without_typing_extensions()
    from ..failure import Failure, reason

    cmd = COMMANDS[name]
    if g.debug:
        debug(g, f"{name} {' '.join(argv)}")
    try:
        if cmd.opts is None:
            argv = ["--", *argv]
        values, args = parse(cmd.opts or (), argv, mixed=cmd.most is not None)
        if values["help"]:
            sys.stdout.write(usage("nvsandbox", name, cmd))
            return 0
        if len(args) < cmd.least or (cmd.most is not None and len(args) > cmd.most):
            what = (
                "too many arguments"
                if args and len(args) > cmd.least
                else f"{cmd.needs} is missing"
            )
            raise UsageError(what if cmd.most != 0 else f"unexpected argument `{args[0]}`")
        module, function = cmd.where.split(":")
        __import__(module)
        return int(getattr(sys.modules[module], function)(g, values, args))
    except UsageError as e:
        fail(g, f"{e} (see 'nvsandbox {name} --help')")
    except Failure as e:
        fail(g, str(e))
    except BrokenPipeError:
        pass
    except OSError as e:
        where = f" `{os.fsdecode(e.filename)}`" if isinstance(e.filename, (str, bytes)) else ""
        fail(g, f"{name}{where}: {reason(e)}")
    except KeyboardInterrupt:
        return 130
    except Exception as e:
        if g.debug:
            raise
        fail(g, f"{name}: internal error: {type(e).__name__}: {e} (--debug shows where)")
    return 255 if name == "exec" else 1  # as runc's


def _without_typing_extensions() -> None:
    """msgspec looks for them, and takes longer to import if they are there; it does as well without."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules.setdefault("typing_extensions", None)


def _people(values: Values, rest: list[str]) -> int:
    """Commands for people: do, gpu, install…, and the help."""
    import click

    from .app import cli

    try:
        obj = from_values(values)
        argv = rest if rest and not values["help"] else ["--help"]
        code = cli.main(argv, prog_name="nvsandbox", standalone_mode=False, obj=obj)
        return code if isinstance(code, int) else 0
    except click.ClickException as e:
        hint = e.ctx.command_path if isinstance(e, click.UsageError) and e.ctx else "nvsandbox"
        fail(None, f"{e.format_message()} (see '{hint} --help')")
        return 1
    except click.Abort:
        return 130
    except BrokenPipeError:
        return 1
    except OSError as e:
        from ..failure import reason

        fail(None, reason(e))
        return 1


def _version() -> int:
    from .. import __version__

    print(f"nvsandbox version {__version__}\nspec: 1.0.2")
    return 0


def global_help() -> str:
    """The global flags, for the help of the whole."""
    return options_text(GLOBAL)


if __name__ == "__main__":
    main()
