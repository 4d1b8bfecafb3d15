"""Status codes of the resource manager (``nvstatuscodes.h``) that we answer with ourselves."""

from __future__ import annotations

from typing import Final

OK: Final = 0x00
GPU_IS_LOST: Final = 0x0F
GPU_UUID_NOT_FOUND: Final = 0x12
INSUFFICIENT_RESOURCES: Final = 0x1A
INSUFFICIENT_PERMISSIONS: Final = 0x1B
INVALID_ADDRESS: Final = 0x1E
INVALID_ARGUMENT: Final = 0x1F
INVALID_CLASS: Final = 0x22
INVALID_CLIENT: Final = 0x23
INVALID_DEVICE: Final = 0x26
INVALID_OBJECT_PARENT: Final = 0x36
INVALID_PARAM_STRUCT: Final = 0x3A
INVALID_POINTER: Final = 0x3D
NO_MEMORY: Final = 0x51
NOT_SUPPORTED: Final = 0x56
OBJECT_NOT_FOUND: Final = 0x57
WARN_NOTHING_TO_DO: Final = 0x00010006


class Refused(Exception):
    """The call is answered with ``status`` and does not reach the driver."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status
