"""The command line: global flags and the commands, each in a module that is imported when it is used."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any, Final

import click

from .. import __version__

COMMANDS: Final = {
    "do": "nvsandbox.cli.commands.do:do",
    "run": "nvsandbox.cli.commands.run:run",
    "spec": "nvsandbox.cli.commands.spec:spec",
    "completion": "nvsandbox.cli.commands.completion:completion",
    "gpu": "nvsandbox.cli.gpu:gpu",
}


@dataclass
class Globals:
    """The global flags, for the commands."""

    root: str
    log: str
    log_format: str
    debug: bool
    platform: str
    network: str
    overlay2: str
    strace: bool


class LazyGroup(click.Group):
    """Imports a command when it is called, and turns a Failure into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        where = COMMANDS.get(name)
        if where is None:
            return None
        module, attr = where.split(":")
        cmd: Any = getattr(importlib.import_module(module), attr)
        assert isinstance(cmd, click.Command)
        return cmd

    def invoke(self, ctx: click.Context) -> Any:
        from ..sandbox.config import Failure

        try:
            return super().invoke(ctx)
        except Failure as e:
            fail(ctx.obj, str(e))
            ctx.exit(e.code)


def fail(g: Globals | None, message: str) -> None:
    """One line on stderr and one in the log."""
    message = " ".join(message.split())
    click.echo(f"nvsandbox: {message}", err=True)
    if g is None or not g.log:
        return
    import json
    import time

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        with open(g.log, "a") as f:
            if g.log_format == "json":
                f.write(json.dumps({"level": "error", "msg": message, "time": now}) + "\n")
            else:
                f.write(f'time="{now}" level=error msg={json.dumps(message)}\n')
    except OSError as e:
        click.echo(f"nvsandbox: open `{g.log}`: {e.strerror}", err=True)


def default_root() -> str:
    run = os.environ.get("XDG_RUNTIME_DIR")
    return "/run/nvsandbox" if os.geteuid() == 0 or not run else f"{run}/nvsandbox"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nvsandbox")
@click.option(
    "--root", default=default_root, metavar="DIR", help="Where the state of containers is kept."
)
@click.option("--log", default="", metavar="FILE", help="Where errors are logged as well.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--debug", is_flag=True, help="Log what the sandbox does.")
@click.option(
    "--platform",
    type=click.Choice(["auto", "systrap", "ptrace"]),
    default="auto",
    envvar="NVSANDBOX_PLATFORM",
    show_default=True,
    help="How system calls are intercepted.",
)
@click.option(
    "--network", type=click.Choice(["none", "host", "sandbox"]), default="none", show_default=True
)
@click.option(
    "--overlay2",
    default="root:self",
    show_default=True,
    metavar="WHAT",
    help="root:self keeps writes to the root in memory, none writes through.",
)
@click.option("--strace", is_flag=True, help="Print the system calls of the application.")
@click.pass_context
def cli(
    ctx: click.Context, root: str, log: str, log_format: str, debug: bool, platform: str, network: str,
    overlay2: str, strace: bool,
) -> None:  # fmt: skip
    """A container sandbox with an application kernel of its own."""
    ctx.obj = Globals(root, log, log_format, debug, platform, network, overlay2, strace)


def main() -> None:
    """Entry of the console script. Usage errors are one line, exit code 1 as runc's."""
    try:
        code = cli.main(standalone_mode=False, prog_name="nvsandbox")
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as e:
        hint = e.ctx.command_path if isinstance(e, click.UsageError) and e.ctx else "nvsandbox"
        click.echo(
            f"nvsandbox: {' '.join(e.format_message().split())} (see '{hint} --help')", err=True
        )
        sys.exit(1)
    except click.Abort:
        sys.exit(130)


if __name__ == "__main__":
    main()
