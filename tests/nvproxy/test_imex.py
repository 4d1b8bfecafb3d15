"""IMEX (memory of cards shared over NVLink between hosts) and multicast memory: nodes, descriptors in parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from nvsandbox.failure import Failure
from nvsandbox.nvproxy import select
from nvsandbox.nvproxy.abi import database

from .conftest import Calls, Inside
from .test_bad_input import refused
from .test_hostile import DEVICE, INVALID_ARGUMENT, NONE, ROOT, SUB, received

VERSION = "550.54.14"
ALLOWED = ("--nvproxy-allowed-driver-capabilities", "compute,utility,imex")
ENV = ("-e", "NVIDIA_DRIVER_CAPABILITIES=compute,utility,imex", "-e", "NVIDIA_IMEX_CHANNELS=1")
SUBSCRIBE = "NV0000_CTRL_CMD_CLIENT_SUBSCRIBE_TO_IMEX_CHANNEL"
LOOK = """
ls /dev/nvidia-caps /dev/nvidia-caps-imex-channels; grep -o imex.* /proc/devices; ls /proc/driver/nvidia/capabilities
exec 3</dev/nvidia-caps-imex-channels/channel1 && echo open
"""


def test_nodes(first: Inside) -> None:
    ran = first.run(["sh", "-c", LOOK], flags=[*NONE, *ALLOWED], do_flags=ENV)
    cap, *rest = [x for x in ran.stdout.decode().split("\n") if x and not x.endswith(":")]
    assert cap.startswith("nvidia-cap") and rest == ["channel1", "imex-channels", "fabric-imex-mgmt", "open"]  # fmt: skip
    ran = first.run(["sh", "-c", "ls /dev | grep caps; true"], flags=[*NONE, *ALLOWED])
    assert ran.stdout == b""


def test_what_cannot_be(first: Inside) -> None:
    refused(first, "needs capability imex", do_flags=ENV[2:])
    refused(first, "channel7` is not there", flags=ALLOWED, do_flags=(*ENV[:3], "NVIDIA_IMEX_CHANNELS=7"))  # fmt: skip
    assert select.imex_channels(" 0, 3,0 ") == [f"{select.IMEX_CHANNELS}{n}" for n in (0, 3)]
    for text in ("all", "-1", "²", "../0", "9" * 6):
        with pytest.raises(Failure, match="is not the number"):
            select.imex_channels(text)


def test_descriptors(first: Inside, tmp_path: Path) -> None:
    """Each must be a file of its kind, and becomes the Sentry's number; of the others nothing reaches the driver."""
    c = Calls(database().release(VERSION)).open("/dev/nvidiactl", "ctl").root("ctl", ROOT)
    c.alloc("ctl", ROOT, ROOT, DEVICE, 0x80, "NV0080_ALLOC_PARAMETERS")
    c.alloc("ctl", ROOT, DEVICE, SUB, 0x2080, "NV2080_ALLOC_PARAMETERS")
    c.open("/dev/nvidia-caps-imex-channels/channel1", "channel").open("/dev/nvidia0", "gpu")
    c.steps[-2]["flags"] = 0
    start = len(c.steps)
    for fd in ("ctl", "gpu", 0, 900, 0xFFFFFFFFFFFFFFFF, "channel"):
        c.control("ctl", ROOT, ROOT, SUBSCRIBE, {"devDescriptor": fd})
    middle = len(c.steps)
    for fd in ("ctl", "channel", 900, "gpu"):
        c.control("ctl", ROOT, SUB, "NV00FD_CTRL_CMD_ATTACH_GPU", {"devDescriptor": fd})  # fmt: skip
    end = len(c.steps)
    c.alloc("ctl", ROOT, ROOT, 0xF1, 0xF1, "NV00F1_ALLOCATION_PARAMETERS", {"capDescriptor": "channel", "pOsEvent": 7})  # fmt: skip
    c.alloc("ctl", ROOT, SUB, 0xFD, 0xFD, "NV00FD_ALLOCATION_PARAMETERS", {"allocSize": 1 << 21, "numGpus": 2})  # fmt: skip
    log = tmp_path / "received"
    got = first.play(
        c.steps, opts=["--received", str(log), "--driver", VERSION], flags=[*NONE, *ALLOWED], do_flags=ENV
    )  # fmt: skip
    for lo, hi, command in (
        (start, middle, SUBSCRIBE),
        (middle, end, "NV00FD_CTRL_CMD_ATTACH_GPU"),
    ):
        statuses = [c.status(r, "NVOS54_PARAMETERS") for r in got[lo:hi]]
        assert statuses[:-1] == [INVALID_ARGUMENT] * (hi - lo - 1)
        known = c.release.command_named(command)
        assert known is not None
        sent = [data for kind, n, data in received(log) if (kind, n) == ("control", known.id)]
        assert len(sent) == 1
        fd = c.view(known.params, sent[0].hex())["devDescriptor"]
        assert 2 < fd < 1024
    classes = {n: data for kind, n, data in received(log) if kind == "class"}
    session = c.view("NV00F1_ALLOCATION_PARAMETERS", classes[0xF1].hex())
    assert session["capDescriptor"] == 0xFFFFFFFFFFFFFFFF and session["pOsEvent"] == 0
    assert c.view("NV00FD_ALLOCATION_PARAMETERS", classes[0xFD].hex())["allocSize"] == 1 << 21
