"""Time slices and priorities: what the driver hears of a sandbox's channel groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvsandbox.failure import Failure
from nvsandbox.nvproxy.scheduling import parse

from .conftest import DRIVER, Calls, Inside
from .test_bad_input import refused
from .test_hostile import DEVICE, ROOT, base, play

GROUP = 0xC0
SLICE, LEVEL = "NVA06C_CTRL_CMD_SET_TIMESLICE", "NVA06C_CTRL_CMD_SET_INTERLEAVE_LEVEL"


def heard(c: Calls, rows: list[tuple[str, int, bytes]]) -> list[tuple[str, int]]:
    """The commands about scheduling, with their values."""
    names = {c.release.command_named(n).id: n for n in (SLICE, LEVEL)}
    return [
        (names[n], int.from_bytes(data, "little"))
        for kind, n, data in rows
        if kind == "control" and n in names
    ]


def group() -> Calls:
    c = base()
    assert c.release.version == DRIVER
    return c.alloc("ctl", ROOT, DEVICE, GROUP, 0xA06C, "NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS")


@pytest.mark.parametrize(
    ("flags", "first_heard"),
    [
        ((), []),
        (("--gpu-timeslice=2000",), [(SLICE, 2000)]),
        (("--gpu-timeslice=2000", "--gpu-priority=low"), [(SLICE, 2000), (LEVEL, 0)]),
        (("--gpu-priority=high",), [(LEVEL, 2)]),
    ],
)
def test_groups_get_the_operators_values(
    inside: Inside, tmp_path: Path, flags: tuple[str, ...], first_heard: list[tuple[str, int]]
) -> None:
    c = group()
    for us in (500, 90000):
        c.control("ctl", ROOT, GROUP, SLICE, {"timesliceUs": us})
    got, rows = play(inside, c, tmp_path, flags=flags)
    limit = 2000 if "--gpu-timeslice=2000" in flags else 90000
    assert heard(c, rows) == [*first_heard, (SLICE, 500), (SLICE, min(90000, limit))]
    assert all(answer["r"] >= 0 for answer in got)
    sent = c.fill("NVA06C_CTRL_SET_TIMESLICE_PARAMS", {"timesliceUs": 90000}).hex()
    assert sent in str(got[-1])  # the application sees what it asked for


def test_a_level_above_the_operators_is_refused(inside: Inside, tmp_path: Path) -> None:
    allow = tmp_path / "policy.toml"
    allow.write_text(f'allow = ["{LEVEL}"]')
    c = group()
    for level in (0, 1, 2):
        c.control("ctl", ROOT, GROUP, LEVEL, {"tsgInterleaveLevel": level})
    _, rows = play(
        inside, c, tmp_path, flags=("--gpu-priority=medium", "--nvproxy-policy", str(allow))
    )
    assert heard(c, rows) == [(LEVEL, 1), (LEVEL, 0), (LEVEL, 1)]


def test_an_application_cannot_set_levels_by_itself(inside: Inside, tmp_path: Path) -> None:
    c = group().control("ctl", ROOT, GROUP, LEVEL, {"tsgInterleaveLevel": 2})
    _, rows = play(inside, c, tmp_path)
    assert heard(c, rows) == []


@pytest.mark.parametrize("slice", ["0", "99", "-1", "1s", "1000001", "9" * 30])
def test_slices_that_cannot_be(slice: str) -> None:
    with pytest.raises(Failure, match="microseconds from 100"):
        parse(slice, "")


def test_refused_before_anything_starts(first: Inside) -> None:
    refused(first, "--gpu-timeslice `x`: microseconds", flags=("--gpu-timeslice=x",))
    refused(first, "`urgent` is not one of low, medium, high", flags=("--gpu-priority=urgent",))
