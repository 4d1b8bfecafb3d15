"""Container Device Interface specifications of the host (``/etc/cdi``, ``/var/run/cdi``; JSON or YAML): read, bounded, validated.

CDI 0.8.0, SPEC.md. A directory named later goes before an earlier one; a device that two files of one directory define is nobody's.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ..failure import Failure, reason
from ..oci.spec import HOOK_KINDS, I64, U32, Name, Struct, Text, drop_nulls

log: Final = logging.getLogger("nvsandbox.nvproxy")
MAX_FILE: Final = 1 << 20
MAX_FILES: Final = 256
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 32
_KIND: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*/[A-Za-z][A-Za-z0-9_.-]*")
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
QUALIFIED: Final = re.compile(rf"({_KIND.pattern})=({_DEVICE.pattern})")
"""``vendor.com/class=name``"""
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))


class DeviceNode(Struct):
    path: Name
    hostPath: Name = ""
    type: Name = ""
    major: I64 | None = None
    minor: I64 | None = None
    fileMode: U32 | None = None
    permissions: Name = ""
    uid: U32 | None = None
    gid: U32 | None = None


class Mount(Struct):
    hostPath: Name
    containerPath: Name
    options: list[Name] = []
    type: Name = ""


class Hook(Struct):
    hookName: Name
    path: Name
    args: list[Text] = []
    env: list[Text] = []
    timeout: Annotated[int, Meta(ge=1)] | None = None


class Edits(Struct):
    env: list[Text] = []
    deviceNodes: list[DeviceNode] = []
    hooks: list[Hook] = []
    mounts: list[Mount] = []
    additionalGids: list[U32] = []
    intelRdt: dict[Name, Any] | None = None


class Device(Struct):
    name: Name
    containerEdits: Edits = msgspec.field(default_factory=Edits)


class Spec(Struct):
    cdiVersion: Name
    kind: Name
    devices: list[Device]
    containerEdits: Edits = msgspec.field(default_factory=Edits)


def _absolute(path: str) -> bool:
    return path.startswith("/") and "\0" not in path and ".." not in path.split("/")


def check(spec: Spec) -> None:
    """What types can't say. Raises Failure naming the path in the file."""
    if not re.fullmatch(r"v?[01]\.\d{1,3}\.\d{1,3}", spec.cdiVersion):
        raise Failure(f"$.cdiVersion: `{spec.cdiVersion}` is not one that is known")
    if not _KIND.fullmatch(spec.kind):
        raise Failure(f"$.kind: `{spec.kind}` is not vendor/class")
    seen = set()
    for i, d in enumerate(spec.devices):
        if not _DEVICE.fullmatch(d.name) or d.name in seen:
            raise Failure(f"$.devices[{i}].name: `{d.name}` is not a name, or there twice")
        seen.add(d.name)
        _check_edits(d.containerEdits, f"$.devices[{i}].containerEdits")
    _check_edits(spec.containerEdits, "$.containerEdits")


def _check_edits(e: Edits, at: str) -> None:
    for i, v in enumerate(e.env):
        if v.find("=") < 1 or "\0" in v:
            raise Failure(f"{at}.env[{i}]: NAME=VALUE is expected")
    for i, n in enumerate(e.deviceNodes):
        if not _absolute(n.path) or (n.hostPath and not _absolute(n.hostPath)):
            raise Failure(
                f"{at}.deviceNodes[{i}]: `{n.hostPath or n.path}` is not an absolute path"
            )
        if n.type not in ("", "b", "c", "u", "p") or set(n.permissions) - set("rwm"):
            raise Failure(f"{at}.deviceNodes[{i}]: unknown type or permissions")
    for i, m in enumerate(e.mounts):
        if not _absolute(m.hostPath) or not _absolute(m.containerPath):
            raise Failure(
                f"{at}.mounts[{i}]: `{m.hostPath}` or `{m.containerPath}` is not an absolute path"
            )
    for i, h in enumerate(e.hooks):
        if h.hookName not in HOOK_KINDS or not _absolute(h.path):
            raise Failure(
                f"{at}.hooks[{i}]: `{h.hookName}` of `{h.path}` is not a hook with an absolute path"
            )
        if any("\0" in s for s in (*h.args, *h.env)):
            raise Failure(f"{at}.hooks[{i}]: a string contains a NUL")


# ---------------------------------------------------------------------- files


