"""Argument types of system-call handlers and the rows of the system-call table.

A handler is ``def sys_name(t: Task, a: CInt, b: UserPtr, …) -> int``. The annotations say how the native
loop widens each register (the application's upper halves are garbage for 32-bit parameters); they are read
once, at import. The result is the value for rax: a negative errno or a value >= 0.
"""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple, NewType

CInt = Annotated[int, "i32"]
CUInt = Annotated[int, "u32"]
CLong = Annotated[int, "i64"]
CULong = Annotated[int, "u64"]
UserPtr = NewType("UserPtr", int)

Handler = Callable[..., int]
WIDTHS: Final = {"u64": 0, "i64": 1, "i32": 2, "u32": 3}


class Row(NamedTuple):
    """One row of the table; ``gap`` says what a partial one leaves out. No handler: ENOSYS."""

    name: str
    handler: Handler | None
    widths: tuple[int, ...]
    args: tuple[str, ...]
    gap: str


def _row(name: str, handler: Handler, gap: str) -> Row:
    code = getattr(handler, "__code__", None)
    if code is None:  # compiled: tools/compile_kernel.py has kept what it said
        args, ws = _compiled_rows()[handler.__name__]
        return Row(name, handler, tuple(ws), tuple(args), gap)
    names = code.co_varnames[1 : code.co_argcount]
    hints: dict[str, Any] = handler.__annotations__
    widths = []
    for n in names:
        h = hints[n]
        text = h if isinstance(h, str) else getattr(h, "__name__", str(h))
        text = text.rsplit(".", 1)[-1]
        widths.append(WIDTHS[_WIDTH_OF[text]])
    return Row(name, handler, tuple(widths), tuple(names), gap)


_rows: Final[dict[str, Any]] = {}


def _compiled_rows() -> dict[str, Any]:
    if not _rows:
        with open(f"{os.path.dirname(__file__)}/rows.json", "rb") as f:
            _rows.update(json.loads(f.read()))
    return _rows


_WIDTH_OF: Final = {
    "CInt": "i32", "CUInt": "u32", "CLong": "i64", "CULong": "u64", "UserPtr": "u64",
}  # fmt: skip


def full(name: str, handler: Handler) -> Row:
    """The call does all that Linux's does, as far as a program can tell."""
    return _row(name, handler, "")


def partial(name: str, handler: Handler, gap: str) -> Row:
    """The call lacks ``gap`` (shown in docs/compat.md); what is lacking fails, never pretends."""
    return _row(name, handler, gap)


def missing(name: str, why: str = "") -> Row:
    """ENOSYS, counted."""
    return Row(name, None, (), (), why or "not implemented")


Table = typing.Dict[int, Row]  # noqa: UP006  (a runtime alias that mypyc accepts)
