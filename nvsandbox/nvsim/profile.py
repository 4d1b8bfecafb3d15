"""Declarative card profiles: what a model of card answers, in TOML, by the headers' field names.

A profile is merged over ``common.toml``. ``[answers.COMMAND]`` gives fields of a control command's
parameter struct by name, so one profile serves every driver version. ``"$key"`` stands for a value
of the profile.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any, Final

import msgspec

from .errors import SimError

NAMES: Final = ("h100", "h200", "a100", "l4", "t4", "rtx4090")
MIB: Final = 1 << 20


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of card."""

    name: str
    short_name: str
    brand_info: int
    """GPU_INFO index 0x11: 1 NVIDIA, 0 GeForce."""
    architecture: int
    implementation: int
    revision: int
    pci_device: int
    pci_subsystem: int
    sm_version: int
    gpcs: int
    litter_gpcs: int
    tpcs: int
    sms_per_tpc: int
    tpcs_per_gpc: int
    cores_per_sm: int
    warps_per_sm: int
    tensor_per_sm: int
    rt_cores: int
    memory_mib: int
    reserved_mib: int
    bus_width: int
    ram_type: int
    fbps: int
    l2_bytes: int
    ltcs: int
    bar1_mib: int
    pcie_gen: int
    pcie_width: int
    ecc: bool
    mig: bool
    nvlinks: int
    copy_engines: int
    power_limit_w: int
    classes: tuple[int, ...]
    part_number: str
    board_part: str
    vbios: str
    vbios_oem: int
    inforom_image: str
    inforom: dict[str, tuple[int, int]]
    answers: dict[str, dict[str, Any]]
    ok: tuple[str, ...]
    """Commands answered OK with the argument unchanged."""
    gpu_info: dict[str, int]
    gr_info: dict[str, int]
    fb_info: dict[str, int]
    bus_info: dict[str, int]

    @property
    def sms(self) -> int:
        """Streaming multiprocessors."""
        return self.tpcs * self.sms_per_tpc

    @property
    def has_gsp(self) -> bool:
        """Whether the resource manager runs on the card (Turing and newer)."""
        return self.architecture >= 0x160


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for k, v in over.items():
        out[k] = _merge(out[k], v) if isinstance(v, dict) and isinstance(out.get(k), dict) else v
    return out


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files(__package__) / "profiles" / f"{name}.toml").read_text())


def load(name: str, memory_mib: int | None = None) -> Profile:
    """The profile ``name``; ``memory_mib`` overrides the size of its memory."""
    if name not in NAMES:
        raise SimError(f"no card profile `{name}`; there are {', '.join(NAMES)}")
    raw = _merge(_read("common"), _read(name))
    if memory_mib is not None:
        if memory_mib <= raw["reserved_mib"]:
            raise SimError(f"--memory: more than the reserved {raw['reserved_mib']} MiB is needed")
        raw["memory_mib"] = memory_mib
    try:
        profile = msgspec.convert(raw, Profile)
    except msgspec.ValidationError as e:
        raise SimError(f"card profile `{name}`: {e}") from None
    return profile
