"""What can't be is said in one line with a remedy, before anything has started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from inside import REPO

from nvsandbox.failure import Failure
from nvsandbox.nvproxy import drivers, explain, inject, ldcache, libraries, policy, require, select
from nvsandbox.nvproxy.abi import AbiError, database
from nvsandbox.nvproxy.model import HostGpu
from nvsandbox.nvproxy.options import GpuOptions, by_mounts, is_nvidias, set_gpus

from .conftest import Inside
from .test_hostile import NONE

RELEASE = database().release("535.261.03")
CARDS = [
    HostGpu(i, i, (i + 1) << 8, i, f"0000:0{i + 1}:00.0", bytes([i]) * 16, "H100", 80 << 30)
    for i in range(2)
]


def refused(inside: Inside, text: str, opts: tuple[str, ...] = (), gpus: str = "all", flags: tuple[str, ...] = (),
            do_flags: tuple[str, ...] = ()) -> None:  # fmt: skip
    ran = inside.run(
        ["echo", "started"], opts, gpus=gpus, flags=[*NONE, *flags], do_flags=do_flags, check=1
    )
    lines = [line for line in ran.stderr.decode().splitlines() if not line.startswith("nvsim:")]
    assert ran.stdout == b"" and len(lines) == 1, ran.stderr
    assert lines[0].startswith("nvsandbox: ") and text in lines[0], lines[0]


def test_no_driver(first: Inside) -> None:
    cmd = [
        sys.executable,
        "-m",
        "nvsandbox.cli.main",
        "do",
        "--rootfs",
        str(first.rootfs),
        "--gpus",
        "all",
        "--",
        "true",
    ]
    ran = subprocess.run(
        cmd, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )
    assert ran.returncode == 1 and ran.stderr.count("\n") == 1
    assert "no NVIDIA driver is loaded" in ran.stderr and "modprobe nvidia" in ran.stderr


def test_an_image_that_names_gpus_runs_without_a_driver(first: Inside) -> None:
    cmd = [sys.executable, "-m", "nvsandbox.cli.main", "do", "--rootfs", str(first.rootfs), "-e", "NVIDIA_VISIBLE_DEVICES=all",
           "--", "sh", "-c", "ls /dev | grep -c nvidia; true"]  # fmt: skip
    ran = subprocess.run(
        cmd, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )
    assert (ran.returncode, ran.stdout) == (0, "0\n")


@pytest.mark.parametrize("gpus, text", [
    ("7", "there is no GPU 7; the host has 0 (GPU-"), ("GPU-dead", "no GPU has UUID `GPU-dead`"),
    ("MIG-1234", "MIG is off on every card"), ("0:0", "MIG is off on GPU 0"), ("all,0", "stand alone"),
    ("fast", "neither an index, a UUID, a PCI name nor a MIG id"), (",", "all, none, or a list"),
])  # fmt: skip
def test_cards_that_are_not_there(first: Inside, gpus: str, text: str) -> None:
    refused(first, text, gpus=gpus)


def test_a_card_that_has_fallen_off_the_bus(first: Inside) -> None:
    refused(first, "has fallen off the bus (Xid 79)", opts=("--fault", "lost"))


def test_device_nodes_that_are_missing(first: Inside) -> None:
    told = "the device node `/dev/nvidia0` of GPU 0 is not there; nvidia-modprobe -c 0 makes it"
    refused(first, told, opts=("--fault", "no-node"))
    told = "the device node `/dev/nvidia-uvm` is not there; nvidia-modprobe -u -c 0 makes it"
    refused(first, told, opts=("--fault", "no-uvm"))


def test_quotas_that_cannot_be(first: Inside) -> None:
    refused(first, "is more than GPU 0", do_flags=("--gpu-memory", "500g"))
    refused(first, "at least 1m", do_flags=("--gpu-memory", "0"))
    refused(first, "a size like 8g", do_flags=("--gpu-memory", "plenty"))
    refused(first, "needs --gpus", gpus="", do_flags=("--gpu-memory", "1g"))


def test_capabilities(first: Inside) -> None:
    refused(
        first,
        "`fly` is not a driver capability",
        do_flags=("-e", "NVIDIA_DRIVER_CAPABILITIES=compute,fly"),
    )
    refused(
        first, "no driver capability is left", do_flags=("-e", "NVIDIA_DRIVER_CAPABILITIES=video")
    )
    refused(first, "contradicts --nvproxy=off", flags=("--nvproxy=off",))


def test_what_an_image_needs(first: Inside) -> None:
    refused(
        first,
        "needs `cuda>=13.1`, but the driver is 535.261.03, which supports CUDA 12.2",
        do_flags=("-e", "NVIDIA_REQUIRE_CUDA=cuda>=13.1 brand=tesla,driver>=550,driver<551"),
    )


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("cuda>=12.2", True),
        ("cuda>=12.2.1", False),
        ("cuda>=9", True),
        ("cuda<12", False),
        ("cuda=12.2", True),
        ("cuda!=12.2", False),
        ("cuda>=13.0 driver>=535,driver<536", True),
        ("cuda>=13.0 brand=tesla,driver>=535,driver<536", True),
        ("cuda>=13.0 brand=geforce,driver>=535,driver<536", False),
        ("cuda>=13.0 brand=tesla,driver>=470,driver<471", False),
        ("driver>=535.261.03", True),
        ("driver>535.261.3", False),
        ("arch=9.0", True),
    ],
)
def test_conditions(text: str, fits: bool) -> None:
    card = HostGpu(0, 0, 1, 0, "", b"", "NVIDIA H100 80GB HBM3")
    variables = {"NVIDIA_REQUIRE_CUDA": text}
    if fits:
        require.check(variables, "535.261.03", [card])
    else:
        with pytest.raises(Failure, match="NVIDIA_DISABLE_REQUIRE"):
            require.check(variables, "535.261.03", [card])
        require.check({**variables, "NVIDIA_DISABLE_REQUIRE": "true"}, "535.261.03", [card])


@pytest.mark.parametrize(
    "text", ["cuda", "cuda>12,", "x>=1", "cuda>=a.b;rm", "cuda>=12" + "," * 20000]
)
def test_conditions_that_are_none(text: str) -> None:
    with pytest.raises(Failure, match="NVIDIA_REQUIRE_X"):
        require.check({"NVIDIA_REQUIRE_X": text}, "535.261.03", [])


@pytest.mark.parametrize(
    ("name", "brand"),
    [
        ("NVIDIA H100 80GB HBM3", "tesla"),
        ("Tesla T4", "tesla"),
        ("NVIDIA GeForce RTX 4090", "geforce"),
        ("NVIDIA RTX A6000", "nvidiartx"),
        ("Quadro RTX 8000", "quadrortx"),
        ("NVIDIA A100-SXM4-80GB", "tesla"),
        ("something", ""),
    ],
)
def test_brands(name: str, brand: str) -> None:
    assert require.brand(name) == brand


def test_driver_versions(first: Inside) -> None:
    refused(first, "nearest: ", flags=("--nvproxy-driver-version", "535.1.1"))
    refused(first, "a version like", flags=("--nvproxy-driver-version", "new"))


def test_missing_policy_file(first: Inside, tmp_path: Path) -> None:
    refused(first, "No such file", flags=("--nvproxy-policy", str(tmp_path / "none")))
    bad = tmp_path / "bad.toml"
    for text, told in (("deny = [", "bad.toml`: "), ("deny = 3", "must be a list"), ("x = 1", "unknown key `x`"),
                       ('deny = ["NV2080_NO_SUCH"]', "names nothing in any driver release")):  # fmt: skip
        bad.write_text(text)
        with pytest.raises(Failure, match=told.replace("`", ".")):
            policy.make(None, "all", str(bad))


def test_libraries_of_another_version(libs: Path, tmp_path: Path, rootfs: Path) -> None:
    with pytest.raises(Failure, match=r"of version 535\.261\.03, the loaded driver is 550\.1"):
        libraries.find(str(libs), "550.1", {"utility"}, str(rootfs))
    with pytest.raises(Failure, match="is not below"):
        libraries.find(str(tmp_path), "535.261.03", {"utility"}, str(rootfs))
    half = tmp_path / "half"
    shutil.copytree(libs, half, symlinks=True)
    next(half.rglob("libcuda.so.535*")).unlink()
    with pytest.raises(Failure, match=r"libcuda\.so\.535\.261\.03"):
        libraries.find(str(half), "535.261.03", {"compute", "utility"}, str(rootfs))


def test_libraries_where_the_hosts_loader_finds_them(tmp_path: Path, rootfs: Path) -> None:
    odd = tmp_path / "opt/odd"
    odd.mkdir(parents=True)
    (odd / "libnvidia-ml.so.535.261.03").write_bytes(b"\x7fELF")
    with pytest.raises(Failure, match="is not below"):
        libraries.find(str(tmp_path), "535.261.03", {"utility"}, str(rootfs))
    cache = ldcache.with_libraries(
        ldcache.build((), ()), [("libnvidia-ml.so.1", "/opt/odd/libnvidia-ml.so.1")]
    )
    assert cache is not None
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.cache").write_bytes(cache)
    found = libraries.find(str(tmp_path), "535.261.03", {"utility"}, str(rootfs))
    assert list(found.mounts) == [str(odd / "libnvidia-ml.so.535.261.03")]
    (odd / "libnvidia-ml.so.535.261.03").write_bytes(b"")
    with pytest.raises(
        Failure, match="is not a library; the driver's user-space is half installed"
    ):
        libraries.find(str(tmp_path), "535.261.03", {"utility"}, str(rootfs))


def test_containers_that_bring_the_drivers_libraries(tmp_path: Path) -> None:
    """Google's device plugin mounts a directory; a mount of the host's root is none of these."""
    (tmp_path / "lib64").mkdir()
    assert not libraries.brings_its_own([(str(tmp_path), "/usr/local/nvidia")])
    (tmp_path / "lib64/libcuda.so.1").touch()
    assert libraries.brings_its_own([("/etc", "/x"), (str(tmp_path), "/usr/local/nvidia")])
    assert not libraries.brings_its_own([(str(tmp_path), "/host")])
    assert libraries.brings_its_own([("/x", "/usr/lib64/libcuda.so.535.1")])


def test_choice_of_a_release(tmp_path: Path) -> None:
    assert drivers.choose("535.261.03") == drivers.Choice("535.261.03", "535.261.03")
    near = drivers.choose("535.999.01")
    assert (
        near.abi.startswith("535.")
        and near.abi in near.warning
        and "--nvproxy-driver-version" in near.warning
    )
    with pytest.raises(Failure, match="is of a branch that the ABI database doesn't know"):
        drivers.choose("999.1")
    assert drivers.choose("999.1", "535.261.03").abi == "535.261.03"
    for text, version in (
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.261.03  Mon\n", "535.261.03"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n",
            "570.86.15",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95  Release\n", "580.95"),
    ):
        (tmp_path / "version").write_text(text + "GCC version:  gcc version 12.2.0\n")
        assert drivers.host_version(str(tmp_path / "version")) == version


def test_selection() -> None:
    def pick(text: str) -> list[int]:
        return [g.index for g in select.select(text, CARDS, RELEASE).gpus]

    assert pick("all") == pick("nvidia.com/gpu=all") == [0, 1]
    assert pick("1") == pick(CARDS[1].uuid_text) == pick("/dev/nvidia1") == [1]
    assert pick("1,0") == [0, 1] and pick("00000000:02:00.0") == [1]
    with pytest.raises(Failure, match="GPU-"):
        pick("GPU-")
    for text in ("²", "9" * 5000, "1:²"):
        with pytest.raises(Failure, match="is neither an index"):
            pick(text)


def test_sizes() -> None:
    assert inject.memory_limit("8g") == 8 << 30 and inject.memory_limit("") == 0
    for text in ("²g", "9" * 5000, "-5", "g", "1e3", "0x10"):
        with pytest.raises(Failure, match="a size like"):
            inject.memory_limit(text)
    for bad in ("0", "1", "-1g", "g", "1.5g", "8x"):
        with pytest.raises(Failure):
            inject.memory_limit(bad)


@pytest.mark.parametrize("text, gpus, capabilities", [
    ("all", "all", ""), (" 0,1 ", "0,1", ""), ("device=0,1", "0,1", ""), ('"device=0,1"', "0,1", ""), ("device=GPU-c65", "GPU-c65", ""),
    ("all,capabilities=utility", "all", "utility"), ('"device=0,2",capabilities=utility', "0,2", "utility"),
    ('device=1,"capabilities=gpu,compute,utility"', "1", "compute,utility"), ("count=2", "0,1", ""), ("count=all", "all", ""),
    ("capabilities=compute", "0", "compute"), ("device=nvidia.com/gpu=1", "nvidia.com/gpu=1", ""),
    ("nvidia.com/gpu=0,nvidia.com/gpu=1", "nvidia.com/gpu=0,nvidia.com/gpu=1", ""), ("", "", ""),
])  # fmt: skip
def test_dockers_way_to_ask(text: str, gpus: str, capabilities: str) -> None:
    o = GpuOptions()
    set_gpus(o, text)
    assert (o.gpus, o.capabilities) == (gpus, capabilities)


@pytest.mark.parametrize("text, told", [
    ("count=0", "count is a number"), ("count=x", "count is a number"), ("count=65", "count is a number"), ("device=", "is not one of"),
    ("driver=amd", "is not one of"), ("options=a", "is not one of"), ('"device=0', "unexpected end"),
])  # fmt: skip
def test_what_docker_would_not_take(text: str, told: str) -> None:
    with pytest.raises(Failure, match=told):
        set_gpus(GpuOptions(), text)


def test_a_list_of_mounts() -> None:
    """NVIDIA's device plugin for Kubernetes, DEVICE_LIST_STRATEGY=volume-mounts."""
    at = "/var/run/nvidia-container-devices"
    mounts = [
        ("/dev/null", f"{at}/GPU-c65c62b8"), ("/etc", f"{at}/GPU-other"), ("/dev/null", f"{at}/GPU-c65c62b8"),
        ("/dev/null", f"{at}/imex/0"), ("/dev/null", f"{at}/cdi/nvidia.com/gpu/1"), ("/dev/null", f"{at}/cdi/nvidia.com/gpu=2"),
        ("/dev/null", "/var/run/else"), ("/dev/null", f"{at}/"),
    ]  # fmt: skip
    assert by_mounts(mounts) == "GPU-c65c62b8,nvidia.com/gpu=1,nvidia.com/gpu=2"