def from_yaml(raw: bytes) -> Any:
    """A YAML document as dicts, lists and strings (``strict=False`` makes numbers of them). No anchors, tags or second document:
    nothing grows that is not there. Raises Failure."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    stack: list[Any] = [[]]
    keys: list[str | None] = [None]
    nodes = 0
    try:
        for ev in yaml.parse(raw, Loader=loader):
            if isinstance(ev, yaml.DocumentStartEvent) and stack[0]:
                raise Failure("more than one YAML document")
            if isinstance(ev, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                stack.pop()
                keys.pop()
                continue
            if not isinstance(ev, yaml.NodeEvent):
                continue
            nodes += 1
            line = ev.start_mark.line + 1 if ev.start_mark is not None else 0
            if ev.anchor is not None or getattr(ev, "tag", None):
                raise Failure(f"line {line}: YAML anchors, aliases and tags are not allowed")
            if nodes > MAX_NODES or len(stack) > MAX_DEPTH:
                raise Failure(f"line {line}: nested too deeply, or too much")
            _place(stack, keys, ev, line)
    except yaml.YAMLError as e:
        raise Failure("not YAML: " + " ".join(str(e).split())) from None
    except ValueError as e:  # bytes that are no text
        raise Failure(f"not YAML: {e}") from None
    return stack[0][0] if stack[0] else None


def _place(stack: list[Any], keys: list[str | None], ev: Any, line: int) -> None:
    """One node into the innermost collection: there it is a key, a value or an item."""
    top = stack[-1]
    value: Any
    if hasattr(ev, "value"):
        value = None if not ev.style and ev.value in _NULLS else ev.value
    else:
        value = {} if type(ev).__name__ == "MappingStartEvent" else []
    if isinstance(top, list):
        top.append(value)
    elif keys[-1] is None:
        if not isinstance(value, str) or value in top:
            raise Failure(f"line {line}: a key that is not a name, or there twice")
        keys[-1] = value
        return
    else:
        top[keys[-1]] = value
        keys[-1] = None
    if isinstance(value, (dict, list)):
        stack.append(value)
        keys.append(None)


def load(path: str) -> Spec:
    """One file. Raises Failure."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as f:
            st = os.fstat(fd)
            if not stat.S_ISREG(st.st_mode):
                raise Failure("not a regular file")
            if st.st_uid not in (0, os.geteuid()) or st.st_mode & stat.S_IWOTH:
                raise Failure("others may write it: its hooks and mounts are not to be trusted")
            raw = f.read(MAX_FILE + 1)
    except OSError as e:
        raise Failure(reason(e)) from None
    if len(raw) > MAX_FILE:
        raise Failure(f"larger than {MAX_FILE >> 20} MiB")
    try:
        tree = msgspec.json.decode(raw) if path.endswith(".json") else from_yaml(raw)
        spec: Spec = msgspec.convert(drop_nulls(tree), Spec, strict=path.endswith(".json"))
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as e:
        raise Failure(str(e) or "nested too deeply") from None
    check(spec)
    return spec


class Registry:
    """The devices that the host's specifications define."""

    def __init__(self, directories: tuple[str, ...]) -> None:
        self.directories = directories
        self.problems: list[str] = []
        self._devices: dict[str, tuple[str, Spec, Device] | None] = {}
        for d in directories:
            self._directory(d)

    def _directory(self, directory: str) -> None:
        try:
            names = sorted(n for n in os.listdir(directory) if n.endswith((".json", ".yaml")))
        except OSError:
            return
        if len(names) > MAX_FILES:
            self.problems.append(
                f"`{directory}`: more than {MAX_FILES} files, the rest is not read"
            )
        here: dict[str, tuple[str, Spec, Device] | None] = {}
        for name in names[:MAX_FILES]:
            path = os.path.join(directory, name)
            try:
                spec = load(path)
            except Failure as e:
                self.problems.append(f"`{path}`: {e}")
                log.warning("CDI specification `%s`: %s", path, e)
                continue
            for d in spec.devices:
                q = f"{spec.kind}={d.name}"
                if q in here:
                    self.problems.append(f"`{path}`: `{q}` is defined by another file, too")
                here[q] = None if q in here else (path, spec, d)
        self._devices |= here

    def has(self, kind: str) -> bool:
        """Whether any device of a kind is known."""
        return any(q.startswith(f"{kind}=") for q in self._devices)

    def resolve(self, names: list[str]) -> list[Edits]:
        """The edits of devices by their qualified names, each file's common ones once and first. Raises Failure."""
        out: list[Edits] = []
        files = set()
        for n in dict.fromkeys(names):
            found = self._devices.get(n)
            if found is None:
                raise Failure(self._missing(n))
            path, spec, device = found
            if path not in files:
                files.add(path)
                out.append(spec.containerEdits)
            out.append(device.containerEdits)
        return out

    def _missing(self, name: str) -> str:
        kind = name.partition("=")[0]
        known = [q for q, d in self._devices.items() if q.startswith(f"{kind}=") and d is not None]
        has = f"known are {', '.join(known[:8])}" if known else "none of this kind is known"
        text = f"CDI device `{name}`: not in {', '.join(self.directories)}; {has}"
        return f"{text} ({self.problems[0]})" if self.problems else text
