#!/usr/bin/env python3
"""Processes through Python: subprocess in every form, signals, groups, pipes, waiting, resource usage, multiprocessing."""

import errno
import multiprocessing as mp
import os
import resource
import signal
import subprocess as s
import threading
import time


def show(*a):
    print(*a, flush=True)


def first():
    show(s.run(["sh", "-c", "echo out; echo err >&2; exit 4"], capture_output=True))
    show(
        s.run("cat; exit 0", shell=True, input=b"x" * 200000, capture_output=True).stdout.count(
            b"x"
        )
    )
    for cmd in (["none-such"], ["/"], ["/etc/passwd"]):
        try:
            s.run(cmd)
        except OSError as e:
            show(cmd, errno.errorcode[e.errno])
    p = s.Popen(["sleep", "10"], start_new_session=True)
    show(os.getsid(p.pid) == p.pid, p.poll())
    os.killpg(p.pid, signal.SIGTERM)
    show(p.wait(), p.poll())
    p = s.Popen(["sleep", "10"], process_group=0)
    show(os.getpgid(p.pid) == p.pid)
    p.kill()
    show(p.wait())
    try:
        s.run(["sleep", "10"], timeout=0.1)
    except s.TimeoutExpired:
        show("timed out")
    r, w = os.pipe()
    p = s.Popen(["sh", "-c", f"echo via {w} >&{w}"], pass_fds=[w])
    p.wait()
    os.close(w)
    show(os.read(r, 100) == b"via %d\n" % w)
    show(
        s.run(
            ["sh", "-c", "umask; pwd; id -u"],
            umask=0o77,
            cwd="/",
            user=65534,
            capture_output=True,
            text=True,
        ).stdout.split()
    )
    show(s.run(["env"], env={"A": "1", "B": ""}, capture_output=True, text=True).stdout.split())
    got = []
    signal.signal(signal.SIGCHLD, lambda n, f: got.append(n))
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    while not got:
        time.sleep(0.01)
    show(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.posix_spawn(
        "/bin/sh", ["sh", "-c", "exit 9"], os.environ, setsigmask=[signal.SIGINT], setpgroup=0
    )
    show(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    pidfd = os.pidfd_open(pid := os.fork() or os._exit(3))
    show(os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status)
    show(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime >= 0)


def work(q, n):
    q.put((n, sum(range(n))))


if __name__ == "__main__":
    first()
    for how in ("fork", "spawn", "forkserver"):
        c = mp.get_context(how)
        q = c.Queue()
        ps = [c.Process(target=work, args=(q, n)) for n in (10, 100, 1000)]
        for x in ps:
            x.start()
        res = sorted(q.get(timeout=20) for _ in ps)
        for x in ps:
            x.join(10)
        show(how, res, [x.exitcode for x in ps])
    with mp.Pool(3) as pool:
        show(pool.map(abs, range(-5, 5)))
    v = mp.Value("i", 0)

    def add():
        for _ in range(100):
            with v.get_lock():
                v.value += 1

    ts = [mp.get_context("fork").Process(target=add) for _ in range(4)]
    [t.start() for t in ts], [t.join() for t in ts]
    show(v.value)
    e = threading.Event()
    t = threading.Thread(target=lambda: (e.wait(5), show("thread", e.is_set())))
    t.start(), e.set(), t.join()
