"""Temperature (``THERMAL_SYSTEM_EXECUTE_V2``, ``ctrl2080thermal.h`` of release 575 and newer).

Older releases have the same command with bit 15 set and no public header; the layout they take is
the one that was published later, so the newer release's struct is used for both. Performance state
is answered likewise by the layout of the published ``PERF_GET_CURRENT_PSTATE`` (one bit, P0 first).
"""

from __future__ import annotations

import struct
from typing import Final

from ..control import Call, raw_control
from ..status import Status

_HEAD: Final = 24
_ROW: Final = 44
_TARGET_GPU: Final = 1
_PROVIDER_INTERNAL: Final = 1
_MAX_CELSIUS: Final = 127


@raw_control(0x20808513, 0x20800513)
def execute(call: Call) -> Status | None:
    """A list of instructions, each answered in place."""
    buf = call.buf
    if len(buf) < _HEAD:
        return Status.INVALID_PARAM_STRUCT
    (n,) = struct.unpack_from("<I", buf, 20)
    if n > (len(buf) - _HEAD) // _ROW:
        return Status.INVALID_ARGUMENT
    done = 0
    for i in range(n):
        at = _HEAD + _ROW * i
        op, x = struct.unpack_from("<II", buf, at + 8)
        known: dict[int, tuple[int, ...]] = {
            0x100: (1,),  # targets there are
            0x101: (x, _TARGET_GPU),
            0x301: (x, _PROVIDER_INTERNAL),
            0x500: (1,),  # sensors there are
            0x510: (x, 0),
            0x520: (x, 0),
            0x540: (x, 0, _MAX_CELSIUS),
            0x1500: (x, call.gpu.temperature()),
        }
        answer = known.get(op)
        if answer:
            struct.pack_into(f"<{len(answer)}I", buf, at + 12, *answer)
            done += 1
        result = Status.OK if answer else Status.NOT_SUPPORTED
        struct.pack_into("<II", buf, at, int(result), 1)
    struct.pack_into("<I", buf, 16, done)
    return None


@raw_control(0x2080A068, 0x20802068)
def pstate(call: Call) -> Status | None:
    """P0: a card under a simulator never slows down."""
    if len(call.buf) < 4:
        return Status.INVALID_PARAM_STRUCT
    struct.pack_into("<I", call.buf, 0, 1)
    return None


@raw_control(0x20808159)
def without_change(call: Call) -> Status | None:
    """libcuda's initialisation needs this unpublished query to succeed; zeroes are enough."""
    return None
