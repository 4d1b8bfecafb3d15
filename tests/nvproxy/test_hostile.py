"""Hostile clients. What counts is what reaches the driver: nvsim writes down every call it receives, and that is what is checked."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from nvsandbox.nvproxy import policy
from nvsandbox.nvproxy.abi import Kind
from nvsandbox.nvproxy.plan import Abi, escape_cmd

from .conftest import PLAYER, Calls, Inside

ROOT, DEVICE, SUB, MEM = 0xC1D0F00D, 0xCAFE0080, 0xCAFE2080, 0xCAFE0040
MARK = 0x5A5A_0000_0000  # every address the client invents has these bits
KERNEL = 0xFFFF_8880_0000_1000
UNMAPPED = MARK + 0x1000
NONE = ["--nvproxy-driver-root", "none"]
NOT_SUPPORTED, INVALID_CLIENT, INVALID_ARGUMENT, INVALID_POINTER = 0x56, 0x23, 0x1F, 0x3D
INVALID_PARAM_STRUCT, INSUFFICIENT_PERMISSIONS, INVALID_CLASS, INVALID_DEVICE = (
    0x3A,
    0x1B,
    0x22,
    0x26,
)


def received(path: Path) -> list[tuple[str, int, bytes]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    own = rows[-1][2]  # the Sentry's: the launcher's questions come before
    return [
        (r[0], int(r[1], 0), bytes.fromhex(r[3]) if len(r) > 3 else b"")
        for r in rows
        if r[2] == own
    ]


def base() -> Calls:
    c = Calls()
    c.open("/dev/nvidiactl", "ctl").root("ctl", ROOT)
    c.alloc("ctl", ROOT, ROOT, DEVICE, 0x80, "NV0080_ALLOC_PARAMETERS")
    c.alloc("ctl", ROOT, DEVICE, SUB, 0x2080, "NV2080_ALLOC_PARAMETERS")
    return c


def play(
    inside: Inside, c: Calls, tmp_path: Path, **more: Any
) -> tuple[list[dict[str, Any]], list[tuple[str, int, bytes]]]:
    log = tmp_path / "received"
    got = inside.play(
        c.steps,
        opts=["--received", str(log), *more.pop("opts", ())],
        flags=[*NONE, *more.pop("flags", ())],
        **more,
    )
    assert len(got) == len(c.steps)
    return got, received(log)


def check_log(c: Calls, rows: list[tuple[str, int, bytes]]) -> None:
    """Nothing that policy or ABI don't allow, no size that isn't the struct's, no address of the client's."""
    abi = Abi(c.release, policy.make("compute,utility", "compute,utility"))
    allowed = {n for kind in ("frontend", "uvm") for n in policy.table()[kind]}
    for kind, number, data in rows:
        if kind == "control":
            p = abi.control(number)
            assert not p.reason, p.name
            assert not p.sized or len(data) == p.size, p.name
        elif kind == "class":
            p = abi.cls(number)
            assert not p.reason, p.name
        else:
            p = abi.uvm(number) if kind == "uvm" else abi.escape(number)
            assert p.name in allowed, p.name
        if p.struct not in c.release.structs:
            continue
        for name, f in abi._flat(c.release.structs[p.struct].fields):
            if f.kind is Kind.POINTER and f.size == 8 and f.offset + 8 <= len(data):
                value = int.from_bytes(data[f.offset : f.offset + 8], "little")
                if value == (1 << 64) - 1:
                    continue  # no descriptor
                assert value >> 40 != MARK >> 40 and value < 1 << 63, (p.name, name, hex(value))


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_calls(first: Inside, tmp_path: Path, seed: int) -> None:
    """Structure-aware: right numbers with wrong sizes, wrong numbers, wild pointers, handles and descriptors."""
    rng = random.Random(seed)
    c = base().open("/dev/nvidia0", "gpu").open("/dev/nvidia-uvm", "uvm")
    c.add(op="ioctl", fd="uvm", cmd=0x30000001, arg=c.fill("UVM_INITIALIZE_PARAMS", {}).hex())
    commands = sorted(c.release.commands)
    escapes = sorted(i.id for i in c.release.ioctls.values() if i.device == "frontend")
    uvms = sorted(i.id for i in c.release.ioctls.values() if i.device == "uvm")
    classes = sorted(c.release.classes)

    def wild(n: int) -> bytes:
        words = [0, 1, 0xFFFFFFFF, ROOT, DEVICE, SUB, 256, 3, 900, 0x7FFFFFFF]
        out = b""
        while len(out) < n:
            if rng.random() < 0.2 and len(out) % 8 == 0:
                out += rng.choice([UNMAPPED, KERNEL, MARK + rng.randrange(1 << 30)]).to_bytes(
                    8, "little"
                )
            else:
                out += rng.choice([*words, rng.randrange(1 << 32)]).to_bytes(4, "little")
        return out[:n]

    for _ in range(250):
        what = rng.random()
        if what < 0.5:
            cmd = rng.choice(commands) if rng.random() < 0.8 else rng.randrange(1 << 32)
            known = c.release.commands.get(cmd)
            size = known.size if known else 64
            size = size if rng.random() < 0.7 else rng.choice([0, 1, 4, size + 4, 1 << 16, 5000])
            data = wild(min(size, 1 << 16))
            c.control("ctl", ROOT, rng.choice([ROOT, DEVICE, SUB, 77]), cmd, data=data)
        elif what < 0.65:
            cls = rng.choice(classes)
            k = c.release.classes[cls]
            n = c.layouts.size(k.params) if k.params in c.release.structs else 16
            head = c.fill("NVOS64_PARAMETERS", {"hRoot": ROOT, "hObjectParent": rng.choice([ROOT, DEVICE, SUB]),
                          "hObjectNew": 0xBEEF0000 + len(c.steps), "hClass": cls, "paramsSize": rng.choice([0, n, 4])})  # fmt: skip
            c.add(
                op="ioctl",
                fd="ctl",
                cmd=escape_cmd(0x2B, 48),
                arg=head.hex(),
                ptrs=[[16, wild(n).hex(), []]],
            )
        elif what < 0.85:
            nr = rng.choice(escapes) if rng.random() < 0.9 else rng.randrange(256)
            c.add(
                op="ioctl",
                fd=rng.choice(["ctl", "gpu"]),
                cmd=escape_cmd(nr, rng.choice([16, 32, 56, 184, 72, 8])),
                arg=wild(256).hex(),
            )
        else:
            nr = rng.choice(uvms) if rng.random() < 0.9 else rng.randrange(0x800)
            if nr not in (0x30000001, 0x30000002):
                c.add(op="ioctl", fd="uvm", cmd=nr, arg=wild(16384).hex())
    c.open("/dev/nvidiactl", "again").root("again", 0xC1D0F00E)
    got, rows = play(first, c, tmp_path)
    assert c.status(got[-1], "NVOS64_PARAMETERS") == 0, "the sandbox must live on"
    assert len(rows) > 30
    check_log(c, rows)


def test_pointers_nowhere(first: Inside, tmp_path: Path) -> None:
    c = base()
    for address in (UNMAPPED, KERNEL, 8):
        head = c.fill(
            "NVOS54_PARAMETERS",
            {
                "hClient": ROOT,
                "hObject": SUB,
                "cmd": 0x20800110,
                "params": address,
                "paramsSize": 132,
            },
        )
        size = c.release.commands[0x20800110].size
        head = c.fill(
            "NVOS54_PARAMETERS",
            {
                "hClient": ROOT,
                "hObject": SUB,
                "cmd": 0x20800110,
                "params": address,
                "paramsSize": size,
            },
        )
        c.add(op="ioctl", fd="ctl", cmd=0xC020462A, arg=head.hex())
        c.add(op="ioctl", fd="ctl", cmd=0xC020462A, arg="00" * 32, raw=address)
        c.control(
            "ctl",
            ROOT,
            SUB,
            "NV2080_CTRL_CMD_GR_GET_INFO",
            {"grInfoListSize": 4, "grInfoList": address},
        )
    got, rows = play(first, c, tmp_path)
    assert [r["r"] for r in got[4:]] == [-14] * 9  # EFAULT
    assert not [r for r in rows if r[0] == "control" and r[1] in (0x20800110, 0x20801201)]


def test_lying_sizes(first: Inside, tmp_path: Path) -> None:
    c = base()
    for size in (0, 1, 131, 4096, 1 << 20, 0xFFFFFFFF):
        c.control("ctl", ROOT, SUB, "NV2080_CTRL_CMD_GPU_GET_NAME_STRING", size=size)
    for n in (0xFFFFFFFF, 1 << 20, 4097):
        c.control(
            "ctl",
            ROOT,
            SUB,
            "NV2080_CTRL_CMD_GR_GET_INFO",
            {"grInfoListSize": n, "grInfoList": 4096},
        )
    got, rows = play(first, c, tmp_path)
    statuses = [c.status(r, "NVOS54_PARAMETERS") for r in got[4:]]
    assert statuses == [INVALID_PARAM_STRUCT] * 6 + [INVALID_ARGUMENT] * 3
    assert not [r for r in rows if r[0] == "control"]


def test_every_name_with_lying_sizes(first: Inside, tmp_path: Path) -> None:
    """Each command, class and ioctl of the release, parameters full of addresses: a size that isn't the struct's goes nowhere."""
    c = base().open("/dev/nvidia0", "gpu").open("/dev/nvidia-uvm", "uvm")
    c.add(op="ioctl", fd="uvm", cmd=0x30000001, arg=c.fill("UVM_INITIALIZE_PARAMS", {}).hex())
    start = len(c.steps)
    wild = (MARK + 5).to_bytes(8, "little") * 2048
    for cmd, k in sorted(c.release.commands.items()):
        for size in {0, k.size - 1, k.size + 1, k.size + 8, 0x7FFFFFFF, 0xFFFFFFFF} - {-1, k.size}:
            c.control("ctl", ROOT, SUB, cmd, data=wild[: min(k.size + 8, 4096)], size=size)
    lies = len(c.steps)
    for cls, kind in sorted(c.release.classes.items()):
        n = c.layouts.size(kind.params) if kind.params in c.release.structs else 16
        for size in (0, 1, n - 1, n, n + 1, 0xFFFFFFFF):
            head = {"hRoot": ROOT, "hObjectParent": SUB, "hObjectNew": 0xBEEF0000 + len(c.steps), "hClass": cls, "paramsSize": size}  # fmt: skip
            c.escape("ctl", "NV_ESC_RM_ALLOC", "NVOS64_PARAMETERS", head, ptrs=[[16, wild[:n].hex(), []]])  # fmt: skip
    for i in sorted(c.release.ioctls.values(), key=lambda i: i.id):
        sizes = (0, 1, 4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 128, 184, 256, 4096, 16383)
        cmds = [escape_cmd(i.id, n) for n in sizes] if i.device == "frontend" else [i.id]
        for cmd in cmds if i.id not in (0x30000001, 0x30000002) else ():
            for fd in ("ctl", "gpu", "uvm"):
                c.add(op="ioctl", fd=fd, cmd=cmd, arg=wild.hex())
    c.open("/dev/nvidiactl", "again").root("again", 0xC1D0F00E)
    got, rows = play(first, c, tmp_path)
    assert c.status(got[-1], "NVOS64_PARAMETERS") == 0, "the sandbox must live on"
    assert len(got) > 10_000
    assert all(r["r"] < 0 or c.status(r, "NVOS54_PARAMETERS") for r in got[start:lies])
    check_log(c, rows)


def test_parameters_rewritten_during_the_call(first: Inside, tmp_path: Path) -> None:
    """Another thread swaps the command between an allowed and a forbidden one: each call is judged by the copy that is forwarded."""
    c = base()
    forbidden = c.release.command_named("NV2080_CTRL_CMD_GPU_SET_PARTITIONS")
    allowed = c.release.command_named("NV2080_CTRL_CMD_GPU_GET_NAME_STRING")
    assert forbidden is not None and allowed is not None
    data = bytes(max(forbidden.size, allowed.size))
    at, _ = c.at("NVOS54_PARAMETERS", "cmd")
    c.control(
        "ctl",
        ROOT,
        SUB,
        allowed.id,
        data=data,
        size=allowed.size,
        race=[at, allowed.id, forbidden.id],
        times=400,
    )
    got, rows = play(first, c, tmp_path)
    assert got[-1]["r"] == 0
    assert {r[1] for r in rows if r[0] == "control"} <= {allowed.id}
    check_log(c, rows)


def test_foreign_descriptors(first: Inside, tmp_path: Path) -> None:
    """A descriptor in parameters must be a device of the right kind: not a file, a pipe, a number of the Sentry's, or nothing."""
    c = (
        base()
        .open("/etc/passwd", "file")
        .open("/dev/nvidia-uvm", "uvm")
        .open("/dev/nvidia0", "gpu")
    )
    c.steps[-3]["flags"] = 0
    c.alloc("ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 1 << 20})
    values = {
        "params.hClient": ROOT,
        "params.hDevice": DEVICE,
        "params.hMemory": MEM,
        "params.length": 4096,
    }
    start = len(c.steps)
    for fd in ("file", "uvm", 0, 1, 5, 40, 900, 0xFFFFFFFF):
        c.escape(
            "ctl",
            "NV_ESC_RM_MAP_MEMORY",
            "nv_ioctl_nvos33_parameters_with_fd",
            {**values, "fd": fd},
        )
    middle = len(c.steps)
    for fd in ("file", "uvm", "gpu", 0, 40, 0xFFFFFFFF):
        c.escape("gpu", "NV_ESC_REGISTER_FD", "nv_ioctl_register_fd_t", {"ctl_fd": fd})
    got, rows = play(first, c, tmp_path)
    whole = [
        c.view("nv_ioctl_nvos33_parameters_with_fd", r["arg"]).sub("params")["status"]
        for r in got[start:middle]
    ]
    assert whole[:2] == [INVALID_ARGUMENT] * 2 and set(whole) == {INVALID_ARGUMENT}
    assert [r["r"] for r in got[middle:]] == [-22] * 6
    assert not [r for r in rows if r[0] == "frontend" and r[1] in (0x4E, 0xC9)]


def duplicator() -> Calls:
    """Another process's client, which duplicates the memory of ``base``'s into its own."""
    c = Calls().open("/dev/nvidiactl", "ctl").root("ctl", 0xC1D0BAD0)
    c.alloc("ctl", 0xC1D0BAD0, 0xC1D0BAD0, DEVICE, 0x80, "NV0080_ALLOC_PARAMETERS")
    theft = {
        "hClient": 0xC1D0BAD0,
        "hParent": DEVICE,
        "hObject": 0xBAD,
        "hClientSrc": ROOT,
        "hObjectSrc": MEM,
    }
    return c.escape("ctl", "NV_ESC_RM_DUP_OBJECT", "NVOS55_PARAMETERS", theft)


def test_foreign_clients(first: Inside, tmp_path: Path) -> None:
    """A client is its file's: not usable through another, nor by another process, nor its objects duplicated or named in parameters."""
    c = base().alloc(
        "ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 1 << 20}
    )
    c.open("/dev/nvidiactl", "other")
    start = len(c.steps)
    c.control("other", ROOT, SUB, "NV2080_CTRL_CMD_GPU_GET_NAME_STRING").free("other", ROOT, MEM)
    thief = duplicator()
    thief.alloc(
        "ctl",
        0xC1D0BAD0,
        0xC1D0BAD0,
        0xBAE,
        0x80,
        "NV0080_ALLOC_PARAMETERS",
        {"hClientShare": ROOT},
    )
    thief.control("ctl", ROOT, SUB, "NV2080_CTRL_CMD_GPU_GET_NAME_STRING")
    c.add(op="spawn", steps=thief.steps)
    got, rows = play(first, c, tmp_path)
    assert c.status(got[start], "NVOS54_PARAMETERS") == INVALID_CLIENT
    assert c.status(got[start + 1], "NVOS00_PARAMETERS") == INVALID_CLIENT
    stolen = got[start + 2]["steps"]
    assert c.status(stolen[3], "NVOS55_PARAMETERS") == INSUFFICIENT_PERMISSIONS
    assert c.status(stolen[4], "NVOS64_PARAMETERS") == INVALID_CLIENT
    assert c.status(stolen[5], "NVOS54_PARAMETERS") == INVALID_CLIENT
    assert not [r for r in rows if r[0] == "frontend" and r[1] == 0x34]


def test_sharing_stays_in_the_sandbox(first: Inside, tmp_path: Path) -> None:
    """An object shared with everybody can be duplicated by the sandbox's other processes, not by those of another user; the host is only
    ever told "the same process". A policy for a whole client, or with cards and partitions, goes no further either."""
    c = base().alloc(
        "ctl", ROOT, DEVICE, MEM, 0x40, "NV_MEMORY_ALLOCATION_PARAMS", {"size": 1 << 20}
    )
    friend = duplicator()
    stranger = [{"op": "setuid", "uid": 1000}, *friend.steps]
    c.add(op="spawn", steps=friend.steps)  # 5: not shared yet
    for kind in (2, 1, 6):
        share = {"hClient": ROOT, "hObject": MEM, "sharePolicy.type": kind}
        c.escape("ctl", "NV_ESC_RM_SHARE", "NVOS57_PARAMETERS", share)
        c.add(op="spawn", steps=friend.steps).add(op="spawn", steps=stranger)
    c.control(
        "ctl",
        ROOT,
        ROOT,
        "NV0000_CTRL_CMD_CLIENT_SET_INHERITED_SHARE_POLICY",
        {"sharePolicy.type": 1},
    )
    got, rows = play(first, c, tmp_path)
    dup = [c.status(r["steps"][-1], "NVOS55_PARAMETERS") for r in got[5:] if "steps" in r]
    no = INSUFFICIENT_PERMISSIONS
    assert dup == [no, 0, no, 0, 0, 0, 0]  # the refused third policy changes nothing
    shares = [
        c.status(r, "NVOS57_PARAMETERS")
        for s, r in zip(c.steps, got, strict=True)
        if s.get("cmd", 0) & 0xFF == 0x35
    ]
    assert shares == [0, 0, no]
    at, _ = c.at("NVOS57_PARAMETERS", "sharePolicy.type")
    told = [r[2][at] for r in rows if r[0] == "frontend" and r[1] == 0x35]
    told += [r[2][8] for r in rows if r[0] == "control" and r[1] == 0xD04]
    assert told == [4, 4, 4]  # RS_SHARE_TYPE_PID
    kept = c.view("NV0000_CTRL_CLIENT_SET_INHERITED_SHARE_POLICY_PARAMS", got[-1]["ptrs"][0]).sub(
        "sharePolicy"
    )
    assert kept["type"] == 1  # as the application wrote it


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 7])
def test_only_addresses_are_registered(first: Inside, tmp_path: Path, kind: int) -> None:
    """An OS descriptor can also be a page array, a physical or kernel address, a file, a dma-buf: none of that is forwarded."""
    c = base().add(op="anon", size=8192, **{"as": "m"})
    values = {"descriptor": "m", "limit": 4095, "descriptorType": kind}
    c.alloc("ctl", ROOT, DEVICE, MEM, 0x71, "NV_OS_DESC_MEMORY_ALLOCATION_PARAMS", values)
    got, rows = play(first, c, tmp_path)
    assert c.status(got[-1], "NVOS64_PARAMETERS") == NOT_SUPPORTED
    assert not [r for r in rows if r[:2] == ("class", 0x71)]


