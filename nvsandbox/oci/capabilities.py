"""Capability names (capabilities(7)) and their masks."""

from __future__ import annotations

from typing import Any, Final

NAMES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")  # as boot.CapSets


def mask(names: list[str]) -> int:
    """``CAP_X`` names as a bit mask; unknown ones are left out, as runc does."""
    m = 0
    for n in names:
        short = n.upper().removeprefix("CAP_")
        if short in NAMES:
            m |= 1 << NAMES.index(short)
    return m


def sets(caps: dict[str, Any] | None) -> list[int] | None:
    """The masks of an OCI capabilities object, None when there is none."""
    return None if caps is None else [mask(caps.get(s) or []) for s in SETS]