def test_whose_hook_it_is() -> None:
    assert is_nvidias("/usr/bin/nvidia-container-runtime-hook", ["hook", "prestart"])
    run = ["containerd", "oci-hook", "--", "/usr/bin/nvidia-container-cli", "configure"]
    assert is_nvidias("/usr/bin/containerd", run)
    assert not is_nvidias("/usr/bin/containerd", ["containerd", "oci-hook", "--", "/bin/x", "nvidia-container-cli"])  # fmt: skip
    assert not is_nvidias("/bin/true", ["true", "--"])


@pytest.mark.parametrize("variables, fits", [
    ({"CUDA_VERSION": "12.2.1"}, True), ({"CUDA_VERSION": "13.0.0"}, False), ({"CUDA_VERSION": "13.0", "NVIDIA_REQUIRE_CUDA": "cuda>=11"}, True),
    ({"CUDA_VERSION": "13.0", "NVIDIA_DISABLE_REQUIRE": "t"}, True), ({"CUDA_VERSION": "13.0", "NVIDIA_DISABLE_REQUIRE": "yes"}, False),
    ({"CUDA_VERSION": "latest"}, False), ({"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all"}, True),
    ({"NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS": "base-only"}, True),
])  # fmt: skip
def test_old_images_and_other_machines(variables: dict[str, str], fits: bool) -> None:
    if fits:
        require.check(variables, "535.261.03", [])
    else:
        with pytest.raises(Failure, match="CUDA_VERSION"):
            require.check(variables, "535.261.03", [])


