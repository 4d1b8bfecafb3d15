"""``nvsandbox gpu``: the ABI database, the simulated driver, recording, replay and tracing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nvsandbox.cli.globals import Globals, default_root
from nvsandbox.failure import Failure
from nvsandbox.nvproxy.abi import AbiError, Access, Field, Release, Struct, as_number, database
from nvsandbox.nvproxy.abi.db import compare_commands, compare_structs

if TYPE_CHECKING:
    from nvsandbox.nvsim.record import Replay
    from nvsandbox.nvsim.simulator import Config


class _Group(click.Group):
    """A group that turns expected failures into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (AbiError, Failure, _expected()) as e:
            click.echo(f"nvsandbox: {e}", err=True)
            ctx.exit(1)


def _expected() -> type[Exception]:
    from nvsandbox.nvsim.errors import SimError

    return SimError


@click.group(cls=_Group)
def gpu() -> None:
    """GPUs: driver interface, simulated driver, recorder."""


@gpu.group()
def abi() -> None:
    """The driver interface, release by release."""


@abi.command("list")
@click.option("--commands", is_flag=True, help="List the control commands of --driver instead.")
@click.option("--driver", default=None, help="Driver version (default: the newest).")
def abi_list(commands: bool, driver: str | None) -> None:
    """List the known driver versions, or the commands of one."""
    db = database()
    if not commands:
        for version in db.versions:
            click.echo(version)
        return
    for c in db.release(driver or db.versions[-1]).commands.values():
        click.echo(f"{c.id:#010x}  {c.size:6}  {_access(c.access):10}  {c.name}")


def _access(access: int) -> str:
    if access & Access.USER:
        return "user"
    return "privileged" if access & Access.PRIVILEGED else "kernel"


def _show_field(f: Field, indent: int) -> None:
    dims = "".join(f"[{d}]" for d in f.dims)
    notes = [f.ref, f.count and f"count={f.count}", f.target and f"-> {f.target}"]
    text = f"{' ' * indent}+{f.offset:<5} {f.kind.name.lower():10} {f.size:5}{dims:8} {f.name}"
    click.echo(f"{text}  {' '.join(n for n in notes if n)}".rstrip())
    for g in f.fields:
        _show_field(g, indent + 2)


def _show_struct(s: Struct) -> None:
    click.echo(f"{'union' if s.union else 'struct'} {s.name}, {s.size} bytes")
    for f in s.fields:
        _show_field(f, 2)


@abi.command("show")
@click.argument("name")
@click.option("--driver", default=None, help="Driver version (default: the newest).")
def abi_show(name: str, driver: str | None) -> None:
    """Show a struct, command (name or number), class or ioctl."""
    db = database()
    release = db.release(driver or db.versions[-1])
    if not _show_any(release, name):
        raise AbiError(f"`{name}` is not known to driver {release.version}")


def _show_any(release: Release, name: str) -> bool:
    number = as_number(name)
    found = False
    for c in release.commands.values():
        if number == c.id or name == c.name or name in c.aliases:
            found = True
            also = f", also {', '.join(c.aliases)}" if c.aliases else ""
            click.echo(f"control command {c.name} {c.id:#010x}, {_access(c.access)}{also}")
            if c.params:
                _show_struct(release.structs[c.params])
    for k in release.classes.values():
        if number == k.id or name == k.name:
            found = True
            click.echo(f"class {k.name} {k.id:#06x} ({k.internal}), under {', '.join(k.parents)}")
            if k.params in release.structs:
                _show_struct(release.structs[k.params])
    for i in release.ioctls.values():
        if number == i.id or name == i.name:
            found = True
            click.echo(f"{i.device} ioctl {i.name} {i.id:#x}")
            for p in i.params:
                _show_struct(release.structs[p])
    if not found and name in release.structs:
        _show_struct(release.structs[name])
        return True
    return found


@abi.command("diff")
@click.argument("old")
@click.argument("new")
def abi_diff(old: str, new: str) -> None:
    """Show what changed between two driver versions."""
    a, b = database().release(old), database().release(new)
    for title, d in (("structs", compare_structs(a, b)), ("commands", compare_commands(a, b))):
        counts = f"{len(d.changed)} changed, {len(d.removed)} removed, {len(d.added)} added"
        click.echo(f"{title}: {counts}")
        for sign, names in (("~", d.changed), ("-", d.removed), ("+", d.added)):
            for n in names:
                click.echo(f"  {sign} {n}")


@abi.command("build")
@click.option("--headers", "trees", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--git", "repo", type=click.Path(path_type=Path, exists=True), default=None,
              help="A clone of the open kernel modules: all its release tags.")  # fmt: skip
