"""The stream of events: one JSON object a line, whatever a call's parameters are."""

from __future__ import annotations

import json
import os

from nvsandbox.nvproxy.audit import MAX_LINE, Audit


def test_long_events_stay_json() -> None:
    r, w = os.pipe()
    a = Audit(w, True)
    a.event(ev="call", name="SHORT", got={"a": 1})
    a.event(ev="call", name="LONG", pid=7, sent={str(i): "x" * 100 for i in range(100)}, got={})
    a.event(ev="refused", name="N" * 10_000, pid=7)
    data = os.read(r, 1 << 16)
    os.close(r)
    os.close(w)
    lines = data.splitlines()
    assert all(len(line) < MAX_LINE for line in lines)
    short, long, name = map(json.loads, lines)
    assert short["got"] == {"a": 1} and "cut" not in short
    assert (long["name"], long["pid"], long["cut"]) == ("LONG", 7, True) and "sent" not in long
    assert name["cut"] and name["name"] == "N" * 200


def test_a_reader_that_is_slow_stops_nothing() -> None:
    r, w = os.pipe()
    a = Audit(-1, False)
    a.event(ev="call")  # nobody listens
    a.stream(w)
    for _ in range(10_000):
        a.event(ev="call", name="X" * 100)
    os.close(r)
    os.close(w)
