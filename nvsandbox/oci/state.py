"""The state directory of a container: ``ROOT/ID/state.json``, there as long as the container is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any, Final

from ..sandbox.config import Failure

ID: Final = re.compile(r"[A-Za-z0-9_+.-]{1,1024}\Z")


def check_id(ident: str) -> None:
    """runc's rule for ids. Raises Failure."""
    if not ID.match(ident) or ident in (".", ".."):
        raise Failure(
            f"invalid container id `{ident}`: only letters, digits and _ + - . are allowed"
        )


@contextlib.contextmanager
def container(root: str, ident: str, state: dict[str, Any]) -> Iterator[None]:
    """Claims the id and removes everything at the end. Raises Failure when it is taken."""
    check_id(ident)
    path = os.path.join(root, ident)
    try:
        os.makedirs(root, 0o711, exist_ok=True)
        os.mkdir(path, 0o711)
    except FileExistsError:
        raise Failure(f"container with id exists already: {ident}") from None
    except OSError as e:
        raise Failure(f"create `{path}`: {(e.strerror or str(e)).lower()}") from None
    try:
        tmp = os.path.join(path, "state.json.tmp")
        with open(tmp, "w") as f:
            json.dump(state, f)
        os.rename(tmp, os.path.join(path, "state.json"))
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
