"""Real programs over --network=sandbox: between the sandbox and the other end of a wire, two sandboxes, and inside one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Wire, sh

MIB = int(os.environ.get("NVSANDBOX_TEST_MIB", "64"))  # size of bulk transfers
# A web server that looks up no names and says when it listens
SERVER = """
import http.server, socket, socketserver
class S(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "here", 8000
s = S(("::", 8000), http.server.SimpleHTTPRequestHandler)
print("up", flush=True)
s.serve_forever()
"""
SERVE = f"exec python3 -c '{SERVER}' 2>/dev/null"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory to serve, with a large file and a git repository."""
    d = tmp_path / "files"
    d.mkdir()
    (d / "big").write_bytes(os.urandom(1 << 20) * MIB)
    (d / "small").write_text("hello\n")
    return d


@contextlib.contextmanager
def at_the_other_end(wire: Wire) -> Iterator[Wire]:
    """Sandboxes in the namespace of the peer."""
    other = Wire.__new__(Wire)
    other.__dict__.update(wire.__dict__, box=wire.peer, base=wire.base / "other", count=0)
    other.base.mkdir()
    try:
        yield other
    finally:
        other.running = []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_curl_and_wget_from_inside(wire: Wire, files: Path) -> None:
    wire.peer_start(f"cd {files}; {SERVE}")
    wire.until("ss -ltn | grep -q :8000")
    got = wire.run(
        "curl -sf http://10.99.0.1:8000/small; curl -sf -g 'http://[fd99::1]:8000/small';"
        "curl -sf http://10.99.0.1:8000/big | sha256sum; wget -qO- http://10.99.0.1:8000/big | sha256sum;"
        "curl -s http://10.99.0.1:9/ || echo status $?; curl -s -m 2 http://10.99.0.55/ || echo status $?"
    ).split()
    want = digest(files / "big")
    assert (
        got == ["hello", "hello", want, "-", want, "-", "status", "7", "status", "7"]
        or got[-1] == "28"
    )


def test_a_server_inside(wire: Wire, files: Path) -> None:
    p = wire.start(f"cd {files}; {SERVE}")
    assert wire.line(p) == "up"
    want = digest(files / "big")
    wire.until("curl -sf http://10.99.0.2:8000/small")
    got = wire.on_peer(
        "curl -sf http://10.99.0.2:8000/big | sha256sum; curl -sf -g 'http://[fd99::2]:8000/big' | sha256sum;"
        "for i in 1 2 3 4; do curl -sf http://10.99.0.2:8000/big | sha256sum & done; wait;"
        "curl -s http://10.99.0.2:9/ || echo status $?"
    ).split()
    assert got == [want, "-"] * 6 + ["status", "7"]


def test_git_clone(wire: Wire, tmp_path: Path) -> None:
    wire.on_peer(
        f"cd {tmp_path}; git init -q r; cd r; head -c 3000000 /dev/urandom > f; git add f;"
        "git -c user.name=a -c user.email=a@b commit -qm one; git update-server-info"
    )
    wire.peer_start(f"cd {tmp_path}/r/.git; {SERVE}")
    wire.until("ss -ltn | grep -q :8000")
    got = wire.run(
        "cd /tmp; git clone -q http://10.99.0.1:8000/ c; cd c; git log --format=%s; wc -c < f"
    )
    assert got.split() == ["one", "3000000"]


ASYNCIO = """
import asyncio, sys
async def serve(r, w):
    while data := await r.read(65536):
        w.write(data.upper()); await w.drain()
    w.close()
async def ask(host, i):
    r, w = await asyncio.open_connection(host, 9000)
    data = (b"abc%d " % i) * 20000
    w.write(data); w.write_eof()
    assert await r.read() == data.upper()
    w.close(); await w.wait_closed()
async def main():
    if sys.argv[1] == "serve":
        s = await asyncio.start_server(serve, None, 9000)
        print("up", flush=True)
        await s.serve_forever()
    await asyncio.gather(*(ask(sys.argv[1], i) for i in range(50)))
    print("done")
asyncio.run(main())
"""


def _wheel(where: Path) -> None:
    """A package of Python in a simple repository (PEP 503)."""
    index = where / "simple" / "nvtest-package"
    index.mkdir(parents=True)
    name = "nvtest_package-1.0-py3-none-any.whl"
    info = "nvtest_package-1.0.dist-info"
    with zipfile.ZipFile(index / name, "w") as z:
        z.writestr("nvtest_package.py", f"DATA = {'x' * 2_000_000!r}\n")
        z.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: nvtest-package\nVersion: 1.0\n"
        )
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")  # fmt: skip
        z.writestr(f"{info}/RECORD", f"nvtest_package.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")  # fmt: skip
    sha = digest(index / name)
    (index / "index.html").write_text(f'<a href="{name}#sha256={sha}">{name}</a>')


