"""Names of resource limits (getrlimit(2))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

RLIMITS: Final = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip


def numbers(limits: Iterable[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """OCI rlimit objects by number, as a spawn order has them."""
    return {str(RLIMITS[r["type"]]): (r["soft"], r["hard"]) for r in limits if r["type"] in RLIMITS}
