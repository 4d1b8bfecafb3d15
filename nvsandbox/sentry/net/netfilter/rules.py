"""Rules and chains, and how a packet passes them (Linux: net/ipv4/netfilter/ip_tables.c, net/netfilter/nf_tables_core.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, final

if TYPE_CHECKING:
    from .skb import Skb

# Verdicts. Linux's numbers where it has them (linux/netfilter.h, linux/netfilter/nf_tables.h).
DROP: Final = 0
ACCEPT: Final = 1
STOLEN: Final = 2
QUEUE: Final = 3
CONTINUE: Final = -1
BREAK: Final = -2
JUMP: Final = -3
GOTO: Final = -4
RETURN: Final = -5
# Rules (of four operations) that one packet may meet at one hook: chains that jump to others twice, these again… would take for ever.
BUDGET: Final = 16384
DEPTH: Final = 256


class Op:
    """A match, an expression or a target. ``tracks``: it needs connections to be tracked."""

    __slots__ = ()

    tracks: ClassVar[bool] = False

    def run(self, skb: Skb) -> int:
        """CONTINUE: on with the next of the rule; BREAK: the rule does not match; else the verdict."""
        raise NotImplementedError


@final
class Count(Op):
    """Packets and bytes of what has come so far in the rule."""

    __slots__ = ("bytes", "packets")

    def __init__(self, packets: int = 0, size: int = 0) -> None:
        self.packets = packets
        self.bytes = size

    def run(self, skb: Skb) -> int:
        self.packets += 1
        self.bytes += skb.size()
        return CONTINUE


@final
class Verdict(Op):
    """ACCEPT, DROP, RETURN…"""

    __slots__ = ("verdict",)

    def __init__(self, verdict: int) -> None:
        self.verdict = verdict

    def run(self, skb: Skb) -> int:
        return self.verdict


@final
class Jump(Op):
    """To a rule of a list, coming back or (``goto``) not."""

    __slots__ = ("at", "goto", "rules")

    def __init__(self, rules: list[Rule], at: int, goto: bool) -> None:
        self.rules = rules
        self.at = at
        self.goto = goto

    def run(self, skb: Skb) -> int:
        skb.jump, skb.jump_at = self.rules, self.at
        return GOTO if self.goto else JUMP


@final
class Rule:
    """``ops`` one after the other. ``cost``: how much of a packet's budget it takes to look at it."""

    __slots__ = ("cost", "ops")

    def __init__(self, ops: list[Op]) -> None:
        self.cost = 1
        self.ops: list[Op] = []
        self.set_ops(ops)

    def set_ops(self, ops: list[Op]) -> None:
        self.ops = ops
        self.cost = 1 + (len(ops) >> 2)

    def run(self, skb: Skb) -> int:
        for op in self.ops:
            v = op.run(skb)
            if v == BREAK:
                return CONTINUE
            if v != CONTINUE:
                return v
        return CONTINUE


def walk(skb: Skb, rules: list[Rule], at: int) -> int:
    """The verdict of a base chain that begins at ``rules[at]``: CONTINUE at its end, or when it returns."""
    back: list[tuple[list[Rule], int]] = []
    while True:
        if at >= len(rules):
            if not back:
                return CONTINUE
            rules, at = back.pop()
            continue
        if skb.budget <= 0:
            return DROP
        rule = rules[at]
        skb.budget -= rule.cost
        v = rule.run(skb)
        at += 1
        if v == CONTINUE:
            continue
        if v == RETURN:
            if not back:
                return CONTINUE
            rules, at = back.pop()
        elif v == JUMP or v == GOTO:
            if v == JUMP:
                if len(back) >= DEPTH:
                    return DROP
                back.append((rules, at))
            rules, at = skb.jump, skb.jump_at
        else:
            return v
