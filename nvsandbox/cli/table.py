"""The runtime commands (what container engines call, as they call runc) and the flags of every command."""

from __future__ import annotations

from typing import Final

from ..defaults import CDI_DIRECTORIES
from .args import Cmd, opt

ANY: Final = None  # options that are not looked at
GLOBAL: Final = (
    opt("root", "str", "Where the state of containers is kept.", metavar="DIR"),
    opt("log", "str", "Where errors are logged as well.", metavar="FILE"),
    opt("log-format", "str", "Format of the log.", "text", choices=("text", "json")),
    opt("debug", "flag", "Log what the sandbox does."),
    opt("debug-log", "str", "Where --debug and --strace write (default: stderr).", metavar="FILE"),
    opt("systemd-cgroup", "flag", "Control groups are scopes of systemd; the path is slice:prefix:name."),
    opt("rootless", "str", "Go on without control groups.", "auto", choices=("true", "false", "auto")),
    opt("criu", "str", "Accepted and ignored.", metavar="PATH"),
    opt("platform", "str", "How system calls are intercepted.", choices=("auto", "systrap", "ptrace")),
    opt(
        "systrap-patching", "str", "Hot system call instructions become jumps (systrap).",
        choices=("on", "off", "forced"),
    ),
    opt(
        "cpu-dma-latency", "int", "Keep the host's processors from sleeping deeper than this wake-up latency in µs (0: at all) "
        "while the sandbox lives: quicker, for power.", metavar="USEC",
    ),
    opt(
        "network", "str", "Which network the sandbox has; auto: sandbox in a namespace of the container's own, else none.",
        "auto", choices=("auto", "none", "host", "sandbox"),
    ),
    opt(
        "egress", "list", "allow:HOST[:PORT]: programs may only send there (--network=sandbox). Repeatable.",
        metavar="RULE",
    ),
    opt(
        "net-rate", "str", "The most it sends and the most it receives, in Mbit/s (--network=sandbox).", metavar="MBITS",
    ),
    opt("net-raw", "flag", "Raw and packet sockets with --network=host too, for programs that have CAP_NET_RAW."),
    opt("pcap", "str", "Write what crosses the interfaces to a file (--network=sandbox).", metavar="FILE"),
    opt(
        "overlay2", "str",
        "root:self keeps writes to the root aside, of containers on the root's disk, root:memory in memory, none writes through.",
        "root:self", metavar="WHAT",
    ),
    opt("nvproxy", "str", "GPUs: auto gives a container those it asks for.", "auto", choices=("auto", "off")),
    opt(
        "nvproxy-allowed-driver-capabilities", "str", "The most that a container's NVIDIA_DRIVER_CAPABILITIES gets.",
        "compute,utility", metavar="LIST",
    ),
    opt("nvproxy-driver-version", "str", "Speak to the driver as this release.", metavar="VERSION"),
    opt(
        "nvproxy-policy", "str", "Policy file that narrows or widens what passes, or a directory of them for containers to choose from.",
        metavar="FILE",
    ),
    opt("nvproxy-driver-root", "str", "Where the driver's user-space lies, or none.", metavar="DIR"),
    opt("nvproxy-audit", "str", "Where refusals and calls are written as JSON lines.", metavar="FILE"),
    opt("nvproxy-trace", "flag", "Write every forwarded call, decoded, to the audit file."),
    opt("cdi-spec-dirs", "str", "Where CDI specifications are.", ",".join(CDI_DIRECTORIES), metavar="DIR,…"),
    opt("gpu-memory", "str", "Device memory a container may use on each GPU.", metavar="SIZE"),
    opt("gpu-timeslice", "str", "Time its channels run on a GPU before others' turn, at most.", metavar="USEC"),
    opt("gpu-priority", "str", "Priority of its channels, at most.", choices=("low", "medium", "high")),
    opt("strace", "flag", "Print the system calls of the application."),
    opt("version,v", "flag", "Show the version."),
)  # fmt: skip

