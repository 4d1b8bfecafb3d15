"""NVLink and peer access, as NVIDIA's tools and libraries read them."""

from __future__ import annotations

import re

import pytest

from .conftest import Sim

LINKED = {"h100": (18, "26.562"), "h200": (18, "26.562"), "a100": (12, "25")}


@pytest.mark.parametrize("card", LINKED)
def test_every_link_is_up_and_ends_at_a_switch_port_of_its_own(sim: Sim, card: str) -> None:
    links, rate = LINKED[card]
    script = "; ".join(f"{sim.smi} nvlink {o}" for o in ("-s", "-c", "-R", "-e"))
    out = sim.run("sh", "-c", script, opts=["--gpu", card, "--count", "8"]).stdout
    assert len(re.findall(rf"Link \d+: {re.escape(rate)} GB/s", out)) == 8 * links
    assert out.count("P2P is supported: true") == 8 * links
    ends = re.findall(r"Remote Device (\S+): Link (\d+)", out)
    assert len(ends) == len(set(ends)) == 8 * links
    for error in ("Replay", "Recovery", "CRC"):
        assert out.count(f"{error} Errors: 0") == 8 * links
    assert "false" not in out and "Unknown" not in out and "N/A" not in out


def test_bridges_join_pairs(sim: Sim) -> None:
    """Of three cards the third has nobody to be joined to."""
    opts = ["--count", "3", "--bridged"]
    out = sim.run(sim.smi, "nvlink", "-R", opts=opts).stdout
    ends = re.findall(r"Remote Device 00000000:(\S+): Link (\d+)", out)
    assert ends == [(f"0{n}:00.0", str(i)) for n in (2, 1) for i in range(18)]


@pytest.mark.parametrize("card", LINKED)
@pytest.mark.parametrize("count", [2, 8])
def test_topology_between_linked_cards(sim: Sim, card: str, count: int) -> None:
    script = f"{sim.smi} topo -m; {sim.smi} topo -p2p r; {sim.smi} topo -p2p n"
    out = sim.run("sh", "-c", script, opts=["--gpu", card, "--count", str(count)]).stdout
    rows = [line.split() for line in out.splitlines() if re.match(r" ?GPU\d", line)]
    for i in range(count):
        for row, word in ((rows[i], f"NV{LINKED[card][0]}"), (rows[count + i], "OK"),
                          (rows[2 * count + i], "OK")):  # fmt: skip
            assert row[1 : count + 1] == ["X" if i == j else word for j in range(count)]


@pytest.mark.parametrize("card", ["l4", "t4", "rtx4090"])
def test_cards_without_links(sim: Sim, card: str) -> None:
    script = f"{sim.smi} nvlink -s; {sim.smi} topo -m; {sim.smi} topo -p2p n"
    out = sim.run("sh", "-c", script, opts=["--gpu", card, "--count", "2"]).stdout
    assert "GB/s" not in out
    assert re.search(r"^GPU0\s+X\s+SYS\s", out, re.M) and "NV1" not in out
    assert re.search(r"^ GPU0\s+X\s+CNS", out, re.M)


GETTERS = """
import pynvml as n
n.nvmlInit()
a, b = (n.nvmlDeviceGetHandleByIndex(i) for i in (0, 1))
up = 0
for i in range(n.NVML_NVLINK_MAX_LINKS):
    try:
        up += n.nvmlDeviceGetNvLinkState(a, i)
    except n.NVMLError as e:
        assert type(e) in (n.NVMLError_InvalidArgument, n.NVMLError_NotSupported), e
        continue
    assert n.nvmlDeviceGetNvLinkRemoteDeviceType(a, i) == n.NVML_NVLINK_DEVICE_TYPE_SWITCH
    assert n.nvmlDeviceGetNvLinkCapability(a, i, n.NVML_NVLINK_CAP_P2P_SUPPORTED) == 1
    assert all(n.nvmlDeviceGetNvLinkErrorCounter(a, i, k) == 0 for k in range(4))
print(up, n.nvmlDeviceGetP2PStatus(a, b, n.NVML_P2P_CAPS_INDEX_NVLINK),
      n.nvmlDeviceGetNvLinkVersion(a, 0))
"""


@pytest.mark.parametrize(("card", "text"), [("h100", "18 0 4"), ("a100", "12 0 3")])
def test_pynvml_reads_links(sim: Sim, card: str, text: str) -> None:
    out = sim.python(GETTERS, ["--gpu", card, "--count", "2"]).stdout.split()
    assert out[:2] == text.split()[:2]
