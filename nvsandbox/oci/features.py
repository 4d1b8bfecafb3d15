"""`features`: what is supported, in the form of the OCI runtime specification's features.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .. import __version__
from .capabilities import NAMES
from .convert import CLEARS, FLAGS, IGNORED, PROPAGATION
from .seccomp import ACTIONS, NATIVE, OPERATORS
from .spec import HOOK_KINDS

if TYPE_CHECKING:
    from ..cli.args import Values
    from ..cli.globals import Globals


def features(_g: Globals, _v: Values, _args: list[str]) -> int:
    out = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.0.2",
        "hooks": list(HOOK_KINDS),
        "mountOptions": sorted({*FLAGS, *CLEARS, *IGNORED, *PROPAGATION}),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": [f"CAP_{n}" for n in NAMES],
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": [NATIVE],
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {"org.nvsandbox.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }
    print(json.dumps(out, indent=4))
    return 0
