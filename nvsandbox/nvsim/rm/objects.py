"""Clients and their object trees (``src/nvidia/src/libraries/resserv``).

Handles are unique within a client; a parent must exist and be of a class that ``resource_list.h``
allows; freeing an object frees its children first. A client belongs to the open file that made it
(strict validation, ``rmapi/client.c``). Not modelled: access rights masks, share policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nvsandbox.nvproxy.abi import ClassDef

from .status import RmError, Status

if TYPE_CHECKING:
    from .gpu import Gpu
    from .memory import Memory

MAX_OBJECTS: Final = 65536
"""Per client: the driver is bounded by memory, we by this."""
MAX_CLIENTS: Final = 4096
_CLIENT_BASE: Final = 0xC1D00001
_OBJECT_BASE: Final = 0xCAF00001
DEVICE: Final = "Device"
SUBDEVICE: Final = "Subdevice"


@dataclass(slots=True, eq=False)
class Object:
    """A resource: its class, place in the tree, and what kind of thing backs it."""

    handle: int
    cls: ClassDef
    client: Client
    parent: Object | None
    gpu: Gpu | None = None
    memory: Memory | None = None
    children: dict[int, Object] = field(default_factory=dict)
    data: dict[str, int] = field(default_factory=dict)
    """What later calls need of the allocation parameters."""

    def ancestor(self, internal: str) -> Object | None:
        """The nearest object of internal class ``internal`` from here upward."""
        at: Object | None = self
        while at is not None and at.cls.internal != internal:
            at = at.parent
        return at

    def walk(self) -> Iterator[Object]:
        """This object and all below it, children first."""
        for child in list(self.children.values()):
            yield from child.walk()
        yield self


class Client(Object):
    """A root object with the handles below it."""

    __slots__ = ("next_handle", "objects", "owner", "pid")

    def __init__(self, handle: int, cls: ClassDef, owner: object, pid: int) -> None:
        super().__init__(handle, cls, self, None)
        self.objects: dict[int, Object] = {handle: self}
        self.owner = owner
        self.pid = pid
        self.next_handle = _OBJECT_BASE


class Tree:
    """All clients. ``on_free`` is told of each object that goes, children first."""

    def __init__(self, on_free: Callable[[Object], None]) -> None:
        self.clients: dict[int, Client] = {}
        self._next = _CLIENT_BASE
        self._on_free = on_free

    def new_client(self, handle: int, cls: ClassDef, owner: object, pid: int) -> Client:
        """A client; handle 0 lets the tree choose."""
        if len(self.clients) >= MAX_CLIENTS:
            raise RmError(Status.INSUFFICIENT_RESOURCES)
        if handle == 0:
            while self._next in self.clients:
                self._next += 1
            handle = self._next
            self._next += 1
        elif handle in self.clients:
            raise RmError(Status.INSERT_DUPLICATE_NAME)
        client = self.clients[handle] = Client(handle, cls, owner, pid)
        return client

    def client(self, handle: int, owners: set[object]) -> Client:
        """The client ``handle`` if one of ``owners`` (open files) made it."""
        client = self.clients.get(handle)
        if client is None or client.owner not in owners:
            raise RmError(Status.INVALID_CLIENT)
        return client

    def add(self, client: Client, parent: int, handle: int, cls: ClassDef) -> Object:
        """A new object below ``parent``; handle 0 lets the tree choose."""
        above = client.objects.get(parent)
        if above is None:
            raise RmError(Status.INVALID_OBJECT_PARENT)
        if cls.parents != ("*",) and above.cls.internal not in cls.parents:
            raise RmError(Status.INVALID_OBJECT_PARENT)
        if len(client.objects) >= MAX_OBJECTS:
            raise RmError(Status.INSUFFICIENT_RESOURCES)
        if handle == 0:
            while client.next_handle in client.objects:
                client.next_handle += 1
            handle = client.next_handle
        elif handle in client.objects:
            raise RmError(Status.INSERT_DUPLICATE_NAME)
        if not cls.multi and any(c.cls.internal == cls.internal for c in above.children.values()):
            raise RmError(Status.STATE_IN_USE)
        made = Object(handle, cls, client, above, above.gpu)
        client.objects[handle] = above.children[handle] = made
        return made

    def find(self, client: Client, handle: int) -> Object:
        """The object ``handle`` of ``client``."""
        found = client.objects.get(handle)
        if found is None:
            raise RmError(Status.OBJECT_NOT_FOUND)
        return found

    def free(self, target: Object) -> None:
        """Free ``target`` and everything below it."""
        for o in list(target.walk()):
            self._on_free(o)
            o.client.objects.pop(o.handle, None)
            if o.parent is not None:
                o.parent.children.pop(o.handle, None)
            o.children.clear()
        if isinstance(target, Client):
            self.clients.pop(target.handle, None)

    def free_owned(self, owner: object) -> None:
        """The open file ``owner`` was closed for good: its clients go."""
        for client in [c for c in self.clients.values() if c.owner is owner]:
            self.free(client)
