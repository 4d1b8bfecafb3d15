"""What config.json asks for is there inside."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Runtime
from .test_commands import wait_for


def inside(rt: Runtime, script: str, edit: Any = None, status: int = 0) -> str:
    """What a bash script prints as a container's program."""
    got = rt("run", "-b", rt.bundle("bash", "-c", script, edit=edit), f"s{rt.count}")
    assert got.returncode == status, got
    return got.stdout


def test_process(rt: Runtime) -> None:
    def edit(s: dict[str, Any]) -> None:
        s["process"].update(
            user={"uid": 1000, "gid": 1001, "umask": 0o77, "additionalGids": [50, 7, 50]}, cwd="/made/here", oomScoreAdj=77,
            noNewPrivileges=True, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}], env=["PATH=/usr/bin:/bin", "X=y"],
        )  # fmt: skip
        caps = ["CAP_CHOWN", "CAP_KILL"]
        s["process"]["capabilities"] = dict.fromkeys(
            ("bounding", "permitted", "effective", "inheritable", "ambient"), caps
        )

    out = inside(
        rt,
        "id -u; id -g; id -G; umask; pwd; ulimit -n; ulimit -Hn; echo $X $HOME; cat /proc/self/oom_score_adj; grep -E 'CapEff|CapBnd|NoNew' /proc/self/status",
        edit,
    )
    assert out.split() == [
        "1000", "1001", "1001", "7", "50", "0077", "/made/here", "100", "200", "y", "/", "77",
        "CapEff:", "0000000000000021", "CapBnd:", "0000000000000021", "NoNewPrivs:", "1",
    ]  # fmt: skip


def test_mounts(rt: Runtime, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "f").write_text("data\n")

    def edit(s: dict[str, Any]) -> None:
        s["mounts"] += [
            {
                "destination": "/rw",
                "type": "bind",
                "source": str(tmp_path / "v"),
                "options": ["rbind", "rw"],
            },
            {
                "destination": "/ro",
                "type": "bind",
                "source": str(tmp_path / "v"),
                "options": ["bind", "ro"],
            },
            {
                "destination": "/run/file",
                "type": "bind",
                "source": str(tmp_path / "v/f"),
                "options": ["bind"],
            },
            {
                "destination": "/t",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["size=1m", "mode=700", "noexec"],
            },
            {
                "destination": "/t/below",
                "type": "bind",
                "source": str(tmp_path / "v"),
                "options": ["bind"],
            },
            {"destination": "relative/place", "type": "tmpfs"},
        ]

    out = inside(
        rt,
        "cat /rw/f /run/file /t/below/f; echo x >/ro/n; echo new >/rw/n; stat -c %a /t; grep -c noexec <(grep ' /t ' /proc/mounts); ls -d /relative/place",
        edit,
    )
    assert out.split() == ["data", "data", "data", "700", "1", "/relative/place"]
    assert (tmp_path / "v" / "n").read_text() == "new\n"


PEERS = """
cd /; mkdir -p d m; mount --bind / d 2>/dev/null && echo bound || echo unbindable
mount -t tmpfs none m && touch m/f; [ -e d/m/f ] && echo seen || echo apart
awk '$5 == "/" || $5 == "/v" || $5 == "/t" { print $5, $7 == "-" ? "private" : $7 }' /proc/self/mountinfo | sed 's/:.*//'
"""


@pytest.mark.parametrize(
    ("root", "seen"),
    [("", ["bound", "apart", "/ private"]), ("rshared", ["bound", "seen", "/ shared"]),
     ("slave", ["bound", "apart", "/ private"]), ("unbindable", ["unbindable", "apart", "/ unbindable"])],
)  # fmt: skip
def test_propagation_types(rt: Runtime, tmp_path: Path, root: str, seen: list[str]) -> None:
    """Of the root and of mounts, among the mounts inside."""

    def edit(s: dict[str, Any]) -> None:
        s["linux"]["rootfsPropagation"] = root
        s["mounts"] += [
            {
                "destination": "/v",
                "type": "bind",
                "source": str(tmp_path),
                "options": ["bind", "shared"],
            },
            {"destination": "/t", "type": "tmpfs", "options": ["rprivate", "unbindable"]},
        ]
        for kind in ("bounding", "effective", "permitted"):
            s["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")

    got = inside(rt, PEERS, edit).splitlines()
    if root == "rshared":
        assert "/v shared" in got and "/t shared" in got  # the root's type goes over those below
    else:
        assert "/v shared" in got and "/t unbindable" in got
    assert [x for x in got if x in seen] == seen, got


