"""Failures of the simulator that a user can do something about."""

from __future__ import annotations


class SimError(Exception):
    """Can't start or go on; the text says what to do, in one line."""
