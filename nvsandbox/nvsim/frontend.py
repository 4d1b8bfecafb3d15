"""Escapes of ``/dev/nvidiactl`` and ``/dev/nvidia#`` (``nv-ioctl-numbers.h``, ``nv_escape.h``).

Decodes an ioctl by the ABI of the simulated version, asks the resource manager, puts the status
where the ioctl carries it. The ioctl itself returns 0 even when the status is an error, as the
driver's does; an errno means the call was malformed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .files import OpenFile
from .rm.control import MAX_PARAMS, Caller, dispatch
from .rm.memory import PAGE
from .rm.status import RmError, Status
from .rm.vidheap import vid_heap
from .task import Request
from .view import View

if TYPE_CHECKING:
    from .simulator import Simulator

XFER: Final = 0xD3
MAX_ARG: Final = 1 << 16
_MEMBLOCK: Final = 128 << 20
_RECOGNIZED: Final = 1
_QUERY: Final = ord("2")
_RELAXED: Final = ord("1")
_MAP_BASE: Final = 0x1_0000_0000


@dataclass(slots=True)
class Escape:
    """One frontend ioctl being answered."""

    sim: Simulator
    request: Request
    file: OpenFile
    nr: int
    buf: bytearray
    """Copy of the argument; written back as it is when the handler returns."""
    caller: Caller

    def view(self, *structs: str) -> View:
        """The argument as the one of ``structs`` that has its size."""
        layouts = self.sim.rm.layouts
        for name in structs:
            if name in layouts.release.structs and layouts.size(name) == len(self.buf):
                return layouts.view(name, self.buf)
        raise OSError(errno.EINVAL, "size")


EscapeHandler = Callable[[Escape], None]
ESCAPES: dict[str, EscapeHandler] = {}


def escape(name: str) -> Callable[[EscapeHandler], EscapeHandler]:
    """Register the handler of an escape by its header name."""

    def register(fn: EscapeHandler) -> EscapeHandler:
        ESCAPES[name] = fn
        return fn

    return register


def answer(sim: Simulator, request: Request, file: OpenFile, cmd: int, arg: int) -> int:
    """Do a frontend ioctl; 0 or a negative errno."""
    nr, size = cmd & 0xFF, cmd >> 16 & 0x3FFF
    if nr == XFER:
        head = sim.rm.layouts.view("nv_ioctl_xfer_t", request.read(arg, 16))
        nr, size, arg = head["cmd"], head["size"], head["ptr"]
    known = sim.rm.release.frontend(nr)
    handler = ESCAPES.get(known.name) if known else None
    if handler is None:
        sim.log(f"escape {known.name if known else ''} {nr:#x}: not simulated")
        return -errno.EINVAL
    if size > MAX_ARG:
        return -errno.EINVAL
    caller = sim.caller(request, file)
    call = Escape(sim, request, file, nr, request.read(arg, size), caller)
    before = bytes(call.buf)
    sim.received("frontend", nr, caller.pid, before)
    handler(call)
    if call.buf != before:
        request.write(arg, call.buf)
    return 0


def _status(p: View, fn: Callable[[], object]) -> None:
    try:
        fn()
        p["status"] = int(Status.OK)
    except RmError as e:
        p["status"] = int(e.status)
    except (KeyError, IndexError):
        p["status"] = int(Status.INVALID_PARAM_STRUCT)


# ---------------------------------------------------------------------- queries


@escape("NV_ESC_CHECK_VERSION_STR")
def check_version(e: Escape) -> None:
    """User-space and driver must be of the same release."""
    p = e.view("nv_ioctl_rm_api_version_t", "nv_ioctl_rm_api_version")
    asked = p.bytes("versionString").split(b"\0")[0].decode("ascii", "replace")
    ours = e.sim.rm.release.version
    cmd = p["cmd"]
    p["versionString"] = bytes(p.length("versionString"))
    p["versionString"] = ours
    if cmd in (_QUERY, _RELAXED) or asked == ours:
        p["reply"] = _RECOGNIZED
        return
    p["reply"] = 0
    e.sim.log(f"user-space is {asked}, the simulated driver {ours}: use --driver {asked}")
    raise OSError(errno.EINVAL, "version")


@escape("NV_ESC_CARD_INFO")
def card_info(e: Escape) -> None:
    """One record a card."""
    layouts = e.sim.rm.layouts
    size = layouts.size("nv_ioctl_card_info_t")
    room = len(e.buf) // size
    e.buf[:] = bytes(len(e.buf))
    for gpu in e.sim.rm.gpus[:room]:
        p = layouts.view("nv_ioctl_card_info_t", e.buf, gpu.index * size)
        (regs, at0), (bar1, at1), _ = gpu.bars()
        p.put(
            valid=1,
            gpu_id=gpu.gpu_id,
            interrupt_line=40 + gpu.index,
            reg_address=at0,
            reg_size=regs,
            fb_address=at1,
            fb_size=bar1,
            minor_number=gpu.index,
        )
        p.sub("pci_info").put(
            domain=0,
            bus=gpu.bus,
            slot=0,
            function=0,
            vendor_id=gpu.profile.pci_device & 0xFFFF,
            device_id=gpu.profile.pci_device >> 16,
        )


@escape("NV_ESC_SYS_PARAMS")
def sys_params(e: Escape) -> None:
    """Size of a memory block."""
    e.view("nv_ioctl_sys_params_t")["memblock_size"] = _MEMBLOCK


@escape("NV_ESC_REGISTER_FD")
def register_fd(e: Escape) -> None:
    """Tie a device file to the control file whose clients it serves."""
    p = e.view("nv_ioctl_register_fd_t")
    other = e.sim.files.find(e.request.stat_fd(p["ctl_fd"]))
    if other is None or other.kind != "ctl":
        raise OSError(errno.EINVAL, "ctl_fd")
    if e.file.control is not None and e.file.control is not other:
        raise OSError(errno.EINVAL, "registered")
    e.file.control = other


@escape("NV_ESC_ATTACH_GPUS_TO_FD")
def attach_gpus(e: Escape) -> None:
    """An array of gpu ids, each of which must exist."""
    ids = {g.gpu_id for g in e.sim.rm.gpus}
    for i in range(0, len(e.buf) - 3, 4):
        wanted = int.from_bytes(e.buf[i : i + 4], "little")
        if wanted and wanted not in ids:
            raise OSError(errno.EINVAL, "gpu")


@escape("NV_ESC_WAIT_OPEN_COMPLETE")
def wait_open(e: Escape) -> None:
    """Opens complete at once here."""
    e.view("nv_ioctl_wait_open_complete_t").put(rc=0, adapterStatus=0)


@escape("NV_ESC_NUMA_INFO")
def numa_info(e: Escape) -> None:
    """No card here is a NUMA node."""
    raise OSError(errno.EINVAL, "numa")


@escape("NV_ESC_STATUS_CODE")
def status_code(e: Escape) -> None:
    """State of the card at an address."""
    p = e.view("nv_ioctl_status_code_t")
    gpu = next((g for g in e.sim.rm.gpus if g.bus == p["bus"]), None)
    if gpu is None:
        raise OSError(errno.EINVAL, "no such card")
    p["status"] = int(Status.GPU_IS_LOST if gpu.lost else Status.OK)


# ---------------------------------------------------------------------- objects


@escape("NV_ESC_RM_ALLOC")
def rm_alloc(e: Escape) -> None:
    """A client or an object below one."""
    p = e.view("NVOS64_PARAMETERS", "NVOS21_PARAMETERS")
    _status(p, lambda: _alloc(e, p))


def _alloc(e: Escape, p: View) -> None:
    rm = e.sim.rm
    e.sim.faults.before_alloc(rm, p["hClass"])
    cls = rm.release.classes.get(p["hClass"])
    params, raw = None, bytearray()
    struct = cls.params if cls else ""
    if p["pAllocParms"] and struct in rm.release.structs:
        need = rm.layouts.size(struct)
        given = p["paramsSize"] if "paramsSize" in p.fields() else 0
        if given and given != need:
            raise RmError(Status.INVALID_ARGUMENT)
        raw = e.request.read(p["pAllocParms"], need)
        params = rm.layouts.view(struct, raw)
    before = bytes(raw)
    e.sim.received("class", p["hClass"], e.caller.pid, before)
    made = rm.alloc(e.caller, p["hRoot"], p["hObjectParent"], p["hObjectNew"], p["hClass"], params)
    p["hObjectNew"] = made.handle
    if made.cls.internal == "RmClientResource":
        p["hRoot"] = made.handle
    elif made.cls.internal == "Event":
        e.sim.events.bind(made, e.request)
    if raw != before:
        e.request.write(p["pAllocParms"], raw)


@escape("NV_ESC_RM_FREE")
def rm_free(e: Escape) -> None:
    """An object and all below it."""
    p = e.view("NVOS00_PARAMETERS")
    _status(p, lambda: e.sim.rm.free(e.caller, p["hRoot"], p["hObjectOld"]))


@escape("NV_ESC_RM_DUP_OBJECT")
def rm_dup(e: Escape) -> None:
    """Another handle for memory."""
    p = e.view("NVOS55_PARAMETERS")

    def dup() -> None:
        p["hObject"] = e.sim.rm.duplicate(e.caller, p).handle

    _status(p, dup)


@escape("NV_ESC_RM_SHARE")
def rm_share(e: Escape) -> None:
    """Of the policies only "everybody" and "the same user" are modelled, and both mean everybody."""
    p = e.view("NVOS57_PARAMETERS")

    def share() -> None:
        client = e.sim.rm.tree.client(p["hClient"], e.caller.owners)
        o = e.sim.rm.tree.find(client, p["hObject"])
        share = p.sub("sharePolicy")
        o.data["shared"] = int(share["type"] in (1, 2))  # RS_SHARE_TYPE_ALL, _OS_SECURITY_TOKEN

    _status(p, share)


@escape("NV_ESC_RM_CONTROL")
def rm_control(e: Escape) -> None:
    """A command on an object."""
    p = e.view("NVOS54_PARAMETERS")
    p["status"] = int(_control(e, p))


def _control(e: Escape, p: View) -> Status | int:
    size, at, rm = p["paramsSize"], p["params"], e.sim.rm
    if size > MAX_PARAMS or bool(size) != bool(at):
        return Status.INVALID_ARGUMENT
    buf = e.request.read(at, size)
    before = bytes(buf)
    e.sim.received("control", p["cmd"], e.caller.pid, before)
    status: Status | int
    try:
        e.sim.faults.before_control()
        recorded = e.sim.replay.answer(p["cmd"], before) if e.sim.replay else None
        if recorded is not None:
            status, buf[:] = recorded
        else:
            status = dispatch(rm, e.caller, p["hClient"], p["hObject"], p["cmd"], buf)
    except RmError as err:
        status = err.status
    if status == Status.OK and buf != before:
        e.request.write(at, buf)
    return status


# ---------------------------------------------------------------------- memory


@escape("NV_ESC_RM_ALLOC_MEMORY")
def rm_alloc_memory(e: Escape) -> None:
    """Memory objects the older way."""
    p = e.view("nv_ioctl_nvos02_parameters_with_fd").sub("params")

    def make() -> None:
        p["hObjectNew"] = e.sim.rm.alloc_memory(e.caller, p).handle

    _status(p, make)


@escape("NV_ESC_RM_VID_HEAP_CONTROL")
def rm_vid_heap(e: Escape) -> None:
    """Memory by function code."""
    p = e.view("NVOS32_PARAMETERS")

    def heap() -> None:
        e.sim.faults.before_alloc(e.sim.rm, 0x40)
        vid_heap(e.sim.rm, e.caller, p)

    _status(p, heap)


@escape("NV_ESC_RM_MAP_MEMORY")
def rm_map(e: Escape) -> None:
    """Prepare a descriptor so that the mmap that follows maps this memory."""
    whole = e.view("nv_ioctl_nvos33_parameters_with_fd")
    p = whole.sub("params")
    _status(p, lambda: _map(e, p, whole["fd"]))


def _map(e: Escape, p: View, fd: int) -> None:
    memory = e.sim.rm.memory_of(e.caller, p["hClient"], p["hMemory"])
    offset, length = p["offset"], p["length"]
    if length == 0 or offset + length > -(-memory.size // PAGE) * PAGE:
        raise RmError(Status.INVALID_LIMIT)
    target = e.sim.files.find(e.request.stat_fd(fd))
    if target is None:
        raise RmError(Status.INVALID_ARGUMENT)
    p["pLinearAddress"] = e.sim.mappings.prepare(e.request, target, fd, memory, offset, length)


@escape("NV_ESC_RM_UNMAP_MEMORY")
def rm_unmap(e: Escape) -> None:
    """The address space undoes the mapping; only the handle is checked."""
    p = e.view("NVOS34_PARAMETERS")
    _status(p, lambda: e.sim.rm.memory_of(e.caller, p["hClient"], p["hMemory"]))


@escape("NV_ESC_RM_MAP_MEMORY_DMA")
def rm_map_dma(e: Escape) -> None:
    """Map memory into a card's address space."""
    p = e.view("NVOS46_PARAMETERS")

    def map_dma() -> None:
        memory = e.sim.rm.memory_of(e.caller, p["hClient"], p["hMemory"])
        p["dmaOffset"] = e.sim.mappings.map_dma(
            _owner(e, p), memory, p["offset"], p["length"], p["dmaOffset"]
        )

    _status(p, map_dma)


