"""Servers of many kinds in a sandbox, asked from the other end of the wire."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from .conftest import PATH, REPO, Wire

PACKAGES = {
    "haproxy": "haproxy", "memcached": "memcached", "mosquitto": "mosquitto", "mosquitto_pub": "mosquitto-clients", "lighttpd": "lighttpd",
    "vsftpd": "vsftpd", "in.tftpd": "tftpd-hpa", "tftp": "tftp-hpa", "snmpd": "snmpd", "snmpget": "snmp", "dnsmasq": "dnsmasq-base",
    "dig": "dnsutils", "curl": "curl",
}  # fmt: skip
LICENSES = "/usr/share/common-licenses"
# The server, a port that is open once it is up (0: UDP, its answer says it), questions, and what the answer has in it.
SERVERS = {
    "haproxy": (
        r"printf 'defaults\n mode http\n timeout connect 9s\n timeout client 9s\n timeout server 9s\nfrontend f\n bind :8080\n"
        r" bind :::8081 v6only\n default_backend b\nbackend b\n server s 127.0.0.1:8000\n' >/tmp/h.cfg;"
        f" cd {LICENSES}; python3 -m http.server 8000 >/dev/null 2>&1 & exec haproxy -q -f /tmp/h.cfg",
        8080,
        "until curl -sf http://10.99.0.2:8080/BSD | cmp - {0}/BSD; do sleep 0.2; done; curl -sg 'http://[fd99::2]:8081/BSD' | cmp - {0}/BSD; echo same",
        "same",
    ),
    "memcached": (
        "exec memcached -u root -l 0.0.0.0", 11211,
        "exec 3<>/dev/tcp/10.99.0.2/11211; printf 'set a 0 0 5\\r\\nhello\\r\\nget a\\r\\nquit\\r\\n' >&3; cat <&3", "hello",
    ),
    "mosquitto": (
        r"printf 'listener 1883\nallow_anonymous true\n' >/tmp/m.conf; exec mosquitto -c /tmp/m.conf 2>/dev/null", 1883,
        "mosquitto_pub -r -h 10.99.0.2 -t a -m kept; timeout 60 mosquitto_sub -h 10.99.0.2 -t a -C 1", "kept",
    ),
    "lighttpd": (
        rf"printf 'server.document-root=\"{LICENSES}\"\nserver.port=8088\n' >/tmp/l.conf; exec lighttpd -D -f /tmp/l.conf 2>/dev/null", 8088,
        "for i in 1 2 3; do curl -s http://10.99.0.2:8088/GPL-3 | cmp - {0}/GPL-3; done; echo same", "same",
    ),
    "vsftpd": (
        f"mkdir -p /tmp/ftp/empty /tmp/ftp/pub; cp {LICENSES}/GPL-3 /tmp/ftp/pub/g; chown -R root:root /tmp/ftp;"
        r" printf 'listen=YES\nanonymous_enable=YES\nlocal_enable=NO\nanon_root=/tmp/ftp/pub\nsecure_chroot_dir=/tmp/ftp/empty\n"
        r"seccomp_sandbox=NO\nno_anon_password=YES\n' >/tmp/v.conf; exec vsftpd /tmp/v.conf",
        21,
        "for how in '' '-P -' --disable-epsv; do curl -s $how ftp://10.99.0.2/g | cmp - {0}/GPL-3; done; echo same",
        "same",
    ),
    "tftp": (
        f"mkdir -p /tmp/tf; cp {LICENSES}/GPL-3 /tmp/tf/g; chmod 644 /tmp/tf/g; exec in.tftpd -L -s /tmp/tf", 0,
        "until curl -s -m 9 tftp://10.99.0.2/g | cmp - {0}/GPL-3; do sleep 0.2; done; echo same", "same",
    ),
    "snmp": (
        r"printf 'rocommunity public\nagentaddress udp:161,tcp:161\n' >/tmp/s.conf; exec snmpd -f -C -c /tmp/s.conf -Lf /dev/null", 161,
        "snmpwalk -v2c -r 9 -c public 10.99.0.2 1.3.6.1.2.1.2.2.1.2; snmpget -v2c -c public tcp:10.99.0.2 1.3.6.1.2.1.1.3.0", '"eth0"',
    ),
    "dnsmasq": (
        "exec dnsmasq -k -u root -C /dev/null -p 5353 -R -h --address=/a.test/10.1.2.3", 5353,
        "dig +short -p 5353 @10.99.0.2 a.test; dig +tcp +short -p 5353 @fd99::2 a.test", "10.1.2.3\n10.1.2.3\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_server(wire: Wire, name: str) -> None:
    missing = [p for program, p in PACKAGES.items() if shutil.which(program, path=PATH) is None]
    if missing:
        subprocess.run([REPO / "tools" / "apt.sh", *missing], check=True, timeout=900)
    serve, port, ask, answer = SERVERS[name]
    wire.more_caps = ["CAP_FOWNER", "CAP_SYS_RESOURCE", "CAP_SYS_ADMIN"]
    wire.start(serve)
    if port:
        wire.until(f"exec 3<>/dev/tcp/10.99.0.2/{port}")
    assert answer in wire.on_peer(ask.replace("{0}", LICENSES))
