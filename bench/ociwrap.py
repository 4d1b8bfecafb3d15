"""Runs one command under an OCI runtime, on a bundle made for it: ``python -m bench.ociwrap RUNTIME ROOTFS BINDIR CMD…``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile


def main() -> int:
    runtime, rootfs, bindir, *argv = sys.argv[1:]
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([runtime, "spec", "-b", d], check=True)
        path = os.path.join(d, "config.json")
        with open(path) as f:
            spec = json.load(f)
        spec["process"]["args"] = argv
        spec["process"]["terminal"] = False
        spec["root"] = {"path": rootfs, "readonly": True}
        spec["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
            {"destination": "/mnt", "type": "bind", "source": bindir, "options": ["rbind", "ro"]},
        ]
        spec["process"]["args"] = [a.replace("/bench/", "/mnt/") for a in argv]
        with open(path, "w") as f:
            json.dump(spec, f)
        return subprocess.run([runtime, "run", "-b", d, f"bench-{os.getpid()}"]).returncode


if __name__ == "__main__":
    sys.exit(main())