def _owner(e: Escape, p: View) -> object:
    """The file that made the client."""
    return e.sim.rm.tree.client(p["hClient"], e.caller.owners).owner


@escape("NV_ESC_RM_UNMAP_MEMORY_DMA")
def rm_unmap_dma(e: Escape) -> None:
    """Undo it."""
    p = e.view("NVOS47_PARAMETERS")
    _status(p, lambda: e.sim.mappings.unmap_dma(_owner(e, p), p["dmaOffset"]))


@escape("NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO")
def rm_update_mapping(e: Escape) -> None:
    """The caller moved a mapping; nothing of ours hangs on its address."""
    p = e.view("NVOS56_PARAMETERS")
    _status(p, lambda: e.sim.rm.memory_of(e.caller, p["hClient"], p["hMemory"]))


@escape("NV_ESC_EXPORT_TO_DMABUF_FD")
def export_dmabuf(e: Escape) -> None:
    """Memory objects as a dma-buf, here a memory file of that size; or more of them for one that was made (nv-dmabuf.c)."""
    p = e.view("nv_ioctl_export_to_dma_buf_fd_t")

    def export() -> None:
        n, first = p["numObjects"], p["index"]
        if e.file.kind != "gpu" or not 1 <= n <= p.length("handles"):
            raise RmError(Status.INVALID_ARGUMENT)
        if first + n > p["totalObjects"] or p["totalSize"] % PAGE:
            raise RmError(Status.INVALID_ARGUMENT)
        for i in range(n):
            e.sim.rm.memory_of(e.caller, p["hClient"], p.get("handles", i))
        if p["fd"] != 0xFFFFFFFF:
            if e.request.stat_fd(p["fd"]) not in e.sim.dmabufs:
                raise RmError(Status.INVALID_ARGUMENT)
            return
        fd = os.memfd_create("dmabuf", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, p["totalSize"])
            st = os.fstat(fd)
            e.sim.dmabufs.add((st.st_dev, st.st_ino))
            number = e.request.new_fd(fd)
        finally:
            os.close(fd)
        if number < 0:
            raise RmError(Status.INSUFFICIENT_RESOURCES)
        p["fd"] = number

    _status(p, export)


