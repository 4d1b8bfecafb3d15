"""CDI specifications read by the runtime: formats, precedence, hostile files, and containers on nvsim that ask by CDI's names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inside import REPO

from nvsandbox.failure import Failure
from nvsandbox.nvproxy.cdi_spec import MAX_FILE, Registry, from_yaml, load

from .conftest import Inside, nvidia_libs
from .test_engines import bundle, native

MAIN = [sys.executable, "-m", "nvsandbox.cli.main"]
YAML = """\
---
# as nvidia-ctk writes it
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - path: /dev/nvidia0
          fileMode: 438
          permissions: rw
  - name: all
    containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1, major: 195, minor: 1, type: c}]}
containerEdits:
  env:
    - NVIDIA_VISIBLE_DEVICES=void
    - 'TIME=12:30'
  deviceNodes:
    - path: /dev/nvidiactl
  hooks:
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib]
  mounts:
    - hostPath: /etc/hostname
      containerPath: /run/named
      options: [ro, nosuid, bind]
"""
JSON: dict[str, Any] = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "devices": [
        {"name": "0", "containerEdits": {"deviceNodes": [
            {"path": "/dev/nvidia0", "fileMode": 438, "permissions": "rw"}]}},
        {"name": "all", "containerEdits": {"deviceNodes": [
            {"path": "/dev/nvidia0"}, {"path": "/dev/nvidia1", "major": 195, "minor": 1, "type": "c"}]}},
    ],
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void", "TIME=12:30"],
        "deviceNodes": [{"path": "/dev/nvidiactl"}],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook",
                   "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib"]}],
        "mounts": [{"hostPath": "/etc/hostname", "containerPath": "/run/named", "options": ["ro", "nosuid", "bind"]}],
    },
}  # fmt: skip


def put(path: Path, content: str | bytes | dict[str, Any]) -> Path:
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    assert load(str(put(tmp_path / "a.yaml", YAML))) == load(str(put(tmp_path / "a.json", JSON)))


def test_yaml_agrees_with_pyyaml() -> None:
    """Our reading of the events against the library's own, numbers as text."""
    import yaml

    for text in (YAML, "a: [1, {b: c}]\nd: |\n  x\n  y\ne: ''\nf:\n", "- - - 1\n", "{}", ""):
        theirs = yaml.load(text, yaml.BaseLoader) if text else None

        def nulls(v: Any) -> Any:
            """BaseLoader knows no null; what is empty and not quoted is one for us."""
            if isinstance(v, dict):
                return {k: nulls(x) for k, x in v.items()}
            return [nulls(x) for x in v] if isinstance(v, list) else v

        ours = from_yaml(text.encode())
        if isinstance(ours, dict) and "f" in ours:
            assert ours.pop("f") is None and theirs.pop("f") == ""
        assert ours == nulls(theirs)


def changed(**more: Any) -> dict[str, Any]:
    return {**JSON, **more}


def device(**edits: Any) -> dict[str, Any]:
    return changed(devices=[{"name": "0", "containerEdits": edits}])


