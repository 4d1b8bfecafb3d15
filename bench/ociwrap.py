"""Runs one command under an OCI runtime, on a bundle made for it: ``python -m bench.ociwrap RUNTIME ROOTFS BINDIR CMD…``.

``--time``: prints what ``run`` of it takes, and ``exec`` in a container that sleeps, as ``ROW NANOSECONDS``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

MORE_CAPABILITIES = ("CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")


NVSANDBOX = os.path.join(os.path.dirname(sys.executable), "nvsandbox")


def bundle(d: str, rootfs: str, bindir: str, argv: list[str]) -> None:
    """The same for all runtimes: what they would write themselves differs (runsc's has no network namespace)."""
    subprocess.run([NVSANDBOX, "spec", "--bundle", d], check=True)
    path = os.path.join(d, "config.json")
    with open(path) as f:
        spec = json.load(f)
    spec["process"]["terminal"] = False
    for kept in spec["process"]["capabilities"].values():
        kept += MORE_CAPABILITIES
    spec["root"] = {"path": rootfs, "readonly": True}
    spec["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        {"destination": "/mnt", "type": "bind", "source": bindir, "options": ["rbind", "ro"]},
    ]
    spec["process"]["args"] = [a.replace("/bench/", "/mnt/") for a in argv]
    with open(path, "w") as f:
        json.dump(spec, f)


def timed(argv: list[str]) -> int:
    start = time.perf_counter_ns()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter_ns() - start


def rows(runtime: list[str], rootfs: str, bindir: str, argv: list[str]) -> None:
    with tempfile.TemporaryDirectory() as d:
        bundle(d, rootfs, bindir, argv)
        print("oci_run_true", timed([*runtime, "run", "--bundle", d, f"bench-{os.getpid()}"]))
    with tempfile.TemporaryDirectory() as d:
        bundle(d, rootfs, bindir, ["sleep", "60"])
        ident = f"bench-{os.getpid()}s"
        null = subprocess.DEVNULL
        create = [*runtime, "create", "--bundle", d, ident]
        subprocess.run(create, check=True, stdin=null, stdout=null, stderr=null)
        try:
            subprocess.run([*runtime, "start", ident], check=True)
            timed([*runtime, "exec", ident, *argv])
            print("oci_exec_true", timed([*runtime, "exec", ident, *argv]))
        finally:
            subprocess.run([*runtime, "delete", "--force", ident], check=False)


def main() -> int:
    args = sys.argv[1:]
    timing = args[0] == "--time"
    name, rootfs, bindir, *argv = args[timing:]
    runtime = name.split()
    if timing:
        rows(runtime, rootfs, bindir, argv)
        return 0
    with tempfile.TemporaryDirectory() as d:
        bundle(d, rootfs, bindir, argv)
        return subprocess.run([*runtime, "run", "--bundle", d, f"bench-{os.getpid()}"]).returncode


if __name__ == "__main__":
    sys.exit(main())
