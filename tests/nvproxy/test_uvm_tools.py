"""nvidia-uvm-tools with capability profiling: the driver writes events into the application's memory, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nvsandbox.nvproxy.abi import database

from .conftest import Calls, Inside
from .test_hostile import INVALID_ARGUMENT, NONE, UNMAPPED, received

ALLOWED = [*NONE, "--nvproxy-allowed-driver-capabilities", "compute,utility,profiling"]
ENV = ["-e", "NVIDIA_DRIVER_CAPABILITIES=compute,utility,profiling"]
INVALID_ADDRESS = 0x1E
INIT = "UVM_TOOLS_INIT_EVENT_TRACKER"
MIGRATION = 1 << 2


def uvm(c: Calls, fd: str, name: str, values: dict[str, Any] | None = None, ptrs: Any = ()) -> Calls:  # fmt: skip
    """A UVM ioctl; values that are text are variables of the player."""
    ioctl = next(i for i in c.release.ioctls.values() if i.name == name)
    struct = ioctl.params[0]
    plain = {k: v for k, v in (values or {}).items() if isinstance(v, int)}
    sets = [[*c._set(struct, k, v)] for k, v in (values or {}).items() if isinstance(v, str)]
    return c.add(op="ioctl", fd=fd, cmd=ioctl.id, arg=c.fill(struct, plain).hex(), sets=sets, ptrs=list(ptrs))  # fmt: skip


def base(version: str, shared: bool = False) -> Calls:
    c = Calls(database().release(version)).open("/dev/nvidia-uvm", "uvm")
    c.add(op="ioctl", fd="uvm", cmd=0x30000001, arg=c.fill("UVM_INITIALIZE_PARAMS", {}).hex())
    c.open("/dev/nvidia-uvm-tools", "tools")
    for name, size in (("queue", 8192), ("control", 4096)):
        c.add(op="anon", size=size, flags=0x21 if shared else 0x22, fill="5a" * size, **{"as": name})  # fmt: skip
    c.add(op="poke", addr="control", data="00" * 4096)
    return c


def status(c: Calls, name: str, result: dict[str, Any]) -> int:
    assert result["r"] == 0, result
    struct = next(i for i in c.release.ioctls.values() if i.name == name).params[0]
    return c.view(struct, result["arg"])["rmStatus"]


def test_events_arrive(inside: Inside, tmp_path: Path) -> None:
    """Entries of 64 bytes; with later releases' second version of 72, in memory that is shared, too."""
    for version, init, entry, shared in (
        ("535.261.03", INIT, 64, False), ("595.45.04", INIT, 64, True), ("595.45.04", f"{INIT}_V2", 72, False),
    ):  # fmt: skip
        c = base(version, shared)
        tracker = {
            "queueBuffer": "queue",
            "queueBufferSize": 64,
            "controlBuffer": "control",
            "uvmFd": "uvm",
        }
        uvm(c, "tools", init, tracker)
        uvm(c, "tools", "UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS", {"eventTypeFlags": (1 << 64) - 1})
        uvm(c, "tools", "UVM_TOOLS_SET_NOTIFICATION_THRESHOLD", {"notificationThreshold": 1})
        for n in (1, 2):
            uvm(c, "uvm", "UVM_MIGRATE", {"base": n << 21, "length": n << 12})
        c.add(op="peek", addr="control", size=16).add(op="peek", addr="queue", size=3 * entry)
        uvm(c, "tools", "UVM_TOOLS_EVENT_QUEUE_DISABLE_EVENTS", {"eventTypeFlags": MIGRATION})
        uvm(c, "uvm", "UVM_MIGRATE", {"base": 1 << 21, "length": 4096})
        c.add(op="peek", addr="control", size=16).add(op="close", fd="tools")
        c.add(op="poke", addr="queue", data="11" * 8192)
        log = tmp_path / "received"
        got = inside.play(
            c.steps, opts=["--driver", version, "--received", str(log)], flags=ALLOWED, do_flags=ENV
        )  # fmt: skip
        assert status(c, init, got[6]) == 0
        assert [bytes.fromhex(got[n]["data"])[8:16] for n in (11, 15)] == [b"\2\0\0\0\2\0\0\0"] * 2
        queue = bytes.fromhex(got[12]["data"])
        first, second, rest = (queue[i * entry : (i + 1) * entry] for i in range(3))
        assert (first[0], first[8:16], second[16:24]) == (2, (1 << 21).to_bytes(8, "little"), (2 << 12).to_bytes(8, "little"))  # fmt: skip
        assert rest == b"\x5a" * entry
        enabled = [data for kind, n, data in received(log) if (kind, n) == ("uvm", 0x3A)]
        flags = int.from_bytes(enabled[0][:8], "little")
        assert flags & MIGRATION and not flags & (1 << 4 | 1 << 5 | 1 << 63), "others' faults"
        number = next(i.id for i in c.release.ioctls.values() if i.name == init)
        sent = [data for kind, n, data in received(log) if (kind, n) == ("uvm", number)]
        outside = got[6]["arg"]
        assert len(sent) == 1 and sent[0][:8].hex() != outside[:16] and sent[0][16:24].hex() != outside[32:48]  # fmt: skip