def test_pip_install(wire: Wire, tmp_path: Path) -> None:
    _wheel(tmp_path / "index")
    wire.peer_start(f"cd {tmp_path}/index; {SERVE}")
    wire.until("ss -ltn | grep -q :8000")
    got = wire.run(
        "for h in 10.99.0.1 '[fd99::1]'; do rm -rf /tmp/site; env -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null python3 -m pip -q install"
        " --index-url http://$h:8000/simple/ --trusted-host $h --no-cache-dir --target /tmp/site nvtest-package 2>/dev/null;"
        " PYTHONPATH=/tmp/site python3 -c 'import nvtest_package; print(len(nvtest_package.DATA))'; done"
    )
    assert got == "2000000\n" * 2


def test_apt_update_and_install(wire: Wire, tmp_path: Path) -> None:
    """From a repository at the other end, with its own lists and status: the real apt and dpkg."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/share/nvtest").mkdir(parents=True)
    (tree / "usr/share/nvtest/data").write_bytes(os.urandom(2_000_000))
    control = "Package: nvtest-data\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: a test\n"
    (tree / "DEBIAN/control").write_text(control)
    repo.mkdir()
    sh("dpkg-deb", "--build", "--root-owner-group", tree, repo / "nvtest.deb")
    deb = repo / "nvtest.deb"
    (repo / "Packages").write_text(
        f"{control}Filename: ./nvtest.deb\nSize: {deb.stat().st_size}\nSHA256: {digest(deb)}\n\n"
    )
    wire.peer_start(f"cd {repo}; {SERVE}")
    wire.until("ss -ltn | grep -q :8000")
    got = wire.run(
        "mkdir -p /tmp/apt/lists/partial /tmp/apt/archives/partial; echo 'deb [trusted=yes] http://10.99.0.1:8000/ ./' > /tmp/apt/list;"
        "opts='-o Dir::Etc::SourceList=/tmp/apt/list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=/tmp/apt/lists"
        " -o Dir::Cache::Archives=/tmp/apt/archives -o Acquire::http::Proxy=false -o APT::Sandbox::User=root -qq';"
        "apt-get $opts update >/dev/null; apt-get $opts install -y nvtest-data >/dev/null 2>&1;"
        "dpkg-query -W nvtest-data; sha256sum < /usr/share/nvtest/data"
    )
    assert got.split() == ["nvtest-data", "1.0", digest(tree / "usr/share/nvtest/data"), "-"]


DNS = """
import socket, struct, sys, threading
RECORDS = {1: bytes((192, 0, 2, 9)), 28: bytes(15) + bytes((9,)), 16: b"".join(bytes((200,)) + b"x" * 200 for _ in range(20))}
def answer(q, room):
    end = q.index(0, 12) + 5
    kind, = struct.unpack(">H", q[end - 4 : end - 2])
    data = RECORDS.get(kind)
    record = bytes((192, 12)) + struct.pack(">HHIH", kind, 1, 60, len(data)) + data if data else b""
    cut = len(record) + end > room
    flags = 0x8580 | (0x0200 if cut else 0)
    return q[:2] + struct.pack(">HHHHH", flags, 1, int(bool(record and not cut)), 0, 0) + q[12:end] + (b"" if cut else record)
s = socket.create_server(("::", 53), family=socket.AF_INET6, dualstack_ipv6=True)
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.setsockopt(41, 26, 0); u.bind(("::", 53))
def tcp():
    while True:
        c = s.accept()[0]
        q = c.recv(2, socket.MSG_WAITALL); q = c.recv(int.from_bytes(q, "big"), socket.MSG_WAITALL)
        a = answer(q, 65535); c.sendall(len(a).to_bytes(2, "big") + a); c.close()
