"""Which platform a sandbox runs on: the one asked for, or the first that works here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Final

from .native._native import lib

log = logging.getLogger("nvsandbox")

PROBES: Final[dict[str, Callable[[], int]]] = {
    "systrap": lambda: int(lib.nv_probe_systrap()),
    "ptrace": lambda: int(lib.nv_probe_ptrace()),
}


class NoPlatform(Exception):
    """None works; the message says why, for a person."""


def choose(name: str) -> str:
    """The platform ``name``, or with "auto" the fastest that works; each is tried on a child process.

    Raises NoPlatform.
    """
    why = []
    for each in PROBES if name == "auto" else (name,):
        r = PROBES[each]()
        if r == 0:
            if name == "auto":
                log.info("platform %s", each)
            return each
        why.append(f"{each}: {os.strerror(-r)}")
        log.warning("platform %s does not work here: %s", each, os.strerror(-r))
    raise NoPlatform(f"platform `{name}` does not work here: " + "; ".join(why))
