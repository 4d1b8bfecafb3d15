"""OS events: objects of class NV01_EVENT_OS_EVENT report on a descriptor, which polls ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .files import OpenFile
from .rm.objects import Object
from .task import Request

if TYPE_CHECKING:
    from .simulator import Simulator


class Events:
    """Which event object reports to which open file."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._bound: dict[Object, OpenFile] = {}

    def bind(self, event: Object, request: Request) -> None:
        """The event's ``data`` names a descriptor of the caller."""
        file = self._sim.files.find(request.stat_fd(event.data["descriptor"]))
        if file is not None:
            self._bound[event] = file

    def unbind(self, event: Object) -> None:
        """The event object was freed."""
        self._bound.pop(event, None)

    def forget(self, file: OpenFile) -> None:
        """The descriptor's file is gone."""
        for event in [e for e, f in self._bound.items() if f is file]:
            del self._bound[event]

    def fire(self, gpu_index: int, notify: int, info: int) -> int:
        """Report ``notify`` to every event on that card; how many there were."""
        hit = 0
        for event, file in list(self._bound.items()):
            same = event.gpu is None or event.gpu.index == gpu_index
            if same and event.data["notify"] & 0xFFFF == notify:
                file.notify((event.handle, notify, info))
                hit += 1
        return hit
