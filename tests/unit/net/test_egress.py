"""--egress rules: what they take, what name servers teach, and bytes from the network that are no answers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvsandbox.sentry.net.egress import Egress, answers, parse, question
from nvsandbox.sentry.net.state import mapped, packed

SERVER = packed("10.0.0.53")


def name(text: str) -> bytes:
    return b"".join(bytes((len(x),)) + x.encode() for x in text.split(".")) + b"\0"


def query(host: str) -> bytes:
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name(host) + struct.pack(">HH", 1, 1)


def answer(host: str, *records: tuple[str, int, bytes], flags: int = 0x8180) -> bytes:
    out = (
        struct.pack(">HHHHHH", 7, flags, 1, len(records), 0, 0)
        + name(host)
        + struct.pack(">HH", 1, 1)
    )
    for owner, kind, body in records:
        where = b"\xc0\x0c" if owner == host else name(owner)
        out += where + struct.pack(">HHIH", kind, 1, 60, len(body)) + body
    return out


def test_addresses_networks_ports() -> None:
    e = Egress(
        [
            "allow:10.1.0.0/16:443",
            "allow:192.0.2.7",
            "allow:[2001:db8::]:80",
            "allow:2001:db8:1::/48",
        ],
        [],
    )

    def ok(ip: str, port: int) -> bool:
        return e.allows("tcp", mapped(packed(ip)), port)

    assert ok("10.1.2.3", 443) and not ok("10.1.2.3", 80) and not ok("10.2.0.1", 443)
    assert ok("192.0.2.7", 1) and not ok("192.0.2.8", 1)
    assert ok("2001:db8::", 80) and not ok("2001:db8::1", 80) and ok("2001:db8:1:2::3", 9)
    assert e.refused == 4


def test_without_rules_everything() -> None:
    assert Egress([], []).allows("tcp", mapped(packed("8.8.8.8")), 1)


@pytest.mark.parametrize(
    "rule",
    ["", "allow", "allow:", "deny:1.2.3.4", "allow:1.2.3.4:0", "allow:1.2.3.4:x", "allow:1.2.3.4:65536", "allow:1.2.3.4/33",
     "allow:a..b", "allow:[::1", "allow:1.2.3.256", "allow:exa mple.org", "allow:/24", "allow:[::1]80"],
)  # fmt: skip
def test_bad_rules(rule: str) -> None:
    with pytest.raises(ValueError):
        parse(rule)


def test_names_are_learned_from_the_own_server_only() -> None:
    e = Egress(["allow:example.org:443", "allow:*.pkg.test"], [SERVER])
    ip = mapped(packed("192.0.2.1"))
    data = answer("example.org", ("example.org", 5, name("cdn.test")), ("cdn.test", 1, ip[12:]))
    e.hears(mapped(packed("10.0.0.54")), 53, data)
    e.hears(mapped(SERVER), 54, data)
    assert not e.allows("tcp", ip, 443)
    e.hears(mapped(SERVER), 53, data)
    assert e.allows("tcp", ip, 443) and not e.allows("tcp", ip, 80)
    other = mapped(packed("2001:db8::9"))
    e.hears(mapped(SERVER), 53, answer("a.b.pkg.test", ("a.b.pkg.test", 28, other)))
    assert e.allows("tcp", other, 5)
    stray = mapped(packed("192.0.2.3"))
    e.hears(mapped(SERVER), 53, answer("evil.test", ("example.org", 1, stray[12:])))
    e.hears(mapped(SERVER), 53, answer("example.org", ("evil.test", 1, stray[12:])))
    assert not e.allows("tcp", stray, 443)


def test_questions_for_other_names_do_not_pass() -> None:
    e = Egress(["allow:example.org"], [SERVER])
    assert e.allows("udp", mapped(SERVER), 53, query("example.org"))
    assert e.allows("udp", mapped(SERVER), 53, query("EXAMPLE.org"))
    assert not e.allows("udp", mapped(SERVER), 53, query("secret.example.org"))
    assert not e.allows("udp", mapped(packed("10.0.0.54")), 53, query("example.org"))
    assert not e.allows("tcp", mapped(SERVER), 53)
    assert not e.allows("udp", mapped(SERVER), 53, b"\0" * 40)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert isinstance(question(data), str)
    assert all(len(ip) in (4, 16) for _name, ip in answers(data))


@given(st.data())
def test_damaged_answers(data: st.DataObject) -> None:
    raw = bytearray(
        answer("example.org", ("example.org", 5, name("cdn.test")), ("cdn.test", 1, b"\1\2\3\4"))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    answers(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
