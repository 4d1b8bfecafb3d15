"""Handlers of control commands, one module a subject; importing them registers them."""

from . import bus, channel, ecc, fb, gr, mig, nvlink, process, subdevice, system, thermal

__all__ = [
    "bus",
    "channel",
    "ecc",
    "fb",
    "gr",
    "mig",
    "nvlink",
    "process",
    "subdevice",
    "system",
    "thermal",
]