def test_all_is_not_everything() -> None:
    """Images ask for `all` by habit; what reaches beyond a container's own work is named, by both sides."""
    assert policy.make("all", "all").capabilities == {
        "compute",
        "utility",
        "graphics",
        "video",
        "display",
    }
    assert "profiling" not in policy.make("all,profiling", "all").capabilities
    assert "profiling" in policy.make("all", "all,profiling").capabilities
    assert policy.make("fabric-imex-mgmt", "imex").capabilities == {"imex"}
    assert policy.libraries_only("all") == {"ngx", "compat32"}
    assert policy.libraries_only("compute,ngx") == {"ngx"} and not policy.libraries_only(None)


def test_policies_explain_themselves() -> None:
    narrow = policy.make("graphics,compute", "compute,utility")
    assert narrow.capabilities == {"compute"} and narrow.bounded == {"graphics"}
    verdict = narrow.judge("control", "NV0080_CTRL_CMD_GR_GET_INFO")
    assert not verdict.allowed and "leaves out" in verdict.why
    assert (
        "NVIDIA_DRIVER_CAPABILITIES"
        in narrow.judge("control", "NV2080_CTRL_CMD_GPU_EXEC_REG_OPS").why
    )
    assert policy.make("all", "compute,utility").capabilities == {"compute", "utility"}
    assert policy.make(None, "all").capabilities == {"compute", "utility"}
    graphics = policy.make("graphics", "all")
    for name in ("NV_ESC_RM_ALLOC", "NV_ESC_CARD_INFO", "NV_ESC_RM_MAP_MEMORY_DMA"):
        assert graphics.judge("frontend", name).allowed
    assert not graphics.judge("control", "NV2080_CTRL_CMD_FB_GET_REMAPPED_ROWS").allowed
    assert not policy.make("profiling", "profiling").judge("frontend", "NV_ESC_RM_ALLOC").allowed


