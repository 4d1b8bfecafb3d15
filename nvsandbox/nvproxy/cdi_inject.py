"""CDI devices that a container asks for and its engine has left to the runtime: their edits, made on the OCI spec.

Asked for by annotation (``cdi.k8s.io/…``, as containerd before 1.7 and CRI-O pass them on), by NVIDIA_VISIBLE_DEVICES or by ``--gpus``
with qualified names. An engine that has resolved them itself leaves the annotations in place: what is there already is not added.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Final

from ..failure import Failure, reason
from .cdi_spec import QUALIFIED, DeviceNode, Edits, Registry
from .options import CDI_ANNOTATION, VISIBLE
from .select import NODE

if TYPE_CHECKING:
    from ..oci.spec import Spec
    from .options import GpuOptions

log: Final = logging.getLogger("nvsandbox.nvproxy")
GPU: Final = "nvidia.com/gpu"
MAX_NAMES: Final = 1024


def qualified(text: str) -> list[str]:
    """The names of a comma-separated list; none if they aren't CDI's. Raises Failure for a mixture."""
    items = [i.strip() for i in text.split(",") if i.strip()]
    found = [i for i in items if QUALIFIED.fullmatch(i)]
    if found and len(found) != len(items):
        raise Failure(f"`{text}`: names of CDI (vendor/class=name) and others don't go together")
    if len(found) > MAX_NAMES:
        raise Failure(f"more than {MAX_NAMES} CDI devices are asked for")
    return found


def for_spec(spec: Spec, o: GpuOptions) -> None:
    """Does to ``spec`` what its CDI devices ask for. Raises Failure."""
    names = _annotated(spec)
    asked = qualified(o.gpus)
    if asked:
        o.gpus = ""
    for e in spec.process.env:
        if not asked and e.startswith(VISIBLE.decode()):
            asked = qualified(e[len(VISIBLE) :])
    names += asked
    if not names:
        return
    registry = Registry(o.cdi_directories)
    if not registry.has(GPU):  # the host has no specification of its cards: by index or UUID, then
        plain = [n for n in names if n.startswith(f"{GPU}=")]
        o.gpus = ",".join(n.partition("=")[2] for n in plain)
        names = [n for n in names if n not in plain]
    for edits in registry.resolve(names):
        apply(spec, edits)


def cards(text: str, directories: tuple[str, ...]) -> str:
    """``--gpus`` outside of bundles: device nodes for CDI names, all else as it is. Raises Failure."""
    names = qualified(text)
    if not names:
        return text
    registry = Registry(directories)
    if not registry.has(GPU):
        return ",".join(n.partition("=")[2] for n in names)
    return ",".join(
        n.path for e in registry.resolve(names) for n in e.deviceNodes if NODE.fullmatch(n.path)
    )


def _annotated(spec: Spec) -> list[str]:
    names: list[str] = []
    for key, value in spec.annotations.items():
        if key.startswith(CDI_ANNOTATION):
            for n in value.split(","):
                if not QUALIFIED.fullmatch(n):
                    raise Failure(
                        f"$.annotations: `{key}`: `{n}` is not a CDI device (vendor/class=name)"
                    )
                names.append(n)
    if len(names) > MAX_NAMES:
        raise Failure(f"more than {MAX_NAMES} CDI devices are asked for")
    return names


def apply(spec: Spec, e: Edits) -> None:
    """One set of edits on a spec. Raises Failure for a device or file that the host lacks."""
    from ..oci import spec as oci

    spec.process.env += [v for v in e.env if v not in spec.process.env]
    there = {d.path for d in spec.linux.devices}
    for n in e.deviceNodes:
        if n.path not in there:
            _device(spec, n)
            there.add(n.path)
    targets = {m.destination for m in spec.mounts}
    for m in e.mounts:
        target = os.path.normpath(m.containerPath)
        if target not in targets:
            spec.mounts.append(oci.Mount(target, m.type or "bind", m.hostPath, list(m.options)))
            targets.add(target)
    if e.hooks and spec.hooks is None:
        spec.hooks = oci.Hooks()
    for h in e.hooks:
        kind: list[oci.Hook] = getattr(spec.hooks, h.hookName)
        hook = oci.Hook(h.path, h.args, h.env, h.timeout)
        if hook not in kind:
            kind.append(hook)
    groups = spec.process.user.additionalGids
    groups += [g for g in e.additionalGids if g and g not in groups]
    if e.intelRdt is not None:
        log.warning("CDI: intelRdt is ignored")


def _device(spec: Spec, n: DeviceNode) -> None:
    from ..oci import spec as oci

    kind, major, minor = n.type, n.major, n.minor
    if not kind or (kind != "p" and (major is None or minor is None)):
        source = n.hostPath or n.path
        try:
            st = os.stat(source)
        except OSError as e:
            raise Failure(f"CDI device node `{source}`: {reason(e)}") from None
        if stat.S_ISCHR(st.st_mode):
            kind = "c"
        elif stat.S_ISBLK(st.st_mode):
            kind = "b"
        else:
            raise Failure(f"CDI device node `{source}`: not a device")
        major, minor = os.major(st.st_rdev), os.minor(st.st_rdev)
    spec.linux.devices.append(
        oci.Device(kind, n.path, major or 0, minor or 0, n.fileMode, n.uid, n.gid)
    )
    if spec.linux.resources is not None and spec.linux.resources.devices:
        rule = oci.DeviceRule(True, kind, major, minor, n.permissions or "rwm")
        spec.linux.resources.devices.append(rule)
