"""`nvsandbox completion`: the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Prints a completion script; `eval "$(nvsandbox completion bash)"`."""
    from ..app import cli

    cls = get_completion_class(shell)
    assert cls is not None
    click.echo(cls(cli, {}, "nvsandbox", "_NVSANDBOX_COMPLETE").source())
