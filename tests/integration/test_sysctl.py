"""Parameters of /proc/sys that can be set are obeyed; the others can't be opened for writing, by root neither."""

from __future__ import annotations

from collections.abc import Callable

SCRIPT = r"""
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def put(name, text):
    try:
        with open("/proc/sys/" + name, "w") as f:
            f.write(text)
        print(name, open("/proc/sys/" + name).read().strip())
    except OSError as e:
        print(name, errno.errorcode[e.errno])
def call(name, *a):
    r = getattr(libc, name)(*a)
    print(name, "ok" if r >= 0 else errno.errorcode[ctypes.get_errno()])
    return r
put("kernel/msgmni", "2")
put("kernel/msgmax", "10")
q = [call("msgget", 0, 0o600) for _ in range(3)]
call("msgsnd", q[0], (1).to_bytes(8, "little") + bytes(20), 20, 0)
put("kernel/sem", "3 100 2 1")
call("semget", 0, 4, 0o600), call("semget", 0, 3, 0o600), call("semget", 0, 3, 0o600)
put("kernel/sem", "4")
put("kernel/sem", "x")
put("kernel/shmmax", "4096")
call("shmget", 0, 4097, 0o600), call("shmget", 0, 4096, 0o600)
put("kernel/msg_next_id", "98306")
put("kernel/msgmni", "10")
print(call("msgget", 0, 0o600), call("msgget", 0, 0o600) & 0x7FFF)
put("fs/mqueue/msg_max", "0")
put("vm/max_map_count", "100000000")
put("kernel/ostype", "x")
put("kernel/new", "x")
os.seteuid(65534)
put("kernel/msgmni", "5")
"""


def test_parameters(bash: Callable[..., str]) -> None:
    got = bash(f"python3 - <<'END'\n{SCRIPT}\nEND").splitlines()
    assert got == [
        "kernel/msgmni 2", "kernel/msgmax 10", "msgget ok", "msgget ok", "msgget ENOSPC", "msgsnd EINVAL",
        "kernel/sem 3\t100\t2\t1", "semget EINVAL", "semget ok", "semget ENOSPC", "kernel/sem 4\t100\t2\t1",
        "kernel/sem EINVAL", "kernel/shmmax 4096", "shmget EINVAL", "shmget ok", "kernel/msg_next_id 98306",
        "kernel/msgmni 10", "msgget ok", "msgget ok", "98306 3", "fs/mqueue/msg_max EINVAL", "vm/max_map_count EINVAL",
        "kernel/ostype EACCES", "kernel/new EACCES", "kernel/msgmni EACCES",
    ]  # fmt: skip
