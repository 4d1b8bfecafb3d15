"""Handlers must not get slower unnoticed: instructions of a call, which no noise of the machine changes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from inside import REPO

sys.path.insert(0, str(REPO))
from bench.instructions import count

# Interpreted by CPython 3.11, the unit tests' task included; half as much again is allowed
EXPECTED = {
    "instr_creat_unlink": 182_000,
    "instr_getdents": 394_000,
    "instr_open_close": 72_000,
    "instr_pread_4k": 48_000,
    "instr_pwrite_4k": 42_500,
    "instr_stat": 53_000,
}


@pytest.mark.timeout(600)
def test_no_handler_takes_many_more_instructions_than_it_did() -> None:
    subprocess.run([REPO / "tools/apt.sh", "valgrind", "gcc"], check=True)
    found = count()
    assert found.keys() == EXPECTED.keys()
    assert not {n: c for n, c in found.items() if c > 1.5 * EXPECTED[n]}, found
