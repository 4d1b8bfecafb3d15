"""Which platform is chosen, and what is said when none works."""

from __future__ import annotations

import errno
import os

import pytest

from nvsandbox.platform import probe


def test_auto_takes_the_first_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBES", {"systrap": lambda: -errno.EPERM, "ptrace": lambda: 0})
    assert probe.choose("auto").NAME == "ptrace"
    monkeypatch.setattr(probe, "PROBES", {"systrap": lambda: 0, "ptrace": lambda: 0})
    assert probe.choose("auto").NAME == "systrap"


def test_a_named_platform_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBES", {"systrap": lambda: -errno.EPERM, "ptrace": lambda: 0})
    with pytest.raises(probe.NoPlatform, match=r"systrap.*Operation not permitted"):
        probe.choose("systrap")


@pytest.mark.parametrize("name", ["systrap", "ptrace"])
def test_the_probes_leave_no_child(name: str) -> None:
    assert name == probe.choose(name).NAME
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