def test_devices_made_by_hand(first: Inside) -> None:
    """mknod of a card that the sandbox doesn't have, or of a minor that nobody has, leads nowhere."""
    script = "cd /tmp; for m in 0 1 2 254; do mknod n$m c 195 $m; done; for m in 0 1 2 254; do (: <>n$m) 2>/dev/null && echo $m; done; true"
    ran = first.run(["bash", "-c", script], ["--count", "3"], gpus="1", flags=NONE)
    assert ran.stdout == b"1\n"


def test_allocation_storm(first: Inside, tmp_path: Path) -> None:
    """Clients are bounded; a sandbox that made too many goes on, and its end frees them on the host."""
    c = Calls().open("/dev/nvidiactl", "ctl")
    c.escape("ctl", "NV_ESC_RM_ALLOC", "NVOS64_PARAMETERS", {"hClass": 0x41}, times=4100)
    c.open("/dev/nvidiactl", "next").root("next", ROOT).add(op="close", fd="ctl").root(
        "next", ROOT + 1
    )
    got, _ = play(first, c, tmp_path)
    assert c.status(got[1], "NVOS64_PARAMETERS") != 0
    assert c.status(got[3], "NVOS64_PARAMETERS") == 0x1A  # insufficient resources
    assert c.status(got[5], "NVOS64_PARAMETERS") == 0


