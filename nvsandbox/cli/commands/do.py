"""`nvsandbox do`: one command in a fresh sandbox, on the host's root or another, which stays unchanged."""

from __future__ import annotations

import os

import click

from ..globals import Globals


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--rootfs", default="/", metavar="DIR", help="The root file system; writes go to memory."
)
@click.option("--cwd", "-w", default="", metavar="DIR", help="Working directory inside.")
@click.option(
    "--env",
    "-e",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a variable (the host's are passed with --rootfs / only).",
)
@click.option("--uid", type=int, default=0, help="User id of the command.")
@click.option("--gid", type=int, default=0, help="Group id of the command.")
@click.option("--hostname", default="nvsandbox", metavar="NAME")
@click.option(
    "--volume",
    "-v",
    multiple=True,
    metavar="SRC:DST[:ro]",
    help="Bind mount a host directory or file.",
)
@click.option("--gpus", default="", metavar="LIST", help="all, none, or indexes, UUIDs, MIG ids.")
@click.option(
    "--gpu-memory", default="", metavar="SIZE", help="Device memory it may use on each GPU."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def do(
    g: Globals, rootfs: str, cwd: str, env: tuple[str, ...], uid: int, gid: int, hostname: str,
    volume: tuple[str, ...], gpus: str, gpu_memory: str, command: tuple[str, ...],
) -> None:  # fmt: skip
    """Runs COMMAND in a new sandbox.

    The root file system (the host's own, or DIR) is read-only underneath; what COMMAND writes is kept in memory
    and gone afterwards.
    """
    from ...sandbox import control
    from ...sandbox.foreground import run_foreground
    from ..configure import environment, give_gpus, sandbox_config

    config = sandbox_config(g, rootfs, hostname, volume)
    variables = environment(env, rootfs == "/")
    give_gpus(config, variables, env, gpus, gpu_memory)
    where = cwd or (os.getcwd() if rootfs == "/" else "/")
    process = control.process(
        [os.fsencode(c) for c in command],
        variables,
        os.fsencode(where),
        uid,
        gid,
        terminal=os.isatty(0) and os.isatty(1),
    )
    raise click.exceptions.Exit(run_foreground(config, process))