def test_readonly_bind_mounts_with_mounts_below(rt: Runtime, tmp_path: Path) -> None:
    """``ro`` is the first mount's, ``rro`` everybody's."""
    volume = tmp_path / "v"
    (volume / "below").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "none", str(volume / "below")]
    subprocess.run(mount, check=True)
    try:

        def edit(s: dict[str, Any]) -> None:
            for where, options in (("/ro", ["rbind", "ro"]), ("/rro", ["rbind", "ro", "rro"])):
                s["mounts"].append(
                    {
                        "destination": where,
                        "type": "bind",
                        "source": str(volume),
                        "options": options,
                    }
                )

        script = "for f in /ro/a /ro/below/b /rro/c /rro/below/d; do (echo x >$f) 2>&1 | grep -o 'Read-only.*' || echo fine; done"
        got = inside(rt, script, edit).splitlines()
        assert got == ["Read-only file system", "fine"] + 2 * ["Read-only file system"]
        assert os.listdir(volume / "below") == ["b"]
    finally:
        subprocess.run(["umount", str(volume / "below")], check=True)


DEVICES = r"""
import os
def try_it(name, flags):
    try:
        os.close(os.open("/dev/" + name, flags))
        return "opened"
    except OSError as e:
        return os.strerror(e.errno)
print(try_it("null", os.O_RDWR), try_it("kmsg", os.O_RDWR), try_it("other", os.O_RDONLY))
print(try_it("disk", os.O_RDONLY), try_it("disk", os.O_WRONLY), try_it("disk", os.O_RDWR))
print(os.access("/dev/disk", os.R_OK), os.access("/dev/disk", os.W_OK), os.access("/dev/disk", os.F_OK))
log = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK)
print(os.read(log, 200).decode().split(";")[1][:13])
os.write(log, b"<3>trouble\\\x01\n")
print(os.read(log, 200).decode().split(",")[:2], os.lseek(log, 0, os.SEEK_SET), os.read(log, 99)[-15:])
print(os.read(log, 200).decode().split(";")[1], end="")
try:
    os.read(log, 200)
except BlockingIOError:
    print("no more")
"""


def test_device_rules_and_the_kernels_log(rt: Runtime) -> None:
    """linux.resources.devices decides about opens inside; /dev/kmsg is the container's own log, which syslog(2) shows, too."""

    def edit(s: dict[str, Any], rules: bool = True) -> None:
        s["linux"]["devices"] = [
            {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11},
            {"path": "/dev/other", "type": "c", "major": 1, "minor": 12},
            {"path": "/dev/disk", "type": "b", "major": 8, "minor": 3},
        ]
        s["linux"]["resources"]["devices"] = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
            {"allow": True, "type": "b", "major": 8, "access": "r"},
        ]
        for kind in ("bounding", "effective", "permitted"):
            s["process"]["capabilities"][kind].append("CAP_SYSLOG")

    got = inside(
        rt, f"python3 -c '{DEVICES}' 2>&1; dmesg -S -r | tail -1 | grep -o '^<[0-9]*>'", edit
    )
    none, no = "No such device or address", "Operation not permitted"
    assert got.splitlines() == [
        f"opened opened {no}", f"{none} {no} {no}", "True False True", "Linux version",
        "['11', '1'] 0 b'AMIC nvsandbox\\n'", "trouble\\x5c\\x01", "no more", "<11>",
    ]  # fmt: skip