def test_refusals_are_named_once_each(first: Inside, tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    c = base()
    for _ in range(3):
        c.control("ctl", ROOT, SUB, "NV2080_CTRL_CMD_GPU_EXEC_REG_OPS")
    first.run(
        ["python3", "/player.py"], flags=[*NONE, "--nvproxy-audit", str(audit)],
        do_flags=["-v", f"{PLAYER}:/player.py:ro"], stdin=json.dumps(c.steps).encode(),
    )  # fmt: skip
    rows = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(r["ev"], r["name"], r["comm"]) for r in rows] == [
        ("refused", "NV2080_CTRL_CMD_GPU_EXEC_REG_OPS", "python3")
    ]
    assert "profiling" in rows[0]["why"]


def test_a_policy_file_narrows_and_widens(first: Inside, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        'deny = ["NV2080_CTRL_CMD_GPU_GET_NAME_STRING"]\nallow = ["NV2080_CTRL_CMD_GPU_EXEC_REG_OPS"]\n'
    )
    c = base()
    c.control("ctl", ROOT, SUB, "NV2080_CTRL_CMD_GPU_GET_NAME_STRING")
    c.control("ctl", ROOT, SUB, "NV2080_CTRL_CMD_GPU_EXEC_REG_OPS")
    got, rows = play(first, c, tmp_path, flags=["--nvproxy-policy", str(rules)])
    assert c.status(got[4], "NVOS54_PARAMETERS") == NOT_SUPPORTED
    assert [r[1] for r in rows if r[0] == "control"] == [0x20800122]


