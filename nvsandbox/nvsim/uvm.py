"""Unified memory: ioctls of ``/dev/nvidia-uvm`` (``uvm_ioctl.h``, ``uvm_linux_ioctl.h``).

The va-space is a set of registered cards and of ranges; sizes and the place of ``rmStatus`` come
from the ABI database. Not modelled: migration and faults (a memfd has one copy), HMM.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .files import OpenFile
from .rm.status import RmError, Status
from .seccomp import UVM_DEINITIALIZE, UVM_INITIALIZE
from .task import Request
from .view import View

if TYPE_CHECKING:
    from .simulator import Simulator

MAX_RANGES: Final = 1 << 18
MAX_CONTROLS: Final = 64


@dataclass(slots=True)
class VaSpace:
    """What one open of the UVM device manages."""

    gpus: set[bytes] = field(default_factory=set)
    va_spaces: set[bytes] = field(default_factory=set)
    channels: set[tuple[int, int]] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    ranges: dict[int, int] = field(default_factory=dict)
    """External ranges: base -> length."""
    next_group: int = 1
    holder: tuple[int, int] = (0, -1)
    """Process and descriptor of the last call: where the managed memory can be reached."""
    controls: set[OpenFile] = field(default_factory=set)
    """Control files whose clients use it."""


@dataclass(slots=True)
class UvmCall:
    """One UVM ioctl."""

    sim: Simulator
    request: Request
    file: OpenFile
    space: VaSpace
    p: View
    name: str

    def uuid(self, *names: str) -> bytes:
        """The card's UUID in the parameters, under the name this version has."""
        for name in names:
            if name in self.p:
                return self.p.sub(name).bytes("uuid")
        raise KeyError(names[0])


UvmHandler = Callable[[UvmCall], Status | None]
HANDLERS: dict[str, UvmHandler] = {}


def uvm(*names: str) -> Callable[[UvmHandler], UvmHandler]:
    """Register a handler by the ioctl's name."""

    def register(fn: UvmHandler) -> UvmHandler:
        HANDLERS.update(dict.fromkeys(names, fn))
        return fn

    return register


def answer(sim: Simulator, request: Request, file: OpenFile, cmd: int, arg: int) -> int:
    """Do a UVM ioctl; 0 or a negative errno."""
    if cmd == UVM_DEINITIALIZE:
        return 0
    known = sim.rm.release.uvm(cmd)
    if known is None or not known.params:
        sim.log(f"UVM ioctl {cmd:#x}: not known to {sim.rm.release.version}")
        return -errno.EINVAL
    name = known.params[0]
    buf = request.read(arg, sim.rm.layouts.size(name))
    sim.received("uvm", cmd, request.tgid(), bytes(buf))
    p = sim.rm.layouts.view(name, buf)
    space = sim.va_spaces.setdefault(file, VaSpace())
    space.holder = (request.tgid(), request.args[0] & 0xFFFFFFFF)
    call = UvmCall(sim, request, file, space, p, known.name)
    if "rmCtrlFd" in p:
        control = sim.files.find(request.stat_fd(p["rmCtrlFd"]))
        if control is not None and len(space.controls) < MAX_CONTROLS:
            space.controls.add(control)
    try:
        status = _do(call, known.name, cmd)
    except RmError as e:
        status = e.status
    except (KeyError, IndexError):
        status = Status.INVALID_ARGUMENT
    if "rmStatus" in p:
        p["rmStatus"] = int(status)
    request.write(arg, buf)
    return 0


def _do(call: UvmCall, name: str, cmd: int) -> Status:
    if cmd == UVM_INITIALIZE:
        if call.file.initialized:
            return Status.INVALID_STATE
        call.file.initialized = True
        return Status.OK
    if not call.file.initialized and call.file.kind == "uvm" and name != "UVM_IS_8_SUPPORTED":
        if name == "UVM_MM_INITIALIZE":
            return Status.OK
        return Status.ILLEGAL_ACTION
    handler = HANDLERS.get(name)
    if handler is None:
        call.sim.log(f"UVM ioctl {name} ({cmd:#x}): not simulated")
        return Status.NOT_SUPPORTED
    return handler(call) or Status.OK


@uvm("UVM_REGISTER_GPU")
def register_gpu(call: UvmCall) -> Status | None:
    """Add a card."""
    ident = call.uuid("gpu_uuid", "gpuUuid")
    if all(g.uuid != ident for g in call.sim.rm.gpus):
        return Status.GPU_UUID_NOT_FOUND
    call.space.gpus.add(ident)
    call.p.put(numaEnabled=0, numaNodeId=0xFFFFFFFF)
    return None


@uvm("UVM_UNREGISTER_GPU")
def unregister_gpu(call: UvmCall) -> Status | None:
    """Remove it."""
    ident = call.uuid("gpu_uuid", "gpuUuid")
    if ident not in call.space.gpus:
        return Status.INVALID_DEVICE
    call.space.gpus.discard(ident)
    return None


@uvm("UVM_REGISTER_GPU_VASPACE")
def register_va_space(call: UvmCall) -> Status | None:
    """Let UVM manage a card's address space."""
    ident = call.uuid("gpuUuid", "gpu_uuid")
    if ident not in call.space.gpus or ident in call.space.va_spaces:
        return Status.INVALID_DEVICE
    call.space.va_spaces.add(ident)
    return None


