"""Everything one simulated driver holds, glued together: resource manager, files, mappings, faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nvsandbox.nvproxy.abi import AbiError, database

from . import nodes, profile
from .channel import Channels
from .errors import SimError
from .events import Events
from .faults import Fault, Faults
from .files import FileTable, OpenFile
from .mapping import Mappings
from .record import Replay
from .rm.control import Caller
from .rm.manager import Manager
from .rm.mig import layout
from .task import Request
from .uvm import VaSpace
from .uvm_tools import Tracker

MAX_CARDS = 8


@dataclass(frozen=True, slots=True)
class Config:
    """What the user asked for."""

    gpu: str = "h100"
    count: int = 1
    driver: str = "535.261.03"
    memory_mib: int | None = None
    faults: Sequence[Fault] = field(default_factory=tuple)
    contexts: bool = True
    """Whether channels can be allocated; without them a context fails at once."""
    mig: str | None = None
    """MIG instances each card is cut into: profile names, or a number of the smallest."""
    bridged: bool = False
    """Whether cards with links are joined in pairs by bridges; otherwise they are on a board with switches."""
    skip_kernels: bool = False
    """Whether kernel launches complete without being executed, where that can be done."""


class Simulator:
    """The driver of one tree of processes."""

    def __init__(
        self, config: Config, log: Callable[[str], None], replay: Replay | None = None
    ) -> None:
        if not 1 <= config.count <= MAX_CARDS:
            raise SimError(f"--count: 1 to {MAX_CARDS} cards")
        try:
            release = database().release(config.driver)
        except AbiError as e:
            raise SimError(f"--driver: {e}; `nvsandbox gpu abi list` shows all") from None
        cards = [profile.load(config.gpu, config.memory_mib)] * config.count
        self.log = log
        self.received: Callable[[str, int, int, bytes], None] = lambda kind, number, pid, data: None
        """Told of every call that arrives: kind, number, process, parameters as they were before they are answered."""
        self.replay = replay
        instances = layout(cards[0], config.mig) if config.mig else ()
        self.rm = Manager(release, cards, log, instances)
        self.rm.bridged = config.bridged
        self.rm.on_mig = self._nodes
        self.events = Events(self)
        self.rm.on_event_free = self.events.unbind
        self.channels = Channels(self)
        self.rm.channels = config.contexts
        self.skip_kernels = config.skip_kernels
        self.rm.on_channel = self.channels.add
        self.rm.on_channel_free = self.channels.remove
        self.rm.before_free = self.channels.finish
        self.files = FileTable(self._closed)
        self.dmabufs: set[tuple[int, int]] = set()
        """Device and inode of every dma-buf that was made."""
        self.mappings = Mappings(self)
        self.va_spaces: dict[OpenFile, VaSpace] = {}
        self.trackers: dict[OpenFile, Tracker] = {}
        self.faults = Faults(list(config.faults))
        self._nodes()

    def _nodes(self) -> None:
        """The files there are; MIG instances come and go."""
        with open("/proc/devices") as f:
            self.nodes = nodes.build(self.rm, f.read(), self.faults.missing)

    def _closed(self, file: OpenFile) -> None:
        """The kernel dropped the last reference to an open file: as the driver's release does."""
        self.channels.finish()
        self.rm.tree.free_owned(file)
        self.va_spaces.pop(file, None)
        self.trackers.pop(file, None)
        self.mappings.forget(file)
        self.events.forget(file)

    def caller(self, request: Request, file: OpenFile) -> Caller:
        """Who makes this call."""
        return Caller(request, file.owners(), request.tgid(), request.euid() == 0, file)
