"""ptrace: the Sentry traces its stubs and sees the application's system calls as PTRACE_SYSEMU stops.

For hosts where seccomp's RET_TRAP is not to be had. The tracer is native/ptrace.c.
"""

from __future__ import annotations

import os
from typing import ClassVar, final

from ..native._native import ffi, lib
from ..space import HostPlatform, PlatformError, Space


@final
class Ptrace(HostPlatform):
    """Every stub but the zygote is traced, from before its first program on."""

    __slots__ = ("_death",)
    NAME: ClassVar[str] = "ptrace"
    TRACES: ClassVar[bool] = True

    def __init__(self, image: bytes, elf: bytes) -> None:
        super().__init__(image, elf)
        self._death = ffi.new("int32_t[2]")
        ffi.cast("struct nv_kuser *", self.kuser).ptrace = 1

    def watch_children(self, sigfd: int) -> None:
        lib.nv_pt_init(sigfd)

    def clean_ready(self, space: Space) -> None:
        r = lib.nv_pt_seize(space.threads[0].cdata, space.pid)
        if r < 0:
            raise PlatformError(f"trace a stub: {os.strerror(-r)}")

    def reap(self) -> list[tuple[Space | None, int]]:
        """Deaths reach the tracer's wait; it keeps them for here."""
        out: list[tuple[Space | None, int]] = []
        while lib.nv_pt_death(self._death):
            out.append((self.by_pid.pop(self._death[0], None), self._death[1]))
        return out
