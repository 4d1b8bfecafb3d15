"""Hazards of the design that no other test holds (docs/hazards-tests.md says which test holds which)."""

from __future__ import annotations

from inside import SandboxRun

SHARED = """
import mmap, os, sys, time
path = "/etc/login.defs"; small = "/etc/debian_version"
for p in (path, small):
    f = open(p, "rb")
    m = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
    first = m[:3]
    r, w = os.pipe(); r2, w2 = os.pipe()
    pid = os.fork()
    if pid == 0:  # another address space; it waits in a system call while the file is copied up
        os.read(r, 1)
        os.write(w2, m[:3])
        os._exit(0)
    busy = os.fork()
    if busy == 0:  # and one that runs
        while m[:3] != b"NEW": pass
        os._exit(5)
    time.sleep(0.05)
    with open(p, "r+b") as g: g.write(b"NEW")
    os.write(w, b"x")
    print(first != b"NEW", m[:3], os.read(r2, 3), os.waitpid(busy, 0)[1] >> 8)
    with open(p, "r+b") as g:
        n = mmap.mmap(g.fileno(), 0)
        n[0:1] = b"M"
        print(m[:3])
    os.waitpid(pid, 0)
"""


def test_mapping_made_before_the_copy_up_sees_what_is_written_after(
    sandbox_run: SandboxRun,
) -> None:
    """B22."""
    got = sandbox_run(["python3", "-c", SHARED])
    assert (got.text, got.err) == (
        "True b'NEW' b'NEW' 5\nb'MEW'\nTrue b'NEW' b'NEW' 5\nb'MEW'\n",
        b"",
    )


def test_cmdline_of_a_running_process(sandbox_run: SandboxRun) -> None:
    """C1: another process's memory is read by its own stub, whether it waits or computes."""
    script = (
        "sleep 50 & a=$!; sh -c 'while :; do :; done' & b=$!; sleep 0.1;"
        "tr '\\0' ' ' </proc/$a/cmdline; echo; tr '\\0' ' ' </proc/$b/cmdline; echo; kill $a $b"
    )
    got = sandbox_run(["bash", "-c", script])
    assert got.text == "sleep 50 \nsh -c while :; do :; done \n"
