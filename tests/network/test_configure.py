"""Programs with CAP_NET_ADMIN that change addresses, routes, interfaces and neighbours: as on Linux, and inside only."""

from __future__ import annotations

from .conftest import Wire, sh

SAME = """
try() { "$@" >/dev/null 2>&1 || echo failed: $*; }
show() { ip -br addr show dev eth0 | sed 's/@[^ ]*//' | tr -s ' ' '\\n' | sort; ip route | sort; ip -6 route | grep -v 'fe80\\|multicast' | sed 's/ pref medium//; s/ *$//' | sort; }
ip addr add 10.50.0.1/24 dev eth0
ip addr add 10.50.0.2/24 dev eth0
ip addr add 10.51.0.1/32 dev eth0
ip -6 addr add fd50::1/64 dev eth0 nodad
show
try ip addr add 10.50.0.1/24 dev eth0
try ip addr del 10.50.0.9/24 dev eth0
ip route add 10.60.0.0/16 via 10.99.0.1
ip route add 10.61.0.0/16 dev eth0 metric 7
ip route add unreachable 10.62.0.0/16
ip -6 route add fd60::/64 via fd99::1
show
try ip route add 10.60.0.0/16 via 10.99.0.1
try ip route add 10.63.0.0/16 via 10.77.0.1
try ip route del 10.64.0.0/16
ip route replace 10.60.0.0/16 via 10.99.0.7
ip route get 10.60.1.1 | head -1 | sed 's/ uid.*//; s/ *$//'
ip route get 10.62.1.1 2>&1 || true
ip route del 10.60.0.0/16; ip route del 10.61.0.0/16; ip route del unreachable 10.62.0.0/16; ip -6 route del fd60::/64
ip addr del 10.50.0.2/24 dev eth0; ip addr del 10.50.0.1/24 dev eth0; ip addr del 10.51.0.1/32 dev eth0
ip -6 addr del fd50::1/64 dev eth0
show
ip link set eth0 mtu 1400; cat /sys/class/net/eth0/mtu; ip link set eth0 mtu 1500
try ip link set eth0 mtu 20
ip link set lo up
try ip link set nosuch up
try ip addr add 10.1.1.1/24 dev nosuch
ip neigh add 10.99.0.77 lladdr 02:00:00:00:00:07 dev eth0; ip neigh show 10.99.0.77; ip neigh del 10.99.0.77 dev eth0
ip addr add 10.70.0.1/32 dev lo; ping -c 1 10.70.0.1 | grep -c 'bytes from'; ip addr del 10.70.0.1/32 dev lo
setpriv --reuid 1000 --clear-groups ip addr add 10.50.0.1/24 dev eth0 2>&1 || true
"""


def test_changes_are_as_on_linux(wire: Wire) -> None:
    inside = wire.run(SAME)
    outside = sh("ip", "netns", "exec", wire.box, "bash", "-ec", SAME)
    assert inside.splitlines() == outside.splitlines()


def test_changes_work_and_stay_inside(wire: Wire) -> None:
    before = sh("ip", "-n", wire.box, "addr") + sh("ip", "-n", wire.box, "route")
    wire.on_peer("ip addr add 10.60.0.1/32 dev lo; ip route add 10.50.0.0/24 dev eth0")
    p = wire.start(
        "ip addr add 10.99.0.50/24 dev eth0; ip addr add 10.50.0.1/24 dev eth0; ip route add 10.60.0.0/16 via 10.99.0.1;"
        "ping -c 1 10.60.0.1 | grep -c 'bytes from'; read -t 60 x < <(sleep 60)"
    )
    assert wire.line(p) == "1"
    assert sh("ip", "-n", wire.box, "addr") + sh("ip", "-n", wire.box, "route") == before
    wire.until("ping -c 1 -W 1 10.99.0.50")
    wire.until("ping -c 1 -W 1 10.50.0.1")
    # What the engine changes meanwhile does not undo them
    sh("ip", "-n", wire.box, "addr", "add", "10.99.0.88/24", "dev", "eth0")
    wire.until("ping -c 1 -W 1 10.99.0.88")
    wire.until("ping -c 1 -W 1 10.99.0.50")


def test_link_down_and_up(wire: Wire) -> None:
    got = wire.run(
        "ip link set eth0 down; ip -br link show eth0 | tr -s ' ' | cut -d' ' -f2; ping -c 1 10.99.0.1 2>&1 || true;"
        "ip link set eth0 up; ping -c 1 -W 10 10.99.0.1 | grep -c 'bytes from'"
    )
    assert "DOWN" in got and "unreachable" in got.lower() and got.endswith("1\n")


def test_neighbours_are_told(wire: Wire) -> None:
    p = wire.start(
        "(ip -o monitor neigh & echo up; sleep 1; ping -c 1 10.99.0.1 >/dev/null; sleep 60)"
    )
    assert wire.line(p) == "up"
    seen = wire.line(p)
    assert "10.99.0.1 dev eth0 lladdr" in seen and "REACHABLE" in seen


def test_interfaces_are_not_made(wire: Wire) -> None:
    for what in ("v0 type veth peer name v1", "br0 type bridge"):
        got = wire.run(f"ip link add {what} 2>&1 || echo failed $?")
        assert "not supported" in got and "failed 2" in got


MADE = """
ip link add dummy0 type dummy; ip link add d9 type dummy; ip link add type dummy
ip -br link show type dummy | tr -s ' ' | cut -d' ' -f1,2,4
ip addr add 10.44.0.1/24 dev dummy0; ip link set dummy0 up; ip -br -4 addr show dummy0 | tr -s ' '; ip route | grep 10.44
ping -c 1 -W 5 10.44.0.1 | grep -c 'bytes from'
python3 -c 'import socket; u = socket.socket(2, 2); print(u.sendto(b"x", ("10.44.0.7", 9)))
s = socket.create_server(("10.44.0.1", 0)); c = socket.create_connection(s.getsockname()); print(c.getsockname()[0])'
ip link set d9 name e9; ip link set e9 mtu 9000; cat /sys/class/net/e9/mtu
ip link add dummy0 type dummy || echo exists; ip link set e9 name 'a/b' || echo bad name; ip link add v1 type veth peer name v2 || echo no veth
ip link del e9; ip link del dummy0; ip link del dummy1; ip -br link | grep -c dummy || true; ip route | grep -c 10.44 || true
ip link set eth0 down; ip link set eth0 name wan0; ip link set wan0 up; ip -br -4 addr show wan0 | tr -s ' '; ip link del wan0 || echo stays
ip route replace default via 10.99.0.1; ping -c 1 -W 10 10.99.0.1 | grep -c 'bytes from'
ip link set nosuch name other || echo not there
"""


def test_dummies_and_names(wire: Wire) -> None:
    assert wire.run(MADE + "true").splitlines() == [
        "dummy0 DOWN <BROADCAST,NOARP>", "d9 DOWN <BROADCAST,NOARP>", "dummy1 DOWN <BROADCAST,NOARP>",
        "dummy0 UP 10.44.0.1/24 ", "10.44.0.0/24 dev dummy0 proto kernel scope link src 10.44.0.1 ", "1", "1", "10.44.0.1", "9000",
        "exists", "bad name", "no veth", "0", "0", "wan0 UP 10.99.0.2/24 ", "stays", "1", "not there",
    ]  # fmt: skip
    assert "eth0" in sh("ip", "-n", wire.box, "link")
