"""A state machine over two connected stacks: whatever both sides and the wire do, bytes arrive once and in order."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from .test_transfer import connect
from .wire import MS, Pair, S

SIDES = st.sampled_from((0, 1))


class Machine(RuleBasedStateMachine):
    """``sent``, ``got``: by the side that sends, that receives. The pattern makes every misplaced byte visible."""

    @initialize(
        seed=st.integers(0, 1 << 16), v6=st.booleans(), gso=st.booleans(), nodelay=st.booleans(),
        rcvbuf=st.sampled_from((0, 2000, 10_000)), mtu=st.sampled_from((576, 1500, 9000)),
    )  # fmt: skip
    def start(self, seed: int, v6: bool, gso: bool, nodelay: bool, rcvbuf: int, mtu: int) -> None:
        self.p = Pair(seed, gso=gso, mtu=max(mtu, 1280) if v6 else mtu)
        self.ends = connect(self.p, v6)
        for e in self.ends:
            e.nodelay = nodelay
            if rcvbuf:
                e.set_rcvbuf(rcvbuf)
        self.sent = [b"", b""]
        self.got = [b"", b""]
        self.finished = [False, False]
        self.pattern = [self.p.net.rng.randbytes(1 << 20) for _ in range(2)]

    @rule(side=SIDES, n=st.one_of(st.integers(1, 10), st.integers(1, 100_000)))
    def send(self, side: int, n: int) -> None:
        if self.finished[side]:
            return
        at = len(self.sent[side]) % 900_000
        data = self.pattern[side][at : at + n]
        taken = self.ends[side].send(data)
        assert 0 <= taken <= len(data)
        self.sent[side] += data[:taken]

    @rule(side=SIDES, n=st.integers(1, 200_000), peek=st.booleans())
    def read(self, side: int, n: int, peek: bool) -> None:
        e = self.ends[side]
        seen = e.peek(n) if peek else b""
        data = e.recv(n)
        assert not peek or seen == data
        self.got[side] += data

    @rule(ms=st.one_of(st.integers(0, 3), st.integers(1, 3000)))
    def wait(self, ms: int) -> None:
        self.p.net.run(ms * MS)

    @rule(
        loss=st.sampled_from((0.0, 0.05, 0.3, 1.0)), dup=st.sampled_from((0.0, 0.2)),
        corrupt=st.sampled_from((0.0, 0.1)), jitter=st.sampled_from((0, 1, 30)), which=st.sampled_from((0, 1, 2)),
    )  # fmt: skip
    def wire(self, loss: float, dup: float, corrupt: float, jitter: int, which: int) -> None:
        links = (self.p.la, self.p.lb)
        for link in links if which == 2 else (links[which],):
            link.loss, link.dup, link.corrupt, link.jitter = loss, dup, corrupt, jitter * MS

    @rule(side=SIDES)
    def shutdown(self, side: int) -> None:
        self.ends[side].shutdown_write()
        self.finished[side] = True

    @invariant()
    def in_order(self) -> None:
        for side in (0, 1):
            assert self.sent[1 - side].startswith(self.got[side])
            e = self.ends[side]
            ooo = e.ooo.cost if e.ooo is not None else 0
            assert e.stack.tcp.queued == e.charged == e.rx.size + ooo
            if not e.dead:
                sizes = [x.end - x.seq for x in e.rtxq]
                assert sum(sizes) == e.snd_nxt - e.snd_una
                assert e.sacked_out == sum(x.end - x.seq for x in e.rtxq if x.sacked)
                assert e.lost_out == sum(x.end - x.seq for x in e.rtxq if x.lost)
                assert e.retrans_out == sum(x.end - x.seq for x in e.rtxq if x.retrans)
                assert not e.rtxq or e.t_xmit

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        dead = any(e.dead and e.err for e in self.ends)
        self.p.both(loss=0.0, dup=0.0, corrupt=0.0, jitter=0)
        for side in (0, 1):
            self.shutdown(side)
        for _ in range(3000):
            for side in (0, 1):
                self.got[side] += self.ends[side].recv(1 << 20)
            if all(e.dead for e in self.ends):
                break
            self.p.net.run(S)
        if dead or any(e.err for e in self.ends):
            return  # the wire was cut for a quarter of an hour
        for side in (0, 1):
            assert self.got[side] == self.sent[1 - side]
        assert all(e.dead for e in self.ends)
        assert not self.p.a.counters.errors and not self.p.b.counters.errors


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=False,
)  # fmt: skip
