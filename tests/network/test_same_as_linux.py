"""The same program in the sandbox and natively in the same namespace: TCP to another host looks the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Wire

HERE = Path(__file__).parent


@pytest.mark.parametrize("host", ["10.99.0.1", "fd99::1"])
def test_tcp(wire: Wire, tmp_path: Path, host: str) -> None:
    note = tmp_path / "told"
    wire.peer_start(f"exec python3 {HERE}/peer_tcp.py {note}")
    wire.until("ss -ltn | grep -q :7100")
    outputs, told = [], []
    for run in (wire.run, lambda s: wire.on_peer(f"ip netns exec {wire.box} {s}")):
        outputs.append(run(f"python3 {HERE}/probe_tcp.py {host}").splitlines())
        wire.until(f"[ $(wc -l < {note}) = 3 ]")  # the other end may be a little behind
        told.append(sorted(note.read_text().splitlines()))
        note.unlink()
    assert outputs[0] == outputs[1]
    assert told[0] == told[1]


ECHO = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 7100))
while True:
    data, addr = s.recvfrom(70000)
    s.sendto(data, addr)
"""


@pytest.mark.parametrize("host", ["10.99.0.1", "fd99::1"])
def test_udp(wire: Wire, host: str) -> None:
    wire.peer_start(f"exec python3 -c '{ECHO}'")
    wire.until("ss -lun | grep -q :7100")
    inside = wire.run(f"python3 {HERE}/probe_udp.py {host}").splitlines()
    assert (
        inside
        == wire.on_peer(f"ip netns exec {wire.box} python3 {HERE}/probe_udp.py {host}").splitlines()
    )


@pytest.mark.parametrize("what", ["options", "addresses"])
def test_what_calls_answer(wire: Wire, what: str) -> None:
    command = f"cd /tmp; python3 {HERE}/probe_{what}.py"
    inside = wire.run(command).splitlines()
    native = wire.on_peer(f"ip netns exec {wire.box} sh -c '{command}'").splitlines()
    assert [(a, b) for a, b in zip(inside, native, strict=True) if a != b] == []
