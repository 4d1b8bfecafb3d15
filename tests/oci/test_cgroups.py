"""Control groups: paths and both versions' files, on directories that stand for them."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nvsandbox.failure import Failure
from nvsandbox.oci import cgroups, events, limits
from nvsandbox.oci.spec import Resources

from .conftest import OWN, Runtime

V2 = {
    "cpu.max": "max 100000", "cpu.weight": "100", "memory.max": "max", "memory.swap.max": "max", "memory.low": "0",
    "pids.max": "max", "io.weight": "", "io.max": "", "cpuset.cpus": "", "cpuset.mems": "", "hugetlb.2MB.max": "max",
    "cpu.max.burst": "0", "cpu.idle": "0", "rdma.max": "", "cpuset.cpus.effective": "0-3,8", "memory.events": "oom 2\noom_kill 1", "cgroup.freeze": "0", "memory.high": "max",
}  # fmt: skip


def group(base: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (base / name).write_text(text)
    return str(base)


def resources(tree: object) -> Resources:
    return msgspec.json.decode(json.dumps(tree).encode(), type=Resources)


def test_version_2(tmp_path: Path) -> None:
    g = {"": group(tmp_path, V2)}
    wanted = {
        "memory": {"limit": 100 << 20, "swap": 150 << 20, "reservation": 10 << 20},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1", "burst": 20000, "idle": 1}, "pids": {"limit": 10},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "unified": {"memory.high": "5000"},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
    }  # fmt: skip
    limits.apply(g, resources(wanted))

    def now(name: str) -> str:
        return (tmp_path / name).read_text()

    # os.write at the start of a longer file leaves its tail: what was written comes first
    assert now("memory.max") == str(100 << 20) and now("memory.swap.max") == str(50 << 20)
    assert now("memory.low").startswith(str(10 << 20)) and now("cpu.max").startswith("50000 100000")
    assert now("cpu.weight").startswith("39") and now("pids.max").startswith(
        str(10 + limits.OWN_TASKS)
    )
    assert (
        now("io.max") == "8:0 rbps=1000"
        and now("cpuset.cpus") == "0-1"
        and now("hugetlb.2MB.max").startswith("0")
    )
    assert now("memory.high").startswith("5000")
    assert now("cpu.max.burst").startswith("20000") and now("cpu.idle") == "1"
    assert now("rdma.max") == "mlx5_1 hca_handle=3 hca_object=10000"
    assert limits.memory_limit(g) == 100 << 20 and limits.cpus(g) == 5 and limits.oom_kills(g) == 1
    (tmp_path / "cpu.max").write_text("50000 100000")
    assert limits.cpu_max(g) == (50000, 100000)
    assert events.stats(g)["memory"]["usage"]["limit"] == 100 << 20


def test_weights_of_block_devices(tmp_path: Path) -> None:
    """Into the file of the scheduler that the kernel has; a clear word where it has none."""
    asked = resources(
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 16, "weight": 300, "leafWeight": 200}]}}
    )
    for name, files, want in (
        ("", {"io.bfq.weight": "", "io.weight": ""}, {"io.bfq.weight": "8:16 300", "io.weight": ""}),
        ("", {"io.weight": ""}, {"io.weight": "8:16 300"}),
        ("blkio", {"blkio.weight_device": "", "blkio.leaf_weight_device": ""},
         {"blkio.weight_device": "8:16 300", "blkio.leaf_weight_device": "8:16 200"}),
    ):  # fmt: skip
        base = tmp_path / f"{name}{len(files)}{len(want)}{'bfq' in str(files)}"
        base.mkdir()
        limits.apply({name: group(base, files)}, asked)
        assert {f: (base / f).read_text() for f in want} == want
    for name in ("", "blkio"):
        (tmp_path / f"none{name}").mkdir()
        with pytest.raises(Failure, match="no proportional I/O scheduler"):
            limits.apply({name: str(tmp_path / f"none{name}")}, asked)


def test_unified_files_are_a_controllers(tmp_path: Path) -> None:
    g = {"": group(tmp_path, V2)}
    for name in ("../x", "cgroup.procs", "cgroup.freeze"):
        with pytest.raises(Failure, match="not a controller's file"):
            limits.apply(g, resources({"unified": {name: "1"}}))


def test_a_missing_controller_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="controller `memory` is not available"):
        limits.apply({"pids": str(tmp_path)}, resources({"memory": {"limit": 1 << 30}}))
    for v2 in ({}, {"": group(tmp_path, V2)}):
        with pytest.raises(Failure, match="controller `net_cls` is not available"):
            limits.apply(v2, resources({"network": {"classID": 7}}))


def test_network_classes_of_version_1(tmp_path: Path) -> None:
    g = dict.fromkeys(
        ("net_cls", "net_prio"), group(tmp_path, {"net_cls.classid": "0", "net_prio.ifpriomap": ""})
    )
    limits.apply(
        g,
        resources(
            {"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}}
        ),
    )
    assert (tmp_path / "net_cls.classid").read_text() == "1048577"
    assert (tmp_path / "net_prio.ifpriomap").read_text() == "eth0 5"


@pytest.mark.parametrize(
    ("path", "systemd", "expected"),
    [
        ("/docker/abc", False, "/docker/abc"),
        ("", False, "id"),
        ("machine.slice:libpod:abc", True, "/machine.slice/libpod-abc.scope"),
        ("a-b-c.slice:p:n", True, "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        (":p:n", True, "/system.slice/p-n.scope"),
        ("a.slice::n.slice", True, "/a.slice/n.slice"),
    ],
)
def test_paths(path: str, systemd: bool, expected: str) -> None:
    assert cgroups.path_of(path, "id", systemd) == expected


@pytest.mark.parametrize("path", ["x", "a:b", "a--b.slice:p:n", "a:p:n", "../x.slice:p:n"])
def test_paths_that_are_no_units(path: str) -> None:
    with pytest.raises(Failure):
        cgroups.path_of(path, "id", True)


def test_a_path_of_ones_own(rt: Runtime) -> None:
    done = rt.create("sd", rt.bundle(edit=lambda s: s["linux"].update(cgroupsPath="/nvtest/inner")))
    assert done.returncode == 0
    groups = json.loads((rt.root / "sd" / "state.json").read_text())["cgroup"]
    assert all(p.endswith("/nvtest/inner") for p in groups.values())
    rt.ok("delete", "--force", "sd")
    assert not any(Path(p).exists() for p in groups.values())


def test_metrics_of_a_container(rt: Runtime) -> None:
    rt.create("m1", rt.bundle())
    rt.ok("start", "m1")
    text = rt.ok("metrics", "print")
    assert 'nvsandbox_container_state{container="m1",state="running"} 1.0' in text
    assert 'nvsandbox_processes{container="m1"} 1.0' in text
    memory = next(
        line
        for line in text.splitlines()
        if line.startswith('nvsandbox_memory_bytes{container="m1"}')
    )
    assert float(memory.split()[1]) > 1 << 20
    figures = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("nvsandbox_")
    }
    rt.ok("exec", "m1", "python3", "-c", "import os\nfor _ in range(500): os.stat('/')")
    later = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in rt.ok("metrics", "print").splitlines()
        if line.startswith("nvsandbox_")
    }
    stats = 'nvsandbox_syscalls_total{container="m1",name="newfstatat"}'
    assert later[stats] - figures[stats] >= 500
    traps = sum(
        later[f'nvsandbox_traps_total{{container="m1",kind="{k}"}}'] for k in ("jump", "signal")
    )
    assert traps == sum(v for k, v in later.items() if k.startswith("nvsandbox_syscalls_total{"))
    for phase in ("modules", "confinement", "files", "platform", "first program"):
        assert 0 < figures[f'nvsandbox_start_seconds{{container="m1",phase="{phase}"}}'] < 60
    assert figures['nvsandbox_gofer_total{container="m1",counter="requests"}'] > 3


def test_a_controller_of_version_2_beside_version_1(rt: Runtime) -> None:
    """On the real one, where hugetlb is nowhere in version 1."""
    h = cgroups.Hierarchies()
    if not h.v1 or "hugetlb" not in h.controllers_v2():
        pytest.skip("hugetlb is not in version 2 beside controllers of version 1")

    def edit(s: dict[str, Any]) -> None:
        s["linux"]["resources"] = {
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
            "pids": {"limit": 20},
        }
        s["linux"]["cgroupsPath"] = f"/{OWN}-v2/huge"  # no process may be in the groups above

    assert rt.create("huge", rt.bundle(edit=edit)).returncode == 0
    groups = json.loads((rt.root / "huge" / "state.json").read_text())["cgroup"]
    assert Path(groups[""], "hugetlb.2MB.max").read_text() == f"{4 << 20}\n"
    assert Path(groups["pids"], "pids.max").read_text() == f"{20 + limits.OWN_TASKS}\n"
    rt.ok("start", "huge")
    rt.ok("delete", "--force", "huge")
    assert not Path(groups[""]).exists()
    for path in groups.values():
        Path(path).parent.rmdir()


def test_a_group_that_others_are_in(rt: Runtime) -> None:
    """It may be, with a warning, unless it is frozen."""
    b = rt.bundle(edit=lambda s: s["linux"].update(cgroupsPath=f"/{OWN}-shared/both"))
    for name, told in (("one", False), ("two", True)):
        assert rt.create(name, b).returncode == 0
        assert ("container's cgroup is not empty: " in (rt.base / "err").read_text()) == told
    groups = json.loads((rt.root / "one" / "state.json").read_text())["cgroup"]
    cgroups.freeze(groups, True)
    try:
        assert "cgroup unexpectedly frozen" in rt.failure(rt("run", "-b", b, "three"))
    finally:
        cgroups.freeze(groups, False)
    rt.ok("start", "two")
    rt.ok("delete", "--force", "one")
    assert rt.ok("exec", "two", "echo", "alive") == "alive\n"
    with_others = rt.bundle(
        "/no/such", edit=lambda s: s["linux"].update(cgroupsPath=f"/{OWN}-shared/both")
    )
    assert rt.create("four", with_others).returncode == 1
    assert rt.ok("exec", "two", "echo", "alive") == "alive\n"
    rt.ok("delete", "--force", "two")
    for path in groups.values():
        Path(path).parent.rmdir()


def test_who_hastens_a_move_stays_where_it_is() -> None:
    groups = cgroups.create("hasten-test", "hasten-test")
    try:
        before = Path("/proc/self/cgroup").read_text()
        r, w = os.pipe()
        threading.Timer(0.1, os.close, (w,)).start()
        cgroups.hasten(groups, r)
        os.close(r)
        assert Path("/proc/self/cgroup").read_text() == before
        assert not cgroups.pids(groups)
    finally:
        cgroups.remove(groups)
