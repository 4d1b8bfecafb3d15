"""nvsandbox: a GPU-capable container sandbox with an application kernel of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sandbox.api import Result, Sandbox, SandboxError, SandboxPool

__version__ = "0.1.0"
__all__ = ["Result", "Sandbox", "SandboxError", "SandboxPool", "__version__"]


def __getattr__(name: str) -> object:
    """The library's names are imported when used: the command line starts faster without them."""
    if name in ("Result", "Sandbox", "SandboxError", "SandboxPool"):
        from .sandbox import api

        return getattr(api, name)
    raise AttributeError(name)