@pytest.mark.parametrize("name, told", [
    ("nv2080_ctrl_cmd_gpu_exec_reg_ops", "refused: needs capability profiling"), ("0X2080014a", "NV2080_CTRL_CMD_GPU_GET_GID_INFO"),
    ("UVM_MIGRATE", "UVM ioctl UVM_MIGRATE 0x33"), ("0x2a", "ioctl NV_ESC_RM_CONTROL"), ("0xc637", "must be a cap file"),
    ("0x20808159", "unlocked by: compute (as UNPUBLISHED)"), ("UNKNOWN_CONTROL_COMMAND_80028B", "allowed"),
    ("NV2080_CTRL_CMD_NVLINK_GET_*STAT*", "NV2080_CTRL_CMD_NVLINK_GET_NVLINK_STATUS"),
])  # fmt: skip
def test_names_of_every_sort_are_explained(name: str, told: str) -> None:
    assert told in "\n".join(explain.explain(name, "535.261.03", "compute,utility", ""))


def test_drivers_of_every_sort_are_explained() -> None:
    for driver in ("535.999.1", "610.57.04", "620.06.00"):
        assert list(explain.explain("NV01_ROOT", driver, "compute", ""))
    with pytest.raises(Failure, match="of a branch"):
        list(explain.explain("NV01_ROOT", "1.2.3", "compute", ""))
    for driver in ("535.abc", "", "535." + "9" * 5000):
        with pytest.raises(Failure, match="a version like"):
            list(explain.explain("NV01_ROOT", driver, "compute", ""))
    lines = list(explain.explain("0x208030a0", "620.06.00", "compute", ""))
    assert "refused: needs capability imex" in lines[1]
    assert "allowed" in list(explain.explain("0x208030a0", "620.06.00", "imex", ""))[1]


