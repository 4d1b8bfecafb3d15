"""Random ioctls from a real process: the simulator answers each and is still there afterwards."""

from __future__ import annotations

import pytest

from .conftest import Sim

FUZZ = """
import ctypes, mmap, os, random, sys
rng = random.Random(int(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)
names = ["nvidiactl", "nvidia0", "nvidia-uvm", "nvidia-uvm-tools"]
fds = [os.open("/dev/" + n, os.O_RDWR) for n in names]
area = mmap.mmap(-1, 1 << 17); base = ctypes.addressof(ctypes.c_char.from_buffer(area))
escapes = [0x27,0x28,0x29,0x2a,0x2b,0x34,0x35,0x4a,0x4e,0x4f,0x52,0x57,0x58,0x5e,200,201,206,207,210,211,212,214,215]
sizes = {0x2a: 32, 0x2b: 48, 0x29: 16, 0x4e: 56, 0x4a: 184, 0x27: 56, 0x34: 28, 0x57: 56}
roots = []
for i in range(3000):
    fd = rng.choice(fds)
    if rng.random() < 0.3:
        cmd = rng.choice([0x30000001, 0x30000002, *range(0, 90), rng.randrange(0x800)])
    else:
        nr = rng.choice(escapes) if rng.random() < 0.9 else rng.randrange(256)
        size = sizes.get(nr, rng.randrange(300)) if rng.random() < 0.9 else rng.randrange(1 << 14)
        cmd = 3 << 30 | size << 16 | ord("F") << 8 | nr
    words = [rng.choice([0, 1, 0x41, 0x80, 0x2080, 0x40, 0xC1D00001, 0xCAF00001, 0xFFFFFFFF, rng.getrandbits(32),
             (base + 4096) & 0xFFFFFFFF, base >> 32]) for _ in range(256)]
    area[:1024] = b"".join(w.to_bytes(4, "little") for w in words)
    arg = rng.choice([base, base, base, base, 0, 8, base + (1 << 17) - 4, 1 << 63])
    libc.ioctl(fd, ctypes.c_ulong(cmd), ctypes.c_void_p(arg))
ctl = os.open("/dev/nvidiactl", os.O_RDWR)
buf = ctypes.create_string_buffer(bytes(8) + b"535.261.03", 72)
print("alive", libc.ioctl(ctl, 0xC04846D2, buf), buf.raw[8:18])
"""


@pytest.mark.parametrize("seed", range(6))
def test_random_ioctls_never_crash_the_simulator(sim: Sim, seed: int) -> None:
    import sys

    done = sim.run(sys.executable, "-c", FUZZ, str(seed))
    assert done.stdout == "alive 0 b'535.261.03'\n"
    assert "Traceback" not in done.stderr
