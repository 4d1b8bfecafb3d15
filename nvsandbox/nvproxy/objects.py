"""The sandbox's object trees as far as we must know them: who owns a client, what is charged, what goes with what.

The host takes all processes of a sandbox for one (hazard D1), so ownership between them is enforced here: a client is usable
through the open file that made it, and files tied to that one by REGISTER_FD; objects are shared across processes only through an
exported descriptor. The driver frees its own objects; we drop ours with the same calls, so that charges end when memory does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from . import status

if TYPE_CHECKING:
    from .devices import NvFile
    from .quota import Charge
    from .sharing import Rule

MAX_CLIENTS: Final = 4096
"""Of a sandbox."""
MAX_OBJECTS: Final = 1 << 18
"""Of a sandbox: the driver is bounded by the host's memory, which isn't one sandbox's to fill."""


@final
class Obj:
    """One object. ``gpu``: the device instance it is on, -1 when on none."""

    __slots__ = (
        "charge",
        "children",
        "client",
        "cls",
        "gpu",
        "handle",
        "parent",
        "pinned",
        "shares",
        "size",
    )

    def __init__(self, client: Client, handle: int, parent: Obj | None, cls: int) -> None:
        self.client = client
        self.handle = handle
        self.parent = parent
        self.cls = cls
        self.gpu: int = parent.gpu if parent is not None else -1
        self.children: dict[int, Obj] = {}
        self.charge: Charge | None = None
        self.pinned: object = None
        """What keeps application memory pinned for it (``promote.py``)."""
        self.size = 0
        self.shares: list[Rule] = []
        """Who may duplicate it and what is below it (``sharing.py``)."""


@final
class Client:
    """A root object: made through ``file`` by process ``pid``."""

    __slots__ = ("file", "handle", "objects", "pid", "root")

    def __init__(self, handle: int, file: NvFile, pid: int) -> None:
        self.handle = handle
        self.file = file
        self.pid = pid
        self.root = Obj(self, handle, None, 0)
        self.objects: dict[int, Obj] = {handle: self.root}


@final
class Objects:
    """All clients of the sandbox."""

    __slots__ = ("clients", "total")

    def __init__(self) -> None:
        self.clients: dict[int, Client] = {}
        self.total = 0

    def usable(self, handle: int, f: NvFile) -> Client:
        """The client, if it may be used through ``f``. Raises Refused."""
        c = self.clients.get(handle)
        if c is None or (c.file is not f and c.file is not f.control):
            raise status.Refused(status.INVALID_CLIENT)
        return c

    def of_process(self, handle: int, pid: int, f: NvFile) -> bool:
        """Whether a client named inside parameters is one that the calling process may name."""
        c = self.clients.get(handle)
        return c is not None and (c.file is f or c.file is f.control or c.pid == pid)

    def check_room(self) -> None:
        """Before an allocation reaches the driver. Raises Refused."""
        if self.total >= MAX_OBJECTS:
            raise status.Refused(status.INSUFFICIENT_RESOURCES)

    def add_client(self, handle: int, f: NvFile, pid: int) -> None:
        """The driver has made a client."""
        self.clients[handle] = Client(handle, f, pid)
        self.total += 1

    def add(self, client: Client, parent: int, handle: int, cls: int) -> Obj:
        """The driver has made an object; a parent we don't know is the client itself."""
        above = client.objects.get(parent, client.root)
        o = Obj(client, handle, above, cls)
        client.objects[handle] = above.children[handle] = o
        self.total += 1
        return o

    def free(self, client: Client, handle: int) -> None:
        """The driver has freed an object and all below it, or the client."""
        if handle == client.handle:
            self.clients.pop(handle, None)
        o = client.objects.get(handle)
        if o is None:
            return
        if o.parent is not None:
            o.parent.children.pop(handle, None)
        stack = [o]
        while stack:
            x = stack.pop()
            stack.extend(x.children.values())
            if client.objects.pop(x.handle, None) is not None:
                self.total -= 1
            if x.charge is not None:
                x.charge.drop()
                x.charge = None
            x.pinned = None

    def free_file(self, f: NvFile) -> None:
        """The last descriptor of ``f`` is gone: the driver frees its clients."""
        for c in [c for c in self.clients.values() if c.file is f]:
            self.free(c, c.handle)