def test_descriptors_are_shared_as_on_linux(inside: Inside, tmp_path: Path) -> None:
    """dup, fork and sending over a socket: the same open file, so the same client; it lives as long as anybody has it."""
    ask = "NV2080_CTRL_CMD_GPU_GET_NAME_STRING"
    c = base()
    c.add(op="dup", fd="ctl", **{"as": "copy"}).control("copy", ROOT, SUB, ask)
    c.add(op="fork", steps=Calls().control("ctl", ROOT, SUB, ask).steps)
    c.add(op="close", fd="copy")
    sent = Calls().control("got", ROOT, SUB, ask).add(op="close", fd="got")
    c.add(op="pass", fd="ctl", **{"as": "got"}, steps=sent.steps)  # the last there is
    c.open("/dev/nvidiactl", "ctl").root("ctl", ROOT)  # its handle is free again
    got, rows = play(inside, c, tmp_path)
    for answer in (got[5], got[6]["steps"][0], got[8]["steps"][0]):
        assert c.status(answer, "NVOS54_PARAMETERS") == 0, got
    assert c.status(got[-1], "NVOS64_PARAMETERS") == 0, got
    command = c.release.command_named(ask)
    assert command is not None and [r[1] for r in rows].count(command.id) == 3


def test_devices_of_which_nothing_is_forwarded(first: Inside, tmp_path: Path) -> None:
    """nvidia-uvm-tools opens, its ioctls are refused and named where there is no profiling; there is no nvidia-modeset, whoever makes a node of it."""
    audit = tmp_path / "audit"
    script = """
import fcntl, os, stat
f = os.open("/dev/nvidia-uvm-tools", os.O_RDWR)
for cmd in (56, 62):
    try: print(fcntl.ioctl(f, cmd, bytes(256)))
    except OSError as e: print(e.errno)
print(os.path.exists("/dev/nvidia-modeset"))
os.mknod("/tmp/m", stat.S_IFCHR | 0o666, os.makedev(195, 254))
try: os.open("/tmp/m", os.O_RDWR)
except OSError as e: print(e.errno)
"""
    ran = first.run(["python3", "-c", script], flags=[*NONE, "--nvproxy-audit", str(audit)])
    assert ran.stdout.split() == [b"22", b"22", b"False", b"6"]
    rows = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(r["ev"], r["kind"], r["name"]) for r in rows] == [
        ("refused", "ioctl", f"UVM_TOOLS_{name}") for name in ("INIT_EVENT_TRACKER", "READ_PROCESS_MEMORY")
    ]  # fmt: skip