threading.Thread(target=tcp, daemon=True).start()
print("up", flush=True)
while True:
    q, addr = u.recvfrom(4096); u.sendto(answer(q, 512), addr)
"""


def test_dig(wire: Wire) -> None:
    """Over UDP, and over TCP where the answer is cut; the server outside and inside."""
    ask = "for s in {0}; do dig +short @$s a.example.org; dig +short @$s -t aaaa a.example.org; dig +short @$s -t txt a.example.org | wc -c; done"
    want = ["192.0.2.9", "::9", str(20 * 203)] * 2
    wire.peer_start(f"exec python3 -c '{DNS}' >/dev/null")
    wire.until("ss -ltn | grep -q :53")
    assert wire.run(ask.format("10.99.0.1 fd99::1")).split() == want
    p = wire.start(f"exec python3 -c '{DNS}'")
    assert wire.line(p) == "up"
    assert wire.on_peer(ask.format("10.99.0.2 fd99::2")).split() == want


PIPE = """
import hashlib, os, socket, sys
size = int(sys.argv[2]) << 20
def send(c):
    block, h = os.urandom(1 << 20), hashlib.sha256()
    for _ in range(size >> 20):
        c.sendall(block); h.update(block)
    c.shutdown(1)
    assert c.recv(32, socket.MSG_WAITALL) == h.digest()
def take(c):
    h, n = hashlib.sha256(), 0
    while data := c.recv(1 << 18):
        h.update(data); n += len(data)
    c.sendall(h.digest())
    assert n == size, n
if sys.argv[1] == "serve":
    s = socket.create_server(("::", 9300), family=socket.AF_INET6, dualstack_ipv6=True)
    print("up", flush=True)
    while True:
        c = s.accept()[0]
        take(c); send(s.accept()[0])
for host in sys.argv[3:]:
    send(socket.create_connection((host, 9300))); take(socket.create_connection((host, 9300)))
    print(host, "both ways")
"""


def test_transfers_with_checksums(wire: Wire) -> None:
    """Sandbox to host and back, sandbox to sandbox, and inside one: every byte arrives (NVSANDBOX_TEST_MIB)."""
    serve, ask = f"python3 -c '{PIPE}' serve {MIB}", f"python3 -c '{PIPE}' ask {MIB}"
    wire.peer_start(f"exec {serve} >/dev/null")
    wire.until("ss -ltn | grep -q :9300")
    assert wire.run(f"{ask} 10.99.0.1 fd99::1", timeout=500).count("both ways") == 2
    p = wire.start(f"exec {serve}")
    assert wire.line(p) == "up"
    assert wire.on_peer(f"{ask} 10.99.0.2", timeout=500).count("both ways") == 1
    with at_the_other_end(wire) as other:
        assert other.run(f"{ask} 10.99.0.2", timeout=500).count("both ways") == 1
    got = wire.run(
        f"{serve.replace('9300', '9301')} > /tmp/up & while ! grep -q up /tmp/up; do sleep 0.1; done;"
        f"{ask.replace('9300', '9301')} 127.0.0.1 10.99.0.2; kill %1",
        timeout=500,
    )
    assert got.count("both ways") == 2


def test_a_lossy_wire(wire: Wire, files: Path) -> None:
    """Real programs where the other end loses one packet in twenty each way: every byte arrives."""
    small = "head -c 4000000"
    p = wire.start(f"cd {files}; {small} big > some; {SERVE}")
    assert wire.line(p) == "up"
    wire.peer_start(f"cd {files}; {small} big > other; {SERVE}")
    wire.until("ss -ltn | grep -q :8000")
    want = hashlib.sha256((files / "big").read_bytes()[:4_000_000]).hexdigest()
    lose = "-m statistic --mode random --probability 0.05 -j DROP"
    wire.on_peer("; ".join(f"{t} -A {c} {lose}" for t in ("iptables", "ip6tables") for c in ("INPUT", "OUTPUT")))  # fmt: skip
    got = wire.run(
        "curl -sf http://10.99.0.1:8000/other | sha256sum; curl -sf -g 'http://[fd99::1]:8000/other' | sha256sum;"
        "wget -qO- http://10.99.0.1:8000/other | sha256sum"
    ).split()
    assert got == [want, "-"] * 3
    got = wire.on_peer(
        "curl -sf http://10.99.0.2:8000/some | sha256sum; curl -sf -g 'http://[fd99::2]:8000/some' | sha256sum"
    ).split()
    assert got == [want, "-"] * 2


def test_asyncio_both_ways(wire: Wire) -> None:
    p = wire.start(f"exec python3 -c '{ASYNCIO}' serve")
    assert wire.line(p) == "up"
    for host in ("10.99.0.2", "fd99::2"):
        assert wire.on_peer(f"python3 -c '{ASYNCIO}' {host}") == "done\n"
    wire.peer_start(f"exec python3 -c '{ASYNCIO}' serve >/dev/null")
    wire.until("ss -ltn | grep -q :9000")
    assert (
        wire.run(f"python3 -c '{ASYNCIO}' 10.99.0.1; python3 -c '{ASYNCIO}' fd99::1")
        == "done\ndone\n"
    )


NGINX = """mkdir -p /tmp/ng/logs; echo hello > /tmp/ng/index.html
cat > /tmp/ng/conf <<'E'
user root; worker_processes 1; daemon off; pid /tmp/ng/pid; error_log /dev/null;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path /tmp/ng/a; proxy_temp_path /tmp/ng/b; fastcgi_temp_path /tmp/ng/c;
 uwsgi_temp_path /tmp/ng/d; scgi_temp_path /tmp/ng/e; sendfile on; tcp_nopush on;
 server { listen 8080 reuseport; listen [::]:8080; root /tmp/ng; } }