@pytest.mark.parametrize(("name", "content", "says"), [
    ("x.json", "", "truncated"), ("x.json", "[]", "Expected `object`"), ("x.json", "{", "truncated"),
    ("x.json", b"\xff\xfe", "JSON is malformed"), ("x.json", "[" * 100_000, ""),
    ("x.json", " " * (MAX_FILE + 1), "larger than 1 MiB"),
    ("x.json", changed(kind="gpu"), "$.kind: `gpu` is not vendor/class"),
    ("x.json", changed(cdiVersion="9.9.9"), "$.cdiVersion"),
    ("x.json", changed(devices=[{"name": "../x"}]), "$.devices[0].name"),
    ("x.json", changed(devices=[{"name": "0"}, {"name": "0"}]), "there twice"),
    ("x.json", changed(devices="all"), "$.devices"),
    ("x.json", device(env=["=x"]), "$.devices[0].containerEdits.env[0]"),
    ("x.json", device(env=["A=b\0c"]), "env[0]"),
    ("x.json", device(deviceNodes=[{"path": "dev/x"}]), "deviceNodes[0]: `dev/x` is not an absolute path"),
    ("x.json", device(deviceNodes=[{"path": "/dev/../etc/shadow"}]), "not an absolute path"),
    ("x.json", device(deviceNodes=[{"path": "/dev/x", "type": "z"}]), "unknown type"),
    ("x.json", device(deviceNodes=[{"path": "/dev/x", "permissions": "all"}]), "permissions"),
    ("x.json", device(deviceNodes=[{"path": "/dev/x", "major": 1 << 80}]), "major"),
    ("x.json", device(mounts=[{"hostPath": "/etc", "containerPath": "etc"}]), "mounts[0]"),
    ("x.json", device(mounts=[{"hostPath": "/etc"}]), "containerPath"),
    ("x.json", device(hooks=[{"hookName": "whenever", "path": "/bin/true"}]), "`whenever`"),
    ("x.json", device(hooks=[{"hookName": "prestart", "path": "true"}]), "absolute"),
    ("x.yaml", "a: &b [1]\nc: *b\n", "line 1: YAML anchors"), ("x.yaml", "a: !!python/name:os.system x\n", "tags"),
    ("x.yaml", "a: 1\na: 2\n", "line 2: a key"), ("x.yaml", "? [a]\n: b\n", "a key"),
    ("x.yaml", "[" * 500_000, "nest"), ("x.yaml", "[" * 100, "nested too deeply"), ("x.yaml", "- 1\n" * 200_000, "too much"),
    ("x.yaml", "a: 1\n---\nb: 1\n", "more than one"), ("x.yaml", "a: [1\n", "not YAML"),
    ("x.yaml", b"\xff\xff\xff\0", "not YAML"), ("x.yaml", "", "Expected `object`"), ("x.yaml", "\0", "not YAML"),
])  # fmt: skip
def test_bad_files(tmp_path: Path, name: str, content: str | bytes | dict[str, Any], says: str) -> None:  # fmt: skip
    with pytest.raises(Failure) as e:
        load(str(put(tmp_path / name, content)))
    assert says in str(e.value) and "\n" not in str(e.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.json")
    (tmp_path / "d.json").mkdir()
    os.chmod(put(tmp_path / "w.json", JSON), 0o666)
    os.chown(put(tmp_path / "o.json", JSON), 1234, 1234)
    for name, says in (("f", "not a regular file"), ("d", ""), ("w", "others may write it"), ("o", "others may write it"),
                       ("none", "no such file")):  # fmt: skip
        with pytest.raises(Failure, match=says):
            load(str(tmp_path / f"{name}.json"))
    registry = Registry((str(tmp_path), str(tmp_path / "absent")))
    with pytest.raises(Failure, match=r"CDI device `nvidia.com/gpu=0`: not in .*d\.json"):
        registry.resolve(["nvidia.com/gpu=0"])


def test_precedence_and_conflicts(tmp_path: Path) -> None:
    first, second = tmp_path / "etc", tmp_path / "run"
    first.mkdir()
    second.mkdir()
    put(first / "a.json", device(env=["FROM=etc"]))
    put(first / "ignored.txt", "x")
    put(second / "a.json", device(env=["FROM=run"]))
    got = Registry((str(first), str(second))).resolve(["nvidia.com/gpu=0", "nvidia.com/gpu=0"])
    assert [e.env[:1] for e in got] == [["NVIDIA_VISIBLE_DEVICES=void"], ["FROM=run"]]
    put(second / "b.json", device(env=["FROM=other"]))
    with pytest.raises(Failure, match="is defined by another file, too"):
        Registry((str(first), str(second))).resolve(["nvidia.com/gpu=0"])


# ---------------------------------------------------------------------- containers


def start(
    tmp_path: Path, config: dict[str, Any], *flags: str, opts: tuple[str, ...] = ("--count", "2"),
    run_flags: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """`nvsandbox run` of a bundle under the simulator, with specifications below ``tmp_path/cdi``."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    cmd = [
        *MAIN,
        "--root",
        tmp_path / "state",
        "--cdi-spec-dirs",
        tmp_path / "cdi",
        "--nvproxy-driver-root",
        nvidia_libs(),
    ]
    run = [*cmd, *flags, "run", *run_flags, "--bundle", tmp_path, f"cdi-{os.getpid()}"]
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run(
        [*MAIN, "gpu", "sim", *opts, "--", *run], capture_output=True, text=True, timeout=60, env=env
    )  # fmt: skip


def plain(tmp_path: Path, inside: Inside, args: list[str], **more: Any) -> dict[str, Any]:
    """A bundle that knows nothing of GPUs."""
    (tmp_path / "cdi").mkdir(exist_ok=True)
    config = bundle(tmp_path, inside.rootfs, args)
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "bind"]
    config["linux"]["devices"] = []
    del config["hooks"]
    return config | more


def card(nth: int) -> str:
    return native(["-L"]).decode().splitlines()[nth].replace(f"GPU {nth}:", "GPU 0:") + "\n"


def test_an_annotation(first: Inside, tmp_path: Path) -> None:
    """The specification that `gpu cdi` writes; without one, names are indexes and UUIDs."""
    annotations = {"cdi.k8s.io/vendor_device": "nvidia.com/gpu=1"}
    config = plain(tmp_path, first, ["nvidia-smi", "-L"], annotations=annotations)
    assert start(tmp_path, config).stdout == card(1)
    write = [*MAIN, "gpu", "cdi", "-o", tmp_path / "cdi" / "nvidia.json"]
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    subprocess.run([*MAIN, "gpu", "sim", "--count", "2", "--", *write], check=True, env=env)
    got = start(tmp_path, config)
    assert got.stdout == card(1), got.stderr
    config["annotations"] = {"cdi.k8s.io/a": "nvidia.com/gpu=0", "cdi.k8s.io/b": "nvidia.com/gpu=1"}
    assert start(tmp_path, config).stdout.encode() == native(["-L"])
    config["annotations"] = {"cdi.k8s.io/a": "nvidia.com/gpu=7"}
    got = start(tmp_path, config)
    assert got.returncode == 1 and got.stdout == ""
    assert (
        "CDI device `nvidia.com/gpu=7`: not in" in got.stderr
        and "known are nvidia.com/gpu=0" in got.stderr
    )
    config["annotations"] = {"cdi.k8s.io/a": "gpu0"}
    assert "`gpu0` is not a CDI device" in start(tmp_path, config).stderr
    config["annotations"] = {"cdi.k8s.io/a": "acme.com/net=x"}
    assert "none of this kind is known" in start(tmp_path, config).stderr
    assert "contradicts --nvproxy=off" in start(tmp_path, config, "--nvproxy=off").stderr


def test_by_variable_and_flag(first: Inside, tmp_path: Path) -> None:
    config = plain(tmp_path, first, ["nvidia-smi", "-L"])
    put(tmp_path / "cdi" / "nvidia.yaml", YAML)
    got = start(tmp_path, config, run_flags=("--gpus", "nvidia.com/gpu=0"))
    assert got.stdout == card(0), got.stderr
    config["process"]["env"].append("NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0")
    got = start(tmp_path, config)
    assert got.stdout == card(0), got.stderr
    config["process"]["env"][-1] = "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0,1"
    assert "don't go together" in start(tmp_path, config).stderr


def test_all_its_edits(first: Inside, tmp_path: Path) -> None:
    """Variables, mounts, groups, a hook that runs; NVIDIA's hook does not. An engine that made them before us changes nothing."""
    spec = json.loads(json.dumps(JSON))
    spec["containerEdits"]["env"].append("EXTRA=yes")
    spec["containerEdits"]["additionalGids"] = [4321]
    ran = tmp_path / "ran"
    spec["containerEdits"]["hooks"].append(
        {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", f"echo x >>{ran}"]}
    )
    script = "echo $EXTRA; id -G; cat /run/named; ls /dev | grep nvidia; nvidia-smi -L"
    config = plain(
        tmp_path, first, ["sh", "-c", script], annotations={"cdi.k8s.io/x": "nvidia.com/gpu=all"}
    )
    put(tmp_path / "cdi" / "nvidia.json", spec)
    want = ["yes", "0 4321", Path("/etc/hostname").read_text().strip(), "nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1",
            "nvidiactl", *native(["-L"]).decode().splitlines()]  # fmt: skip
    got = start(tmp_path, config)
    assert got.stdout.splitlines() == want, got.stderr
    edits = spec["containerEdits"]
    config["process"]["env"] += edits["env"]
    config["process"]["user"]["additionalGids"] = [4321]
    config["mounts"].append(
        {
            "destination": "/run/named",
            "source": "/etc/hostname",
            "type": "bind",
            "options": ["ro", "bind"],
        }
    )
    config["linux"]["devices"] = [
        {"path": p, "type": "c", "major": 195, "minor": n}
        for p, n in (("/dev/nvidia0", 0), ("/dev/nvidia1", 1), ("/dev/nvidiactl", 255))
    ]
    got = start(tmp_path, config)
    assert got.stdout.splitlines() == want, got.stderr
    assert ran.read_text() == "x\nx\n"


def test_libraries_where_no_loader_looks(first: Inside, tmp_path: Path) -> None:
    """As nvidia-ctk writes it on a host of another distribution: the specification mounts libraries, hooks tell the loader of them."""
    libs = nvidia_libs()
    spec = json.loads(json.dumps(JSON))
    edits = spec["containerEdits"]
    at = "/opt/driver/lib"
    found = (libs / "usr/lib/x86_64-linux-gnu/nvidia/current").glob("*.so.535.261.03")
    edits["mounts"] = [
        {"hostPath": str(f.resolve()), "containerPath": f"{at}/{f.name}", "options": ["ro", "bind"]}
        for f in found
    ]
    smi = str((libs / "usr/lib/nvidia/current/nvidia-smi").resolve())
    edits["mounts"].append(
        {"hostPath": smi, "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "bind"]}
    )
    edits["hooks"][0]["args"][-1] = at
    script = "nvidia-smi -L; /sbin/ldconfig -p | grep -o 'libcuda.so.*'; readlink /opt/driver/lib/libcuda.so.1"
    config = plain(
        tmp_path, first, ["sh", "-c", script], annotations={"cdi.k8s.io/x": "nvidia.com/gpu=all"}
    )
    put(tmp_path / "cdi" / "nvidia.json", spec)
    got = start(tmp_path, config)
    assert got.stdout.splitlines() == [
        *native(["-L"]).decode().splitlines(),
        f"libcuda.so.1 (libc6,x86-64) => {at}/libcuda.so.1",
        f"libcuda.so (libc6,x86-64) => {at}/libcuda.so",
        "libcuda.so.535.261.03",
    ], got.stderr


def test_a_hook_of_containerds(first: Inside, tmp_path: Path) -> None:
    """`ctr run --gpus 1`: containerd's own hook runs NVIDIA's program, with the card in its arguments."""
    config = plain(tmp_path, first, ["sh", "-c", "ls /dev | grep nvidia; nvidia-smi -L"])
    args = ["containerd", "oci-hook", "--", "/usr/bin/nvidia-container-cli", "--load-kmods", "configure", "--device=1",
            "--utility", "--pid={{pid}}", "{{rootfs}}"]  # fmt: skip
    config["hooks"] = {"prestart": [{"path": "/nosuch/containerd", "args": args}]}
    got = start(tmp_path, config)
    assert got.stdout == f"nvidia1\nnvidiactl\n{card(1)}", got.stderr


def test_a_list_of_mounts(first: Inside, tmp_path: Path) -> None:
    config = plain(tmp_path, first, ["nvidia-smi", "-L"])
    config["mounts"].append(
        {
            "destination": "/var/run/nvidia-container-devices/1",
            "source": "/dev/null",
            "type": "bind",
            "options": ["bind"],
        }
    )
    config["process"]["env"].append("NVIDIA_VISIBLE_DEVICES=all")
    got = start(tmp_path, config)
    assert got.stdout == card(1), got.stderr


def test_what_the_host_lacks(first: Inside, tmp_path: Path) -> None:
    annotations = {"cdi.k8s.io/x": "nvidia.com/gpu=0"}
    config = plain(tmp_path, first, ["echo", "started"], annotations=annotations)
    for edits, says in (
        ({"deviceNodes": [{"path": "/dev/nosuch"}]}, "CDI device node `/dev/nosuch`: no such file"),
        ({"deviceNodes": [{"path": "/etc"}]}, "CDI device node `/etc`: not a device"),
        ({"deviceNodes": [{"path": "/dev/nvidia9", "type": "c", "major": 195, "minor": 9}]}, "no GPU has the device node"),
        ({"mounts": [{"hostPath": "/nosuch", "containerPath": "/x"}]}, "`/nosuch` on `/x`: no such file"),
    ):  # fmt: skip
        put(tmp_path / "cdi" / "nvidia.json", device(**edits))
        got = start(tmp_path, config)
        lines = [x for x in got.stderr.splitlines() if not x.startswith("nvsim:")]
        assert got.returncode == 1 and got.stdout == "" and len(lines) == 1, got.stderr
        assert says in lines[0]


def test_mig_devices(first: Inside, tmp_path: Path) -> None:
    """The specification names them as nvidia-ctk does; only the instances that are named are there."""
    opts = ("--mig", "1g.10gb,2g.20gb")
    config = plain(tmp_path, first, ["nvidia-smi", "-L"])
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    write = [*MAIN, "gpu", "cdi", "-o", tmp_path / "cdi" / "nvidia.json"]
    subprocess.run([*MAIN, "gpu", "sim", *opts, "--", *write], check=True, env=env)
    names = {
        d["name"] for d in json.loads((tmp_path / "cdi" / "nvidia.json").read_text())["devices"]
    }
    migs = sorted(n for n in names if n.startswith("MIG-"))
    assert {"0", "0:0", "0:1", "all"} < names and len(migs) == 2
    for asked, count in (("0:1", 1), (migs[0], 1), ("0", 2), ("all", 2)):
        config["annotations"] = {"cdi.k8s.io/x": f"nvidia.com/gpu={asked}"}
        got = start(tmp_path, config, opts=opts)
        shown = [x for x in got.stdout.splitlines() if "UUID: MIG-" in x]
        assert len(shown) == count, got.stderr
        if asked.startswith("MIG-"):
            assert asked in shown[0]


def test_do_and_the_api(first: Inside, tmp_path: Path) -> None:
    put(tmp_path / "nvidia.yaml", YAML)
    flags = ["--cdi-spec-dirs", str(tmp_path)]
    ran = first.run(["nvidia-smi", "-L"], ("--count", "2"), gpus="nvidia.com/gpu=0", flags=flags)
    assert ran.stdout.decode() == card(0)
    ran = first.run(["true"], ("--count", "2"), gpus="nvidia.com/gpu=5", flags=flags, check=1)
    assert b"CDI device `nvidia.com/gpu=5`: not in" in ran.stderr
