"""The user namespace we are in: that of the machine, or a user's (user_namespaces(7)). Read by every command: nothing is imported."""

from __future__ import annotations

EVERY = 0xFFFF_FFFF


def id_ranges(which: str = "uid") -> list[tuple[int, int]]:
    """(first id, count) of each range that is mapped here, as we see them."""
    out = []
    try:
        with open(f"/proc/self/{which}_map") as f:
            for line in f:
                inside, _outside, count = line.split()
                out.append((int(inside), int(count)))
    except (OSError, ValueError):
        return [(0, EVERY)]
    return out


def initial() -> bool:
    """Whether it is the machine's: root here is root."""
    return id_ranges() == [(0, EVERY)]
