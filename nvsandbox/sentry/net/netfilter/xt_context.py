"""What a match or target of iptables is told of the rule that it is in."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, final

from ...errors import SysErr
from .rules import Op

if TYPE_CHECKING:
    from ..stack.stack import Stack


@final
class Context:
    """Where a rule is: the length of addresses, the protocol its header asks for (0: any; ``inverted``: any but this)."""

    __slots__ = ("family", "inverted", "proto", "stack")

    def __init__(self, family: int, proto: int, inverted: bool, stack: Stack | None) -> None:
        self.family = family
        self.proto = proto
        self.inverted = inverted
        self.stack = stack


Parser = Callable[[bytes, Context], Op]


def bad() -> SysErr:
    return SysErr(errno.EINVAL)