E
echo up; exec nginx -p /tmp/ng -c /tmp/ng/conf
"""


def test_nginx_and_wrk(wire: Wire) -> None:
    p = wire.start(NGINX)
    assert wire.line(p) == "up"
    wire.until("curl -sf http://10.99.0.2:8080/")
    got = wire.on_peer(
        "wrk -t1 -c20 -d2 http://10.99.0.2:8080/; curl -sf -g 'http://[fd99::2]:8080/'"
    )
    assert "Socket errors" not in got and "Non-2xx" not in got and got.endswith("hello\n")
    assert int(re.search(r"(\d+) requests in", got)[1]) > 100  # type: ignore[index]


def test_wrk_inside(wire: Wire, tmp_path: Path) -> None:
    wire.peer_start(NGINX.replace("/tmp/ng", str(tmp_path / "ng")).replace("echo up;", ""))
    wire.until("curl -sf http://10.99.0.1:8080/")
    got = wire.run("wrk -t1 -c20 -d2 http://10.99.0.1:8080/")
    assert "Socket errors" not in got and "Non-2xx" not in got


def test_redis(wire: Wire) -> None:
    p = wire.start(
        "redis-server --port 6379 --save '' --protected-mode no >/dev/null & sleep 0.5; echo up; wait"
    )
    assert wire.line(p) == "up"
    wire.until("redis-cli -h 10.99.0.2 ping")
    got = wire.on_peer(
        "redis-benchmark -h 10.99.0.2 -q -n 2000 -c 20 -t set,get,lrange_100; redis-cli -h 10.99.0.2 -r 3 incr x"
    )
    assert "SET" in got and "GET" in got and got.split()[-3:] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "-R",
        "-P 4",
        "-P 4 -R",
        "--bidir",
        "-u -b 50M",
        "-u -b 20M -R",
        "-6",
        "-6 -R",
        "-6 -u -b 20M",
        "-l 100 -N",
    ],
)
def test_iperf3(wire: Wire, flags: str) -> None:
    wire.peer_start("exec iperf3 -s >/dev/null")
    wire.until("ss -ltn | grep -q :5201")
    host = "fd99::1" if "-6" in flags else "10.99.0.1"
    got = wire.run(f"iperf3 -c {host} -t 1 {flags}")
    assert "iperf Done." in got


def test_rate_is_limited(wire: Wire) -> None:
    wire.peer_start("while :; do iperf3 -s >/dev/null; done")
    wire.until("ss -ltn | grep -q :5201")
    for flags in ("", "-R", "-u -b 100M", "-u -b 100M -R"):
        got = wire.run(f"iperf3 -J -c 10.99.0.1 -t 2 {flags}", "--net-rate=20")
        end = json.loads(got)["end"]
        # What has arrived, headers not counted; some of it is on its way when the time is over
        arrived = end["sum_received"]["bytes"] if "-u" not in flags else end["sum"]["bytes"] * (1 - end["sum"]["lost_percent"] / 100)  # fmt: skip
        assert 10_000 < arrived < 20e6 / 8 * (end["sum_received"]["seconds"] + 1)
    failed = subprocess.run(wire.argv("true", "--net-rate=fast"), capture_output=True, text=True)
    assert failed.returncode and failed.stderr.count("\n") == 1 and "`fast`" in failed.stderr


def test_iperf3_server_inside(wire: Wire) -> None:
    p = wire.start("echo up; exec iperf3 -s >/dev/null")
    assert wire.line(p) == "up"
    for flags in ("", "-R", "-u -b 20M", "-u -b 20M -R"):
        # the server listens anew after each test: for a moment nobody does
        wire.until(f"iperf3 -c 10.99.0.2 -t 1 {flags} | grep -q 'iperf Done.'")


def test_traceroute(wire: Wire) -> None:
    got = wire.run(
        "traceroute -n -q 1 10.99.0.1; traceroute -n -q 1 -I 10.99.0.1; traceroute -6 -n -q 1 fd99::1"
    )
    assert len(re.findall(r"^ 1  (10\.99\.0\.1|fd99::1)  [0-9.]+ ms$", got, re.M)) == 3


def test_ssh_and_rsync(wire: Wire, tmp_path: Path, files: Path) -> None:
    wire.on_peer(
        f"ssh-keygen -q -t ed25519 -N '' -f {tmp_path}/key; ssh-keygen -q -t ed25519 -N '' -f {tmp_path}/host"
    )
    p = wire.start(
        "mkdir -p /run/sshd /root/.ssh; chmod 700 /root/.ssh;"
        f"cp {tmp_path}/key.pub /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys;"
        f"echo up; exec /usr/sbin/sshd -D -e -p 2222 -h {tmp_path}/host -o UsePAM=no -o StrictModes=no 2>/dev/null"
    )
    assert wire.line(p) == "up"
    ssh = f"ssh -p 2222 -i {tmp_path}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    wire.until(f"{ssh} root@10.99.0.2 true")
    got = wire.on_peer(
        f"{ssh} root@10.99.0.2 'uname -r; cat > /tmp/nvt-copy; sha256sum < /tmp/nvt-copy' < {files}/big;"
        f"rsync -a -e '{ssh}' {files}/ root@10.99.0.2:/tmp/there/; {ssh} root@10.99.0.2 'sha256sum < /tmp/there/big'",
    ).split()
    want = digest(files / "big")
    assert got == ["6.1.0-nvsandbox", want, "-", want, "-"]


def test_two_sandboxes_on_a_bridge(wire: Wire) -> None:
    """The other end gets a sandbox of its own."""
    p = wire.start(f"exec python3 -c '{ASYNCIO}' serve")
    assert wire.line(p) == "up"
    with at_the_other_end(wire) as other:
        assert other.run(f"ping -c 1 10.99.0.2 >/dev/null; python3 -c '{ASYNCIO}' 10.99.0.2; python3 -c '{ASYNCIO}' fd99::2") == "done\ndone\n"  # fmt: skip


def test_within_one(wire: Wire) -> None:
    got = wire.run(
        f"python3 -c '{ASYNCIO}' serve > /tmp/up & while ! grep -q up /tmp/up; do sleep 0.1; done;"
        f"for h in 127.0.0.1 ::1 10.99.0.2 fd99::2; do python3 -c '{ASYNCIO}' $h; done; kill %1"
    )
    assert got == "done\n" * 4


def test_sockets_are_shown(wire: Wire) -> None:
    wire.peer_start(
        "exec python3 -c 'import socket; s = socket.create_server((\"\", 7000)); a = s.accept(); a[0].recv(1)'"
    )
    wire.until("ss -ltn | grep -q :7000")
    got = wire.run(
        "exec 3<>/dev/tcp/10.99.0.1/7000; ss -tan; ss -tin state established; cat /proc/net/tcp; cat /proc/net/sockstat"
    )
    assert re.search(r"^ESTAB +0 +0 +10\.99\.0\.2:\d+ +10\.99\.0\.1:7000", got, re.M)
    assert "cubic" in got and "rtt:" in got and "0100630A:1B58 01" in got


def test_sockets_of_one_sandbox_are_shown(wire: Wire) -> None:
    """By ss with everything, and by netstat; a socket that neither listens nor is connected is not there."""
    program = """