def test_what_is_refused(first: Inside, tmp_path: Path) -> None:
    c = base("535.261.03").open("/dev/nvidiactl", "ctl")
    good = {
        "queueBuffer": "queue",
        "queueBufferSize": 64,
        "controlBuffer": "control",
        "uvmFd": "uvm",
    }
    bad: list[tuple[dict[str, Any], int]] = [
        ({"uvmFd": "ctl"}, INVALID_ARGUMENT), ({"uvmFd": "tools"}, INVALID_ARGUMENT), ({"uvmFd": 0}, INVALID_ARGUMENT),
        ({"queueBuffer": UNMAPPED & ~4095}, INVALID_ADDRESS), ({"queueBuffer": 1 << 47}, INVALID_ADDRESS),
        ({"queueBuffer": 4100}, INVALID_ADDRESS), ({"controlBuffer": UNMAPPED & ~4095}, INVALID_ADDRESS),
        ({"controlBuffer": 1}, INVALID_ARGUMENT), ({"queueBufferSize": 1 << 40}, INVALID_ARGUMENT),
    ]  # fmt: skip
    start = len(c.steps)
    for more, _ in bad:
        uvm(c, "tools", INIT, good | more)
    middle = len(c.steps)
    uvm(c, "uvm", INIT, good)
    for fd in ("tools", "uvm"):
        uvm(c, fd, "UVM_TOOLS_READ_PROCESS_MEMORY", {"buffer": "queue", "size": 8, "targetVa": "control"})  # fmt: skip
        uvm(c, fd, "UVM_TOOLS_WRITE_PROCESS_MEMORY", {"buffer": "queue", "size": 8, "targetVa": "control"})  # fmt: skip
    uvm(c, "tools", "UVM_MIGRATE", {"base": 1 << 21})
    log = tmp_path / "received"
    got = first.play(c.steps, opts=["--received", str(log)], flags=ALLOWED, do_flags=ENV)
    assert [status(c, INIT, r) for r in got[start:middle]] == [want for _, want in bad]
    assert [r["r"] for r in got[middle:]] == [-22] * 6
    assert {n for kind, n, _ in received(log) if kind == "uvm"} <= {0x30000001}
    c = base("535.261.03")
    uvm(c, "tools", INIT, good)
    assert first.play(c.steps, flags=NONE)[-1]["r"] == -22  # without the capability


def test_processors_are_the_sandboxs(first: Inside) -> None:
    """The table has every card of the machine; those of others are blank."""
    c = base("535.261.03")
    struct = next(i for i in c.release.ioctls.values() if i.name == "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE").params[0]  # fmt: skip
    at, _ = c.at(struct, "tablePtr")
    uvm(c, "uvm", "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE", ptrs=[[at, "00" * 528, []]])
    got = first.play(c.steps, opts=["--count", "3"], gpus="1", flags=ALLOWED, do_flags=ENV)
    table = bytes.fromhex(got[-1]["ptrs"][0])
    rows = [table[i : i + 16] for i in range(0, 64, 16)]
    assert [any(r) for r in rows] == [True, False, True, False]
    assert table[64:] == bytes(528 - 64)