@click.option("--tag", "tags", multiple=True, help="With --git: only these tags.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def abi_build(trees: Sequence[Path], repo: Path | None, tags: Sequence[str], output: Path) -> None:
    """Build the database from header trees (directories named after their version)."""
    from nvsandbox.nvproxy.abi import build, store

    if not trees and repo is None:
        raise AbiError("give header trees with --headers or a clone with --git")
    releases = [build.from_tree(t) for t in trees]
    if repo is not None:
        start = time.monotonic()
        for release in build.from_git(repo, list(tags) or None):
            releases.append(release)
            click.echo(f"{release.version} {time.monotonic() - start:.0f} s", err=True)
    releases.sort(key=lambda r: build.version_key(r.version))
    store.write(output, releases)
    click.echo(f"{len(releases)} releases, {output.stat().st_size} bytes")


@abi.command("check")
@click.option("--git", "repo", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--tag", "tags", multiple=True, required=True)
def abi_check(repo: Path, tags: Sequence[str]) -> None:
    """Compare header-derived commands with the driver's exported tables."""
    import tempfile

    from nvsandbox.nvproxy.abi import build, check

    for tag in tags:
        with tempfile.TemporaryDirectory(prefix="nvabi") as tmp:
            n, rows = check.check_tree(build.unpack(repo, tag, Path(tmp)), tag)
        click.echo(f"{tag}: {n} commands compared, {len(rows)} differ")
        for r in rows:
            header, table = r.header or "none", r.table or "none"
            click.echo(f"  {r.id:#010x} {r.name}: {r.cause} ({header} / {table})")


@gpu.command("sim", context_settings={"ignore_unknown_options": True})
@click.option("--gpu", "card", default="h100", show_default=True, help="Card profile.")
@click.option("--count", default=1, show_default=True, help="Number of cards, 1 to 8.")
@click.option("--driver", default="535.261.03", show_default=True, help="Driver version.")
@click.option("--memory", default=None, help="Memory of a card, e.g. 16g or 8192m.")
@click.option("--mig", default=None, help="MIG instances of each card, e.g. 1g.10gb,2g.20gb or 7.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    help="xid:N, ecc[:N], lost, alloc-fail[:N], slow:MS, no-node, no-uvm.",
)
@click.option("--bridged", is_flag=True, help="Links join cards in pairs, not by switches.")
@click.option(
    "--kernels",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="Kernel launches fail, or (Hopper) end without having been executed.",
)
@click.option(
    "--received", type=click.Path(path_type=Path), default=None,
    help="Write every call that arrives to this file: kind, number, process, parameters.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Name what is not simulated.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def sim(card: str, count: int, driver: str, memory: str | None, mig: str | None, bridged: bool,
        faults: Sequence[str], kernels: str, received: Path | None, verbose: bool,
        command: Sequence[str]) -> None:  # fmt: skip
    """Run COMMAND with simulated NVIDIA cards."""
    from nvsandbox.nvsim.faults import parse
    from nvsandbox.nvsim.simulator import Config

    found = [parse(f) for f in faults]
    if kernels == "skip":
        click.echo("nvsim: --kernels skip: launches end at once, nothing is computed", err=True)
    config = Config(
        card,
        count,
        driver,
        _mib(memory),
        found,
        mig=mig,
        bridged=bridged,
        skip_kernels=kernels == "skip",
    )
    sys.exit(_run_sim(config, verbose, command, received=received))


def _mib(text: str | None) -> int | None:
    from nvsandbox.nvsim.errors import SimError

    if text is None:
        return None
    number, unit = text[:-1], text[-1].lower()
    scale = {"g": 1024, "m": 1}.get(unit)
    if scale is None or not number.isdecimal():
        raise SimError(f"--memory `{text}`: give a number with m or g, e.g. 16g")
    return int(number) * scale


def _run_sim(
    config: Config,
    verbose: bool,
    command: Sequence[str],
    recording: Replay | None = None,
    received: Path | None = None,
) -> int:
    from nvsandbox.nvsim.simulator import Simulator
    from nvsandbox.nvsim.supervisor import run

    said: set[str] = set()

    def log(text: str) -> None:
        if text in said or len(said) > 10000:
            return
        said.add(text)
        if verbose or text.startswith(("NVRM", "fault", "user-space")):
            os.write(2, f"nvsim: {text}\n".encode())

    simulator = Simulator(config, log, recording)
    if received is None:
        return run(simulator, command)
    with received.open("w") as f:
        simulator.received = lambda kind, number, pid, data: print(
            kind, hex(number), pid, data.hex(), file=f
        )
        return run(simulator, command)


_COMMAND = {"ignore_unknown_options": True}


@gpu.command("record", context_settings=_COMMAND)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--driver", default=None, help="Driver version (default: this machine's).")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def record(output: Path, driver: str | None, command: Sequence[str]) -> None:
    """Record the driver calls of COMMAND, on a real GPU or under `gpu sim`."""
    from nvsandbox.nvsim import record as recorder

    sys.exit(recorder.record(driver, output, command))


@gpu.command("trace", context_settings=_COMMAND)
@click.option("--driver", default=None, help="Driver version (default: this machine's).")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def trace(driver: str | None, command: Sequence[str]) -> None:
    """Print the driver calls of COMMAND with decoded fields on standard error; of a container when its ID is all that is given."""
    if len(command) == 1 and _running(command[0]):
        sys.exit(_trace_container(command[0]))
    from nvsandbox.nvsim import record as recorder

    sys.exit(recorder.trace(driver, command))


def _root() -> str:
    g = click.get_current_context().find_object(Globals)
    return g.root if g is not None else default_root()


def _control(ident: str) -> tuple[str, str]:
    """(directory of a container's control socket, its name there). Raises Failure."""
    from nvsandbox.oci import state

    return state.control(_root(), ident, state.load(_root(), ident))


def _running(ident: str) -> bool:
    return "/" not in ident and os.path.exists(os.path.join(_root(), ident, "state.json"))


def _trace_container(ident: str) -> int:
    """Its forwarded calls and refusals as they happen, one JSON object a line, until it ends."""
    from nvsandbox.oci import client
    from nvsandbox.sandbox import control

    r, w = os.pipe()
    directory, name = _control(ident)
    sock = client.connect(directory)
    control.send(sock, {"op": "gpu", "what": "trace", "container": name}, (w,))
    os.close(w)
    answer = client.receive(sock)
    if answer.get("ev") == "failed":
        raise AbiError(f"`{ident}` has no GPU")
    try:
        while data := os.read(r, 65536):
            os.write(1, data)
    except KeyboardInterrupt:
        pass
    return 0


@gpu.command("stats")
@click.argument("ident", metavar="ID")
def gpu_stats(ident: str) -> None:
    """Print what a running container has asked of the driver: counters, objects, memory, as JSON."""
    from nvsandbox.oci import client

    directory, name = _control(ident)
    answer = client.request(directory, {"op": "gpu", "what": "stats", "container": name})
    answer.pop("ev", None)
    click.echo(json.dumps(answer, indent=2))


@gpu.command("install-hook")
@click.argument("directory", type=click.Path(path_type=Path), default="/usr/local/bin")
@click.option("--force", is_flag=True, help="Replace one that is there.")
def install_hook(directory: Path, force: bool) -> None:
    """Put a nvidia-container-runtime-hook into DIRECTORY, so that `docker run --gpus` works without NVIDIA's toolkit."""
    from nvsandbox.nvproxy import hook

    path = hook.install(str(directory), force)
    click.echo(path or "there is one already; other runtimes may need it (--force writes ours)")


@gpu.command("cdi")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="Such as /etc/cdi/nvidia.json.",
)
def cdi(output: Path | None) -> None:
    """Print a CDI specification of this host's GPUs, for `podman run --device nvidia.com/gpu=all` and others."""
    from nvsandbox.nvproxy.cdi import generate

    text = json.dumps(generate(), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    except OSError as e:
        raise Failure(f"write `{output}`: {e.strerror}") from None


@gpu.group()
def policy() -> None:
    """What may pass to the driver."""


@policy.command("explain")
@click.argument("name")
@click.option(
    "--driver", default=None, help="Driver version (default: this machine's, or the newest)."
)
@click.option(
    "--capabilities",
    default="compute,utility",
    show_default=True,
    help="What a container asks for.",
)
@click.option("--policy", "path", default="", metavar="FILE", help="A policy file.")
def policy_explain(name: str, driver: str | None, capabilities: str, path: str) -> None:
    """Say who allows NAME (a name or number of a command, class or ioctl), what is translated, and why not if not."""
    from nvsandbox.nvproxy import explain

    for line in explain.explain(name, driver, capabilities, path):
        click.echo(line)


@gpu.command("replay", context_settings=_COMMAND)
@click.option("--gpu", "card", default="h100", show_default=True, help="Card profile.")
@click.option("--count", default=1, show_default=True, help="Number of cards, 1 to 8.")
@click.option("-v", "--verbose", is_flag=True, help="Name what is not simulated.")
@click.argument("recording", type=click.Path(path_type=Path))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def replay(card: str, count: int, verbose: bool, recording: Path, command: Sequence[str]) -> None:
    """Run COMMAND with the control commands answered from RECORDING."""
    from nvsandbox.nvsim.record import Replay
    from nvsandbox.nvsim.simulator import Config

    recorded = Replay(recording)
    config = Config(card, count, recorded.driver)
    sys.exit(_run_sim(config, verbose, command, recorded))


def main() -> None:
    """Entry point of ``python -m nvsandbox.cli.gpu``."""
    gpu(prog_name=f"{os.path.basename(sys.executable)} -m nvsandbox.cli.gpu")


if __name__ == "__main__":
    main()