import socket, sys, time
s = socket.create_server(("127.0.0.1", 8123)); c = socket.create_connection(("127.0.0.1", 8123)); a = s.accept()
u = socket.socket(socket.AF_UNIX); u.bind("/tmp/sock.x"); u.listen(); p = socket.socketpair()
r = socket.socket(2, 3, 1); b = socket.socket(); b.bind(("", 8124))
d = socket.socket(2, 2); d.bind(("127.0.0.1", 8125))
print("up", flush=True); time.sleep(100)
"""
    got = wire.run(
        f"python3 -c '{program}' > /tmp/up & while ! grep -q up /tmp/up; do sleep 0.1; done; ss -tiepnm; echo ==; ss -tuwlnp; echo ==;"
        "ss -xlnp; echo ==; netstat -ltunp; kill %1"
    )
    tcp, listening, unix, netstat = got.split("==\n")
    assert (
        tcp.count("ESTAB") == 2
        and tcp.count("skmem:(r0,rb") == 2
        and tcp.count('users:(("python3",') == 2
    )
    assert re.search(r"^tcp +LISTEN 0 +128 +127\.0\.0\.1:8123 .*python3", listening, re.M)
    assert re.search(r"^udp +UNCONN .*127\.0\.0\.1:8125 .*python3", listening, re.M)
    assert re.search(r"^u_str +LISTEN .*/tmp/sock\.x .*python3", unix, re.M)
    assert re.search(r"^tcp .*127\.0\.0\.1:8123 .*LISTEN +\d+/python3", netstat, re.M)
    assert "8124" not in got


def test_nothing_listens_and_nothing_answers(wire: Wire) -> None:
    program = """
