"""Garbage is found in quiet moments, and by the interpreter when there are none."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from nvsandbox.sentry.kernel.garbage import LATE, TIMES, YOUNG, Garbage


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    before = gc.get_threshold()
    gc.collect()
    yield Garbage()
    gc.set_threshold(*before)


class Node:
    """One that refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_cycles_go_at_the_next_look(garbage: Garbage) -> None:
    lost = weakref.ref(Node())
    assert not garbage.due()
    kept = [[] for _ in range(YOUNG)]
    assert garbage.due()
    assert lost() is not None
    garbage.collect()
    assert lost() is None
    assert not garbage.due()
    assert kept


def test_what_has_grown_old_goes_too(garbage: Garbage) -> None:
    node = Node()
    gc.collect()
    lost = weakref.ref(node)
    del node
    looks = 0
    while lost() is not None:
        garbage.full_at = 0
        garbage.collect()
        looks += 1
        assert looks <= (TIMES + 2) ** 2
    assert looks > TIMES


def test_all_objects_are_not_looked_at_too_often(garbage: Garbage) -> None:
    while garbage.full_at == 0:
        garbage.collect()
    node = Node()
    gc.collect()
    lost = weakref.ref(node)
    del node
    garbage.full_at *= 2
    for _ in range((TIMES + 2) ** 2):
        garbage.collect()
    assert lost() is not None


def test_without_a_quiet_moment_the_interpreter_looks(garbage: Garbage) -> None:
    lost = weakref.ref(Node())
    kept = [[] for _ in range(LATE + YOUNG)]
    assert lost() is None
    assert kept