def test_readonly_root_masked_and_readonly_paths(rt: Runtime) -> None:
    def edit(s: dict[str, Any]) -> None:
        s["root"]["readonly"] = True
        s["linux"]["maskedPaths"] = ["/etc/passwd", "/usr/share", "/no/such"]
        s["linux"]["readonlyPaths"] = ["/proc/sys", "/dev/shm", "/no/such"]

    out = inside(
        rt,
        "touch /x || echo ro; cat /etc/passwd | wc -c; ls /usr/share | wc -l; touch /dev/shm/x || echo shm; echo a >/proc/sys/kernel/hostname || echo sys",
        edit,
    )
    assert out.split() == ["ro", "0", "0", "shm", "sys"]


def test_masks_hold_in_a_user_namespace_of_one_s_own(rt: Runtime) -> None:
    """A proc of one's own would show what the container's hides."""

    def seen(masked: list[str], readonly: list[str]) -> str:
        def edit(s: dict[str, Any]) -> None:
            s["process"]["user"] = {"uid": 1000, "gid": 1000}
            s["linux"].update(maskedPaths=masked, readonlyPaths=readonly)

        return inside(rt, "unshare -Urpf --mount-proc ps -e -o pid= 2>&1 || true", edit).strip()

    assert seen([], []) == "1"
    refused = "unshare: mount /proc failed: Operation not permitted"
    assert seen(["/proc/version"], []) == seen([], ["/proc/sys"]) == refused


def test_a_readonly_dev(rt: Runtime) -> None:
    """Nodes are there and work; none can be made."""

    def edit(s: dict[str, Any]) -> None:
        dev = next(m for m in s["mounts"] if m["destination"] == "/dev")
        dev["options"].append("ro")

    out = inside(
        rt,
        "echo x >/dev/null && echo wrote; touch /dev/new 2>/dev/null || echo refused; grep -c ' /dev .* ro,' /proc/mounts",
        edit,
    )
    assert out.split() == ["wrote", "refused", "1"]


def test_hostname_sysctl_devices(rt: Runtime) -> None:
    def edit(s: dict[str, Any]) -> None:
        s.update(hostname="box", domainname="example.org")
        s["linux"]["sysctl"] = {"net.core.somaxconn": "321"}
        s["linux"]["devices"] = [
            {
                "path": "/dev/mine/null",
                "type": "c",
                "major": 1,
                "minor": 3,
                "fileMode": 0o666,
                "uid": 5,
                "gid": 6,
            },
            {"path": "/dev/fifo", "type": "p"},
        ]

    out = inside(
        rt,
        "uname -n; cat /proc/sys/kernel/domainname /proc/sys/net/core/somaxconn; stat -c '%F %a %u %g %t:%T' /dev/mine/null; echo x >/dev/mine/null && echo wrote; stat -c %F /dev/fifo",
        edit,
    )
    assert out.splitlines() == [
        "box",
        "example.org",
        "321",
        "character special file 666 5 6 1:3",
        "wrote",
        "fifo",
    ]


def test_user_namespace(rt: Runtime, tmp_path: Path) -> None:
    """Ids inside are the mapped ones; what is written outside has the host's."""
    v = tmp_path / "v"
    v.mkdir()
    os.chown(v, 100000, 100000)

    def edit(s: dict[str, Any]) -> None:
        s["process"]["capabilities"] = {
            k: ["CAP_CHOWN"] for k in ("bounding", "permitted", "effective")
        }
        s["linux"]["namespaces"].append({"type": "user"})
        for k in ("uidMappings", "gidMappings"):
            s["linux"][k] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        s["mounts"].append(
            {"destination": "/v", "type": "bind", "source": str(v), "options": ["bind"]}
        )

    out = inside(
        rt,
        "stat -c '%u %g' /v; touch /v/new; chown 7:8 /v/new; stat -c '%u %g' /v/new; cat /proc/self/[ug]id_map",
        edit,
    )
    assert out.split() == ["0", "0", "7", "8", *("0", "100000", "65536") * 2]
    assert (os.stat(v / "new").st_uid, os.stat(v / "new").st_gid) == (100007, 100008)


