"""The command line for people: every command by name, each in a module that is imported when it is used."""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from .globals import fail
from .main import global_help
from .table import COMMANDS as RUNTIME

COMMANDS: Final = {
    "install": "nvsandbox.cli.commands.install:install",
    "doctor": "nvsandbox.cli.commands.doctor:doctor",
    "metrics": "nvsandbox.cli.commands.metrics:metrics",
    "completion": "nvsandbox.cli.commands.completion:completion",
    "gpu": "nvsandbox.cli.gpu:gpu",
}


class LazyGroup(click.Group):
    """Imports a command when it is called, and turns a Failure into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *RUNTIME})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in RUNTIME:
            return _runtime(name)
        where = COMMANDS.get(name)
        if where is None:
            return None
        module, attr = where.split(":")
        cmd: Any = getattr(importlib.import_module(module), attr)
        assert isinstance(cmd, click.Command)
        return cmd

    def invoke(self, ctx: click.Context) -> Any:
        from ..failure import Failure

        try:
            return super().invoke(ctx)
        except Failure as e:
            fail(ctx.obj, str(e))
            ctx.exit(e.code)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options"):
            formatter.write(global_help())
        self.format_commands(ctx, formatter)


def _runtime(name: str) -> click.Command:
    """A runtime command as click shows and completes it; main.py runs it."""
    cmd = RUNTIME[name]
    params: list[click.Parameter] = [
        click.Option(
            [f"--{n}" if len(n) > 1 else f"-{n}" for n in o.names], is_flag=o.kind == "flag", help=o.help
        )
        for o in cmd.opts or ()
    ]  # fmt: skip
    return click.Command(name, params=params, short_help=cmd.help)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A container sandbox with an application kernel of its own."""
