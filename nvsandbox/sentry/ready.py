"""What a sandbox that is kept ready does while it waits for its first program.

Nothing of the file tree may be remembered, for it may change until then: of the C library's text only what was found in it is kept,
and that is looked up by the file's identity.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from .boot import Boot
from .errors import SysErr
from .fs.gofer_client import GoferClient
from .fs.gofer_node import Node
from .loader import elf
from .mm.mm import page_up

LIBRARIES: Final = (b"usr/lib/x86_64-linux-gnu", b"usr/lib64", b"lib64", b"lib/x86_64-linux-gnu")
FILES: Final = (b"libc.so.6", b"ld-linux-x86-64.so.2")
HEAD: Final = 4096


def get_ready(boot: Boot) -> None:
    """Stubs for the first programs, call sites of the C library. May suspend."""
    k = boot.k
    k.stubs.refill()
    if k.patcher is None or not k.patcher.eager:
        return
    for where in LIBRARIES:
        dirs = _directory(boot.client, where)
        if not dirs:
            continue
        for name in FILES:
            try:
                _look_at(boot, dirs[-1], name)
            except (SysErr, OSError):
                pass
        for n in dirs:
            boot.client.drop(n)
        return


def _directory(client: GoferClient, path: bytes) -> list[Node]:
    """The nodes of ``path`` below the root; none if it is not there, or not without symbolic links."""
    n = client.roots[0]
    out = []
    for name in path.split(b"/"):
        try:
            a = n.find(name)
        except SysErr:
            return []
        if a is None or not stat.S_ISDIR(a.mode):
            return []
        n = Node(client, n, name, a)
        out.append(n)
    return out


def _look_at(boot: Boot, dir: Node, name: bytes) -> None:
    a = dir.find(name)
    if a is None or not stat.S_ISREG(a.mode):
        return
    fd = Node(boot.client, dir, name, a).open(False)
    try:
        head = os.pread(fd, HEAD, 0)
        _t, _e, phoff, _s, _n = elf.parse_header(head)
        patcher = boot.k.patcher
        assert patcher is not None
        for s in elf.parse(head, head[phoff:]).segments:
            if s.prot & 4 and s.filesz:
                start = s.offset & ~0xFFF
                patcher.look_at(fd, start, page_up(s.offset + s.filesz) - start)
    finally:
        os.close(fd)
