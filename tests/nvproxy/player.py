"""Plays a list of device calls inside a sandbox: JSON on stdin, one JSON result a line. Runs on any Python 3, imports nothing of ours."""

import ctypes
import json
import mmap
import os
import socket
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
fds, variables, keep = {}, {}, []


def number(v):
    """A number, or the value of a variable or descriptor by name."""
    if isinstance(v, str):
        return variables[v] if v in variables else fds[v]
    return v


def buffer(data):
    b = ctypes.create_string_buffer(data, max(len(data), 1))
    keep.append(b)
    return b


def ioctl(s):
    arg = buffer(bytes.fromhex(s["arg"]))
    nested = []
    for at, data, inner in s.get("ptrs", ()):
        b = buffer(bytes.fromhex(data))
        for where, value, size in inner:
            ctypes.memmove(
                ctypes.addressof(b) + where, number(value).to_bytes(size, "little"), size
            )
        ctypes.memmove(ctypes.addressof(arg) + at, ctypes.addressof(b).to_bytes(8, "little"), 8)
        nested.append((b, len(data) // 2))
    for at, value, size in s.get("sets", ()):
        data = (number(value) & (1 << 8 * size) - 1).to_bytes(size, "little")
        ctypes.memmove(ctypes.addressof(arg) + at, data, size)
    n = len(s["arg"]) // 2
    stop = threading.Event()
    if "race" in s:  # another thread rewrites a word all the time

        def race():
            at, one, two = s["race"]
            while not stop.is_set():
                for v in (one, two):
                    ctypes.memmove(ctypes.addressof(arg) + at, v.to_bytes(4, "little"), 4)

        threading.Thread(target=race, daemon=True).start()
    r = 0
    original = arg.raw
    for _ in range(s.get("times", 1)):
        ctypes.memmove(arg, original, len(original))
        r = libc.ioctl(
            number(s["fd"]), s["cmd"], number(s["raw"]) if "raw" in s else ctypes.addressof(arg)
        )
        r = r if r >= 0 else -ctypes.get_errno()
    stop.set()
    out = {"r": r, "arg": arg.raw[:n].hex(), "ptrs": [b.raw[:k].hex() for b, k in nested]}
    for name, at, size in s.get("gets", ()):
        variables[name] = int.from_bytes(arg.raw[at : at + size], "little")
    for name, which, at, size in s.get("pgets", ()):
        variables[name] = int.from_bytes(nested[which][0].raw[at : at + size], "little")
    return out


def storm(steps, threads, rounds):
    def run():
        for _ in range(rounds):
            for x in steps:
                step(x)

    all_ = [threading.Thread(target=run) for _ in range(threads)]
    for t in all_:
        t.start()
    for t in all_:
        t.join()
    return {"r": 0}


def step(s):
    op = s["op"]
    try:
        if op == "open":
            fds[s["as"]] = os.open(s["path"], s.get("flags", os.O_RDWR))
            return {"r": fds[s["as"]]}
        if op == "scribble":  # a thread counts up in a word of memory until told to stop
            at = number(s["addr"])
            word = ctypes.c_uint64.from_address(at)
            stop, done = threading.Event(), []

            def count():
                n = 0
                while not stop.is_set():
                    n += 1
                    word.value = n
                    if word.value != n:
                        done.append(n)
                        break
                done.append(n)

            th = threading.Thread(target=count)
            th.start()
            out = [step(x) for x in s["steps"]]
            stop.set()
            th.join()
            return {"r": 0, "steps": out, "lost": len(done) - 1, "match": word.value == done[-1]}
        if op == "setuid":
            os.setresuid(s["uid"], s["uid"], s["uid"])
            return {"r": 0}
        if op == "storm":
            return storm(s["steps"], s["threads"], s["rounds"])
        if op == "close":
            os.close(number(s["fd"]))
            return {"r": 0}
        if op == "dup":
            fds[s["as"]] = os.dup(fds[s["fd"]])
            return {"r": fds[s["as"]]}
        if op == "ioctl":
            return ioctl(s)
        if op == "mmap":
            at = libc.mmap(
                number(s.get("addr", 0)),
                s["size"],
                s.get("prot", 3),
                s.get("flags", 1),
                number(s["fd"]),
                number(s.get("offset", 0)),
            )
            if at in (None, (1 << 64) - 1):
                return {"r": -ctypes.get_errno()}
            variables[s.get("as", "map")] = at
            if "poke" in s:
                ctypes.memmove(at, bytes.fromhex(s["poke"]), len(s["poke"]) // 2)
            return {
                "r": 0,
                "data": ctypes.string_at(at, min(s["size"], 64)).hex()
                if s.get("prot", 3) & 1
                else "",
            }
        if op == "munmap":
            return {"r": libc.munmap(number(s["addr"]), s["size"])}
        if op == "anon":
            m = mmap.mmap(
                -1, s["size"], flags=s.get("flags", mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            )
            keep.append(m)
            variables[s["as"]] = ctypes.addressof(ctypes.c_char.from_buffer(m))
            m[: len(s.get("fill", "")) // 2] = bytes.fromhex(s.get("fill", ""))
            return {"r": 0}
        if op == "peek":
            return {"r": 0, "data": ctypes.string_at(number(s["addr"]), s["size"]).hex()}
        if op == "poke":
            ctypes.memmove(number(s["addr"]), bytes.fromhex(s["data"]), len(s["data"]) // 2)
            return {"r": 0}
        if op == "madvise":
            libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            return {"r": libc.madvise(number(s["addr"]), s["size"], s["advice"])}
        if op == "fork":  # the steps run in the child; its results are the step's
            r, w = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(w, json.dumps([step(x) for x in s["steps"]]).encode())
                os._exit(0)
            os.close(w)
            with os.fdopen(r, "rb") as f:
                data = f.read()
            os.waitpid(pid, 0)
            return {"r": 0, "steps": json.loads(data or b"[]")}
        if (
            op == "pass"
        ):  # a child that has no descriptor but the one it is sent over a socket plays the steps with it
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                for fd in list(fds.values()):
                    os.close(fd)
                fds.clear()
                _, got, _, _ = socket.recv_fds(theirs, 1, 1)
                fds[s["as"]] = got[0]
                theirs.send(json.dumps([step(x) for x in s["steps"]]).encode())
                os._exit(0)
            socket.send_fds(ours, [b"x"], [fds[s["fd"]]])
            os.close(fds.pop(s["fd"]))
            theirs.close()
            data = ours.recv(1 << 20)
            os.waitpid(pid, 0)
            return {"r": 0, "steps": json.loads(data or b"[]")}
        if op == "spawn":  # another process of the sandbox, with its own interpreter
            r, w = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.dup2(w, 1)
                os.closerange(3, 256)
                e = os.memfd_create("x")
                os.write(e, json.dumps(s["steps"]).encode())
                os.lseek(e, 0, 0)
                os.dup2(e, 0)
                os.execv(sys.executable, [sys.executable, __file__])
            os.close(w)
            with os.fdopen(r, "rb") as f:
                data = f.read()
            os.waitpid(pid, 0)
            return {"r": 0, "steps": [json.loads(line) for line in data.splitlines()]}
    except OSError as e:
        return {"r": -(e.errno or 5)}
    except KeyError as e:
        return {"r": -9999, "missing": str(e)}
    raise SystemExit("unknown step " + op)


for s in json.load(sys.stdin):
    print(json.dumps(step(s)), flush=True)
if "--hold" in sys.argv:
    time.sleep(60)
