"""NVIDIA_REQUIRE_*: what an image says it needs of the machine.

The grammar is the NVIDIA Container Toolkit's: a variable's value is a list of alternatives separated by spaces, each a list of conditions
separated by commas that hold together; every variable must be satisfied. A condition compares ``cuda``, ``driver``,
``arch`` or ``brand`` (=, !=, <, <=, >, >=). NVIDIA_DISABLE_REQUIRE=1 turns all of it off. NVIDIA_REQUIRE_JETPACK… is about other
machines. An old image, with CUDA_VERSION alone, needs that version.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..failure import Failure
from .model import HostGpu

PREFIX: Final = "NVIDIA_REQUIRE_"
OFF: Final = "NVIDIA_DISABLE_REQUIRE"
_JETPACK: Final = f"{PREFIX}JETPACK"
_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_OLD: Final = "CUDA_VERSION"
MAX_LENGTH: Final = 16384
# The CUDA version that the driver of a branch supports (CUDA Toolkit release notes, table "CUDA Toolkit and Corresponding Driver Versions").
CUDA: Final[dict[int, tuple[int, int]]] = {
    515: (11, 7), 520: (11, 8), 525: (12, 0), 530: (12, 1), 535: (12, 2), 545: (12, 3), 550: (12, 4), 555: (12, 5),
    560: (12, 6), 565: (12, 7), 570: (12, 8), 575: (12, 9), 580: (13, 0), 590: (13, 1), 595: (13, 2),
}  # fmt: skip
BRANDS: Final = (
    ("geforce", r"GeForce"), ("titan", r"TITAN"), ("quadrortx", r"Quadro RTX"), ("quadro", r"Quadro"),
    ("nvidiartx", r"RTX (A?\d{3,4}|PRO)\b"), ("tesla", r"Tesla|NVIDIA [A-Z]{1,2}\d{1,3}\b|GH200|GB\d00"),
)  # fmt: skip
_CONDITION: Final = re.compile(r"(cuda|driver|arch|brand)(>=|<=|!=|=|<|>)([A-Za-z0-9.]+)")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def check(variables: Mapping[str, str], driver: str, gpus: Sequence[HostGpu]) -> None:
    """Raises Failure for the first variable that is not satisfied, or can't be understood."""
    if variables.get(OFF, "") in _TRUE:
        return
    wanted = {
        k: v for k, v in variables.items() if k.startswith(PREFIX) and not k.startswith(_JETPACK)
    }
    if is_old(variables):
        version = re.match(r"\d+(\.\d+)?", variables[_OLD])
        if version is None:
            raise Failure(f"{_OLD}: `{variables[_OLD][:80]}` is not a version ({OFF}=1 ignores it)")
        wanted[_OLD] = f"cuda>={version[0]}"
    for name, text in sorted(wanted.items()):
        if len(text) > MAX_LENGTH:
            raise Failure(f"{name}: {len(text)} characters are too many")
        ways = [way.split(",") for way in text.split()]
        if ways and not any(all(_holds(c, name, driver, gpus) for c in way) for way in ways):
            cuda = CUDA.get(int(driver.split(".")[0]))
            has = f", which supports CUDA {cuda[0]}.{cuda[1]}" if cuda else ""
            raise Failure(
                f"the image needs `{ways[0][0]}`, but the driver is {driver}{has}; a newer driver or an older image fits "
                f"({name}; {OFF}=1 starts it all the same)"
            )


def is_old(variables: Mapping[str, str]) -> bool:
    """An image of the time before NVIDIA_REQUIRE_CUDA."""
    return bool(variables.get(_OLD)) and not variables.get(f"{PREFIX}CUDA")


def _holds(condition: str, name: str, driver: str, gpus: Sequence[HostGpu]) -> bool:
    """Whether one condition holds; what isn't known about the machine is taken to be as asked for."""
    m = _CONDITION.fullmatch(condition)
    if m is None:
        raise Failure(
            f"{name}: `{condition[:80]}` is not a condition like cuda>=12.2 ({OFF}=1 ignores it)"
        )
    what, op, value = m.groups()
    if what == "brand":
        brands = {brand(g.name) for g in gpus}
        return "" in brands or all(_COMPARE[op](b, value.lower()) for b in brands)
    if what == "arch":
        return True  # compute capabilities are libcuda's knowledge
    have = _numbers(driver) if what == "driver" else CUDA.get(int(driver.split(".")[0]))
    wanted = _numbers(value)
    if have is None or wanted is None:
        return have is None
    width = max(len(have), len(wanted))
    pad = (0,) * width
    return _COMPARE[op]((*have, *pad)[:width], (*wanted, *pad)[:width])


def _numbers(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")
    return tuple(int(p) for p in parts) if all(p.isdigit() and len(p) < 9 for p in parts) else None


def brand(name: str) -> str:
    """NVML's brand of a product name, as the toolkit spells it; "" when it can't be told."""
    for b, pattern in BRANDS:
        if re.search(pattern, name):
            return b
    return ""
