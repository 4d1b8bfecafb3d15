"""NV_ESC_RM_CONTROL: find the object, check command, size and privilege, answer.

Checks in the driver's order (``rmapi/control.c``, ``resserv/src/rs_resource.c``): the object must
exist, the command must belong to its class, the parameter size must be the struct's, a command
that isn't for users needs root. Answers come from handlers, then from the card's profile. A
command that nothing answers is NOT_SUPPORTED and is named in the log once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from nvsandbox.nvproxy.abi import Access, Command
from nvsandbox.nvproxy.abi.model import LEGACY_BIT

from ..view import Layouts, Value, View
from .gpu import Gpu
from .objects import DEVICE, SUBDEVICE, Client, Object
from .status import RmError, Status

if TYPE_CHECKING:
    from .manager import Manager

MAX_PARAMS: Final = 1 << 20
_LOST_OK: Final = ("NV0000_",)


class UserMemory(Protocol):
    """The caller's memory, for pointers nested in parameters."""

    def read(self, addr: int, n: int) -> bytearray:
        """``n`` bytes at ``addr``."""

    def write(self, addr: int, data: bytes | bytearray) -> None:
        """Write ``data`` at ``addr``."""


@dataclass(slots=True)
class Caller:
    """Who makes a call: the open files it may act through, its process, its privilege."""

    memory: UserMemory
    owners: set[object]
    pid: int
    root: bool
    file: object = None


@dataclass(slots=True)
class Call:
    """One control command on its way to a handler."""

    rm: Manager
    caller: Caller
    client: Client
    object: Object
    cmd: int
    buf: bytearray
    command: Command | None
    params: View | None

    @property
    def p(self) -> View:
        """The parameters; a command without a known struct has none."""
        if self.params is None:
            raise RmError(Status.INVALID_PARAM_STRUCT)
        return self.params

    @property
    def gpu(self) -> Gpu:
        """The card the object belongs to."""
        if self.object.gpu is None:
            raise RmError(Status.INVALID_DEVICE)
        return self.object.gpu

    def view(self, struct: str) -> View:
        """The parameters as another release's or a nested struct."""
        if self.rm.layouts.size(struct) > len(self.buf):
            raise RmError(Status.INVALID_PARAM_STRUCT)
        return self.rm.layouts.view(struct, self.buf)


Handler = Callable[[Call], Status | None]
HANDLERS: dict[str, Handler] = {}
RAW_HANDLERS: dict[int, Handler] = {}


def control(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler for commands by header name."""

    def register(fn: Handler) -> Handler:
        for name in names:
            if name in HANDLERS:
                raise ValueError(f"two handlers for {name}")
            HANDLERS[name] = fn
        return fn

    return register


def raw_control(*numbers: int) -> Callable[[Handler], Handler]:
    """Register a handler for commands that no header of some release names."""

    def register(fn: Handler) -> Handler:
        RAW_HANDLERS.update(dict.fromkeys(numbers, fn))
        return fn

    return register


# Which internal class a command's upper half belongs to; others are checked by their class id.
_OWNERS: Final = {0x0000: "RmClientResource", 0x0080: DEVICE, 0x2080: SUBDEVICE}


def _belongs(cmd: int, target: Object) -> bool:
    wanted = _OWNERS.get(cmd >> 16)
    if wanted is not None:
        return target.cls.internal == wanted
    return cmd >> 16 == target.cls.id or target.cls.internal not in _OWNERS.values()


def _published(rm: Manager, cmd: int, size: int) -> tuple[Command, Layouts] | None:
    """A legacy command whose number without bit 15 is published with the same size.

    Later releases publish some that were legacy in earlier ones; the layout stayed.
    """
    for layouts in (rm.layouts, rm.newest) if cmd & LEGACY_BIT else ():
        command = layouts.release.commands.get(cmd & ~LEGACY_BIT)
        if command is not None and command.size == size:
            return command, layouts
    return None


def _permitted(command: Command, root: bool) -> bool:
    if not command.exported or command.access & Access.USER:
        return True
    return bool(command.access & Access.PRIVILEGED) and root


def dispatch(
    rm: Manager, caller: Caller, client: int, obj: int, cmd: int, buf: bytearray
) -> Status:
    """Answer ``cmd`` on object ``obj``, reading and changing ``buf``, the parameters."""
    owner = rm.tree.client(client, caller.owners)
    target = rm.tree.find(owner, obj)
    command, layouts = rm.release.commands.get(cmd), rm.layouts
    if command is None and (later := _published(rm, cmd, len(buf))) is not None:
        command, layouts = later
    if not _belongs(cmd, target):
        return Status.INVALID_ARGUMENT
    params: View | None = None
    if command is not None:
        if command.size and command.size != len(buf):
            return Status.INVALID_PARAM_STRUCT
        if not _permitted(command, caller.root):
            return Status.INSUFFICIENT_PERMISSIONS
        if command.params:
            params = layouts.view(command.params, buf)
    if target.gpu is not None and target.gpu.lost:
        return Status.GPU_IS_LOST
    call = Call(rm, caller, owner, target, cmd, buf, command, params)
    return _answer(call)


def _answer(call: Call) -> Status:
    name = call.command.name if call.command else ""
    handler = HANDLERS.get(name) or RAW_HANDLERS.get(call.cmd)
    try:
        if handler is not None:
            return handler(call) or Status.OK
        profile = call.object.gpu.profile if call.object.gpu else call.rm.gpus[0].profile
        if name in profile.ok:
            return Status.OK
        answer = profile.answers.get(name)
        if answer is not None:
            for key, value in answer.items():
                call.p.put(**{key: _resolve(value, profile)})
            return Status.OK
    except RmError as e:
        return e.status
    except (KeyError, IndexError):
        return Status.INVALID_PARAM_STRUCT  # a field this driver version doesn't have
    call.rm.unknown(call.cmd, name)
    return Status.NOT_SUPPORTED


def _resolve(value: object, profile: object) -> Value:
    if isinstance(value, str) and value.startswith("$"):
        value = getattr(profile, value[1:])
    if isinstance(value, (int, str, bytes)):
        return value
    if isinstance(value, (list, tuple)):
        return [int(v) for v in value]
    raise RmError(Status.INVALID_ARGUMENT)


def describe(cmd: int, name: str) -> str:
    """A command for the log."""
    if name:
        return f"{name} ({cmd:#x})"
    return f"{cmd:#x} ({'unpublished' if cmd & LEGACY_BIT else 'not in the public headers'})"
