"""The main job, step by step: real Debian programs on our own kernel, with timings."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

NVSANDBOX = Path(sys.executable).parent / "nvsandbox"

STEPS = [
    ("a shell, pipes, here-documents", "bash", "seq 1 1000 | sort -rn | head -3; cat <<X\nhere\nX"),
    ("job control and traps", "bash", "trap 'echo trapped' USR1; kill -USR1 $$; sleep 5 & kill %1; wait; echo done"),
    ("coreutils over /usr", "bash", "find /usr -type f | wc -l; du -s /usr/bin | cut -f1"),
    ("Python: threads, subprocess, sqlite", "python3", "import threading,subprocess,sqlite3\nr=[]\nt=[threading.Thread(target=r.append,args=(i,)) for i in range(8)]\n[x.start() for x in t];[x.join() for x in t]\nprint(sorted(r), subprocess.check_output(['echo','child']), sqlite3.connect(':memory:').execute('select 6*7').fetchone())"),
    ("Python: asyncio, multiprocessing", "python3", "import asyncio,multiprocessing as m\nasync def f(n):\n await asyncio.sleep(0.01); return n\nasync def g(): return await asyncio.gather(*map(f,range(5)))\nprint(asyncio.run(g()))\nif __name__=='__main__':\n print(m.get_context('fork').Pool(2).map(abs,[-1,-2,-3]))"),
    ("gcc compiles and runs", "bash", "cd /tmp; echo 'int main(){return __builtin_printf(\"hello from gcc\\n\")<0;}' >a.c; gcc -O2 a.c -o a && ./a"),
    ("make -j2", "bash", "mkdir /tmp/m; cd /tmp/m; for i in 1 2 3 4; do echo \"int f$i(){return $i;}\" >f$i.c; done; printf 'all: f1.o f2.o f3.o f4.o\\n\\tar rcs l.a *.o && ar t l.a\\n' >Makefile; make -s -j2"),
    ("git", "bash", "cd /tmp; git init -q r; cd r; git config user.email a@b; git config user.name n; echo 1 >f; git add f; git commit -qm one; git clone -q . ../c; git -C ../c log --oneline | wc -l"),
    ("perl, tar, xz, sqlite3", "bash", "perl -e 'print join(\",\",map{$_*$_}1..5),\"\\n\"'; tar cf - /etc 2>/dev/null | xz -1 | xz -d | tar tf - | wc -l; sqlite3 :memory: 'select 1+1'"),
    ("who we are", "bash", "uname -a; cat /proc/version; ps ax"),
]  # fmt: skip

CUDA = """
import ctypes
cu = ctypes.CDLL("libcuda.so.1"); ctx, at = ctypes.c_void_p(), ctypes.c_uint64()
free, total = ctypes.c_size_t(), ctypes.c_size_t()
assert cu.cuInit(0) == 0 and cu.cuCtxCreate_v2(ctypes.byref(ctx), 0, 0) == 0
assert cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(1 << 20)) == 0
data = b"through the card and back" * 1000; back = ctypes.create_string_buffer(len(data))
assert cu.cuMemcpyHtoD_v2(at, data, len(data)) == 0 and cu.cuMemcpyDtoH_v2(back, at, len(data)) == 0
cu.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
print(back.raw[:25].decode(), "- a card of", total.value >> 20, "MiB;", "10 GiB more:", cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(10 << 30)), "(2: out of memory)")
"""
GPU_STEPS = [
    ("nvidia-smi inside the sandbox, on the simulated driver", [], ["--gpus", "all"], ["nvidia-smi"]),
    ("one of three cards", ["--count", "3"], ["--gpus", "1"], ["nvidia-smi", "-L"]),
    ("CUDA: a context, memory, copies, and a quota", [], ["--gpus", "all", "--gpu-memory", "8g"], ["python3", "-c", CUDA]),
]  # fmt: skip


def main() -> int:
    rootfs = sys.argv[1]
    print(f"root file system: {rootfs}")
    bad = 0
    for title, shell, script in STEPS:
        print(f"\n== {title}", flush=True)
        start = time.monotonic()
        r = subprocess.run([NVSANDBOX, "do", "--rootfs", rootfs, "--", shell, "-c", script])
        took = time.monotonic() - start
        print(
            f"-- {took:.2f} s" + (f", exit status {r.returncode}" if r.returncode else ""),
            flush=True,
        )
        bad += r.returncode != 0
    bad += nvidia_smi(rootfs)
    return 1 if bad else 0


def nvidia_smi(rootfs: str) -> int:
    """NVIDIA's own programs inside the sandbox, on the simulated driver: the table, and a CUDA context with memory and copies."""
    fetch = subprocess.run(
        [sys.executable, Path(__file__).parent / "nvidia_libs.py"], capture_output=True, text=True
    )
    if fetch.returncode:
        print(fetch.stderr.strip() or "NVIDIA's libraries could not be fetched", file=sys.stderr)
        return 1
    env = {**os.environ, "NVSANDBOX_DRIVER_ROOT": fetch.stdout.strip().splitlines()[-1]}
    bad = 0
    for title, sim, flags, command in GPU_STEPS:
        print(f"\n== {title}", flush=True)
        start = time.monotonic()
        r = subprocess.run(
            [NVSANDBOX, "gpu", "sim", *sim, "--", NVSANDBOX, "do", "--rootfs", rootfs, *flags, "--", *command],
            env=env,
        )  # fmt: skip
        took = time.monotonic() - start
        print(
            f"-- {took:.2f} s" + (f", exit status {r.returncode}" if r.returncode else ""),
            flush=True,
        )
        bad += r.returncode != 0
    return bad


if __name__ == "__main__":
    sys.exit(main())
