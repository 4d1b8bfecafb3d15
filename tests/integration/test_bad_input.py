"""Commands and programs that cannot run, stubs that die, applications that attack their stub."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inside import REPO, SandboxRun, cli

Bash = Callable[..., str]


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    out = []
    todo = [pid]
    while todo:
        p = todo.pop()
        try:
            tasks = os.listdir(f"/proc/{p}/task")
        except FileNotFoundError:
            continue
        for task in tasks:
            try:
                kids = [int(x) for x in Path(f"/proc/{p}/task/{task}/children").read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            out += kids
            todo += kids
    return out


def ours() -> set[int]:
    """Processes of any sandbox that this test process started."""
    return {p for p in children(os.getpid()) if not _zombie(p)}


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No process, mount or temporary file stays."""
    mounts = Path("/proc/self/mountinfo").read_text()
    files = {f for f in os.listdir("/tmp") if "nvsandbox" in f}
    before = ours()
    yield
    deadline = time.monotonic() + 5
    while ours() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not ours() - before
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert {f for f in os.listdir("/tmp") if "nvsandbox" in f} == files


def test_command_missing(sandbox_run: SandboxRun) -> None:
    got = sandbox_run(["/no/such/command"])
    assert got.status == 127
    assert b"/no/such/command" in got.err and b"Traceback" not in got.err


@pytest.mark.parametrize("command", ["/etc/passwd", "/etc"])
def test_command_not_executable(sandbox_run: SandboxRun, command: str) -> None:
    got = sandbox_run([command])
    assert got.status == 126
    assert command.encode() in got.err and b"Traceback" not in got.err


