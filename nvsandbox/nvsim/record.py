"""Recordings of ioctls: make one, print one like strace, answer from one.

A recording is a file of JSON lines: a head with the driver version, then one line an ioctl with
the argument and, for control commands and allocations, the nested parameters, before and after.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from nvsandbox.nvproxy.abi import AbiError, Field, Kind, Release, database

from . import decode
from .errors import SimError
from .ptrace import Reader, Tracer, device_kind
from .rm.status import Status
from .view import Layouts

FORMAT: Final = "nvsandbox-gpu-recording"
VERSION_FILE: Final = "/proc/driver/nvidia/version"
MAX_PARAMS: Final = 1 << 20
_NVOS54: Final = "NVOS54_PARAMETERS"
_POINTERS: Final = {
    _NVOS54: ("params", "paramsSize"),
    "NVOS64_PARAMETERS": ("pAllocParms", ""),
    "NVOS21_PARAMETERS": ("pAllocParms", ""),
}


@dataclass(slots=True)
class _Entry:
    """An ioctl that hasn't returned yet."""

    path: str
    cmd: int
    arg: int
    what: decode.Decoded
    before: bytes
    params_at: int
    params_before: bytes
    params_struct: str
    label: str


def host_driver() -> str | None:
    """Version of the driver this machine has."""
    try:
        words = Path(VERSION_FILE).read_text().split()
    except OSError:
        return None
    return next((w for w in words if w[:3].isdigit() and w.count(".") in (1, 2)), None)


class Recorder:
    """Watches a command's ioctls; writes JSON lines, or text when ``text`` is set."""

    def __init__(self, driver: str, out: IO[str], text: bool) -> None:
        try:
            self._layouts = Layouts(database().release(driver))
        except AbiError as e:
            raise SimError(f"--driver: {e}") from None
        self._out, self._text = out, text
        self._start = time.monotonic()
        if not text:
            self._line({"format": FORMAT, "version": 1, "driver": driver})

    def run(self, argv: Sequence[str]) -> int:
        """Run ``argv`` and watch it."""
        return Tracer(self._enter, self._leave).run(argv)

    def _line(self, row: dict[str, object]) -> None:
        self._out.write(json.dumps(row, separators=(",", ":")) + "\n")
        self._out.flush()

    def _enter(self, pid: int, fd: int, cmd: int, arg: int) -> object:
        kind = device_kind(pid, fd)
        if kind is None:
            return None
        what = decode.identify(self._layouts.release, kind[0], cmd)
        before = Reader(pid).read(arg, what.size)
        at, size, struct, label = self._nested(what, before)
        nested = Reader(pid).read(at, min(size, MAX_PARAMS))
        return _Entry(kind[1], cmd, arg, what, before, at, nested, struct, label)

    def _nested(self, what: decode.Decoded, data: bytes) -> tuple[int, int, str, str]:
        """Where the parameters of a control or an allocation lie, their struct, and a name."""
        pointer = _POINTERS.get(what.struct)
        if pointer is None or len(data) < what.size:
            return 0, 0, "", ""
        view = self._layouts.view(what.struct, bytearray(data))
        release = self._layouts.release
        if what.struct == _NVOS54:
            command = release.commands.get(view["cmd"])
            label = command.name if command else f"{view['cmd']:#x}"
            struct = command.params if command else ""
            return view[pointer[0]], view[pointer[1]], struct, label
        cls = release.classes.get(view["hClass"])
        struct = cls.params if cls and cls.params in release.structs else ""
        label = cls.name if cls else f"{view['hClass']:#x}"
        return view[pointer[0]], self._layouts.size(struct) if struct else 0, struct, label

    def _leave(self, token: object, pid: int, result: int) -> None:
        assert isinstance(token, _Entry)
        e = token
        after = Reader(pid).read(e.arg, e.what.size)
        nested = Reader(pid).read(e.params_at, len(e.params_before))
        status = self._status(e, after)
        shown = decode.fields(self._layouts, e.params_struct or e.what.struct, nested or after)
        if self._text:
            label = f" {e.label}" if e.label else ""
            tail = f" {decode.status_name(status)}" if status is not None else ""
            body = decode.text(shown)
            self._out.write(f"{pid} {e.path} {e.what.name}{label} {body} = {result}{tail}\n")
            self._out.flush()
            return
        self._line(
            {
                "t": round(time.monotonic() - self._start, 6), "pid": pid, "path": e.path,
                "ioctl": e.cmd, "name": e.what.name, "label": e.label, "result": result,
                "status": status, "in": e.before.hex(), "out": after.hex(),
                "params_in": e.params_before.hex(), "params_out": nested.hex(), "fields": shown,
            }
        )  # fmt: skip

    def _status(self, e: _Entry, after: bytes) -> int | None:
        if e.what.struct not in self._layouts.release.structs or len(after) < e.what.size:
            return None
        view = self._layouts.view(e.what.struct, bytearray(after))
        for name in decode.STATUS_FIELDS:
            if name in view:
                return view[name]
        if "params" in view.fields() and "status" in view.sub("params"):
            return view.sub("params")["status"]
        return None


