"""Programs with CAP_NET_ADMIN that change addresses, routes, interfaces and neighbours: as on Linux, and inside only."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

import pytest

from .conftest import Wire, same, sh

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
ip route add 10.60.0.0/16 via 10.99.0.1; ip link set eth0 down; ip route; ip link set eth0 up; ip route
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
    for what in ("v0 type vxlan id 5 dev eth0 dstport 4789", "t0 type ipip local 10.99.0.2"):
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
ip link add dummy0 type dummy || echo exists; ip link set e9 name 'a/b' || echo bad name
ip link del e9; ip link del dummy0; ip link del dummy1; ip -br link | grep -c dummy || true; ip route | grep -c 10.44 || true
ip link set eth0 down; ip link set eth0 name wan0; ip link set wan0 up; ip -br -4 addr show wan0 | tr -s ' '; ip link del wan0 || echo stays
ip route replace default via 10.99.0.1; ping -c 1 -W 10 10.99.0.1 | grep -c 'bytes from'
ip link set nosuch name other || echo not there
"""


def test_dummies_and_names(wire: Wire) -> None:
    assert wire.run(MADE + "true").splitlines() == [
        "dummy0 DOWN <BROADCAST,NOARP>", "d9 DOWN <BROADCAST,NOARP>", "dummy1 DOWN <BROADCAST,NOARP>",
        "dummy0 UP 10.44.0.1/24 ", "10.44.0.0/24 dev dummy0 proto kernel scope link src 10.44.0.1 ", "1", "1", "10.44.0.1", "9000",
        "exists", "bad name", "0", "0", "wan0 UP 10.99.0.2/24 ", "stays", "1", "not there",
    ]  # fmt: skip
    assert "eth0" in sh("ip", "-n", wire.box, "link")


PAIRS = r"""
show() { sed -E 's/@[a-z0-9]+/ /; s/[0-9a-f]{2}(:[0-9a-f]{2}){5}/MAC/; s/ +/ /g; s/LOWERLAYERDOWN/DOWN/'; }
ip netns add a; ip netns add b
ip link add va type veth peer name vb mtu 1400
ip link set va netns a; ip link set vb netns b name wb; ip -br link show vb 2>&1 || echo gone
ip -n a addr add 10.50.0.1/24 dev va; ip -n b addr add 10.50.0.2/24 dev wb
ip -n a addr add fd50::1/64 dev va nodad; ip -n b addr add fd50::2/64 dev wb nodad
ip -n a link set va up; ip -n a -br link show va | show; ip -n b link set lo up; ip -n b link set wb up; ip -n a link set lo up
ip -n a -br link show va | show; ip -n b -br link show wb | show; ip -n b -br -4 addr show wb | show; ip -n a route | show
ip netns exec a ping -c 2 -i 0.2 10.50.0.2 | grep -c 'bytes from'; ip netns exec b ping -c 1 fd50::1 | grep -c 'bytes from'
ip -n b link set wb mtu 9000; ip -n a link set va mtu 9000; ip netns exec a ping -c 1 -s 8000 -M do 10.50.0.2 | grep -c 'bytes from'
ip netns exec b python3 -c '
import hashlib, socket
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(("::", 7000)); s = socket.create_server(("", 7000)); print("listening", flush=True)
data, addr = u.recvfrom(100); u.sendto(data[::-1], addr)
c = s.accept()[0]; assert c.getpeername()[0] == "10.50.0.1"; h = hashlib.sha256()
while d := c.recv(65536): h.update(d)
c.sendall(h.hexdigest().encode())' & sleep 2
ip netns exec a python3 -c '
import hashlib, os, socket
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.settimeout(10); u.sendto(b"abc", ("fd50::2", 7000)); print(u.recvfrom(9))
data = os.urandom(1 << 24); c = socket.create_connection(("10.50.0.2", 7000), 10); c.sendall(data); c.shutdown(1)
print(c.recv(64, socket.MSG_WAITALL).decode() == hashlib.sha256(data).hexdigest())
try: socket.create_connection(("10.50.0.2", 7001), 10)
except OSError as e: print(e.errno)'
wait
ip -n b link set wb down; ip -n a -br link show va | show; ip netns exec a ping -c 1 -W 1 10.50.0.2 | grep -c 'bytes from'; ip -n b link set wb up
ip netns exec a ping -c 1 -W 9 10.50.0.2 | grep -c 'bytes from'
ip link add v1 type veth peer name v1 2>&1; ip link add v1 netns a type veth peer name v2 netns b; ip -n a -br link show v1 | show; ip -n b -br link show v2 | show
ip -n a link set v1 name va 2>&1; ip -n b link set v2 netns a name va 2>&1; ip link set lo netns a 2>/dev/null || echo lo stays
ip -n a link set v1 netns nowhere 2>&1; ip -n a link del va; ip -n b -br link show wb 2>&1; ip -n b link del v2 2>&1; ip -n a -br link | show
unshare -n sleep 60 & sleep 1; ip link add p0 type veth peer name p1; ip link set p1 netns $!; ip link show p1 2>&1; nsenter -t $! -n ip -br link | show; kill $!
unshare -n sh -c 'ip link add x0 type veth peer name x1; ip addr add 10.51.0.1/24 dev x0; ip link set x0 up; ip link set x1 up; ip -br link show type veth | wc -l'
"""