import errno, socket, select
def code(host, port, timeout=None):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.settimeout(timeout)
    try:
        s.connect((host, port))
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
for host in ("10.99.0.1", "fd99::1", "10.99.0.2", "2001:db8::1"):
    print(code(host, 9))
print(code("10.99.0.66", 9, 10))
s = socket.socket(); s.setblocking(False)
print(errno.errorcode[s.connect_ex(("10.99.0.1", 9))])
p = select.poll(); p.register(s, select.POLLOUT)
print([hex(e) for _, e in p.poll(5000)], errno.errorcode[s.getsockopt(1, 4)], s.getsockopt(1, 4))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    u.sendto(b"x", ("10.99.0.255", 9))
except OSError as e:
    print(errno.errorcode[e.errno])
u.setsockopt(1, 6, 1)
print(u.sendto(b"x", ("10.99.0.255", 9)))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0))
try:
    u.sendto(b"x", ("10.99.0.1", 9))
except OSError as e:
    print(errno.errorcode[e.errno])
"""
    assert wire.run(f"python3 -c '{program}'") == wire.on_peer(
        f"ip netns exec {wire.box} python3 -c '{program}'"
    )


def test_egress(wire: Wire, files: Path) -> None:
    wire.peer_start(f"cd {files}; {SERVE}")
    wire.until("ss -ltn | grep -q :8000")
    program = """
import socket
for host, port in (("10.99.0.1", 8000), ("10.99.0.1", 8001), ("fd99::1", 8000)):
    try:
        socket.create_connection((host, port)).close(); print("connected")
    except OSError as e:
        print(e.strerror)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    u.sendto(b"x", ("10.99.0.1", 53))
except OSError as e:
    print(e.strerror)
