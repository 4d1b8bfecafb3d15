"""Unit tests look into the kernel's modules with stand-ins of their own: they run on the sources."""

from __future__ import annotations

from nvsandbox import compiled

compiled.fresh = lambda: False
