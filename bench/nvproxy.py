"""What nvproxy adds to a forwarded ioctl, against a null driver: ``python -m bench.nvproxy --rootfs DIR``.

No GPU and no simulator: the host's answer is a failing ioctl on a memory file. ``nvproxy_added`` is the cost of forwarding over
a bare trap: lookup, ownership, copies, one host call. The target is 5 µs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from nvsandbox.nvproxy import policy
from nvsandbox.nvproxy.abi import database
from nvsandbox.nvproxy.model import Device, GpuConfig
from nvsandbox.sandbox import control
from nvsandbox.sandbox.config import DEFAULT_INNER, DeviceNode, HostMount, SandboxConfig
from nvsandbox.sandbox.foreground import run_foreground
from nvsandbox.sandbox.launch import RunningSandbox

HERE = Path(__file__).resolve().parent
DRIVER = "535.261.03"
ROWS = ("nvproxy_trap", "nvproxy_rm_control", "nvproxy_added")
COMMAND = "NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE"


def main() -> int:
    p = argparse.ArgumentParser(prog="bench.nvproxy", description=__doc__)
    p.add_argument("--rootfs", required=True)
    p.add_argument("--platform", default="auto")
    p.add_argument(
        "--calls", type=int, default=20000, help="a round; the best of five rounds counts"
    )
    args = p.parse_args()
    exe = Path("build/bench/ioctl_client")
    exe.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["gcc", "-O2", "-static", "-o", str(exe), str(HERE / "ioctl_client.c")], check=True
    )
    c = database().release(DRIVER).command_named(COMMAND)
    assert c is not None
    config = SandboxConfig(
        HostMount(args.rootfs),
        [HostMount(str(exe.resolve()), b"/ioctl_client")],
        list(DEFAULT_INNER),
        platform=args.platform,
    )
    config.devices.append(DeviceNode(b"/dev/nvidiactl", 0o020666, 195 << 8 | 255))
    config.gpu = GpuConfig(
        DRIVER,
        DRIVER,
        [],
        policy.make(None, "compute,utility"),
        [Device("/dev/nvidiactl", "ctl", 195, 255)],
        null=True,
    )
    argv = [b"/ioctl_client", f"{c.id:x}".encode(), str(c.size).encode(), str(args.calls).encode()]
    return run_foreground(RunningSandbox(config), control.process(argv, [], b"/", 0, 0))


if __name__ == "__main__":
    sys.exit(main())
