"""`nvsandbox install`: makes the runtime known to container engines, and takes it out again."""

from __future__ import annotations

import difflib
import os
import shutil

import click

from ...failure import Failure
from ...nvproxy import hook
from .. import engines, launcher


@click.command(context_settings={"ignore_unknown_options": False})
@click.option(
    "--engine",
    "names",
    multiple=True,
    type=click.Choice(sorted(engines.ENGINES)),
    help="Which engine (default: every one that is installed).",
)
@click.option("--runtime-name", default="nvsandbox", show_default=True, metavar="NAME")
@click.option(
    "--config", default="", metavar="FILE", help="The engine's configuration, if elsewhere."
)
@click.option(
    "--bin-dir",
    default="/usr/local/bin",
    show_default=True,
    metavar="DIR",
    help="Where the launcher goes.",
)
@click.option("--uninstall", is_flag=True, help="Take the runtime out of the configuration.")
@click.option("--dry-run", is_flag=True, help="Print what would change.")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def install(
    names: tuple[str, ...], runtime_name: str, config: str, bin_dir: str, uninstall: bool, dry_run: bool,
    flags: tuple[str, ...],
) -> None:  # fmt: skip
    """Registers the runtime with Docker, Podman, containerd or CRI-O.

    FLAGS (after --) are nvsandbox's own, for every container of this runtime: `nvsandbox install --engine docker
    --runtime-name nvhost -- --network=host`.
    """
    _check_name(runtime_name)
    _check_flags(flags)
    chosen = list(names) or [n for n, e in engines.ENGINES.items() if shutil.which(e.program)]
    if not chosen:
        raise Failure("no container engine found: name one with --engine")
    if config and len(chosen) != 1:
        raise Failure("--config needs exactly one --engine")
    program = os.path.join(os.path.abspath(bin_dir), f"{runtime_name}-runtime")
    changes = []
    for name in chosen:
        e = engines.ENGINES[name]
        path = config or e.config
        old = engines.read(path)
        try:
            new = engines.edited(e, old, runtime_name, None if uninstall else program)
        except Failure as f:
            raise Failure(f"`{path}`: {f}") from None
        changes.append((e, path, old, new))
    if dry_run:
        for _e, path, old, new in changes:
            _diff(path, old, new)
        return
    if not uninstall:
        launcher.write(program, list(flags))
        if "docker" in chosen:
            _gpu_hook(os.path.abspath(bin_dir))
    for e, path, old, new in changes:
        if old != new:
            engines.write(path, new)
        done = "unchanged" if old == new else "updated"
        click.echo(f"{e.title}: {path} {done}" + (f"; {e.after}" if e.after and old != new else ""))
    if uninstall and os.path.exists(program):
        os.unlink(program)
        hook.uninstall(os.path.abspath(bin_dir))


def _gpu_hook(directory: str) -> None:
    """What `docker run --gpus` needs to find, where NVIDIA's toolkit isn't installed."""
    path = hook.install(directory)
    if path:
        click.echo(f"docker run --gpus: {path} written")


def _check_name(name: str) -> None:
    if not name or not all(c.isalnum() or c in "-_" for c in name) or not name.isascii():
        raise Failure(f"--runtime-name `{name}`: letters, digits, - and _ are allowed")


def _check_flags(flags: tuple[str, ...]) -> None:
    """Flags that the launcher would pass on and every container fail on are refused here."""
    from ..args import UsageError, parse
    from ..table import GLOBAL

    try:
        _values, rest = parse(GLOBAL, list(flags))
    except UsageError as e:
        raise Failure(str(e)) from None
    if rest:
        raise Failure(f"`{rest[0]}` is not a flag")


def _diff(path: str, old: str, new: str) -> None:
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), path, f"{path} (new)"
    )
    click.echo("".join(lines) or f"{path}: no change\n", nl=False)
