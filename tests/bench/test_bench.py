"""The benchmark itself: rows by name, what a runtime that fails looks like, and comparing two runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inside import REPO

sys.path.insert(0, str(REPO))
from bench import report
from bench.__main__ import ROWS, chosen
from bench.results import Failed, Results


def bench(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *args],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_runtimes_side_by_side_and_one_that_fails(rootfs: Path, tmp_path: Path) -> None:
    flags = ["--rows", "getpp", "--rows", "oci_run_true", "--scale", "0.01", "--repeat", "2"]
    out, svg = tmp_path / "out.json", tmp_path / "out.svg"
    skip = [
        "--skip",
        "crun",
        "--skip",
        "runsc",
    ]  # what is not there, or can't run here, is not our concern
    r = bench("--rootfs", rootfs, *flags, *skip, "--runtime", "bad=/bin/false", "--json", out, "--svg", svg)  # fmt: skip
    assert r.returncode == 0, r.stderr
    assert "Traceback" not in r.stderr
    assert "failed: bad: exit 1: no message (getppid, getppid_libc, oci_run_true)" in r.stdout
    rows = json.loads(out.read_text())["rows"]
    assert list(rows) == ["getppid", "getppid_libc", "oci_run_true"]
    for per in rows.values():
        assert {"native", "nvsandbox-systrap", "nvsandbox-ptrace", "bad"} <= per.keys()
        assert per["bad"] == {"failed": "exit 1: no message"}
        assert per["native"]["n"] == 2
        assert 0 < per["native"]["min"] <= per["native"]["median"] <= per["native"]["max"]
    assert "nvsandbox-ptrace" in svg.read_text()


def test_a_row_that_does_not_exist(tmp_path: Path) -> None:
    r = bench("--rootfs", tmp_path, "--rows", "getpidp")
    assert (r.returncode, r.stdout, len(r.stderr.splitlines())) == (2, "", 1)
    assert "no row `getpidp`" in r.stderr
    assert all(row in r.stderr for row in ROWS)


def test_rows_are_chosen_by_name_or_by_a_part_of_it() -> None:
    assert chosen([]) == set(ROWS)
    assert chosen(["getpp", "idle_rss"]) == {"getppid", "getppid_libc", "idle_rss"}
    assert chosen(["getppid"]) == {"getppid"}
    with pytest.raises(Failed):
        chosen(["getppid", "nothing"])


@pytest.mark.parametrize("text", ["", "[]", '{"rows": {"a": {"b": {}}}}', '{"rows": {"a": 1}}'])
def test_an_earlier_run_that_is_none(tmp_path: Path, text: str) -> None:
    base = tmp_path / "base.json"
    base.write_text(text)
    r = bench("--rootfs", tmp_path, "--compare", base)
    assert (r.returncode, len(r.stderr.splitlines())) == (2, 1)
    assert str(base) in r.stderr


def cell(median: float, spread: float = 0, unit: str = "ns", n: int = 5) -> dict[str, Any]:
    low, high = median - spread / 2, median + spread / 2
    return {"median": median, "unit": unit, "min": low, "max": high, "n": n}


@pytest.mark.parametrize(
    "was, now, word",
    [
        (cell(100), cell(104), ""),
        (cell(100), cell(110), "1.10x, worse"),
        (cell(100), cell(80), "0.80x, better"),
        (cell(100, spread=20), cell(110), ""),
        (cell(100), cell(110, spread=20), ""),
        (cell(100, n=1), cell(115), ""),
        (cell(100, n=1), cell(130), "1.30x, worse"),
        (cell(50_000, unit="/s"), cell(40_000, unit="/s"), "1.25x, worse"),
        (cell(50_000, unit="/s"), cell(60_000, unit="/s"), "0.83x, better"),
        (cell(36, unit="MiB", n=1), cell(40, unit="MiB", n=1), "1.11x, worse"),
        (cell(100), {"failed": "exit 1"}, "fails now: exit 1"),
        ({"failed": "exit 1"}, cell(100), "no longer fails"),
        ({"failed": "exit 1"}, {"failed": "exit 2"}, ""),
        (cell(100), cell(100, unit="/s"), "not comparable"),
    ],
)  # fmt: skip
def test_changes_beyond_noise(was: dict[str, Any], now: dict[str, Any], word: str) -> None:
    text = report.compare({"row": {"rt": now}}, {"row": {"rt": was}})
    assert word in text
    assert (text == "no change beyond noise") == (not word)


def test_what_only_one_run_has_is_named_and_not_compared() -> None:
    before = {"a": {"x": cell(1), "gone": cell(1)}, "old": {"x": cell(1)}, "b": {"x": cell(1)}}
    now = {"a": {"x": cell(1), "fresh": cell(9)}, "new": {"x": cell(9)}, "b": {"fresh": cell(9)}}
    assert report.compare(now, before).splitlines() == [
        "no change beyond noise", "only now: new, fresh", "only before: old, gone, b (x)",
    ]  # fmt: skip


def test_lines_of_parts_that_run_apart() -> None:
    res = Results()
    res.read("one row 1.5\none row 2.5\ntwo row ! exit 1: no\none other 3\nnoise\n", {"row"})
    rows = res.rows()
    assert rows.keys() == {"row"}
    assert rows["row"]["one"]["median"] == 2
    assert rows["row"]["two"] == {"failed": "exit 1: no"}
    assert "failed: two: exit 1: no (row)" in report.table(rows, ["one", "two"])