# ---------------------------------------------------------------------- events


@escape("NV_ESC_ALLOC_OS_EVENT")
def alloc_os_event(e: Escape) -> None:
    """Let events be reported on a descriptor."""
    p = e.view("nv_ioctl_alloc_os_event_t")
    target = e.sim.files.find(e.request.stat_fd(p["fd"]))
    ok = target is not None and target.kind in ("ctl", "gpu") and not target.os_event
    if ok and target is not None:
        target.os_event = True
    p["Status"] = int(Status.OK if ok else Status.INVALID_ARGUMENT)


@escape("NV_ESC_FREE_OS_EVENT")
def free_os_event(e: Escape) -> None:
    """No more events on it."""
    p = e.view("nv_ioctl_free_os_event_t")
    target = e.sim.files.find(e.request.stat_fd(p["fd"]))
    ok = target is not None and target.os_event
    if ok and target is not None:
        target.os_event = False
        target.events.clear()
    p["Status"] = int(Status.OK if ok else Status.INVALID_ARGUMENT)


@escape("NV_ESC_RM_GET_EVENT_DATA")
def get_event_data(e: Escape) -> None:
    """Take the oldest pending event of this file."""
    p = e.view("NVOS41_PARAMETERS")
    if not e.file.events:
        p["status"] = int(Status.INVALID_EVENT)
        return
    handle, index, info = e.file.events.popleft()
    layouts = e.sim.rm.layouts
    name = "NvUnixEvent"
    if p["pEvent"] and name in layouts.release.structs:
        raw = bytearray(layouts.size(name))
        layouts.view(name, raw).put(hObject=handle, NotifyIndex=index, info32=info)
        e.request.write(p["pEvent"], raw)
    p.put(MoreEvents=int(bool(e.file.events)), status=int(Status.OK))