class Replay:
    """Answers of a recording: by command and parameters, then by command in order.

    A command whose parameters hold pointers or descriptors is left to the simulator: the recorded
    ones belong to another process.
    """

    def __init__(self, path: Path) -> None:
        self._exact: dict[tuple[int, bytes], deque[tuple[int, bytes]]] = {}
        self._order: dict[int, deque[tuple[int, bytes]]] = {}
        try:
            lines = path.read_text().splitlines()
            head = json.loads(lines[0])
            if head.get("format") != FORMAT or head.get("version") != 1:
                raise ValueError
            self.driver: str = head["driver"]
            self._release = database().release(self.driver)
            for line in lines[1:]:
                self._add(json.loads(line))
        except AbiError as e:
            raise SimError(f"recording `{path}`: {e}") from None
        except OSError as e:
            raise SimError(f"recording `{path}`: {e.strerror}") from None
        except (ValueError, KeyError, IndexError, AttributeError, TypeError):
            raise SimError(f"recording `{path}` is damaged or not a recording") from None

    def _add(self, row: dict[str, object]) -> None:
        if row["name"] != "NV_ESC_RM_CONTROL" or not isinstance(row["status"], int):
            return
        data = bytes.fromhex(str(row["in"]))
        cmd = int.from_bytes(data[8:12], "little")
        if not self._plain(cmd):
            return
        asked, got = bytes.fromhex(str(row["params_in"])), bytes.fromhex(str(row["params_out"]))
        answer = (row["status"], got)
        self._exact.setdefault((cmd, asked), deque()).append(answer)
        self._order.setdefault(cmd, deque()).append(answer)

    def _plain(self, cmd: int) -> bool:
        command = self._release.commands.get(cmd)
        struct = self._release.structs.get(command.params) if command else None
        return struct is None or _plain(self._release, struct.fields)

    def answer(self, cmd: int, asked: bytes) -> tuple[Status | int, bytes] | None:
        """Status and parameters recorded for this question; the last answer repeats."""
        for queue in (self._exact.get((cmd, asked)), self._order.get(cmd)):
            if queue and len(queue[0][1]) == len(asked):
                first = queue[0]
                if len(queue) > 1:
                    queue.popleft()
                return first
        return None


def _plain(release: Release, fields: Iterable[Field]) -> bool:
    """Whether no field is a pointer or descriptor, nested ones included."""
    for f in fields:
        if f.kind in (Kind.POINTER, Kind.DESCRIPTOR):
            return False
        inner = release.structs[f.ref].fields if f.ref in release.structs else f.fields
        if f.kind in (Kind.STRUCT, Kind.UNION) and not _plain(release, inner):
            return False
    return True


def trace(driver: str | None, argv: Sequence[str]) -> int:
    """Print the ioctls of ``argv`` on standard error."""
    return Recorder(driver or host_driver() or "535.261.03", sys.stderr, True).run(argv)


def record(driver: str | None, path: Path, argv: Sequence[str]) -> int:
    """Write the ioctls of ``argv`` to ``path``."""
    try:
        with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as out:
            return Recorder(driver or host_driver() or "535.261.03", out, False).run(argv)
    except OSError as e:
        raise SimError(f"`{path}`: {e.strerror}") from None