def test_broken_programs(sandbox_run: SandboxRun, rootfs: Path, tmp_path: Path) -> None:
    true = (rootfs / "bin/true").read_bytes()
    elf32 = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\0\x03\0" + bytes(40)
    for name, data in (
        ("cut", true[:100]), ("32bit", elf32), ("empty", b""), ("garbage", b"\x7fELF" + b"\xff" * 500),
        ("no-interpreter", b"#!/no/such/interpreter\n"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o755)
        got = sandbox_run([f"/m/{name}"], flags=["-v", f"{tmp_path}:/m:ro"])
        assert got.status == (127 if name == "no-interpreter" else 126), name
        assert b"Traceback" not in got.err and got.err, name


def test_root_missing(platform: str) -> None:
    got = subprocess.run(
        [*cli(platform, Path("/no/such/root")), "true"], capture_output=True, cwd=REPO, timeout=30
    )
    assert got.returncode not in (0, -signal.SIGABRT)
    assert b"/no/such/root" in got.stderr and b"Traceback" not in got.stderr


def test_unknown_flag(platform: str, rootfs: Path) -> None:
    got = subprocess.run(
        [*cli(platform, rootfs)[:4], "--no-such-flag"], capture_output=True, cwd=REPO, timeout=30
    )
    assert got.returncode != 0
    assert b"Traceback" not in got.stderr


THREADS = """
import mmap, threading, time
shared = mmap.mmap(-1, 4096)  # another process might wait for locks that die with this one
def busy():
    while True: pass
threading.Thread(target=time.sleep, args=(100,)).start()
x = threading.Thread(target=busy)
x.start()
print('started', flush=True)
x.join()
"""


@pytest.mark.parametrize(
    ("program", "mapped"), [("sleep 100 & echo started", "bin/sleep"), (f'python3 -c "{THREADS}" &', "bin/python3")]
)  # fmt: skip
def test_stub_killed_from_outside(rootfs: Path, platform: str, program: str, mapped: str) -> None:
    """Only the process in it dies, with all its threads; its parent sees SIGKILL and goes on."""
    script = program + "\nwait $!; echo status $?"
    p = subprocess.Popen(
        [*cli(platform, rootfs), "bash", "-c", script], stdout=subprocess.PIPE, cwd=REPO
    )
    assert p.stdout is not None
    assert p.stdout.readline() == b"started\n"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        stubs = _stubs_of(p.pid, mapped)
        if stubs:
            break
        time.sleep(0.02)
    for pid in stubs:
        os.kill(pid, signal.SIGKILL)
    out, _ = p.communicate(timeout=20)
    assert out == b"status 137\n"
    assert p.returncode == 0


def test_clean_stubs_killed_from_outside(rootfs: Path, platform: str) -> None:
    """Those kept ready for an exec, and the one that they are cloned from: others are made, and no program fails."""
    script = "echo started; read x; for i in $(seq 20); do /bin/echo $i; done"
    p = subprocess.Popen(
        [*cli(platform, rootfs), "bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO
    )  # fmt: skip
    assert p.stdout is not None
    assert p.stdout.readline() == b"started\n"
    time.sleep(0.5)  # they are made while the program runs
    stubs = [c for c in children(p.pid) if "zygote" in Path(f"/proc/{c}/comm").read_text()]
    clean = set(stubs) - {min(stubs)} - set(_stubs_of(p.pid, "bin/bash"))
    assert clean
    for pid in clean:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    out, _ = p.communicate(b"x\n", timeout=20)
    assert out.split() == [b"%d" % i for i in range(1, 21)]
    assert p.returncode == 0


def _stubs_of(pid: int, program: str) -> list[int]:
    """Host processes that have mapped a program of the sandbox."""
    found = []
    for c in children(pid):
        try:
            stub = "zygote" in Path(f"/proc/{c}/comm").read_text()
            if stub and program in Path(f"/proc/{c}/maps").read_text():
                found.append(c)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


ATTACK = r"""
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static sigjmp_buf jb;
static void h(int s) { siglongjmp(jb, 1); }
/* The address space is scanned by write(2) into a pipe, which says EFAULT and kills nobody. */
int main(void) {
  int p[2], n = 0, tried = 0;
  pipe(p);
  char b;
  static uint64_t found[4096];
  FILE *f = fopen("/proc/self/maps", "r");
  char line[500];
  uint64_t vdso = 0, a, e;
  while (fgets(line, sizeof line, f))
    if (strstr(line, "[vvar]") || strstr(line, "[vdso]")) sscanf(line, "%lx-%lx", &a, &e), vdso = a;
  for (a = vdso - (256UL << 20); a < vdso + (256UL << 20); a += 4096)
    if (write(p[1], (void *)a, 1) == 1 && n < 4096) read(p[0], &b, 1), found[n++] = a;
  for (int i = 0; i < n; i += n / 40 + 1) {
    for (int how = 0; how < 2; how++) {
      pid_t c = fork();
      if (!c) {
        alarm(3);
        if (how) ((void (*)(void))found[i])();
        else
          for (int k = 0; k < 4096; k += 8) *(volatile uint64_t *)(found[i] + k) = 0x4141414141414141;
        getppid();
        _exit(0);
      }
      int st;
      waitpid(c, &st, 0);
      tried++;
    }
  }
  printf("survived %s\n", tried ? "some" : "none");
  return 0;
}
"""


def test_application_attacks_its_stub(
    sandbox_run: SandboxRun, tmp_path: Path, platform: str
) -> None:
    """Slots overwritten, the stub image entered anywhere: the attacker may die, the sandbox may not."""
    src = tmp_path / "attack.c"
    src.write_text(ATTACK)
    subprocess.run(["gcc", "-w", "-O1", "-o", tmp_path / "attack", src], check=True)
    got = sandbox_run(
        ["bash", "-c", "/m/attack; echo shell $?; ls / >/dev/null && echo fine"],
        flags=["-v", f"{tmp_path}:/m:ro"],
        timeout=100,
    )
    assert got.status == 0
    assert got.text.endswith("fine\n")
    assert "survived some\nshell 0" in got.text


def test_fork_bomb_under_a_limit(bash: Bash) -> None:
    out = bash(
        "cat >/tmp/b.py <<'E'\n"
        "import os, resource, time, signal\n"
        "os.setuid(1234)\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (60, 60))\n"
        "signal.alarm(20)\n"
        "n = 0\n"
        "pids = []\n"
        "while True:\n"
        "    try: pid = os.fork()\n"
        "    except BlockingIOError: break\n"
        "    if pid == 0: time.sleep(50); os._exit(0)\n"
        "    pids.append(pid)\n"
        "print(len(pids))\n"
        "for p in pids: os.kill(p, 9)\n"
        "for p in pids: os.waitpid(p, 0)\n"
        "E\n"
        "python3 /tmp/b.py; echo end",
        timeout=90,
    )
    assert out == "59\nend\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_threads(sandbox_run: SandboxRun, tmp_path: Path) -> None:
    """Threads until there are no more: an error and not the end of the sandbox."""
    src = tmp_path / "threads.c"
    src.write_text(r"""
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *run(void *x) { pause(); return 0; }
int main(void) {
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 16384);
  int n = 0, r = 0;
  pthread_t t;
  while (n < 10000 && !(r = pthread_create(&t, &a, run, 0))) n++;
  printf("%s %s\n", n > 200 ? "many" : "few", r == 0 || r == 11 ? "clean" : "other");
  return 0;
}
""")
    subprocess.run(["gcc", "-w", "-pthread", "-o", tmp_path / "threads", src], check=True)
    got = sandbox_run(
        ["bash", "-c", "/m/threads; echo end"], flags=["-v", f"{tmp_path}:/m:ro"], timeout=280
    )
    assert got.text == "many clean\nend\n"


def test_a_native_module_of_other_sources_is_refused_in_one_line(
    rootfs: Path, platform: str, tmp_path: Path
) -> None:
    package = tmp_path / "nvsandbox"
    shutil.copytree(REPO / "nvsandbox", package, ignore=shutil.ignore_patterns("_compiled"))
    native = package / "platform" / "native"
    argv = [*cli(platform, rootfs), "echo", "ran"]

    def run() -> tuple[int, str, str]:
        r = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        return r.returncode, r.stdout, r.stderr

    (native / "stub.c").touch()  # newer, and the same
    assert run() == (0, "ran\n", "")
    (native / "stub.c").write_text((native / "stub.c").read_text() + "/* changed */\n")
    status, out, err = run()
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert str(native) in err and "make native" in err
