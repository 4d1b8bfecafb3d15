"""Each program of ``programs/`` prints the same and ends the same on the host and in the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
from inside import ENV, PLATFORMS, cli

from . import worlds

GROUP = 40  # programs of one sandbox: few starts, but a sandbox that dies does not take all results along
NAMES = worlds.programs()


class Results:
    """Results of both worlds, run when the first of their group is asked for."""

    def __init__(self, start: list[str]) -> None:
        self.start = start
        self.done: dict[str, tuple[worlds.Result, worlds.Result]] = {}
        self.again: set[str] = set()  # those that differed: a test that is repeated runs them anew

    def of(self, name: str, wanted: list[str]) -> tuple[worlds.Result, worlds.Result]:
        if name not in self.done:
            i = wanted.index(name) // GROUP * GROUP
            group = [name] if name in self.again else wanted[i : i + GROUP]
            host, inside = worlds.run_host(group, ENV), worlds.run_sandbox(group, self.start)
            self.done.update({n: (host[n], inside[n]) for n in group})
        return self.done[name]


# Neither patching nor compiling may change what a program sees: with it, without, patched at the first trap.
VARIANTS = (
    ["systrap-off", "systrap-forced", "systrap-interpreted"] if "systrap" in PLATFORMS else []
)


@pytest.fixture(scope="session", params=[*PLATFORMS, *VARIANTS])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def results(rootfs: Path, platform: str) -> Results:
    return Results(cli(platform, rootfs, "-w", "/tmp"))


@pytest.fixture(scope="session")
def wanted(request: pytest.FixtureRequest) -> list[str]:
    """The programs this session is going to look at."""
    chosen = {
        i.callspec.params.get("name") for i in request.session.items if hasattr(i, "callspec")
    }
    return [n for n in NAMES if n in chosen]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_same_as_on_the_host(name: str, results: Results, wanted: list[str]) -> None:
    host, inside = results.of(name, wanted)
    if host != inside:
        results.again.add(name)
        del results.done[name]
    assert inside.out == host.out
    assert inside.err == host.err
    assert inside.status == host.status
    assert host.status != 124, "timed out on the host"
    assert host.out, "prints nothing"
