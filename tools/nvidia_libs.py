#!/usr/bin/env python3
"""Fetch NVIDIA's user-space, the clients of the nvsim tests, from Debian's non-free component.

The redistributable packages are taken through apt from the mirror this machine is configured for,
with a private source list, and unpacked into a cache; nothing is installed on the system. Prints
the directory. They are test inputs under NVIDIA's licence and are never committed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = (
    "libcuda1",
    "nvidia-smi",
    "libnvidia-ml1",
    "libnvidia-ptxjitcompiler1",
    "libnvidia-cfg1",
)
SUITE = "bookworm"


def cache() -> Path:
    """Where the libraries lie."""
    root = os.environ.get("NVSANDBOX_CACHE") or os.path.expanduser("~/.cache/nvsandbox")
    return Path(root) / "nvidia-libs"


def mirror() -> str:
    """The Debian mirror apt is configured for."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        uri, _, codename = line.partition(" ")
        if codename == SUITE:
            return uri
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for path in sources:
        text = path.read_text(errors="replace") if path.is_file() else ""
        for uri in re.findall(r"^(?:URIs:|deb(?:\s+\[.*?\])?)\s*(\S+)", text, re.M):
            if uri.rstrip("/").endswith("/debian"):
                return str(uri)
    raise SystemExit("nvidia_libs: apt has no Debian mirror; add one or set NVSANDBOX_CACHE")


def fetch(target: Path) -> None:
    """Download and unpack the packages into ``target``."""
    with tempfile.TemporaryDirectory(prefix="nvlibs") as tmp:
        lists = Path(tmp, "lists")
        (lists / "partial").mkdir(parents=True)
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        source = Path(tmp, "sources.list")
        source.write_text(f"deb [signed-by={keyring}] {mirror()} {SUITE} non-free\n")
        apt = [
            "apt-get", "-q", "-o", f"Dir::Etc::sourcelist={source}",
            "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::lists={lists}",
            "-o", "APT::Sandbox::User=root", "-o", f"Dir::Cache={tmp}",
        ]  # fmt: skip
        subprocess.run([*apt, "update"], check=True, stdout=sys.stderr)
        subprocess.run([*apt, "download", *PACKAGES], check=True, cwd=tmp, stdout=sys.stderr)
        half = target.with_name(target.name + f".{os.getpid()}")
        for deb in sorted(Path(tmp).glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(deb), str(half)], check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        half.rename(target)


def main() -> None:
    """Make sure they are there."""
    target = cache()
    if not target.is_dir():
        fetch(target)
    print(target)


if __name__ == "__main__":
    main()
