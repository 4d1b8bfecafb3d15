"""Which platform is chosen, and what is said when none works."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nvsandbox.platform import probe


def children() -> set[str]:
    """Processes of which this one is the parent, zombies included."""
    return {
        c for t in Path("/proc/self/task").iterdir() for c in (t / "children").read_text().split()
    }


def test_auto_takes_the_first_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBES", {"systrap": lambda: -errno.EPERM, "ptrace": lambda: 0})
    assert probe.choose("auto") == "ptrace"
    monkeypatch.setattr(probe, "PROBES", {"systrap": lambda: 0, "ptrace": lambda: 0})
    assert probe.choose("auto") == "systrap"


def test_a_named_platform_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBES", {"systrap": lambda: -errno.EPERM, "ptrace": lambda: 0})
    with pytest.raises(probe.NoPlatform, match=r"systrap.*Operation not permitted"):
        probe.choose("systrap")


@pytest.mark.parametrize("name", ["systrap", "ptrace"])
def test_the_probes_leave_no_child(name: str) -> None:
    before = children()
    assert name == probe.choose(name)
    assert children() <= before
