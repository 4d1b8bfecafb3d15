"""Status codes (``nvstatuscodes.h``) that the simulator answers with."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """NV_STATUS by the header's names without ``NV_ERR_``."""

    OK = 0x00
    BUFFER_TOO_SMALL = 0x02
    ECC_ERROR = 0x0B
    GPU_IS_LOST = 0x0F
    GPU_UUID_NOT_FOUND = 0x12
    ILLEGAL_ACTION = 0x16
    INSERT_DUPLICATE_NAME = 0x19
    INSUFFICIENT_RESOURCES = 0x1A
    INSUFFICIENT_PERMISSIONS = 0x1B
    INVALID_ADDRESS = 0x1E
    INVALID_ARGUMENT = 0x1F
    INVALID_CLASS = 0x22
    INVALID_CLIENT = 0x23
    INVALID_DEVICE = 0x26
    INVALID_EVENT = 0x28
    INVALID_LIMIT = 0x2E
    INVALID_OBJECT = 0x31
    INVALID_OBJECT_HANDLE = 0x33
    INVALID_OBJECT_PARENT = 0x36
    INVALID_OFFSET = 0x37
    INVALID_PARAM_STRUCT = 0x3A
    INVALID_STATE = 0x40
    NO_MEMORY = 0x51
    NOT_SUPPORTED = 0x56
    OBJECT_NOT_FOUND = 0x57
    OUT_OF_RANGE = 0x5B
    STATE_IN_USE = 0x63
    WARN_NOTHING_TO_DO = 0x00010006


class RmError(Exception):
    """A call fails with ``status``."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status
