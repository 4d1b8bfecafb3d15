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


STICKY = r"""
import errno, os, sys
def tell(what, f, *a):
    try:
        f(*a)
        print(what, "ok", end=" ")
    except OSError as e:
        print(what, errno.errorcode[e.errno], end=" ")
def put(name, v):
    with open(f"/proc/sys/fs/protected_{name}", "w") as f:
        f.write(v)
def all_of(d):
    tell("link", os.stat, f"{d}/link")
    tell("within", os.stat, f"{d}/link/x")
    tell("slash", os.stat, f"{d}/link/")
    tell("made", os.open, f"{d}/tofile", os.O_CREAT | os.O_RDONLY)
    tell("lstat", os.lstat, f"{d}/link")
    tell("file", os.open, f"{d}/file", os.O_CREAT | os.O_WRONLY)
    tell("plain", os.open, f"{d}/file", os.O_WRONLY)
    tell("fifo", os.open, f"{d}/fifo", os.O_CREAT | os.O_RDWR)
    tell("hard", os.link, f"{d}/secret", f"{d}/hard")
    print()
os.mkdir("/srv/x"), os.mkdir("/srv/x/x"), os.close(os.open("/srv/f", os.O_CREAT))
for d, mode in (("/srv/a", 0o1777), ("/srv/b", 0o777), ("/srv/c", 0o1770)):
    os.mkdir(d)
    os.chmod(d, 0o777)
    os.chown(d, 2, 1000)
    os.seteuid(1000)
    os.symlink("/srv/x", f"{d}/link"), os.symlink("/srv/f", f"{d}/tofile")
    os.mkfifo(f"{d}/fifo"), os.close(os.open(f"{d}/file", os.O_CREAT)), os.close(os.open(f"{d}/secret", os.O_CREAT, 0o600))
    os.chmod(f"{d}/file", 0o666), os.chmod(f"{d}/fifo", 0o666)
    os.seteuid(0)
    os.chmod(d, mode)
    all_of(d)
os.chown("/srv/a", 1000, 0)
all_of("/srv/a")
os.chown("/srv/a", 2, 0)
for n in ("symlinks", "regular", "fifos", "hardlinks"):
    put(n, "0")
all_of("/srv/a")
put("regular", "1")
all_of("/srv/c")
os.seteuid(1001)
tell("other's", os.link, "/srv/a/secret", "/srv/a/hard2")
os.seteuid(0)
put("hardlinks", "1")
os.seteuid(1001)
tell("other's", os.link, "/srv/a/secret", "/srv/a/hard3")
"""


def test_sticky_directories(bash: Callable[..., str]) -> None:
    """/proc/sys/fs/protected_* (proc_sys_fs(5))."""
    got = [line.split() for line in bash(f"python3 - <<'END'\n{STICKY}\nEND").splitlines()]
    names = ["link", "within", "slash", "made", "lstat", "file", "plain", "fifo", "hard"]

    def refused(*which: str) -> list[str]:
        return [w for n in names for w in (n, "EACCES" if n in which else "ok")]

    assert got[:3] == [
        refused("link", "slash", "made", "file", "fifo"), refused(), refused("file"),
    ]  # fmt: skip
    assert got[3] == [*refused()[:-1], "EEXIST"]
    assert got[4] == [*refused()[:-1], "EEXIST"]
    assert got[5] == [*refused()[:-1], "EEXIST"]
    assert got[6] == ["other's", "ok", "other's", "EPERM"]
