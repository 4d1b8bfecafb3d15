"""The one exception that reaches a user: a single line, and the exit code that goes with it."""

from __future__ import annotations


class Failure(Exception):
    """What went wrong, in one line for a person: operation, object in backquotes, cause."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def reason(e: OSError) -> str:
    """The cause of a failed host call, as it ends a sentence."""
    return (e.strerror or str(e)).lower()
