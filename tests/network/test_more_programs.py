"""More real programs over --network=sandbox: tunnels, a database, name services without a server, clocks, runtimes with a network layer of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import PATH, REPO, Wire
from .test_programs import at_the_other_end

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "mariadbd": "mariadb-server", "mariadb": "mariadb-client", "avahi-daemon": "avahi-daemon", "avahi-browse": "avahi-utils", "chronyd": "chrony",
    "sntp": "sntp", "socat": "socat", "node": "nodejs", "iperf3": "iperf3", "openssl": "openssl", "ssh": "openssh-client", "sshd": "openssh-server",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def more_programs(programs: None) -> None:
    missing = [p for program, p in PACKAGES.items() if shutil.which(program, path=PATH) is None]
    if missing:
        subprocess.run([REPO / "tools" / "apt.sh", *missing], check=True, timeout=900)


def sshd(where: Path, port: int = 2222) -> str:
    """A script that starts sshd, for keys that are in ``where``."""
    return (
        f"mkdir -p /run/sshd /root/.ssh; cp {where}/key.pub {where}/authorized; chmod 600 {where}/authorized; echo up;"
        f"exec /usr/sbin/sshd -D -e -p {port} -h {where}/host -o UsePAM=no -o StrictModes=no -o AuthorizedKeysFile={where}/authorized"
        " -o GatewayPorts=yes -o PermitTunnel=yes 2>/dev/null"
    )


def ssh(where: Path, port: int = 2222, program: str = "ssh -p") -> str:
    return (
        f"{program} {port} -i {where}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        " -o ExitOnForwardFailure=yes"
    )


def keys(wire: Wire, where: Path) -> None:
    wire.on_peer(
        f"ssh-keygen -q -t ed25519 -N '' -f {where}/key; ssh-keygen -q -t ed25519 -N '' -f {where}/host"
    )


WEB = "python3 -m http.server"


def test_ssh_forwards(wire: Wire, tmp_path: Path) -> None:
    """-L, -R and -D, sshd inside and outside; scp and sftp."""
    keys(wire, tmp_path)
    (tmp_path / "f").write_bytes(bytes(range(256)) * 40000)
    inside = wire.start(
        f"cd {tmp_path}; {WEB} 8100 --bind 127.0.0.1 >/dev/null 2>&1 & {sshd(tmp_path)}"
    )
    assert wire.line(inside) == "up"
    wire.until(f"{ssh(tmp_path)} root@10.99.0.2 'curl -sf http://127.0.0.1:8100/f | cmp - {tmp_path}/f'")  # fmt: skip
    wire.peer_start(f"cd {tmp_path}; exec {WEB} 8200 --bind 127.0.0.1 >/dev/null 2>&1")
    wire.until("curl -sf http://127.0.0.1:8200/key.pub")
    wire.peer_start(f"exec {ssh(tmp_path)} -N -L 7001:127.0.0.1:8100 -R 7002:127.0.0.1:8200 -D 7003 -L {tmp_path}/sock:127.0.0.1:8100 root@10.99.0.2")  # fmt: skip
    wire.until("ss -ltn | grep -q :7003")
    check = f"cmp - {tmp_path}/f"
    got = wire.on_peer(
        f"for i in 1 2 3 4; do curl -sf http://127.0.0.1:7001/f | {check} && echo ok & done; wait;"
        f"curl -sf --unix-socket {tmp_path}/sock http://x/f | {check} && echo ok;"
        f"curl -sf -x socks5h://127.0.0.1:7003 http://127.0.0.1:8100/f | {check} && echo ok;"
        f"{ssh(tmp_path)} root@10.99.0.2 'curl -sf http://127.0.0.1:7002/f | {check} && curl -sf http://10.99.0.2:7002/f | {check} && echo ok';"
        f"{ssh(tmp_path, program='scp -q -P')} {tmp_path}/f root@10.99.0.2:/tmp/f2; {ssh(tmp_path, program='scp -q -O -P')} root@10.99.0.2:/tmp/f2 {tmp_path}/f3;"
        f"cmp {tmp_path}/f {tmp_path}/f3 && echo ok"
    )
    assert got == "ok\n" * 8
    wire.peer_start(sshd(tmp_path, 2223).replace("/root/.ssh", "/tmp"))
    wire.until("ss -ltn | grep -q :2223")
    got = wire.run(
        f"{ssh(tmp_path, 2223)} -f -N -L 7001:127.0.0.1:8200 -D 7003 root@10.99.0.1;"
        f"curl -sf http://127.0.0.1:7001/f | {check} && echo ok; curl -sf -x socks5h://127.0.0.1:7003 http://127.0.0.1:8200/f | {check} && echo ok; kill $(pgrep -x ssh)"
    )
    assert got == "ok\n" * 2


@pytest.mark.parametrize("flags", ["--bidir -P 8", "-P 8 -w 64K", "-M 500 -R", "-u -b 5M --bidir", "-Z", "-C reno", "-6 --bidir -P 2", "-k 40 -l 128K", "-u -l 9000 -b 20M", "-S 32 --dont-fragment -u -l 1400 -b 5M"])  # fmt: skip
def test_iperf3_more(wire: Wire, flags: str) -> None:
    wire.peer_start("exec iperf3 -s >/dev/null")
    wire.until("ss -ltn | grep -q :5201")
    host = "fd99::1" if "-6" in flags else "10.99.0.1"
    seconds = "" if "-k" in flags else "-t 1"
    assert "iperf Done." in wire.run(f"iperf3 -c {host} {seconds} {flags}")


def test_mariadb(wire: Wire) -> None:
    """Over TCP, from both ends and with TLS, and over its Unix socket."""
    wire.more_caps = ["CAP_FOWNER", "CAP_SYS_RESOURCE"]
    p = wire.start(
        "mkdir -p /tmp/db /run/mysqld; cd /tmp/db; openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 9 -subj /CN=a 2>/dev/null;"
        "mariadb-install-db --no-defaults --user=root --datadir=/tmp/db/d --auth-root-authentication-method=normal --skip-test-db >/dev/null 2>&1;"
        "mariadbd --no-defaults --user=root --datadir=/tmp/db/d --socket=/tmp/db/s --bind-address='*' --skip-name-resolve --innodb-flush-method=fsync"
        " --innodb-use-native-aio=0 --ssl-key=/tmp/db/k.pem --ssl-cert=/tmp/db/c.pem 2>/dev/null &"
        "until mariadb -S /tmp/db/s -e 'select 1' >/dev/null 2>&1; do sleep 0.3; done;"
        "mariadb -S /tmp/db/s -e \"create database t; create user u@'%' identified by 'p'; grant all on t.* to u@'%'\"; echo up; wait"
    )
    assert wire.line(p) == "up"
    (wire.base / "ask.sql").write_text(
        "create table r (n int primary key, x longtext);\n"
        + "".join(f"insert into r values ({i}, repeat('{i}-', 5000));\n" for i in range(200))
        + "select count(*), sum(length(x)), sum(crc32(x)) from r;\n"
    )
    client = "mariadb --no-defaults -u u -pp -N t"
    got = wire.on_peer(
        f"{client} -h 10.99.0.2 < {wire.base}/ask.sql; {client} -h fd99::2 -e \"select count(*) from r; show status like 'Ssl_version'\";"
        f"{client} -h 10.99.0.2 --ssl -e \"select count(*), md5(group_concat(x order by n)) from r; show status like 'Ssl_version'\";"
        f"for i in 1 2 3 4 5 6; do {client} -h 10.99.0.2 -e 'select count(*) from r a, r b' & done; wait"
    )
    assert "TLSv1.3" in got and re.search(r"^200\t\d{7}\t\d+$", got, re.M) and got.count("40000\n") == 6  # fmt: skip


def test_names_by_multicast(wire: Wire) -> None:
    """avahi at both ends, each finds the other's service (RFC 6762)."""
    serve = (
        "mkdir -p {0}/run {0}/services; printf '[server]\\nhost-name={1}\\nuse-ipv6=no\\nallow-interfaces=eth0\\nenable-dbus=no\\n[publish]\\n"
        "publish-workstation=no\\n' > {0}/c; exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f {0}/c"
    )
    query = (
        "import socket, struct\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
        "s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack('4s4si', bytes(4), bytes(4), socket.if_nametoindex('eth0')))\n"
        "name = b''.join(bytes((len(p),)) + p for p in (b'{0}', b'local')) + bytes(1)\n"
        "for _ in range(90):\n"
        "    s.sendto(struct.pack('>6H', 7, 0, 1, 0, 0, 0) + name + struct.pack('>2H', 1, 1), ('224.0.0.251', 5353))\n"
        "    try: data, addr = s.recvfrom(9000)\n"
        "    except TimeoutError: continue\n"
        "    print(socket.inet_ntoa(data[-4:]), addr); break\n"
    )
    p = wire.start(
        "echo up; rm -rf /run/avahi-daemon; "
        + serve.format("/tmp/a", "inside")
        + " >/dev/null 2>&1"
    )
    assert wire.line(p) == "up"
    ask = wire.base / "ask.py"
    ask.write_text(query.replace("{0}", "inside"))
    assert "10.99.0.2 ('10.99.0.2', 5353)" in wire.on_peer(f"python3 {ask}")
    start = wire.base / "avahi.sh"
    start.write_text(f"mount -t tmpfs none /run; {serve.format(wire.base / 'a', 'outside')} >/dev/null 2>&1")  # fmt: skip
    wire.peer_start(f"exec unshare -m bash {start}")
    ask.write_text(query.replace("{0}", "outside"))
    assert "10.99.0.1 ('10.99.0.1', 5353)" in wire.run(f"python3 {ask}")


