"""Faults on request, for tests of other people's error handling.

``--fault xid:N[@GPU]``, ``ecc[:N][@GPU]``, ``lost[@GPU]``, ``alloc-fail[:N]`` (after N
allocations), ``slow:MS``, ``no-node[@GPU]`` (a card without a device node), ``no-uvm``. A leading ``after=SECONDS,`` delays xid, ecc and lost.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .errors import SimError
from .rm.status import RmError, Status

if TYPE_CHECKING:
    from .events import Events
    from .rm.manager import Manager

_FORM: Final = re.compile(
    r"(?:after=(?P<after>\d+(?:\.\d+)?),)?(?P<kind>xid|ecc|lost|alloc-fail|slow|no-node|no-uvm)"
    r"(?::(?P<arg>\d+))?(?:@(?P<gpu>\d+))?"
)
_NOTIFIER_RC_ERROR: Final = 37  # cl2080_notification.h
_NOTIFIER_ECC_DBE: Final = 112
_XID_DOUBLE_BIT: Final = 48
_XID_FALLEN_OFF: Final = 79
_MEMORY_CLASSES: Final = (0x3E, 0x40)


@dataclass(slots=True)
class Fault:
    """One fault asked for."""

    kind: str
    arg: int
    gpu: int
    due: float


def parse(text: str) -> Fault:
    """A fault of the command line."""
    m = _FORM.fullmatch(text)
    if m is None or (m["kind"] in ("xid", "slow") and m["arg"] is None):
        raise SimError(
            f"--fault `{text}`: use xid:N, ecc[:N], lost, alloc-fail[:N], slow:MS, no-node or no-uvm, with @GPU"
        )
    due = time.monotonic() + float(m["after"] or 0)
    return Fault(m["kind"], int(m["arg"] or 0), int(m["gpu"] or 0), due)


class Faults:
    """Faults that wait and faults that last."""

    def __init__(self, faults: list[Fault]) -> None:
        self._waiting = [f for f in faults if f.kind in ("xid", "ecc", "lost")]
        self._slow = sum(f.arg for f in faults if f.kind == "slow") / 1000
        self.missing = {f"/dev/nvidia{f.gpu}" for f in faults if f.kind == "no-node"}
        """Device nodes that are not there."""
        if any(f.kind == "no-uvm" for f in faults):
            self.missing.add("/dev/nvidia-uvm")
        fails = [f.arg for f in faults if f.kind == "alloc-fail"]
        self._allocations_left = min(fails) if fails else None

    def next_due(self) -> float | None:
        """When ``apply`` is to be called next."""
        return min((f.due for f in self._waiting), default=None)

    def apply(self, rm: Manager, events: Events) -> None:
        """Let the faults that are due happen."""
        now = time.monotonic()
        for f in [f for f in self._waiting if f.due <= now]:
            self._waiting.remove(f)
            if f.gpu >= len(rm.gpus):
                continue
            gpu = rm.gpus[f.gpu]
            xid = {"xid": f.arg, "ecc": _XID_DOUBLE_BIT, "lost": _XID_FALLEN_OFF}[f.kind]
            if f.kind == "ecc":
                gpu.ecc.dram_uncorrected += max(f.arg, 1)
            gpu.lost |= f.kind == "lost"
            gpu.xids.append(xid)
            rm.log(f"NVRM: Xid (PCI:{gpu.pci_name}): {xid}")
            events.fire(f.gpu, _NOTIFIER_RC_ERROR, xid)
            if f.kind == "ecc":
                events.fire(f.gpu, _NOTIFIER_ECC_DBE, max(f.arg, 1))

    def before_alloc(self, rm: Manager, cls: int) -> None:
        """Fail an allocation of memory when its turn has come."""
        if self._allocations_left is None or cls not in _MEMORY_CLASSES:
            return
        if self._allocations_left <= 0:
            rm.log("fault: allocation refused")
            raise RmError(Status.NO_MEMORY)
        self._allocations_left -= 1

    def before_control(self) -> None:
        """Delay a control command."""
        if self._slow:
            time.sleep(min(self._slow, 60))
