"""Core files: gdb reads those written inside as it reads the host's; when there is one, and where."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from inside import REPO, cli, plain

Bash = Callable[..., str]
CRASH = r"""
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static int global = 42;
static char *heap;
static pthread_barrier_t all;
static void *waiter(void *a) {
  pthread_barrier_wait(&all);
  for (volatile long n = 0;; n++)
    if ((long)a & 1) pause();
  return 0;
}
static int crash(int n, const char *s) {
  double d = n * 1.5;
  register double kept asm("xmm9") = 2.25;
  asm volatile("" : "+x"(kept));
  *(volatile int *)(long)(n > 100 ? global : 16) = (int)d;
  asm volatile("" : "+x"(kept));
  return s[0];
}
static int level(int n) { return n ? level(n - 1) + 1 : crash(7, "boom"); }
int main(void) {
  heap = malloc(100000);
  strcpy(heap, "on the heap");
  char *sparse = mmap(0, 64 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  sparse[40 << 20] = 'x';
  pthread_barrier_init(&all, 0, 4);
  pthread_t t;
  for (long i = 0; i < 3; i++) pthread_create(&t, 0, waiter, (void *)i);
  pthread_barrier_wait(&all);
  usleep(200000);
  return level(3);
}
"""
GDB = """set pagination off
bt
frame 1
info locals
info args
frame 0
print d
print global
print heap
frame function main
print sparse[40 << 20]
print $_siginfo.si_signo
print $_siginfo._sifields._sigfault.si_addr
print $xmm9
thread apply all bt 1
"""
RULES = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
static void run(const char *what, int sig, rlim_t limit, int dumpable, const char *filter, int uid) {
  fflush(stdout);
  pid_t p = fork();
  if (!p) {
    if (uid) setresuid(uid, uid, uid), prctl(PR_SET_DUMPABLE, 1);
    struct rlimit l = {limit, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &l);
    prctl(PR_SET_DUMPABLE, dumpable);
    if (filter) {
      int fd = open("/proc/self/coredump_filter", O_WRONLY);
      printf("filter %d\n", (int)write(fd, filter, 4));
      fflush(stdout);
    }
    char *m = mmap(0, 16 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m[1 << 20] = 1;
    raise(sig);
    _exit(0);
  }
  int st;
  waitpid(p, &st, 0);
  struct stat s = {0};
  int there = stat("core", &s) == 0;
  printf("%s: signal %d core %d file %d mode %o big %d sparse %d\n", what, WTERMSIG(st), !!WCOREDUMP(st), S_ISREG(s.st_mode) && s.st_size > 0, s.st_mode,
         s.st_size > 16 << 20, s.st_blocks * 512 < 8 << 20);
  unlink("core");
}
int main(void) {
  int loud[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
  for (int i = 0; i < 10; i++) run("core", loud[i], RLIM_INFINITY, 1, 0, 0);
  run("no core", SIGTERM, RLIM_INFINITY, 1, 0, 0);
  run("limit 0", SIGSEGV, 0, 1, 0, 0);
  run("limit 100", SIGSEGV, 100, 1, 0, 0);
  run("limit 20000", SIGSEGV, 20000, 1, 0, 0);
  run("not dumpable", SIGSEGV, RLIM_INFINITY, 0, 0, 0);
  run("no memory", SIGSEGV, RLIM_INFINITY, 1, "0x0\n", 0);
  run("filter", SIGSEGV, RLIM_INFINITY, 1, "0x1x", 0);
  run("no right", SIGSEGV, RLIM_INFINITY, 1, 0, 1000);
  chmod(".", 0777);
  run("somebody", SIGSEGV, RLIM_INFINITY, 1, 0, 1000);
  close(open("core", O_CREAT | O_WRONLY, 0600));
  run("another's", SIGSEGV, RLIM_INFINITY, 1, 0, 1000);
  close(open("core", O_CREAT | O_WRONLY, 0600));
  link("core", "name");
  run("two names", SIGSEGV, RLIM_INFINITY, 1, 0, 0);
  unlink("name");
  symlink("elsewhere", "core");
  run("link", SIGSEGV, RLIM_INFINITY, 1, 0, 0);
  printf("%d\n", access("elsewhere", F_OK));
  mkdir("core", 0700);
  run("directory", SIGSEGV, RLIM_INFINITY, 1, 0, 0);
  return 0;
}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if Path("/proc/sys/kernel/core_pattern").read_text() != "core\n":
        pytest.skip("the host's cores are not files called core")
    subprocess.run([str(REPO / "tools/apt.sh"), "gdb", "gcc"], check=True)
    d = tmp_path_factory.mktemp("core")
    for name, text in (("crash", CRASH), ("rules", RULES)):
        (d / f"{name}.c").write_text(text)
        subprocess.run(
            ["gcc", "-g", "-O0", "-w", "-pthread", "-o", name, f"{name}.c"], cwd=d, check=True
        )
    (d / "gdb").write_text(GDB)
    return d


def run(place: Path, start: list[str], script: str) -> str:
    done = subprocess.run(
        [*start, "bash", "-c", script], cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=120, preexec_fn=plain,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "replace")


def both(place: Path, platform: str, script: str) -> tuple[str, str]:
    inside = cli(platform, Path("/"), "-v", f"{place}:{place}", "-w", str(place))
    return run(place, [], script), run(place, inside, script)


@pytest.mark.timeout(300)
def test_gdb_reads_it(place: Path, platform: str) -> None:
    script = (
        "ulimit -c unlimited; rm -f core; (./crash) 2>/dev/null; echo $?; gdb -batch -x gdb ./crash core 2>&1; rm core"
    )  # fmt: skip
    host, inside = both(place, platform, script)

    def lines(text: str) -> list[str]:
        text = re.sub(r"0x[0-9a-f]+", "X", text)
        text = re.sub(r"(LWP|line 1:|xstate/)\s*\d+", r"\1", text)
        # Which thread is which, and where the one that counts was, is chance.
        keep = [x for x in text.splitlines() if "waiter" not in x and "pause" not in x]
        return [
            x for x in keep if x and not x.startswith(("warning: Section", "Thread", "[Current"))
        ]

    assert "on the heap" in host and "v2_double = {2.25," in host
    assert lines(inside) == lines(host)


@pytest.mark.timeout(300)
def test_when_there_is_one(place: Path, platform: str) -> None:
    script = f"d=$(mktemp -d) && cd $d && ulimit -c unlimited && {place}/rules; rm -rf $d"
    host, inside = both(place, platform, script)
    assert host.count("core 1 file 1") > 10
    assert inside == host


def test_pattern(bash: Bash) -> None:
    out = bash(
        "cd /tmp; ulimit -c unlimited; p=/proc/sys/kernel/core_pattern; crash() { (exec -a x sleep 9 & q=$!; sleep 0.5; kill -SEGV $q; wait $q) 2>/dev/null; };"
        "mkdir cores; echo '/tmp/cores/%e.%s.%u.%g.%h.%f.%%.%' >$p; crash; ls cores; rm cores/*;"
        "echo 'c%E' >$p; cd cores; crash; ls; rm *; echo core >$p; echo 1 >/proc/sys/kernel/core_uses_pid; crash; ls | sed 's/[0-9]*$/N/'; cd ..;"
        "echo '|/bin/cat' >$p && echo piped; cat $p; echo cores/none/core >$p; crash; ls cores | wc -l; file -b cores/core.* | cut -c1-30",
        flags=("--hostname", "box"),
    )
    assert out.splitlines() == [
        "sleep.11.0.0.box.sleep.%.", "c!usr!bin!sleep", "core.N", "core", "1", "ELF 64-bit LSB core file, x86-",
    ]  # fmt: skip