def test_clocks(wire: Wire) -> None:
    """sntp and chronyd ask a server at the other end; a server inside is asked."""
    conf = "printf 'local stratum 5\\nallow\\nbindcmdaddress /\\ncmdport 0\\npidfile {0}/c.pid\\ndriftfile {0}/c.drift\\n' > {0}/c.conf; exec chronyd -x -d -u root -f {0}/c.conf >/dev/null 2>&1"
    wire.peer_start(conf.format(wire.base))
    wire.until("ss -lun | grep -q :123")
    got = wire.run(
        "sntp 10.99.0.1; sntp fd99::1; chronyd -x -Q -t 30 'server 10.99.0.1 iburst' 'pidfile /tmp/p' 'cmdport 0' -u root 2>&1"
    )
    assert len(re.findall(r"\+/- [0-9.]+ (10\.99\.0\.1|fd99::1)", got)) == 2, got
    assert "System clock wrong by" in got
    wire.more_caps = ["CAP_SYS_TIME"]
    wire.start("mkdir -p /tmp/c; " + conf.format("/tmp/c"))
    wire.until("sntp -t 2 10.99.0.2 | grep -q '+/-'")


SOCAT = """
mkdir -p {4}; cd {4}
t() { timeout 20 socat "$@" 2>&1; }
head -c 3000000 /dev/urandom > ./in; chk() { cmp - ./in && echo same; }
serve() { socat "$@" >/dev/null 2>&1 & s=$!; sleep 0.5; }
# TCP with everything
serve TCP-LISTEN:9001,reuseaddr,fork,nodelay,keepalive,keepidle=5,keepintvl=2,keepcnt=3,mss=600,rcvbuf=30000,sndbuf=30000,linger2=3,quickack,tos=16,ttl=9 OPEN:./in,rdonly
t -u TCP:{0}:9001,cork,mss=700,syncnt=3,sourceport=9055,reuseaddr,so-priority=3 - | chk; kill $s
serve TCP-LISTEN:9002,fork,pf=ip4,range={1},tcpwrap=none,crlf,readbytes=30 EXEC:'tr a-z A-Z',pipes,stderr,nofork=0
printf 'hello\\n' | t -t 3 - TCP4:{0}:9002 ; kill $s
serve TCP6-LISTEN:9003,ipv6only,fork PIPE; printf 'six' | t -t 3 - TCP6:[{2}]:9003; echo; kill $s
serve TCP-LISTEN:9004,fork,shut-down SYSTEM:'cat; echo done'; printf 'half' | t -t 9 - TCP:{0}:9004; kill $s
serve TCP-LISTEN:9005,fork,shut-null,null-eof PIPE; printf 'x' | t -t 1 - TCP:{0}:9005; echo; kill $s
# UDP
serve UDP-RECVFROM:9011,fork,ip-pktinfo,ip-recvttl,ip-recvtos,so-timestamp EXEC:'tr a-z A-Z'; printf dgram | t -t 1 - UDP:{0}:9011,ttl=7,tos=8; echo; kill $s
serve -u UDP-RECV:9012,rcvbuf=100000 CREATE:./out; printf one | t -u - UDP-SENDTO:{0}:9012,broadcast; printf two | t -u - UDP-DATAGRAM:{0}:9012; sleep 0.5; cat ./out; echo; kill $s
serve UDP6-LISTEN:9013,fork,ipv6-recvpktinfo,ipv6-recvhoplimit,ipv6-recvtclass,ipv6-unicast-hops=7,ipv6-tclass=8 PIPE; printf six | t -t 1 - UDP6:[{2}]:9013; echo; kill $s
serve UDP4-RECVFROM:9014,ip-add-membership=239.9.9.9:{3},reuseport,fork EXEC:'tr a-z 0-9'; printf abc | t -t 1 - UDP4-DATAGRAM:239.9.9.9:9014,ip-multicast-if={3},ip-multicast-ttl=2,ip-multicast-loop=1,range={1}; echo; kill $s
# Unix sockets
serve UNIX-LISTEN:./u1,fork,mode=600,unlink-early PIPE; cat ./in | t -t 9 - UNIX-CONNECT:./u1 | chk; kill $s
serve ABSTRACT-LISTEN:abs,fork PIPE; printf abstract | t -t 1 - ABSTRACT-CONNECT:abs; echo; kill $s
serve UNIX-RECVFROM:./u2,fork EXEC:'tr a-z A-Z'; printf datagram | t -t 1 - UNIX-SENDTO:./u2,bind=./u3; echo; kill $s
serve UNIX-LISTEN:./u4,fork,type=5 PIPE; printf packets | t -t 1 - UNIX-CONNECT:./u4,type=5; echo; kill $s
# TLS
openssl req -x509 -newkey rsa:2048 -nodes -keyout ./k -out ./c -days 9 -subj /CN=x -addext subjectAltName=IP:{0} 2>/dev/null; cat ./k ./c > ./kc
serve OPENSSL-LISTEN:9021,fork,cert=./kc,verify=0,reuseaddr OPEN:./in,rdonly; t -u OPENSSL:{0}:9021,cafile=./c - | chk; kill $s
serve TCP-LISTEN:9041,fork,bind={0} TCP:{0}:9042,bind={0}; f=$s; serve -u OPEN:./in TCP-LISTEN:9042,reuseaddr; t -u TCP:{0}:9041,connect-timeout=3,retry=3,interval=0.2 - | chk; kill $f $s 2>/dev/null
for e in TCP:{0}:1 TCP:{0}:9001,bind=192.0.2.1 UNIX-CONNECT:./none TCP-LISTEN:9051,bind=192.0.2.1 TCP:{0}:1,so-bindtodevice=none0 UDP:{0}:1,ttl=0 ; do t -u $e - | sed 's/.*E //' | sed 's/([0-9]*, /(/g; s/socat\\[[0-9]*\\]//'; done
"""


