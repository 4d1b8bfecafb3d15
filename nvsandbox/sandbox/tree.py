"""A container's file tree as a message: what one more container of a pod tells the pod's Sentry about itself."""

from __future__ import annotations

from typing import Any

import msgspec

from .config import DeviceNode, DeviceRule, HostMount, IdMap, InnerMount, SandboxConfig

PLAIN = ("root_readonly", "root_propagation", "memory", "pids", "cpu_max")
BYTES = ("masked", "readonly_paths", "links", "files")


def encode(config: SandboxConfig) -> dict[str, Any]:
    """JSON-able; bytes as base64."""
    order = config.sequence or [*config.mounts, *config.inner]
    index = {id(m): i for i, m in enumerate(config.mounts)}
    sequence = [index[id(m)] if id(m) in index else msgspec.to_builtins(m) for m in order]
    out = {name: msgspec.to_builtins(getattr(config, name)) for name in (*PLAIN, *BYTES)}
    return {
        **out, "sequence": sequence, "root": msgspec.to_builtins(config.root),
        "uid_maps": msgspec.to_builtins(config.uid_maps), "gid_maps": msgspec.to_builtins(config.gid_maps),
        "mounts": msgspec.to_builtins(config.mounts), "devices": msgspec.to_builtins(config.devices),
        "device_rules": msgspec.to_builtins(config.device_rules),
    }  # fmt: skip


def decode(tree: dict[str, Any]) -> SandboxConfig:
    """Raises ValueError, TypeError, KeyError for what ``encode`` does not make."""
    mounts = msgspec.convert(tree["mounts"], list[HostMount])
    config = SandboxConfig(msgspec.convert(tree["root"], HostMount), mounts)
    config.sequence = [
        mounts[m] if isinstance(m, int) else msgspec.convert(m, InnerMount)
        for m in tree["sequence"]
    ]
    config.devices = msgspec.convert(tree["devices"], list[DeviceNode])
    config.device_rules = msgspec.convert(tree["device_rules"], list[DeviceRule])
    config.root_readonly = bool(tree["root_readonly"])
    config.root_propagation = int(tree["root_propagation"])
    config.memory, config.pids = int(tree["memory"]), int(tree["pids"])
    config.cpu_max = msgspec.convert(tree["cpu_max"], tuple[int, int] | None)
    config.uid_maps = msgspec.convert(tree["uid_maps"], list[IdMap])
    config.gid_maps = msgspec.convert(tree["gid_maps"], list[IdMap])
    config.masked = msgspec.convert(tree["masked"], list[bytes])
    config.readonly_paths = msgspec.convert(tree["readonly_paths"], list[bytes])
    config.links = msgspec.convert(tree["links"], dict[bytes, bytes])
    config.files = msgspec.convert(tree["files"], dict[bytes, bytes])
    return config