@uvm("UVM_UNREGISTER_GPU_VASPACE")
def unregister_va_space(call: UvmCall) -> Status | None:
    """Undo it."""
    call.space.va_spaces.discard(call.uuid("gpuUuid", "gpu_uuid"))
    return None


@uvm("UVM_REGISTER_CHANNEL")
def register_channel(call: UvmCall) -> Status | None:
    """A channel that uses the address space."""
    call.space.channels.add((call.p["hClient"], call.p["hChannel"]))
    return None


@uvm("UVM_UNREGISTER_CHANNEL")
def unregister_channel(call: UvmCall) -> Status | None:
    """Named by client and channel handle in newer releases, by UUID in older."""
    if "hChannel" in call.p:
        call.space.channels.discard((call.p["hClient"], call.p["hChannel"]))
    return None


@uvm("UVM_CREATE_EXTERNAL_RANGE")
def create_external_range(call: UvmCall) -> Status | None:
    """Reserve addresses for memory of the resource manager."""
    base, length = call.p["base"], call.p["length"]
    if not length or base + length > 1 << 57 or base % 4096 or length % 4096:
        return Status.INVALID_ADDRESS
    if len(call.space.ranges) >= MAX_RANGES:
        return Status.NO_MEMORY
    call.space.ranges[base] = length
    return None


@uvm("UVM_MAP_EXTERNAL_ALLOCATION")
def map_external(call: UvmCall) -> Status | None:
    """Map a memory object at addresses of the va-space."""
    p = call.p
    control = call.sim.files.find(call.request.stat_fd(p["rmCtrlFd"]))
    if control is None or p["gpuAttributesCount"] > p.length("perGpuAttributes"):
        return Status.INVALID_ARGUMENT
    caller = call.sim.caller(call.request, control)
    memory = call.sim.rm.memory_of(caller, p["hClient"], p["hMemory"])
    base, length, offset = p["base"], p["length"], p["offset"]
    if length == 0 or length + base > 1 << 57:
        return Status.INVALID_ADDRESS
    call.sim.mappings.map_range(call.file, control, base, memory, offset, length)
    return None


@uvm("UVM_FREE", "UVM_UNMAP_EXTERNAL")
def free(call: UvmCall) -> Status | None:
    """Forget a range."""
    call.space.ranges.pop(call.p["base"], None)
    call.sim.mappings.unmap_range(call.file, call.p["base"])
    return None


@uvm("UVM_CREATE_RANGE_GROUP")
def create_group(call: UvmCall) -> Status | None:
    """A number for a set of ranges."""
    if len(call.space.groups) >= MAX_RANGES:
        return Status.NO_MEMORY
    call.p["rangeGroupId"] = call.space.next_group
    call.space.groups.add(call.space.next_group)
    call.space.next_group += 1
    return None


@uvm("UVM_DESTROY_RANGE_GROUP")
def destroy_group(call: UvmCall) -> Status | None:
    """It must exist."""
    ident = call.p["rangeGroupId"]
    if ident not in call.space.groups:
        return Status.OBJECT_NOT_FOUND
    call.space.groups.discard(ident)
    return None


@uvm("UVM_PAGEABLE_MEM_ACCESS", "UVM_PAGEABLE_MEM_ACCESS_ON_GPU")
def pageable(call: UvmCall) -> Status | None:
    """The card can't use plain process memory."""
    call.p["pageableMemAccess"] = 0
    return None


@uvm("UVM_IS_8_SUPPORTED")
def is_8_supported(call: UvmCall) -> Status | None:
    """Always."""
    call.p.put(is8Supported=1)
    return None


@uvm(
    "UVM_SET_RANGE_GROUP",
    "UVM_ENABLE_PEER_ACCESS",
    "UVM_DISABLE_PEER_ACCESS",
    "UVM_PREVENT_MIGRATION_RANGE_GROUPS",
    "UVM_ALLOW_MIGRATION_RANGE_GROUPS",
    "UVM_SET_PREFERRED_LOCATION",
    "UVM_UNSET_PREFERRED_LOCATION",
    "UVM_ENABLE_READ_DUPLICATION",
    "UVM_DISABLE_READ_DUPLICATION",
    "UVM_SET_ACCESSED_BY",
    "UVM_UNSET_ACCESSED_BY",
    "UVM_ENABLE_SYSTEM_WIDE_ATOMICS",
    "UVM_DISABLE_SYSTEM_WIDE_ATOMICS",
    "UVM_MIGRATE_RANGE_GROUP",
    "UVM_MAP_DYNAMIC_PARALLELISM_REGION",
    "UVM_ALLOC_SEMAPHORE_POOL",
    "UVM_VALIDATE_VA_RANGE",
    "UVM_CLEAN_UP_ZOMBIE_RESOURCES",
    "UVM_MAP_EXTERNAL_SPARSE",
    "UVM_POPULATE_PAGEABLE",
    "UVM_MM_INITIALIZE",
)
def placement(call: UvmCall) -> Status | None:
    """Hints about where pages live: with one copy there is nothing to do."""
    return None