def test_hooks_in_their_order(rt: Runtime) -> None:
    log = rt.base / "hooks"

    def hook(kind: str) -> dict[str, Any]:
        return {
            "path": "/bin/sh",
            "args": ["sh", "-c", f"echo {kind} $V $(cat) >>{log}"],
            "env": ["PATH=/bin:/usr/bin", "V=v"],
        }

    def edit(s: dict[str, Any]) -> None:
        s["annotations"] = {"a": "b"}
        kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
        s["hooks"] = {k: [hook(k)] for k in kinds}
        s["hooks"]["startContainer"] = [
            {"path": "/bin/sh", "args": ["sh", "-c", "cat >/hooked"], "env": ["PATH=/bin:/usr/bin"]}
        ]

    b = rt.bundle("sh", "-c", "cat /hooked; sleep 100", edit=edit)
    assert rt.create("h1", b).returncode == 0
    seen = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert [(k, v) for k, v, _ in seen] == [
        ("prestart", "v"),
        ("createRuntime", "v"),
        ("createContainer", "v"),
    ]
    for _, _, text in seen:
        s = json.loads(text)
        assert (s["id"], s["bundle"], s["annotations"], s["status"]) == (
            "h1",
            str(b),
            {"a": "b"},
            "creating",
        )
        assert s["pid"] == rt.state("h1")["pid"]
    rt.ok("start", "h1")
    wait_for(lambda: '"status": "created"' in (rt.base / "out").read_text())
    assert json.loads(log.read_text().splitlines()[-1].split(" ", 2)[2])["status"] == "running"
    rt.ok("delete", "--force", "h1")
    assert (
        log.read_text().splitlines()[-1].startswith("poststop v") and '"stopped"' in log.read_text()
    )


def test_createcontainer_hooks_mount_into_the_container(rt: Runtime, tmp_path: Path) -> None:
    """In a mount namespace of the container, with the host's programs in sight; cwd is the bundle as for the others."""
    root = tmp_path / "root"
    (root / "usr").mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "place").mkdir()
    script = (
        f"mount -t tmpfs none {root}/place && echo hooked >{root}/place/f && pwd >{root}/place/cwd"
    )
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}

    def edit(s: dict[str, Any]) -> None:
        s["root"]["path"] = str(root)
        s["mounts"].append(
            {
                "destination": "/usr",
                "type": "bind",
                "source": str(rt.rootfs / "usr"),
                "options": ["rbind"],
            }
        )
        s["hooks"] = {"createContainer": [hook]}

    b = rt.bundle("cat", "/place/f", "/place/cwd", edit=edit)
    assert rt.ok("run", "-b", b, "hm") == f"hooked\n{b}\n"
    assert os.listdir(root / "place") == [] and str(root) not in Path("/proc/mounts").read_text()


def test_hooks_that_fail_later(rt: Runtime) -> None:
    for kind in ("startContainer", "poststart"):
        b = rt.bundle(edit=lambda s, k=kind: s.update(hooks={k: [{"path": "/bin/false"}]}))
        rt.create(kind, b)
        assert f"{kind} hook #0" in rt.failure(rt("start", kind))
        rt.ok("delete", "--force", kind)
    b = rt.bundle("true", edit=lambda s: s.update(hooks={"poststop": [{"path": "/bin/false"}]}))
    rt.create("stop", b)
    got = rt("delete", "--force", "stop")
    assert got.returncode == 0 and "warning" in got.stderr


def test_a_network_namespace_by_path(rt: Runtime) -> None:
    """The pid-file process is in it, whoever looks through /proc sees the interface the engine made."""
    subprocess.run(["ip", "netns", "add", "nvtest"], check=True)
    try:

        def edit(s: dict[str, Any]) -> None:
            s["linux"]["namespaces"] = [
                {"type": "network", "path": "/run/netns/nvtest"},
                {"type": "pid"},
            ]

        rt.create("n1", rt.bundle(edit=edit))
        pid = rt.state("n1")["pid"]
        assert os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/run/netns/nvtest").st_ino
    finally:
        rt("delete", "--force", "n1")
        subprocess.run(["ip", "netns", "del", "nvtest"], check=True)


def test_all_processes_are_in_the_group(rt: Runtime) -> None:
    rt.create("g1", rt.bundle("sh", "-c", "sleep 100 & sleep 100"))
    rt.ok("start", "g1")
    from .test_bad_input import family

    pid = rt.state("g1")["pid"]
    wait_for(lambda: len(family(pid)) >= 5)
    for p in [pid, *family(pid)]:
        if not os.path.exists(f"/proc/{p}/stat") or ") Z " in Path(f"/proc/{p}/stat").read_text():
            continue  # who has ended is in no group
        for line in Path(f"/proc/{p}/cgroup").read_text().splitlines():
            assert line.endswith("/g1"), (p, line)


