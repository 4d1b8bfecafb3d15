"""Which driver the host runs, and which release of the ABI database speaks its language.

Exact, else the nearest release of the same branch (535.x): within a branch NVIDIA keeps layouts, mostly, so that is said. Another
branch is never guessed: ``--nvproxy-driver-version`` overrides, at the operator's risk.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..failure import Failure
from .abi import database, later

log: Final = logging.getLogger("nvsandbox.nvproxy")
VERSION_FILE: Final = "/proc/driver/nvidia/version"
_VERSION: Final = re.compile(
    r"(?:Kernel Module|Open Kernel Module[^0-9]*)\s+(?:for \S+\s+)?(\d+\.\d+(?:\.\d+)?)"
)
_PLAIN: Final = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}(\.[0-9]{1,4})?")


@dataclass(frozen=True, slots=True)
class Choice:
    """The host's driver, the release used for it, and what to tell the user about the difference ("" when there is none)."""

    driver: str
    abi: str
    warning: str = ""


def host_version(path: str = VERSION_FILE) -> str:
    """The loaded driver's version. Raises Failure with what to do when there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            text = f.read()
    except OSError:
        raise Failure(
            f"--gpus: no NVIDIA driver is loaded (`{path}` is not there); load it (modprobe nvidia) or leave --gpus out"
        ) from None
    found = _VERSION.search(text) or re.search(r"\s(\d{3}\.\d+(?:\.\d+)?)\s", text)
    if found is None:
        raise Failure(f"--gpus: `{path}` names no driver version")
    return found[1]


def key(version: str) -> tuple[int, ...]:
    """For comparing."""
    return tuple(int(p) for p in version.split("."))


def choose(driver: str, override: str = "") -> Choice:
    """The release to use for ``driver``. Raises Failure naming the nearest ones and the flag that overrides."""
    known = database().known
    if override:
        if not _PLAIN.fullmatch(override):
            raise Failure(
                f"--nvproxy-driver-version `{override}`: a version like {known[-1]} is expected"
            )
        if override not in known:
            raise Failure(
                f"--nvproxy-driver-version `{override}` is not in the ABI database; nearest: "
                f"{', '.join(database().nearest(override))} (`nvsandbox gpu abi list` shows all)"
            )
        same = override == driver
        return Choice(
            driver, override,
            "" if same else f"driver {driver} is spoken to as {override}, as --nvproxy-driver-version says",
        )  # fmt: skip
    if not _PLAIN.fullmatch(driver):
        raise Failure(f"driver version `{driver[:80]}`: a version like {known[-1]} is expected")
    if driver in database().versions:
        return Choice(driver, driver)
    near = driver if driver in known else _same_branch(driver, known)
    if near and near not in database().versions:
        return Choice(
            driver, near,
            f"driver {driver} is newer than the headers in the ABI database: it is spoken to as {later.BASE}, but for what is known "
            "to have changed; other calls may be refused (docs/nvproxy.md)",
        )  # fmt: skip
    if near:
        return Choice(
            driver, near,
            f"driver {driver} is not in the ABI database; {near} of the same branch is used "
            "(--nvproxy-driver-version chooses another)",
        )  # fmt: skip
    raise Failure(
        f"driver {driver} is of a branch that the ABI database doesn't know (nearest: "
        f"{', '.join(database().nearest(driver))}); --nvproxy-driver-version VERSION uses one of those at your own risk"
    )


def _same_branch(driver: str, known: Sequence[str]) -> str:
    branch = [v for v in known if v.split(".")[0] == driver.split(".")[0]]
    if not branch:
        return ""
    below = [v for v in branch if key(v) < key(driver)]
    return below[-1] if below else branch[0]