ENDS = r"""
show() { ip -br link show $1 2>&1 | sed -E 's/@[a-z0-9]+/ /; s/[0-9a-f]{2}(:[0-9a-f]{2}){5}/MAC/; s/ +/ /g'; }
ip netns add a; ip link add v0 type veth peer name v1 netns a; show v0; ip netns exec a true; sleep 1; show v0
ip netns del a; sleep 1; show v0
unshare -n sleep 60 & sleep 1; ip link add v2 type veth peer name v3 netns $!; show v2; kill $!; wait; sleep 1; show v2
ip netns add b; ip link add v4 type veth peer name v5 netns b; ip netns exec b sleep 3 & sleep 1; ip netns del b; sleep 1; show v4; wait; sleep 1; show v4
ip netns add c; ip link add v6 type veth peer name v7 netns c; exec 9</run/netns/c; ip netns del c; sleep 1; show v6; exec 9<&-; sleep 1; show v6
ip netns add d; ip netns add e; ip -n d link add v8 type veth peer name v9 netns e; ip link add va netns d type veth peer name vb netns e
ip netns del d; sleep 1; ip -n e -br link | wc -l
ip netns add f; ip link add vc type veth peer name vd netns f; mount --bind /run/netns/f /mnt; ip netns del f; sleep 1; show vc; umount /mnt; sleep 1; show vc
"""


@cache
def in_namespaces(commands: str) -> str:
    """What ``commands`` print on the host, in namespaces of its own."""
    command = f"mount -t tmpfs none /run; bash -c {shlex.quote(commands)}; true"
    return sh("unshare", "-nmpf", "--mount-proc", "bash", "-c", command)


@pytest.mark.parametrize("network", ["sandbox", "none"])
@pytest.mark.parametrize("commands", [PAIRS, ENDS], ids=["pairs", "ends"])
def test_pairs_between_namespaces(wire: Wire, tmp_path: Path, network: str, commands: str) -> None:
    """Two namespaces of a program's own with a wire between them, as on Linux; what becomes of it when they end."""
    script = tmp_path / "script"
    script.write_text(commands)
    wire.more_caps = ["CAP_SYS_ADMIN"]
    run = f"bash {script}; true", f"--network={network}"
    same(lambda: in_namespaces(commands), lambda: wire.run(*run))


BRIDGE = r"""
show() { sed -E 's/@[a-z0-9]+/ /; s/[0-9a-f]{2}(:[0-9a-f]{2}){5}/MAC/; s/ +/ /g; s/LOWERLAYERDOWN/DOWN/'; }
ip link add br0 type bridge; ip addr add 10.52.0.254/24 dev br0; ip link set br0 up; ip -br link show br0 | show
for n in 1 2 3; do
    ip netns add h$n; ip link add s$n type veth peer name eth0 netns h$n; ip link set s$n master br0; ip link set s$n up
    ip -n h$n addr add 10.52.0.$n/24 dev eth0; ip -n h$n link set eth0 up; ip -n h$n link set lo up
done
ip -br link show br0 | show; ip -o link show master br0 | wc -l; ip -br link show s1 | show
for a in 1 2 3; do for b in 1 2 3 254; do ip netns exec h$a ping -c 1 -W 9 10.52.0.$b | grep -c 'bytes from'; done; done
ping -c 1 -W 9 10.52.0.2 | grep -c 'bytes from'; ping -b -c 1 -w 2 10.52.0.255 2>/dev/null | grep -c 'bytes from' >/dev/null
ip netns exec h3 python3 -c '
import hashlib, socket
s = socket.create_server(("", 7000)); print("listening", flush=True)
c = s.accept()[0]; h = hashlib.sha256()
while d := c.recv(65536): h.update(d)
c.sendall(h.hexdigest().encode())' & sleep 1
ip netns exec h1 python3 -c '
import hashlib, os, socket
data = os.urandom(1 << 24); c = socket.create_connection(("10.52.0.3", 7000), 10); c.sendall(data); c.shutdown(1)
print(c.recv(64, socket.MSG_WAITALL).decode() == hashlib.sha256(data).hexdigest())'
wait
ip link set s2 nomaster; ip netns exec h1 ping -c 1 -W 1 10.52.0.2 | grep -c 'bytes from'; ip link set s2 master br0
ip netns exec h1 ping -c 1 -W 9 10.52.0.2 | grep -c 'bytes from'; ip link set s1 master s2 2>/dev/null || echo no bridge
ip link set br0 master br0 2>/dev/null || echo not itself
ip link set s1 down; ip link set s2 down; ip link set s3 down; ip -br link show br0 | show; ip link del br0; ip -o link show master br0 2>&1; ip -br link show s1 | show
"""


def test_bridge(wire: Wire, tmp_path: Path) -> None:
    """Three namespaces on a switch, as on Linux."""
    script = tmp_path / "script"
    script.write_text(BRIDGE)
    wire.more_caps = ["CAP_SYS_ADMIN"]
    same(lambda: in_namespaces(BRIDGE), lambda: wire.run(f"bash {script}; true"))


STORM = r"""
ip link add br0 type bridge; ip link add br1 type bridge
for n in 1 2; do
    ip link add a$n type veth peer name b$n
    ip link set a$n master br0; ip link set b$n master br1; ip link set a$n up; ip link set b$n up
done
ip addr add 10.53.0.1/24 dev br0; ip link set br0 up; ip link set br1 up; ping -c 1 -W 1 10.53.0.9 >/dev/null || true
ls / >/dev/null && echo alive
ip link del br0; ls / >/dev/null && echo over
"""


def test_a_loop_of_bridges(wire: Wire) -> None:
    """Broadcasts go round for ever; everything else of the sandbox goes on."""
    assert wire.run(STORM, "--network=none") == "alive\nover\n"