@pytest.mark.parametrize("limit", [6, 24, 40, 64])
def test_small_memory_limits(rt: Runtime, limit: int) -> None:
    out = inside(
        rt, "echo alive", lambda s: s["linux"]["resources"].update(memory={"limit": limit << 20})
    )
    assert out == "alive\n"


def test_seccomp(rt: Runtime) -> None:
    """A profile is enforced inside, for exec, too; conditions on arguments count."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["nosuchcall"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ],
    }  # fmt: skip
    script = (
        "mkdir /x 2>&1; sync; echo $?; grep Seccomp: /proc/self/status;"
        "python3 -c 'import os; print(\"ppid\", [os.getppid() for _ in range(99)][-1])';"
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX); socket.socket(socket.AF_INET)' 2>&1 | tail -1"
    )
    b = rt.bundle(
        "bash", "-c", script + "; sleep 100", edit=lambda s: s["linux"].update(seccomp=profile)
    )
    rt.create("sec", b)
    rt.ok("start", "sec")
    out = rt.base / "out"
    wait_for(lambda: "Errno" in out.read_text())
    seen = out.read_text()
    assert (
        "No space left on device" in seen
        and "\n159\n" in seen
        and "Seccomp:\t2" in seen
        and "[Errno 97]" in seen
        and "ppid -1\n" in seen
    )
    assert "No space" in rt("exec", "sec", "mkdir", "/y").stderr


def test_seccomp_that_allows_little(rt: Runtime) -> None:
    """An allow-list: what is not named fails as it says."""
    import re

    table = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    names = set(re.findall(r"__NR_(\w+)", table)) - {"getpriority", "uname"}
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": sorted(names), "action": "SCMP_ACT_ALLOW"}],
    }
    got = inside(rt, "uname -r 2>&1; echo fine", lambda s: s["linux"].update(seccomp=profile))
    assert "Function not implemented" in got and "fine" in got


def test_seccomp_profiles_that_are_refused(rt: Runtime) -> None:
    for bad, why in (
        ({"defaultAction": "SCMP_ACT_X"}, "$.linux.seccomp.defaultAction"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["x"], "action": "SCMP_ACT_NOTIFY"}],
            },
            "NOTIFY",
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["x"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            },
            "index",
        ),
    ):
        b = rt.bundle(edit=lambda s, p=bad: s["linux"].update(seccomp=p))
        assert why in rt.failure(rt("create", "-b", b, "bad"))


WRITE = """
import mmap, os, sys
with open("/big", "wb") as f:
    for _ in range(150):
        f.write(os.urandom(1 << 20))
with open("/big", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
    m[5 << 20 : (5 << 20) + 3] = b"abc"
    f.seek(5 << 20)
    print(f.read(3), os.fstat(f.fileno()).st_size >> 20, os.fstat(f.fileno()).st_nlink)
with open("/sparse", "wb") as f:
    f.truncate(1 << 30)
    os.pwrite(f.fileno(), b"x", 1 << 29)
    print(os.fstat(f.fileno()).st_blocks < 100, os.lseek(f.fileno(), 0, os.SEEK_DATA) == 1 << 29)
os.unlink("/big")
"""


def test_what_is_written_to_the_root_fills_no_memory(rt: Runtime) -> None:
    """A limit that is smaller than the files: they are on the root's disk, and nothing of them is seen there."""

    def edit(s: dict[str, Any]) -> None:
        s["linux"]["resources"] = {"memory": {"limit": 96 << 20, "swap": 96 << 20}}

    before = sorted(os.listdir(rt.rootfs))
    got = rt("run", "-b", rt.bundle("python3", "-c", WRITE, edit=edit), "w1")
    assert (got.returncode, got.stdout) == (0, "b'abc' 150 1\nTrue True\n"), got.stderr
    assert sorted(os.listdir(rt.rootfs)) == before