"""
    got = wire.run(f"python3 -c '{program}'", "--egress=allow:10.99.0.0/24:8000")
    assert got.splitlines() == ["connected"] + ["Operation not permitted"] * 3
    done = wire.argv("true", "--egress=allow:10.0.0.0/99")
    failed = subprocess.run(done, capture_output=True, text=True)
    assert failed.returncode and failed.stderr.count("\n") == 1 and "10.0.0.0/99" in failed.stderr


SIBLING = """
import errno, hashlib, os, socket, sys, threading
def take(c):
    data = b"".join(iter(lambda: c.recv(65536), b""))
    c.sendall(hashlib.sha256(data).hexdigest().encode()); c.close()
if sys.argv[1] == "serve":
    s4 = socket.create_server(("127.0.0.1", 9100))
    s6 = socket.create_server(("::", 9101), family=socket.AF_INET6, dualstack_ipv6=True)
    u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.setsockopt(41, 26, 0); u.bind(("::", 9102))
    def echo():
        while True:
            data, addr = u.recvfrom(65536)
            u.sendto(data[::-1], addr)
    def serve(s):
        while True:
            take(s.accept()[0])
    threads = [threading.Thread(target=f, args=a) for f, a in ((echo, ()), (serve, (s4,)), (serve, (s6,)))]
    for t in threads: t.start()
    print("up", flush=True)
    for t in threads: t.join()
data = os.urandom(1 << 20) * 8
for host, port in (("127.0.0.1", 9100), ("127.0.0.1", 9101), ("::1", 9101), ("10.99.0.2", 9101), ("fd99::2", 9101)):
    c = socket.create_connection((host, port), 30)
    peer = c.getpeername()[:2] == (host, port)
    c.sendall(data); c.shutdown(1)
    print(host, c.recv(64, socket.MSG_WAITALL).decode() == hashlib.sha256(data).hexdigest(), peer)
for host in ("127.0.0.1", "::1", "10.99.0.2"):
    for connect in (False, True):
        u = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(10)
        if connect:
            u.connect((host, 9102)); u.send(b"abc")
        else:
            u.sendto(b"abc", (host, 9102))
        print(u.recvfrom(100))
def code(f, *a):
    try:
        f(*a)
    except OSError as e:
        return errno.errorcode[e.errno]
for host in ("127.0.0.1", "10.99.0.2"):
    print(code(socket.create_connection, (host, 9)), code(socket.create_server, (host, 9101)))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(code(u.bind, ("127.0.0.1", 9102)))
u.connect(("127.0.0.1", 9)); print(code(u.send, b"x"), code(u.recv, 1))
"""


def test_two_sandboxes_share_loopback_and_ports(wire: Wire) -> None:
    p = wire.start(f"exec python3 -c '{SIBLING}' serve")
    assert wire.line(p) == "up"
    got = wire.run(f"python3 -c '{SIBLING}' ask").splitlines()
    names = ("127.0.0.1", "127.0.0.1", "::1", "10.99.0.2", "fd99::2")
    assert got[:5] == [f"{n} True True" for n in names]
    assert [line.split(",")[0] for line in got[5:11]] == ["(b'cba'"] * 6
    assert got[11:] == ["ECONNREFUSED EADDRINUSE"] * 2 + ["EADDRINUSE", "None ECONNREFUSED"]


def test_two_sandboxes_one_is_killed(wire: Wire) -> None:
    """The other's connection over loopback ends, though nobody is left to reset it."""
    serve = 'import socket; s = socket.create_server(("127.0.0.1", 9100)); print("up", flush=True); c = s.accept()[0]; c.recv(9)'
    first = wire.start(f"exec python3 -c '{serve}'")
    assert wire.line(first) == "up"
    ask = (
        'import socket; c = socket.create_connection(("127.0.0.1", 9100)); print("joined", flush=True)\n'
        "try: print(c.recv(1))\nexcept OSError as e: print(e.errno, flush=True)"
    )
    second = wire.start(f"exec python3 -c '{ask}'")
    assert wire.line(second) == "joined"
    name = f"nvt{os.getpid()}-1\0".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            comm, args = (Path(f"/proc/{pid}/{f}").read_bytes() for f in ("comm", "cmdline"))
            if comm == b"nv-sentry\n" and name in args:
                os.kill(int(pid), signal.SIGKILL)
                break
    else:
        raise AssertionError("no Sentry")
    assert wire.line(second) == str(errno.ETIMEDOUT)


