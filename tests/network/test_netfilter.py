"""Packet filters: the same rules, set by the same programs, in namespaces of the host and in the sandbox: what passes, and how they are listed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from inside import cli

from .conftest import Wire, same, sh

HERE = Path(__file__).resolve().parent


@cache
def native(script: str) -> str:
    """In a network namespace of its own, whose named namespaces are its own too."""
    own = "mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && " + script
    return sh("unshare", "-nmpf", "--mount-proc", "bash", "-ec", own)


def inside(script: str, *flags: str, platform: str = "systrap") -> str:
    return sh(*cli(platform, Path("/"), *flags), "bash", "-ec", script)


@pytest.mark.parametrize("kind", ["legacy", "nft"])
@pytest.mark.parametrize("platform", ["systrap", "ptrace"])
def test_loopback(platform: str, kind: str) -> None:
    script = f"python3 {HERE}/filter_loopback.py iptables-{kind}"
    same(lambda: native(script), lambda: inside(script, platform=platform))


def test_loopback_with_a_network(wire: Wire) -> None:
    script = f"python3 {HERE}/filter_loopback.py iptables-legacy"
    same(lambda: native(script), lambda: wire.run(script))


def test_a_proxy_for_everything(wire: Wire) -> None:
    wire.peer_start(
        "cd $(mktemp -d) && echo itself > index.html && exec python3 -m http.server 8000"
    )
    wire.until("curl -sf http://10.99.0.1:8000/")
    p = wire.start(f"sleep 1000 | python3 {HERE}/filter_wire.py iptables-legacy")
    assert wire.line(p) == "ready"
    assert wire.line(p) == "to 10.99.0.1:8000 by 15001"
    assert wire.line(p) == "to 10.200.0.1:99 by 15001"
    assert wire.line(p) == "itself"
    ask = "for p in 80 81 82; do curl -sm3 http://10.99.0.2:$p/ || echo $?; done"
    assert wire.on_peer(ask).split("\n")[:3] == ["to 10.99.0.2:80 by 15006", "7", "28"]


@pytest.mark.parametrize("kind", ["legacy", "nft"])
def test_forwarding(kind: str) -> None:
    script = f"bash {HERE}/filter_forward.sh iptables-{kind}"
    same(lambda: native(script), lambda: inside(script))


@pytest.mark.parametrize("kind", ["legacy", "nft"])
def test_forwarding_of_ipv6(kind: str) -> None:
    script = f"bash {HERE}/filter_forward6.sh ip6tables-{kind}"
    same(lambda: native(script), lambda: inside(script))


@pytest.mark.parametrize("kind", ["legacy", "nft"])
def test_rules_of_many_kinds(kind: str) -> None:
    script = f"bash {HERE}/filter_zoo.sh iptables-{kind} ip6tables-{kind}"
    same(lambda: native(script), lambda: inside(script))


def test_connections_are_listed_and_forgotten() -> None:
    script = f"bash {HERE}/filter_conntrack.sh"
    same(lambda: native(script), lambda: inside(script))


@pytest.mark.parametrize("platform", ["systrap", "ptrace"])
def test_nftables(platform: str) -> None:
    script = f"bash {HERE}/filter_nft.sh"
    same(lambda: native(script), lambda: inside(script, platform=platform))


def test_needs_net_admin() -> None:
    script = "iptables-legacy -L 2>&1 || true; ip6tables-legacy -A INPUT -j DROP 2>&1 || true; nft list ruleset 2>&1 || true; nft add table t 2>&1 || true; iptables-nft -L 2>&1 || true"
    without = f"setpriv --bounding-set -net_admin --inh-caps -net_admin bash -c '{script}'"
    assert inside(without).count("ermi") >= 4
    assert inside(without) == native(without)


def test_egress_holds_for_rules_and_forwarding(wire: Wire) -> None:
    """What --egress refuses to a socket is refused to a namespace behind it, and to a destination that rules choose."""
    wire.more_caps = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]
    wire.peer_start(
        "cd $(mktemp -d) && echo good > g && python3 -m http.server 8000 & python3 -m http.server 8001"
    )
    wire.until("curl -sf http://10.99.0.1:8000/ && curl -sf http://10.99.0.1:8001/")
    script = """
        ask() { "$@" -so /dev/null -m 5 -w '%{http_code} ' $url || echo "failed "; }
        unshare -n sleep 1000 & sleep 1; in="nsenter -t $! -n"
        ip link add v0 type veth peer name v1; ip link set v1 netns $!
        ip addr add 10.5.0.1/24 dev v0; ip link set v0 up
        $in ip addr add 10.5.0.2/24 dev v1; $in ip link set v1 up; $in ip route add default via 10.5.0.1
        umount /proc/sys; echo 1 > /proc/sys/net/ipv4/ip_forward
        iptables-legacy -t nat -A POSTROUTING -o eth0 -j MASQUERADE
        iptables-legacy -t nat -A OUTPUT -p tcp --dport 9000 -j DNAT --to-destination 10.99.0.1:8000
        iptables-legacy -t nat -A OUTPUT -p tcp --dport 9001 -j DNAT --to-destination 10.99.0.1:8001
        iptables-legacy -t nat -A PREROUTING -p tcp --dport 9001 -j DNAT --to-destination 10.99.0.1:8001
        for url in http://10.99.0.1:8000/ http://10.99.0.1:8001/; do ask curl; ask $in curl; done
        for url in http://10.99.0.2:9000/ http://10.99.0.2:9001/; do ask curl; done
        url=http://10.5.0.1:9001/; ask $in curl
        echo; kill %1
    """
    got = wire.run(script, "--egress=allow:10.99.0.1:8000")
    assert got.replace("000 failed", "failed").split() == [
        "200",
        "200",
        *["failed"] * 2,
        "200",
        *["failed"] * 2,
    ]
