"""strace and gdb, of the host's own root: what they print inside is what they print on the host."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from inside import REPO, cli, plain

SOURCE = """
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static int add(int a, int b) { int c = a + b; return c; }
static void *run(void *a) { printf("thread %d\\n", add(3, 4)); return a; }
int main(void) {
  pthread_t t;
  printf("sum %d\\n", add(1, 2));
  fflush(stdout);
  pthread_create(&t, 0, run, 0);
  pthread_join(t, 0);
  if (!fork()) _exit(add(5, 6));
  int s;
  wait(&s);
  printf("child %d\\n", WEXITSTATUS(s));
  return add(2, 2);
}
"""
GDB = """
set pagination off
set confirm off
break add
run
bt
info args
stepi
stepi
print a + b
print $mxcsr
set var a = 10
finish
continue
bt 2
delete
tbreak _exit
continue
"""
STRACE = """
strace -f -o log ./prog; echo $?
strace -f -e inject=write:error=EIO:when=2 ./prog 2>err; echo $?
strace -o log2 -e trace=none -e signal=all sh -c 'trap "echo usr" USR1; kill -USR1 $$; exit 4'; echo $?; cat log2
grep -c "^[0-9]* *execve\\|exited with" log
until_() { until grep -q "$1" /proc/$p/status; do sleep 0.05; done; }
sleep 100 & p=$!; until grep -q sleep /proc/$p/comm; do sleep 0.05; done; sleep 1; strace -qq -o log3 -p $p & s=$!; until_ "TracerPid:.[1-9]"; sleep 0.5; until_ "State:.S"
kill -STOP $p; until_ "State:.t"; echo stopped; sleep 0.3
kill -CONT $p; until_ "State:.S"; sleep 0.3; kill $s; wait $s; until_ "TracerPid:.0"; kill $p; wait $p; echo $?; cat log3
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    subprocess.run([str(REPO / "tools/apt.sh"), "strace", "gdb", "gcc"], check=True)
    d = tmp_path_factory.mktemp("debuggers")
    (d / "prog.c").write_text(SOURCE)
    (d / "gdb").write_text(GDB)
    (d / "strace.sh").write_text(STRACE)
    subprocess.run(["gcc", "-g", "-O0", "-pthread", "-o", "prog", "prog.c"], cwd=d, check=True)
    return d


def output(place: Path, start: list[str], *command: str) -> str:
    """What both outputs hold together, without addresses and ids."""
    done = subprocess.run(
        [*start, *command], cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=120, env={**os.environ, "LC_ALL": "C.UTF-8"}, preexec_fn=plain,
    )  # fmt: skip
    text = done.stdout.decode("utf-8", "replace")
    text = text.replace(
        "Terminated\n", ""
    )  # the shell's word, told or not as signals happen to come
    text = re.sub(r"0x[0-9a-f]+", "X", text)
    return re.sub(r"(LWP|process|expected=|si_pid=|si_uid=|si_[us]time=)\s*\d+", r"\1", text)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [("gdb", "-batch", "-x", "gdb", "./prog"), ("sh", "strace.sh")],
    ids=["gdb", "strace"],
)
def test_prints_the_same_as_on_the_host(
    place: Path, platform: str, command: tuple[str, ...]
) -> None:
    host = output(place, [], *command)
    inside = output(
        place, cli(platform, Path("/"), "-v", f"{place}:{place}", "-w", str(place)), *command
    )
    assert len(host) > 300
    assert inside.splitlines() == host.splitlines()


def test_valgrind(platform: str) -> None:
    """It reads the text that it runs, so it must be the file's own."""
    subprocess.run([str(REPO / "tools/apt.sh"), "valgrind", "libc6-dbg"], check=True)
    argv = [
        *cli(platform, Path("/"), "-w", "/"),
        "valgrind",
        "--error-exitcode=9",
        "sh",
        "-c",
        "ls / | wc -l",
    ]
    got = subprocess.run(argv, cwd=REPO, stdin=subprocess.DEVNULL, capture_output=True, timeout=100)
    assert got.returncode == 0, got.stderr
    assert int(got.stdout) > 10 and b"ERROR SUMMARY: 0 errors" in got.stderr