_BUNDLE = (
    opt("bundle,b", "str", "The bundle's directory (default: the current one).", metavar="DIR"),
    opt("console-socket", "str", "Socket that gets the terminal's master.", metavar="PATH"),
    opt("pid-file", "str", "Where the container's pid is written.", metavar="FILE"),
    opt("no-pivot", "flag", "Accepted: the sandbox's root is made otherwise."),
    opt("no-new-keyring", "flag", "Accepted: there are no kernel keyrings inside."),
    opt(
        "gpus",
        "str",
        "GPUs besides what the bundle asks for: all, or indexes, UUIDs.",
        metavar="LIST",
    ),
    opt("preserve-fds", "int", "Pass N more descriptors, from 3 on.", 0, metavar="N"),
)
_SANDBOX = (
    opt("rootfs", "str", "The root file system; writes go to memory.", "/", metavar="DIR"),
    opt("hostname", "str", "The sandbox's name.", "nvsandbox", metavar="NAME"),
    opt("volume,v", "list", "Bind mount a host directory or file.", metavar="SRC:DST[:ro]"),
)
_FORMAT = opt("format,f", "str", "Output format.", "table", choices=("table", "json"))
_RESOURCES = (
    ("blkio-weight", "Block I/O weight, 10 to 1000."), ("cpu-period", "CPU period in microseconds."),
    ("cpu-quota", "CPU time in a period, in microseconds."), ("cpu-share", "CPU shares."),
    ("cpu-rt-period", "Realtime period in microseconds."),
    ("cpu-rt-runtime", "Realtime runtime in microseconds."), ("memory", "Memory limit in bytes."),
    ("memory-reservation", "Memory soft limit in bytes."),
    ("memory-swap", "Memory and swap in bytes, -1: unlimited."), ("pids-limit", "Largest number of tasks."),
)  # fmt: skip

