"""Instructions of system call handlers, counted by valgrind: free of a machine's noise, so that a slow change shows in CI.

``python -m bench.instructions`` prints ``ROW COUNT``: instructions of one call, on a file system in memory, with the unit tests'
task in place of a stub (its own share is in every count, and the same). The kernel is interpreted, for compiled code takes no
stand-ins: a count says what a handler does, not how fast.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
CALLS = 100
# Zero the counters; dump them. valgrind.h's requests, for a library of two functions
SOURCE = r"""
#include <valgrind/callgrind.h>
void zero(void) { CALLGRIND_ZERO_STATS; }
void dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
"""


def count() -> dict[str, int]:
    """Instructions of one call, by row. Raises OSError, subprocess.CalledProcessError."""
    with tempfile.TemporaryDirectory() as d:
        (Path(d) / "requests.c").write_text(SOURCE)
        library = f"{d}/requests.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, f"{d}/requests.c"], check=True)  # fmt: skip
        valgrind = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={d}/out"]
        env = {**os.environ, "PYTHONHASHSEED": "0", "NVSANDBOX_COMPILED": "0"}
        subprocess.run(
            [*valgrind, sys.executable, "-m", "bench.instructions", library], check=True, cwd=HERE.parent, env=env
        )  # fmt: skip
        found = {}
        for part in Path(d).glob("out.*"):
            lines = part.read_text().splitlines()
            name = next((x.rpartition(" ")[2] for x in lines if "Client Request" in x), "")
            total = next((int(x.split()[1]) for x in lines if x.startswith("totals:")), 0)
            if name:
                found[name] = total // CALLS
        return found


def rows() -> dict[str, Callable[[], object]]:
    sys.path.insert(0, str(HERE.parent / "tests" / "unit"))
    from vfs.worlds import AT_FDCWD, Out, tmpfs_world

    from nvsandbox.sentry.syscalls import file_rw

    file_rw.DIRECT = False  # there is no stub to read into
    w = tmpfs_world()
    page = Out(4096, b"x" * 4096)
    fd = w.call("openat", AT_FDCWD, b"f", os.O_RDWR | os.O_CREAT, 0o644)
    w.call("write", fd, page, 4096)
    w.call("mkdirat", AT_FDCWD, b"d", 0o755)
    w.call("mkdirat", AT_FDCWD, b"d/e", 0o755)
    for i in range(50):
        w.call("close", w.call("openat", AT_FDCWD, b"d/e/%d" % i, os.O_CREAT | os.O_RDWR, 0o644))
    status = Out(144)
    listing = Out(4096)

    def open_close() -> None:
        w.call("close", w.call("openat", AT_FDCWD, b"d/e/7", os.O_RDONLY, 0))

    def make_and_remove() -> None:
        w.call("close", w.call("openat", AT_FDCWD, b"n", os.O_CREAT | os.O_RDWR, 0o644))
        w.call("unlinkat", AT_FDCWD, b"n", 0)

    def list_directory() -> None:
        d = w.call("openat", AT_FDCWD, b"d/e", os.O_RDONLY | os.O_DIRECTORY, 0)
        w.call("getdents64", d, listing, 4096)
        w.call("close", d)

    return {
        "instr_pread_4k": lambda: w.call("pread64", fd, page, 4096, 0),
        "instr_pwrite_4k": lambda: w.call("pwrite64", fd, page, 4096, 0),
        "instr_stat": lambda: w.call("newfstatat", AT_FDCWD, b"d/e/7", status, 0),
        "instr_open_close": open_close,
        "instr_creat_unlink": make_and_remove,
        "instr_getdents": list_directory,
    }


def _under_valgrind(library: str) -> None:
    lib = ctypes.CDLL(library)
    for name, call in rows().items():
        for _ in range(20):
            call()
        lib.zero()
        for _ in range(CALLS):
            call()
        lib.dump(name.encode())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _under_valgrind(sys.argv[1])
    else:
        for name, n in sorted(count().items()):
            print(name, n)
