"""Editing the configuration of container engines: what to add, what to take out, as text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..failure import Failure, reason

MAX_CONFIG: Final = 1 << 20
CRI_PLUGIN: Final = "io.containerd.grpc.v1.cri"


class Engine(NamedTuple):
    """``edit(text, name, program)`` gives the new text; program None takes the runtime out."""

    title: str
    config: str
    program: str  # its presence says that the engine is installed
    edit: Callable[[str, str, str | None], str]
    after: str


def edit_docker(text: str, name: str, program: str | None) -> str:
    """daemon.json: JSON, which has no comments; the order of members is kept."""
    try:
        conf = json.loads(text) if text.strip() else {}
    except ValueError as e:
        raise Failure(f"not JSON: {e}") from None
    if not isinstance(conf, dict) or not isinstance(conf.setdefault("runtimes", {}), dict):
        raise Failure("an object with an object `runtimes` is expected")
    runtimes = conf["runtimes"]
    if program is None:
        runtimes.pop(name, None)
    else:
        runtimes[name] = {"path": program}
    if not runtimes:
        del conf["runtimes"]
    return json.dumps(conf, indent=4) + "\n" if conf or text.strip() else ""


def _toml(text: str) -> dict[str, Any]:
    """Raises Failure."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise Failure(f"not TOML: {e}") from None


def edited(e: Engine, text: str, name: str, program: str | None) -> str:
    """The configuration with the runtime, or without it. Raises Failure, also where it is written in a form that isn't found by its
    lines, such as tables in one line."""
    if e.edit is edit_docker:
        return e.edit(text, name, program)
    _toml(text)
    new = e.edit(text, name, program)
    try:
        _toml(new)
    except Failure:
        raise Failure(
            f"it has the runtimes in a form that can't be edited line by line: {'add' if program else 'remove'} `{name}` by hand"
        ) from None
    return new


def _section(text: str, head: str) -> tuple[int, int]:
    """Where a TOML table's lines are, (-1, -1) if it is not there."""
    found = re.search(rf"^\[{re.escape(head)}\][^\n]*\n", text, re.M)
    if found is None:
        return -1, -1
    nxt = re.compile(r"^[ \t]*\[", re.M).search(text, found.end())
    return found.start(), nxt.start() if nxt else len(text)


def _without(text: str, heads: list[str]) -> str:
    for head in heads:
        start, end = _section(text, head)
        if start >= 0:
            text = text[:start] + text[end:]
    return text


def _append(text: str, block: str) -> str:
    return (text.rstrip("\n") + "\n\n" if text.strip() else "") + block


def edit_podman(text: str, name: str, program: str | None) -> str:
    """containers.conf: TOML; comments stay."""
    line = re.compile(rf"^{re.escape(name)}[ \t]*=[^\n]*\n?", re.M)
    start, end = _section(text, "engine.runtimes")
    if start >= 0:
        body = line.sub("", text[start:end])
        text = text[:start] + body + text[end:]
        end = start + len(body)
    if program is None:
        return text
    entry = f'{name} = ["{program}"]\n'
    if start < 0:
        return _append(text, f"[engine.runtimes]\n{entry}")
    head = text.index("\n", start) + 1
    return text[:head] + entry + text[head:]


# Where runtimes are, by the version of the configuration: that of containerd 1.x, and of 2.x, which reads both
CRI: Final = {
    2: 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes',
    3: "plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes",
}


def edit_containerd(text: str, name: str, program: str | None) -> str:
    """config.toml: a runtime class of the stock runc shim with our program as its binary."""
    conf = _toml(text)
    version = conf.get("version", 1 if conf else 2)
    if version not in CRI:
        raise Failure(
            f"version {version}, where 2 or 3 is expected: `containerd config migrate` prints it so"
        )
    disabled = conf.get("disabled_plugins") or []
    if program is not None and isinstance(disabled, list) and CRI_PLUGIN in disabled:
        raise Failure("its CRI plugin is disabled (disabled_plugins)")
    table = CRI[version]
    heads = [f"{table}.{name}.options", f"{table}.{name}"]
    text = _without(text, heads)
    if program is None:
        return text.rstrip("\n") + "\n" if text.strip() else ""
    block = (
        f'[{table}.{name}]\nruntime_type = "io.containerd.runc.v2"\n'
        f'pod_annotations = ["dev.nvsandbox.*"]\n'
        f'container_annotations = ["dev.nvsandbox.*", "cdi.k8s.io/*"]\n[{table}.{name}.options]\nBinaryName = "{program}"\n'
    )
    if not text.strip():
        text = "version = 2\n"
    return _append(text, block)


def edit_crio(text: str, name: str, program: str | None) -> str:
    """A drop-in of CRI-O's."""
    text = _without(text, [f"crio.runtime.runtimes.{name}"])
    if program is None:
        return text.rstrip("\n") + "\n" if text.strip() else ""
    block = f'[crio.runtime.runtimes.{name}]\nruntime_path = "{program}"\nruntime_type = "oci"\n'
    return _append(text, block)


ENGINES: Final = {
    "docker": Engine(
        "Docker", "/etc/docker/daemon.json", "dockerd", edit_docker, "tell dockerd: kill -HUP $(pidof dockerd)"
    ),
    "podman": Engine("Podman", "/etc/containers/containers.conf", "podman", edit_podman, ""),
    "containerd": Engine(
        "containerd", "/etc/containerd/config.toml", "containerd", edit_containerd, "restart containerd"
    ),
    "crio": Engine("CRI-O", "/etc/crio/crio.conf.d/50-nvsandbox.conf", "crio", edit_crio, "restart crio"),
}  # fmt: skip


def read(path: str) -> str:
    """A configuration; empty if it is not there. Raises Failure."""
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read(MAX_CONFIG + 1)
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise Failure(f"`{path}`: not UTF-8 text") from None
    except OSError as e:
        raise Failure(f"open `{path}`: {reason(e)}") from None
    if len(text) > MAX_CONFIG:
        raise Failure(f"`{path}`: larger than {MAX_CONFIG >> 20} MiB")
    return text


def write(path: str, text: str) -> None:
    """Atomically, mode and owner kept; an empty configuration is removed. Raises Failure."""
    from ..oci.state import write_file

    path = os.path.realpath(path)
    try:
        st = os.stat(path)
    except FileNotFoundError:
        st = None
    try:
        if not text:
            if st is not None:
                os.unlink(path)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_file(path, text, st.st_mode & 0o777 if st is not None else 0o644)
        if st is not None:
            os.chown(path, st.st_uid, st.st_gid)
    except OSError as e:
        raise Failure(f"write `{path}`: {reason(e)}") from None
