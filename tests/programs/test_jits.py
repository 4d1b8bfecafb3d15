"""Translators, whose code is made at run time, with call-site patching on, off and at the first trap: node, Java, LuaJIT."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from inside import PLATFORMS, REPO, cli

NODE = """
const fs = require('fs'), { Worker } = require('worker_threads');
function hot(n) { let s = 0; for (let i = 0; i < n; i++) s = (s + i * i) % 1000003; return s; }
for (let i = 0; i < 200; i++) hot(1000);
console.log('hot', hot(100000));
let same = 0;
const fd = fs.openSync('/dev/zero'), buf = Buffer.alloc(16, 1);
for (let i = 0; i < 500; i++) { buf.fill(1); same += fs.readSync(fd, buf, 0, 16, null) === 16 && buf[15] === 0 && process.ppid > 0; }
console.log('calls', same);
let sum = 0;
for (let i = 0; i < 300; i++) sum += new Function('x', `return x + ${i};`)(1);
console.log('made', sum);
const wasm = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0,
  10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]);
const add = new WebAssembly.Instance(new WebAssembly.Module(wasm)).exports.add;
let w = 0;
for (let i = 0; i < 20000; i++) w = add(w, i);
console.log('wasm', w);
const code = `const fs = require('fs'); let n = 0;
  for (let i = 0; i < 300; i++) n += fs.existsSync('/proc/self') ? 1 : 0; require('worker_threads').parentPort.postMessage(n);`;
let left = 3, total = 0;
for (let i = 0; i < 3; i++) new Worker(code, { eval: true }).on('message', (n) => { total += n; if (!--left) console.log('workers', total); });
"""
NODE_OUT = "hot 368001\ncalls 500\nmade 45150\nwasm 199990000\nworkers 900\n"

JAVA = """
import java.io.*; import java.util.*; import java.util.stream.*;
public class Main {
  static long hot(int n) { long s = 0; for (int i = 0; i < n; i++) s = (s + (long) i * i) % 1000003; return s; }
  static int call(RandomAccessFile f, byte[] b) throws IOException { Arrays.fill(b, (byte) 1); return f.read(b) == b.length && b[7] == 0 ? 1 : 0; }
  public static void main(String[] a) throws Exception {
    for (int i = 0; i < 2000; i++) hot(500);
    System.out.println("hot " + hot(100000));
    int good = 0;
    try (RandomAccessFile f = new RandomAccessFile("/dev/zero", "r")) { byte[] b = new byte[8]; for (int i = 0; i < 20000; i++) good += call(f, b); }
    System.out.println("calls " + good);
    Thread[] ts = new Thread[4];
    int[] sums = new int[4];
    for (int t = 0; t < 4; t++) {
      final int me = t;
      ts[t] = new Thread(() -> {
        try (RandomAccessFile f = new RandomAccessFile("/dev/zero", "r")) {
          byte[] b = new byte[8];
          for (int i = 0; i < 1000; i++) { sums[me] += call(f, b); if (i % 100 == 0) Thread.yield(); }
        } catch (IOException e) { sums[me] = -1; }
      });
      ts[t].start();
    }
    for (Thread t : ts) t.join();
    System.out.println("threads " + IntStream.of(sums).sum());
  }
}
"""
JAVA_OUT = "hot 368001\ncalls 20000\nthreads 4000\n"

LUA = """
local ffi = require('ffi')
ffi.cdef[[
  int getpid(void); int getppid(void); long read(int fd, void *buf, size_t n); int open(const char *name, int flags);
  long syscall(long nr, ...); void *mmap(void *at, size_t n, int prot, int flags, int fd, long off);
]]
local C, me, parent = ffi.C, ffi.C.getpid(), ffi.C.getppid()
local fd, buf, good = C.open('/dev/zero', 0), ffi.new('char[16]'), 0
for i = 1, 2000 do
  ffi.fill(buf, 16, 1)
  if C.read(fd, buf, 16) == 16 and buf[15] == 0 and C.getppid() == parent and C.syscall(39) == me then good = good + 1 end
end
print('calls', good)
local code = ffi.cast('unsigned char *', C.mmap(nil, 4096, 7, 0x22, -1, 0))
local text = {0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3}
for i, b in ipairs(text) do code[i - 1] = b end
local own, wrong = ffi.cast('long (*)(void)', code), 0
for i = 1, 2000 do
  code[1] = i % 2 == 0 and 39 or 110
  if own() ~= (i % 2 == 0 and me or parent) then wrong = wrong + 1 end
end
print('rewritten', wrong)
print('translates', (jit.status()))
"""
LUA_OUT = "calls\t2000\nrewritten\t0\ntranslates\ttrue\n"

VARIANTS = ["systrap-off", "systrap-forced"] if "systrap" in PLATFORMS else []


@pytest.fixture(scope="session", params=[*PLATFORMS, *VARIANTS])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(platform: str, root: Path, command: str, text: str) -> str:
    done = subprocess.run(
        [*cli(platform, root, "-w", "/tmp"), "sh", "-c", command], input=text.encode(),
        capture_output=True, timeout=200, cwd=REPO,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


@pytest.mark.timeout(300)
def test_node(platform: str, big_root: Path) -> None:
    assert run(platform, big_root, "cat >x.js; node x.js", NODE) == NODE_OUT


@pytest.mark.timeout(300)
def test_java(platform: str, big_root: Path) -> None:
    command = "cat >Main.java; javac Main.java && java -Xmx300m Main"
    assert run(platform, big_root, command, JAVA) == JAVA_OUT


@pytest.mark.timeout(300)
def test_luajit(platform: str) -> None:
    subprocess.run([str(REPO / "tools/apt.sh"), "luajit"], check=True)
    assert run(platform, Path("/"), "cat >x.lua; luajit x.lua", LUA) == LUA_OUT
