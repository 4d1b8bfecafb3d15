"""systrap: seccomp turns the application's system calls into SIGSYS, which the stub handles."""

from __future__ import annotations

from typing import ClassVar, final

from ..space import HostPlatform


@final
class Systrap(HostPlatform):
    """All of it is in the stub image and the shared part."""

    __slots__ = ()
    NAME: ClassVar[str] = "systrap"
