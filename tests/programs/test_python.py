"""The Debian root's own python3."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Bash = Callable[..., str]

PROGRAMS = {
    "threads": """
import threading, queue, concurrent.futures as cf
q = queue.Queue(); lock = threading.Lock(); total = 0
def work():
    global total
    while (x := q.get()) is not None:
        with lock: total += x
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]
for i in range(2000): q.put(i)
for _ in ts: q.put(None)
[t.join(20) for t in ts]
with cf.ThreadPoolExecutor(4) as p: r = sum(p.map(lambda x: x * x, range(100)))
print(total, r)
""",
    "subprocess": """
import subprocess as s
print(s.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", capture_output=True))
try: s.run(["sleep", "9"], timeout=0.3)
except s.TimeoutExpired: print("timeout")
try: s.run(["/absent"])
except FileNotFoundError as e: print(e.errno)
p = [s.Popen(["sh", "-c", f"exit {i}"]) for i in range(10)]
print([x.wait() for x in p], s.run(["kill -9 $$"], shell=True).returncode)
""",
    "multiprocessing": """
import multiprocessing as mp
def f(x): return x * x
def g(q, n, lock):
    for _ in range(100):
        with lock: n.value += 1
    q.put(n.value > 0)
if __name__ == "__main__":
    for how in "fork", "spawn", "forkserver":
        c = mp.get_context(how)
        with c.Pool(2) as p: print(how, sum(p.map(f, range(50))))
        q, n, lock = c.Queue(), c.Value("i", 0), c.Lock()
        ps = [c.Process(target=g, args=(q, n, lock)) for _ in range(3)]
        [p.start() for p in ps]; print([q.get(timeout=20) for _ in ps]); [p.join(20) for p in ps]
        print(n.value, [p.exitcode for p in ps])
    from multiprocessing import shared_memory as sm
    a = sm.SharedMemory(create=True, size=100); b = sm.SharedMemory(a.name)
    a.buf[:3] = b"abc"; print(bytes(b.buf[:3])); b.close(); a.close(); a.unlink()
""",
    "asyncio": """
import asyncio, signal, os
async def serve(r, w):
    w.write((await r.readline()).upper()); await w.drain(); w.close()
async def main():
    s = await asyncio.start_unix_server(serve, "/tmp/s"); t = await asyncio.start_server(serve, "127.0.0.1", 0)
    async def ask(i):
        r, w = await asyncio.open_unix_connection("/tmp/s"); w.write(b"u%d\\n" % i); x = await r.readline(); w.close(); return x
    print(sorted(await asyncio.gather(*[ask(i) for i in range(20)]))[:2])
    r, w = await asyncio.open_connection(*t.sockets[0].getsockname()); w.write(b"tcp\\n"); print(await r.readline())
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1); print(await p.communicate(b"sub"))
    e = asyncio.Event(); asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, e.set); os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(e.wait(), 5)
    try: await asyncio.wait_for(asyncio.sleep(9), 0.05)
    except asyncio.TimeoutError: print("timeout", await asyncio.to_thread(lambda: 5))
asyncio.run(main())
""",
    "mmap": """
import mmap, os
f = open("/tmp/m", "w+b"); f.truncate(10000)
m = mmap.mmap(f.fileno(), 0); m[:5] = b"hello"; m.flush(); print(os.pread(f.fileno(), 5, 0), m.find(b"lo"))
os.pwrite(f.fileno(), b"J", 0); print(m[:5]); m.resize(20000); m[19999] = 7; print(os.fstat(f.fileno()).st_size)
a = mmap.mmap(-1, 4096)
if os.fork() == 0: a[0] = 9; os._exit(0)
os.wait(); print(a[0])
""",
    "signal": """
import signal, os, time, threading
got = []
signal.signal(signal.SIGUSR1, lambda s, f: got.append(s)); signal.signal(signal.SIGALRM, lambda s, f: got.append(s))
os.kill(os.getpid(), signal.SIGUSR1); signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
t = time.monotonic(); time.sleep(0.3); print(got[0], got.count(14) >= 3, time.monotonic() - t >= 0.3)
signal.setitimer(signal.ITIMER_REAL, 0); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); os.kill(os.getpid(), signal.SIGUSR2)
print(signal.sigpending(), signal.sigwait([signal.SIGUSR2]).name)
r, w = os.pipe2(os.O_NONBLOCK); signal.set_wakeup_fd(w); os.kill(os.getpid(), signal.SIGUSR1); print(os.read(r, 9))
threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGINT)).start()
try: time.sleep(5)
except KeyboardInterrupt: print("interrupted")
""",
    "sqlite": """
import sqlite3, os
c = sqlite3.connect("/tmp/db"); c.execute("pragma journal_mode=wal"); c.execute("create table t(a integer primary key, b text)")
with c: c.executemany("insert into t values(?, ?)", ((i, str(i) * 5) for i in range(5000)))
if os.fork() == 0:
    d = sqlite3.connect("/tmp/db"); d.execute("insert into t values(9999, 'child')"); d.commit(); d.close(); os._exit(0)
os.wait(); print(c.execute("select count(*), sum(a), max(b) from t").fetchone(), c.execute("pragma integrity_check").fetchone())
""",
    "ssl": """
import ssl, hashlib, secrets, zlib, lzma, json, ctypes, uuid, tempfile, shutil, socket
print(ssl.create_default_context().check_hostname, hashlib.sha256(b"x").hexdigest()[:8], len(secrets.token_bytes(9)), zlib.crc32(b"x"))
print(ctypes.CDLL(None).abs(-5), ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1)(4)); d = tempfile.mkdtemp(); shutil.rmtree(d)
print(lzma.decompress(lzma.compress(b"q" * 9)), socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4])
""",
}

EXPECTED = {
    "threads": "1999000 328350\n",
    "subprocess": "CompletedProcess(args=['sh', '-c', 'cat; echo err >&2; exit 3'], returncode=3, stdout=b'in', stderr=b'err\\n')\n"
    "timeout\n2\n[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] -9\n",
    "multiprocessing": "".join(
        f"{how} 40425\n[True, True, True]\n300 [0, 0, 0]\n"
        for how in ("fork", "spawn", "forkserver")
    )
    + "b'abc'\n",
    "asyncio": "[b'U0\\n', b'U1\\n']\nb'TCP\\n'\n(b'sub', None)\ntimeout 5\n",
    "mmap": "b'hello' 3\nb'Jello'\n20000\n9\n",
    "signal": "10 True True\n{<Signals.SIGUSR2: 12>} SIGUSR2\nb'\\n'\ninterrupted\n",
    "sqlite": "(5001, 12507499, 'child') ('ok',)\n",
    "ssl": "True 2d711642 9 2363233923\n5 5\nb'qqqqqqqqq' ('127.0.0.1', 80)\n",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_python(bash: Bash, name: str) -> None:
    out = bash("cat >/tmp/p.py; python3 /tmp/p.py", stdin=PROGRAMS[name].encode(), timeout=90)
    assert out == EXPECTED[name]