def test_two_sandboxes_answer_once(wire: Wire) -> None:
    """A ping once, a port that nobody has with one refusal, one that either has not at all."""
    up = "python3 -m http.server {} >/dev/null 2>&1 & echo up; wait"
    first, second = wire.start(up.format(9201)), wire.start(up.format(9202))
    assert wire.line(first) == wire.line(second) == "up"
    for port in (9201, 9202):
        wire.until(f"curl -sf http://10.99.0.2:{port}/ >/dev/null")
    tap = wire.peer_start(
        f"exec tcpdump -nn -U --immediate-mode -w {wire.base}/cap -i eth0 2>/dev/null"
    )
    wire.until(f"ping -c 1 -W 1 10.99.0.2 && [ $(stat -c %s {wire.base}/cap) -gt 100 ]")
    assert wire.on_peer("ping -c 4 -i 0.2 10.99.0.2; ping -c 4 -i 0.2 fd99::2").count("DUP") == 0
    assert (
        wire.on_peer(
            "curl -s http://10.99.0.2:9/ || echo $?; curl -s -g 'http://[fd99::2]:9/' || echo $?"
        )
        == "7\n7\n"
    )
    for _ in range(10):
        wire.on_peer(
            "curl -sf http://10.99.0.2:9201/ >/dev/null; curl -sf http://10.99.0.2:9202/ >/dev/null"
        )
    refused = 'import socket; u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(("10.99.0.2", 9)); u.send(b"x"); u.settimeout(5)\ntry: u.recv(1)\nexcept ConnectionRefusedError: print("refused")'
    assert wire.on_peer(f"python3 -c '{refused}'") == "refused\n"
    wire.until(f"tcpdump -nn -r {wire.base}/cap 2>/dev/null | grep -q 'port 9 unreachable'")
    tap.terminate()
    tap.wait()
    seen = sh("tcpdump", "-nn", "-r", wire.base / "cap")
    assert seen.count("Flags [R") == 2 and seen.count("port 9 unreachable") == 1


def test_two_sandboxes_in_one_namespace(wire: Wire) -> None:
    """Neither refuses what is the other's."""
    p = wire.start(f"exec python3 -c '{ASYNCIO}' serve")
    assert wire.line(p) == "up"
    wire.peer_start(f"exec python3 -c '{ASYNCIO}' serve >/dev/null")
    wire.until("ss -ltn | grep -q :9000")
    assert (
        wire.run(f"python3 -c '{ASYNCIO}' 10.99.0.1; python3 -c '{ASYNCIO}' fd99::1")
        == "done\ndone\n"
    )
    assert wire.on_peer(f"python3 -c '{ASYNCIO}' 10.99.0.2") == "done\n"
    wire.until("curl -s -m 1 http://10.99.0.2:9/ || [ $? = 7 ]")  # alone again, it refuses


def test_postgresql(wire: Wire, tmp_path: Path) -> None:
    where = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    p = wire.start(
        f"export PATH={where}:$PATH; mkdir /tmp/pg; chown nobody /tmp/pg; run='setpriv --reuid nobody --clear-groups';"
        "$run initdb -D /tmp/pg/data -U u --auth=trust >/dev/null;"
        "echo 'host all all 10.99.0.0/24 trust' >> /tmp/pg/data/pg_hba.conf;"
        "$run postgres -D /tmp/pg/data -c listen_addresses='*' -k /tmp/pg -c fsync=off 2>/dev/null & sleep 1; echo up; wait"
    )
    assert wire.line(p) == "up"
    connect = "-h 10.99.0.2 -U u postgres"
    wire.until(f"{where}/psql {connect} -c 'select 1'")
    got = wire.on_peer(
        f"{where}/pgbench -q -i -s 1 {connect} 2>/dev/null; {where}/pgbench -T 2 -c 4 {connect}",
    )
    assert "number of failed transactions: 0 (0.000%)" in got
