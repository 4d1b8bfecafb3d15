"""The first program of a container, and those started later from outside: where it is, with which environment.

As runc does: HOME comes from /etc/passwd unless it is given, a working directory that is missing is made.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from .errors import SysErr
from .kernel.creds import Credentials
from .loader.exec import close_program, exec_program, open_program
from .vfs.namei import walk
from .vfs.open import open_path

if TYPE_CHECKING:
    from .boot import ProcessSpec
    from .kernel.task import Task

DEFAULT_PATH: Final = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_PASSWD: Final = 1 << 20


def _why(err: int) -> str:
    return os.strerror(err).lower()


def with_home(t: Task, spec: ProcessSpec) -> list[bytes]:
    """The environment with HOME: the user's in /etc/passwd, else /."""
    env = list(spec.envp)
    if not any(e.startswith(b"HOME=") for e in env):
        env.append(b"HOME=" + _home(t, spec.uid))
    return env


def _home(t: Task, uid: int) -> bytes:
    try:
        f = open_path(t, t.fs.root, b"/etc/passwd", os.O_RDONLY, 0).incref()
        try:
            raw = f.pread(t, MAX_PASSWD, 0)
        finally:
            f.decref()
    except SysErr:
        return b"/"
    for line in raw.split(b"\n") if isinstance(raw, bytes) else ():
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == b"%d" % uid:
            return fields[5] or b"/"
    return b"/"


def _make_directory(t: Task, path: bytes) -> None:
    """Makes what is missing of a working directory, as root; a failure shows when it is entered."""
    own, t.creds = t.creds, Credentials()
    at = t.fs.root
    try:
        for name in path.split(b"/"):
            if not name:
                continue
            try:
                at = walk(t, at, name)
            except SysErr as e:
                if e.errno != errno.ENOENT:
                    return
                at.inode.mkdir(t, name, stat.S_IFDIR | 0o755)
                at = walk(t, at, name)
    except SysErr:
        pass
    finally:
        t.creds = own


def start_program(
    t: Task,
    spec: ProcessSpec,
    report: Callable[[int, str], None],
    check_only: bool = False,
    make_cwd: bool = True,
) -> None:
    """Runs in the loop: the first exec. ``report(errno, text)`` when it can't be done.

    ``check_only``: as far as can be known without doing it (OCI create; start does it). ``make_cwd``: a working directory that is
    not there is made.
    """
    argv = list(spec.argv)
    envp = with_home(t, spec)
    try:
        if make_cwd:
            _make_directory(t, spec.cwd)
        if spec.cwd != b"/":
            t.fs.cwd = walk(t, t.fs.root, spec.cwd)
            if not t.fs.cwd.inode.is_dir():
                raise SysErr(errno.ENOTDIR)
    except SysErr as e:
        report(e.errno, f"chdir to `{spec.cwd.decode('utf-8', 'replace')}`: {_why(e.errno)}")
        return
    err, prog = errno.ENOENT, None
    for name in candidates(argv[0], envp):
        try:
            prog = open_program(t, t.fs.cwd if name[:1] != b"/" else t.fs.root, name, argv, envp)
            break
        except SysErr as e:
            if e.errno != errno.ENOENT or err == errno.ENOENT:
                err = e.errno if e.errno != errno.ENOTDIR else err
    shown = argv[0].decode("utf-8", "replace")
    if prog is None:
        on_path = err == errno.ENOENT and "/" not in shown
        why = "executable file not found in $PATH" if on_path else _why(err)
        report(err, f'exec: "{shown}": {why}')
        return
    if check_only:
        close_program(prog)
        return
    try:
        exec_program(t, prog)
    except SysErr as e:
        report(e.errno, f'exec: "{shown}": {_why(e.errno)}')
        return
    finally:
        close_program(prog)
    t.thread.used = 0
    t.thread.trap.resume()


def candidates(name: bytes, envp: Sequence[bytes]) -> list[bytes]:
    """Where ``name`` may be: itself if it has a slash, else along PATH; an empty one is nowhere."""
    if b"/" in name or not name:
        return [name] if name else []
    path = next((e[5:] for e in envp if e.startswith(b"PATH=")), DEFAULT_PATH)
    return [(d or b".").rstrip(b"/") + b"/" + name for d in path.split(b":")]
