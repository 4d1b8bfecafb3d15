"""`nvsandbox run`: an OCI bundle in the foreground."""

from __future__ import annotations

import os

import click

from ..main import Globals


@click.command()
@click.option(
    "--bundle",
    "-b",
    default=".",
    metavar="DIR",
    help="Directory with config.json (default: the current one).",
)
@click.argument("container_id", metavar="ID")
@click.pass_obj
def run(g: Globals, bundle: str, container_id: str) -> None:
    """Creates and runs a container from an OCI bundle; exits with its status."""
    from ...oci import convert, spec, state
    from ...sandbox.config import Failure
    from ...sandbox.foreground import run_foreground
    from ..configure import sandbox_config

    if not os.path.isdir(bundle):
        raise Failure(f"bundle `{bundle}`: no such directory")
    state.check_id(container_id)
    loaded = spec.load(bundle)
    where = os.path.abspath(bundle)
    config = convert.config_of(loaded, where, sandbox_config(g, where, "nvsandbox"))
    about = {"ociVersion": loaded.ociVersion, "id": container_id, "status": "running", "pid": os.getpid(),
             "bundle": where, "annotations": loaded.annotations}  # fmt: skip
    with state.container(g.root, container_id, about):
        code = run_foreground(config, convert.process_of(loaded), init=True)
    raise click.exceptions.Exit(code)