COMMANDS: Final[dict[str, Cmd]] = {
    "do": Cmd(
        "nvsandbox.cli.do:do",
        "Run COMMAND in a new sandbox. What it writes to the root file system, the host's or DIR, is kept in memory and gone "
        "afterwards.",
        (
            *_SANDBOX, opt("cwd,w", "str", "Working directory inside.", metavar="DIR"),
            opt("env,e", "list", "Set a variable (the host's are passed with --rootfs / only).", metavar="NAME=VALUE"),
            opt("uid", "int", "User id of the command.", 0), opt("gid", "int", "Group id of the command.", 0),
            opt("gpus", "str", "all, none, or indexes, UUIDs, MIG ids.", metavar="LIST"),
            opt("gpu-memory", "str", "Device memory it may use on each GPU.", metavar="SIZE"),
            opt("keep", "int", "From now on keep N sandboxes like this one ready, as `warm -n N` does.", metavar="N"),
        ),
        "[--] COMMAND …", 1, None, "a command",
    ),
    "warm": Cmd(
        "nvsandbox.cli.warm:warm",
        "Keep sandboxes ready: `do` with the same root, volumes and flags takes one instead of starting one.",
        (
            *_SANDBOX, opt("number,n", "int", "How many; 0: only the process they are forked from, at half the time of a start.", 1, metavar="N"),
            opt("foreground", "flag", "Stay in the foreground."), opt("stop", "flag", "End all that are kept."),
        ),
        "", 0, 0,
    ),
    "create": Cmd("nvsandbox.oci.early:create", "Create a container from a bundle.", _BUNDLE),
    "start": Cmd("nvsandbox.oci.commands:start", "Start the program of a created container.", ()),
    "run": Cmd(
        "nvsandbox.oci.early:run", "Create and start a container; exit with its status.",
        (
            *_BUNDLE, opt("detach,d", "flag", "Leave the container running and return."),
            opt("keep", "flag", "Keep the state when the container has ended."),
            opt("no-subreaper", "flag", "Accepted: no process is reparented to us."),
        ),
    ),
    "exec": Cmd(
        "nvsandbox.oci.execute:execute", "Run another program in a container.",
        (
            opt("process,p", "str", "An OCI process object in a file.", metavar="FILE"),
            opt("detach,d", "flag", "Return when the program has started."),
            opt("tty,t", "flag", "Give the program a terminal."),
            opt("console-socket", "str", "Socket that gets the terminal's master.", metavar="PATH"),
            opt("pid-file", "str", "Where the process's pid is written.", metavar="FILE"),
            opt("preserve-fds", "int", "Pass N more descriptors, from 3 on.", 0, metavar="N"),
            opt("cwd", "str", "Working directory.", metavar="DIR"),
            opt("env,e", "list", "Set a variable.", metavar="NAME=VALUE"),
            opt("user,u", "str", "UID[:GID].", metavar="USER"),
            opt("additional-gids,g", "list", "A supplementary group.", metavar="GID"),
            opt("cap,c", "list", "Add a capability.", metavar="CAP"),
            opt("no-new-privs", "flag", "Set no_new_privs."),
            opt("ignore-paused", "flag", "Start it in a paused container."),
            opt("process-label", "str", "Accepted and ignored: no SELinux inside."),
            opt("apparmor", "str", "Accepted and ignored: no AppArmor inside."),
            opt("cgroup", "list", "Accepted and ignored: the sandbox is one group."),
        ),
        "ID [COMMAND …]", 1, None,
    ),
    "kill": Cmd(
        "nvsandbox.oci.commands:kill", "Send a signal (default TERM) to a container's program.",
        (opt("all,a", "flag", "To every process of the container."),), "ID [SIGNAL]", 1, 2,
    ),
    "delete": Cmd(
        "nvsandbox.oci.delete:delete", "Remove a stopped container.",
        (opt("force,f", "flag", "Kill it first if it runs."),), "ID …", 1, None,
    ),
    "state": Cmd("nvsandbox.oci.commands:state_", "Print the state of a container as JSON.", ()),
    "list": Cmd(
        "nvsandbox.oci.commands:list_containers", "List the containers of --root.",
        (_FORMAT, opt("quiet,q", "flag", "Ids only.")), "", 0, 0,
    ),
    "ps": Cmd(
        "nvsandbox.oci.commands:ps", "Show the host's view of a container's processes.", (_FORMAT,),
        "ID [PS OPTIONS]", 1, None,
    ),
    "pause": Cmd("nvsandbox.oci.commands:pause", "Freeze every process of a container.", ()),
    "resume": Cmd("nvsandbox.oci.commands:resume", "Let a paused container go on.", ()),
    "update": Cmd(
        "nvsandbox.oci.update:update", "Change the limits of a container.",
        (
            opt("resources,r", "str", "A file with an OCI resources object, - for stdin.", metavar="FILE"),
            *(opt(n, "int", h) for n, h in _RESOURCES),
            opt("cpuset-cpus", "str", "CPUs to use."), opt("cpuset-mems", "str", "Memory nodes to use."),
            opt("l3-cache-schema", "str", "Not supported."), opt("mem-bw-schema", "str", "Not supported."),
        ),
    ),
    "events": Cmd(
        "nvsandbox.oci.events:events", "Print usage and out-of-memory events as JSON lines.",
        (
            opt("interval", "str", "Time between two lines, e.g. 5s.", "5s"),
            opt("stats", "flag", "One line, then exit."),
        ),
    ),
    "wait": Cmd("nvsandbox.oci.commands:wait", "Wait for a container's end; print its status.", ()),
    "spec": Cmd(
        "nvsandbox.oci.commands:spec", "Write a config.json to start from.",
        (
            opt("bundle,b", "str", "Where to write it.", ".", metavar="DIR"),
            opt("rootless", "flag", "For a user without privilege."),
        ),
        "", 0, 0,
    ),
    "features": Cmd("nvsandbox.oci.features:features", "Print what is supported, as JSON.", (), "", 0, 0),
    "checkpoint": Cmd("nvsandbox.oci.commands:unsupported", "Not yet supported.", ANY, "ID", 0, None),
    "restore": Cmd("nvsandbox.oci.commands:unsupported", "Not yet supported.", ANY, "ID", 0, None),
}  # fmt: skip
