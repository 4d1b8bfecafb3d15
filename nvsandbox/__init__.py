"""nvsandbox: a GPU-capable container sandbox with an application kernel of its own."""

__version__ = "0.1.0"