@pytest.mark.parametrize("name, told", [
    ("NV2080_CTRL_CMD_GPU_EXEC_REG_OP", "there are NV2080_CTRL_CMD_GPU_EXEC_REG_OPS, "), ("0xZZ", "no command"), ("-1", "no command"),
    ("", "no command"), ("[", "no command"), ("*", "at most 200"), ("0x123456789abc", "no command"), ("UNPUBLISHED", "ask by a number"),
    ("NV0000_CTRL_CMD_GPU_ASYNC_ATTACH_ID", r"releases 5\S+ to \S+ have it"),
])  # fmt: skip
def test_names_that_are_none(name: str, told: str) -> None:
    with pytest.raises(AbiError, match=told):
        list(explain.explain(name, "535.261.03", "compute,utility", ""))


def test_containers_choose_among_the_operators_policies(tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text('deny = ["NV2080_CTRL_CMD_NVLINK_*"]\n')
    (tmp_path / "debug.toml").write_text('allow = ["NV2080_CTRL_CMD_GPU_EXEC_REG_OPS"]\n')
    where = str(tmp_path)
    assert policy.choose("", "") == "" == policy.choose(where, "")  # nothing chosen, no default
    (tmp_path / "default.toml").write_text("deny = []\n")
    assert policy.choose(where, "") == f"{tmp_path}/default.toml"
    assert policy.choose(where, "strict") == f"{tmp_path}/strict.toml"
    for name, told in (
        ("other", "there are debug, default, strict"),
        ("../x", "not a name"),
        ("a/b", "not a name"),
    ):
        with pytest.raises(Failure, match=told):
            policy.choose(where, name)
    with pytest.raises(Failure, match="must name a directory"):
        policy.choose(f"{tmp_path}/strict.toml", "debug")
    most = policy.most("compute,utility", where)
    assert most.judge("control", "NV2080_CTRL_CMD_GPU_EXEC_REG_OPS").allowed
    assert most.judge("control", "NV2080_CTRL_CMD_NVLINK_GET_NVLINK_STATUS").allowed


def test_a_container_denies_itself_more() -> None:
    less = policy.make(None, "all", "", "NV2080_CTRL_CMD_NVLINK_*, NV01_DEVICE_0")
    for kind, name in (
        ("control", "NV2080_CTRL_CMD_NVLINK_GET_NVLINK_STATUS"),
        ("class", "NV01_DEVICE_0"),
    ):
        verdict = less.judge(kind, name)
        assert not verdict.allowed and "annotation dev.nvsandbox.gpu.deny" in verdict.why
    with pytest.raises(Failure, match="`NV_NO_SUCH` names nothing"):
        policy.make(None, "all", "", "NV_NO_SUCH")
    with pytest.raises(Failure, match="more than 256 names"):
        policy.make(None, "all", "", "NV01_DEVICE_0 " * 257)