def test_socat(wire: Wire) -> None:
    """Its options inside are as natively, over loopback and the interface's own address."""
    for v4, v6, iface, net in (
        ("127.0.0.1", "::1", "127.0.0.1", "127.0.0.0/8"),
        ("10.99.0.2", "fd99::2", "10.99.0.2", "10.99.0.0/24"),
    ):
        script = wire.base / "socat.sh"
        script.write_text(SOCAT.replace("{0}", v4).replace("{1}", net).replace("{2}", v6).replace("{3}", iface).replace("{4}", "$1"))  # fmt: skip
        native = wire.on_peer(f"ip netns exec {wire.box} bash {script} {wire.base}/native")
        assert native.count("same") == 4, native
        assert wire.run(f"bash {script} /tmp/s") == native


def test_node(wire: Wire) -> None:
    """net, http, http2, tls and dgram of node: the same as natively, within the sandbox over loopback and its own address, and from the other end."""
    at = wire.base
    wire.on_peer(f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {at}/key.pem -out {at}/cert.pem -days 9 -subj /CN=localhost 2>/dev/null")  # fmt: skip
    run = f"node {HERE}/probe_node.js"
    native = wire.on_peer(f"{run} all 127.0.0.1 {at}")
    assert native.count("true") == 7
    assert wire.run(f"{run} all 127.0.0.1 {at}; {run} all 10.99.0.2 {at}") == native * 2
    p = wire.start(f"exec {run} serve 0.0.0.0 {at}")
    assert wire.line(p) == "up"
    native = wire.on_peer(f"{run} ask 10.99.0.2 {at}")
    assert native.count("true") == 6
    wire.peer_start(f"exec {run} serve 0.0.0.0 {at} >/dev/null")
    wire.until("ss -ltn | grep -q :9205")
    assert wire.run(f"{run} ask 10.99.0.1 {at}") == native
    with at_the_other_end(wire) as other:
        assert other.run(f"{run} ask 10.99.0.2 {at}") == native
