"""The resource manager: one tree of clients over one to eight cards.

Entry points take plain values and views of parameter structs and raise ``RmError`` or return a
status; the frontend puts the status where each ioctl carries it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from nvsandbox.nvproxy.abi import Access, ClassDef, Release, database

from ..profile import Profile
from ..view import Layouts, View
from . import control, controls
from .control import Caller
from .gpu import Gpu, make
from .memory import MAX_SYSMEM, Memory, Place, system_memory
from .objects import DEVICE, SUBDEVICE, Client, Object, Tree
from .status import RmError, Status

assert controls  # importing the package registers its handlers

_ROOT: Final = "RmClientResource"
_ENGINE_TAILS: Final = (0x6F, 0xB5, 0xC0, 0x97, 0xB0, 0xB7, 0xD1, 0xFA)
"""Low bytes of class numbers that only some generations of cards have."""
MAX_GPFIFO: Final = 1 << 20
DEVICE_SWIZZ: Final = 0xFFFFFFFE
"""Subscribes root to the whole card (``clc637.h``)."""
_GENERATION_BASE: Final = 0xB000
_NO_DISPLAY: Final = ("DispCommon", "NvDispApi", "DispSfUser", "DispSwObj")


class Manager:
    """State of the driver. ``log`` gets one line for each thing it can't do."""

    def __init__(
        self,
        release: Release,
        cards: Sequence[Profile],
        log: Callable[[str], None],
        instances: tuple[str, ...] = (),
    ) -> None:
        self.release = release
        self.layouts = Layouts(release)
        self.newest = Layouts(database().release(database().versions[-1]))
        self.gpus: list[Gpu] = [make(i, p, instances) for i, p in enumerate(cards)]
        self.tree = Tree(self._freed)
        self.log = log
        self.bridged = False
        """Whether links join cards in pairs, and not by switches."""
        self.channels = False
        """Whether channel classes can be allocated; off, ``cuCtxCreate`` fails at once."""
        self.on_mig: Callable[[], None] = lambda: None
        self.on_event_free: Callable[[Object], None] = lambda o: None
        self.on_channel: Callable[[Object], None] = lambda o: None
        self.on_channel_free: Callable[[Object], None] = lambda o: None
        self.before_free: Callable[[], None] = lambda: None
        """Channels do what they were given before objects are freed."""
        self._unknown: set[int] = set()

    def unknown(self, cmd: int, name: str) -> None:
        """Name a command that nothing answers, once."""
        if cmd not in self._unknown and len(self._unknown) < 4096:
            self._unknown.add(cmd)
            self.log(f"control {control.describe(cmd, name)}: not supported")

    def _freed(self, o: Object) -> None:
        if o.memory is not None:
            o.memory.release()
            o.memory = None
        if o.cls.internal == "Event":
            self.on_event_free(o)
        elif o.cls.internal == "KernelChannel":
            self.on_channel_free(o)

    # ------------------------------------------------------------------ allocation

    def alloc(
        self, caller: Caller, root: int, parent: int, handle: int, cls_id: int, params: View | None
    ) -> Object:
        """NV_ESC_RM_ALLOC."""
        cls = self.release.classes.get(cls_id)
        if cls is None:
            raise RmError(Status.INVALID_CLASS)
        if cls.internal == _ROOT:
            return self.tree.new_client(handle or root, cls, caller.file, caller.pid)
        if not cls.access & Access.USER and not (cls.access & Access.PRIVILEGED and caller.root):
            raise RmError(Status.INSUFFICIENT_PERMISSIONS)
        client = self.tree.client(root, caller.owners)
        if cls.required and params is None:
            raise RmError(Status.INVALID_ARGUMENT)
        above = client.objects.get(parent)
        self._check_class(cls, above.gpu if above else None)
        made = self.tree.add(client, parent, handle, cls)
        try:
            self._construct(made, params, caller)
        except (RmError, KeyError, IndexError) as e:
            self.tree.free(made)
            raise e if isinstance(e, RmError) else RmError(Status.INVALID_PARAM_STRUCT) from None
        return made

    def _check_class(self, cls: ClassDef, gpu: Gpu | None) -> None:
        if cls.internal in _NO_DISPLAY:
            raise RmError(Status.INVALID_CLASS)
        if cls.internal == "KernelChannel" and not self.channels:
            self.log(f"class {cls.name} ({cls.id:#x}): channels are not simulated; no contexts")
            raise RmError(Status.INVALID_CLASS)
        if gpu is None:
            return
        if gpu.lost:
            raise RmError(Status.GPU_IS_LOST)
        generational = cls.id >= _GENERATION_BASE and cls.id & 0xFF in _ENGINE_TAILS
        if generational and cls.id not in gpu.profile.classes:
            raise RmError(Status.INVALID_CLASS)

    def _construct(self, made: Object, params: View | None, caller: Caller) -> None:
        internal = made.cls.internal
        if internal == DEVICE:
            index = params["deviceId"] if params is not None else 0
            if index >= len(self.gpus):
                raise RmError(Status.INVALID_DEVICE)
            made.gpu = self.gpus[index]
            if made.gpu.lost:
                raise RmError(Status.GPU_IS_LOST)
        elif internal == SUBDEVICE:
            if params is not None and params["subDeviceId"]:
                raise RmError(Status.INVALID_DEVICE)
        elif internal in ("VideoMemory", "SystemMemory", "ExtendedGpuMemory", "NoDeviceMemory"):
            assert params is not None  # required by its class
            self._memory_object(made, params, caller)
        elif internal in ("VirtualMemory", "VirtualMemoryRange") and params is not None:
            made.memory = Memory(Place.VIRTUAL, params["size"] if "size" in params.fields() else 0)
        elif internal == "OsDescMemory" and params is not None:
            limit = params["limit"]
            if limit >= MAX_SYSMEM:
                raise RmError(Status.INVALID_LIMIT)
            made.memory = Memory(
                Place.USER_PAGES, limit + 1, user_address=params["descriptor"], user_pid=caller.pid
            )
        elif internal == "UserModeApi":
            made.memory = Memory(Place.REGISTERS, 0x10000)
        elif internal == "KernelChannel":
            assert params is not None
            made.data = {
                "gpfifo": params["gpFifoOffset"],
                "entries": min(params["gpFifoEntries"], MAX_GPFIFO),
                "userd": params["hUserdMemory"],
                "userd_offset": params["userdOffset"],
                "error": params["hObjectError"],
            }
            self.on_channel(made)
        elif internal in ("GPUInstanceSubscription", "ComputeInstanceSubscription"):
            self._subscribe(made, params, caller)
        elif internal == "Event":
            assert params is not None
            self._event(made, params)

    @staticmethod
    def _subscribe(made: Object, params: View | None, caller: Caller) -> None:
        """To a GPU instance, or to a compute instance within it."""
        if params is None or made.gpu is None:
            raise RmError(Status.INVALID_ARGUMENT)
        if not made.gpu.profile.mig:
            raise RmError(Status.INVALID_CLASS)  # not among the card's classes
        if made.gpu.mig is None:
            raise RmError(Status.NOT_SUPPORTED)
        if made.cls.internal == "GPUInstanceSubscription":
            swizz = params["swizzId"]
            whole = swizz == DEVICE_SWIZZ and caller.root
            if swizz not in made.gpu.mig.instances and not whole:
                raise RmError(Status.INVALID_ARGUMENT)
            made.data = {"swizz": swizz}
            return
        parent = made.parent.data.get("swizz", -1) if made.parent else -1
        found = made.gpu.mig.instances.get(parent)
        if found is None or params["execPartitionId"] not in found.computes:
            raise RmError(Status.INVALID_ARGUMENT)
        made.data = {"compute": params["execPartitionId"]}

    def _memory_object(self, made: Object, params: View, caller: Caller) -> None:
        size = params["size"]
        if made.cls.internal == "VideoMemory" and made.gpu is not None:
            made.memory = self.video_memory(made.client, made.gpu, size, caller.pid)
            params["offset"] = made.memory.offset
        else:
            made.memory = system_memory(size)
        params["size"] = made.memory.size
        params["limit"] = made.memory.size - 1

    def video_memory(self, client: Client, gpu: Gpu, size: int, pid: int) -> Memory:
        """Device memory; a client of a MIG instance gets no more than there is of that."""
        if gpu.mig is not None:
            mine = (o.data.get("swizz", -1) for o in client.objects.values() if o.gpu is gpu)
            instance = next((i for i in map(gpu.mig.instances.get, mine) if i is not None), None)
            if instance and self.used_in(gpu, instance.swizz) + size > instance.shape.memory:
                raise RmError(Status.NO_MEMORY)
        return gpu.heap.take(size, pid)

    def used_in(self, gpu: Gpu, swizz: int) -> int:
        """Bytes allocated by clients subscribed to a GPU instance; duplicates are counted once."""
        found: dict[int, int] = {}
        for client in self.tree.clients.values():
            objects = [o for o in client.objects.values() if o.gpu is gpu]
            if any(o.data.get("swizz") == swizz for o in objects):
                memories = (o.memory for o in objects if o.memory is not None)
                found |= {id(m): m.size for m in memories if m.place is Place.VIDEO}
        return sum(found.values())

    def _event(self, made: Object, params: View) -> None:
        source = made.client.objects.get(params["hSrcResource"] or params["hParentClient"])
        if source is None and params["hSrcResource"]:
            raise RmError(Status.OBJECT_NOT_FOUND)
        made.data = {
            "notify": params["notifyIndex"],
            "descriptor": params["data"] & 0xFFFFFFFF,
            "source": params["hSrcResource"],
        }

    def alloc_memory(self, caller: Caller, p: View) -> Object:
        """NV_ESC_RM_ALLOC_MEMORY, the older way to get memory objects (NVOS02)."""
        cls = self.release.classes.get(p["hClass"])
        if cls is None:
            raise RmError(Status.INVALID_CLASS)
        client = self.tree.client(p["hRoot"], caller.owners)
        if p["limit"] >= MAX_SYSMEM:
            raise RmError(Status.INVALID_LIMIT)
        made = self.tree.add(client, p["hObjectParent"], p["hObjectNew"], cls)
        size = p["limit"] + 1
        if cls.internal == "OsDescMemory":
            made.memory = Memory(
                Place.USER_PAGES, size, user_address=p["pMemory"], user_pid=caller.pid
            )
        elif cls.internal in ("SystemMemory", "VideoMemory"):
            made.memory = system_memory(size)
        else:
            self.tree.free(made)
            raise RmError(Status.INVALID_CLASS)
        return made

    # ------------------------------------------------------------------ the rest of the tree

    def free(self, caller: Caller, root: int, handle: int) -> None:
        """NV_ESC_RM_FREE."""
        client = self.tree.client(root, caller.owners)
        self.before_free()
        self.tree.free(client if handle == client.handle else self.tree.find(client, handle))

    def duplicate(self, caller: Caller, p: View) -> Object:
        """NV_ESC_RM_DUP_OBJECT: another handle for the same memory."""
        client = self.tree.client(p["hClient"], caller.owners)
        source = self.tree.clients.get(p["hClientSrc"])
        if source is None:
            raise RmError(Status.INVALID_CLIENT)
        original = self.tree.find(source, p["hObjectSrc"])
        # Default share policy: within one process only (sharing.c, RS_SHARE_TYPE_PID).
        other = source.pid != client.pid and source.owner not in caller.owners
        if other and not original.data.get("shared"):
            raise RmError(Status.INSUFFICIENT_PERMISSIONS)
        if isinstance(original, Client) or original.memory is None:
            raise RmError(Status.INVALID_ARGUMENT)
        if p["hParent"] == client.handle:
            parent = self._device_of(client, original)
        else:
            parent = p["hParent"]
        made = self.tree.add(client, parent, p["hObject"], original.cls)
        made.memory = original.memory
        made.memory.refs += 1
        return made

    @staticmethod
    def _device_of(client: Client, original: Object) -> int:
        for o in client.children.values():
            if o.cls.internal == DEVICE and o.gpu is original.gpu:
                return o.handle
        raise RmError(Status.INVALID_OBJECT_PARENT)

    def memory_of(self, caller: Caller, root: int, handle: int) -> Memory:
        """The memory behind a handle that is about to be mapped."""
        client = self.tree.client(root, caller.owners)
        target = self.tree.find(client, handle)
        if target.memory is not None:
            return target.memory
        if target.gpu is not None and target.cls.internal in (SUBDEVICE, DEVICE, "KernelChannel"):
            target.memory = Memory(Place.REGISTERS, 16 << 20)
            return target.memory
        raise RmError(Status.INVALID_OBJECT_HANDLE)

    def heap_of(self, caller: Caller, root: int, parent: int) -> tuple[Client, Object, Gpu]:
        """Device named by a NVOS32 call."""
        client = self.tree.client(root, caller.owners)
        above = self.tree.find(client, parent)
        if above.gpu is None:
            raise RmError(Status.INVALID_DEVICE)
        return client, above, above.gpu
