"""The generator: one unpacked release of the open kernel modules -> one ``Release``.

A tree is a directory named after its version, with ``src/`` and ``kernel-open/`` in it; ``gcc``
compiles its headers. ``from_git`` takes releases straight from a clone, one tag at a time.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from . import dwarf, headers, kinds
from .model import AbiError, Command, Ioctl, Struct
from .store import Release

PATHS: Final = (
    "src/common/sdk",
    "kernel-open/common/inc",
    "kernel-open/nvidia-uvm",
    "src/nvidia/arch/nvalloc/unix/include",
    "src/nvidia/generated",
    "src/nvidia/src/kernel/rmapi/resource_list.h",
    "src/nvidia/inc/kernel/rmapi/control.h",
)
_VERSION: Final = re.compile(r"^\d{3}\.\d+(\.\d+)?$")

# Which structs an escape takes is written only in the driver's dispatch code (escape.c, osapi.c),
# not in a header that could be parsed. Two names: the call comes in two sizes.
ESCAPE_PARAMS: Final[dict[str, tuple[str, ...]]] = {
    "NV_ESC_RM_ALLOC_MEMORY": ("nv_ioctl_nvos02_parameters_with_fd",),
    "NV_ESC_RM_ALLOC_OBJECT": ("NVOS05_PARAMETERS",),
    "NV_ESC_RM_FREE": ("NVOS00_PARAMETERS",),
    "NV_ESC_RM_CONTROL": ("NVOS54_PARAMETERS",),
    "NV_ESC_RM_ALLOC": ("NVOS21_PARAMETERS", "NVOS64_PARAMETERS"),
    "NV_ESC_RM_DUP_OBJECT": ("NVOS55_PARAMETERS",),
    "NV_ESC_RM_SHARE": ("NVOS57_PARAMETERS",),
    "NV_ESC_RM_I2C_ACCESS": ("NVOS_I2C_ACCESS_PARAMS",),
    "NV_ESC_RM_IDLE_CHANNELS": ("NVOS30_PARAMETERS",),
    "NV_ESC_RM_VID_HEAP_CONTROL": ("NVOS32_PARAMETERS",),
    "NV_ESC_RM_ACCESS_REGISTRY": ("NVOS38_PARAMETERS",),
    "NV_ESC_RM_MAP_MEMORY": ("nv_ioctl_nvos33_parameters_with_fd",),
    "NV_ESC_RM_UNMAP_MEMORY": ("NVOS34_PARAMETERS",),
    "NV_ESC_RM_GET_EVENT_DATA": ("NVOS41_PARAMETERS",),
    "NV_ESC_RM_ALLOC_CONTEXT_DMA2": ("NVOS39_PARAMETERS",),
    "NV_ESC_RM_ADD_VBLANK_CALLBACK": ("NVOS61_PARAMETERS",),
    "NV_ESC_RM_MAP_MEMORY_DMA": ("NVOS46_PARAMETERS",),
    "NV_ESC_RM_UNMAP_MEMORY_DMA": ("NVOS47_PARAMETERS",),
    "NV_ESC_RM_BIND_CONTEXT_DMA": ("NVOS49_PARAMETERS",),
    "NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO": ("NVOS56_PARAMETERS",),
    "NV_ESC_CARD_INFO": ("nv_ioctl_card_info_t",),
    "NV_ESC_REGISTER_FD": ("nv_ioctl_register_fd_t",),
    "NV_ESC_ALLOC_OS_EVENT": ("nv_ioctl_alloc_os_event_t",),
    "NV_ESC_FREE_OS_EVENT": ("nv_ioctl_free_os_event_t",),
    "NV_ESC_STATUS_CODE": ("nv_ioctl_status_code_t",),
    "NV_ESC_CHECK_VERSION_STR": ("nv_ioctl_rm_api_version_t",),
    "NV_ESC_IOCTL_XFER_CMD": ("nv_ioctl_xfer_t",),
    "NV_ESC_QUERY_DEVICE_INTR": ("nv_ioctl_query_device_intr",),
    "NV_ESC_SYS_PARAMS": ("nv_ioctl_sys_params_t",),
    "NV_ESC_NUMA_INFO": ("nv_ioctl_numa_info_t",),
    "NV_ESC_SET_NUMA_STATUS": ("nv_ioctl_set_numa_status_t",),
    "NV_ESC_EXPORT_TO_DMABUF_FD": ("nv_ioctl_export_to_dma_buf_fd_t",),
    "NV_ESC_WAIT_OPEN_COMPLETE": ("nv_ioctl_wait_open_complete_t",),
}


def version_key(version: str) -> tuple[int, ...]:
    """Order of releases: by number, part by part."""
    return tuple(int(p) for p in version.split("."))


def _ioctls(macros: dict[str, str], known: dict[str, Struct]) -> list[Ioctl]:
    out = []
    for name, body in macros.items():
        if name.startswith("NV_ESC_") and (nr := headers.evaluate(body, macros)) is not None:
            params = tuple(s for s in ESCAPE_PARAMS.get(name, ()) if s in known)
            out.append(Ioctl(nr, name, "frontend", params))
        elif name.startswith("UVM_") and f"{name}_PARAMS" in known:
            nr = headers.evaluate(re.sub(r"^UVM_IOCTL_BASE", "", body), macros)
            if nr is not None:
                out.append(Ioctl(nr, name, "uvm", (f"{name}_PARAMS",)))
        elif name == "UVM_DEINITIALIZE" and (nr := headers.evaluate(body, macros)) is not None:
            out.append(Ioctl(nr, name, "uvm"))
    return sorted(out, key=lambda i: (i.device, i.id, i.name))


def _guess(name: str, known: dict[str, Struct]) -> str:
    for candidate in (f"{name.replace('_CTRL_CMD_', '_CTRL_')}_PARAMS", f"{name}_PARAMS"):
        if candidate in known:
            return candidate
    return ""


def _commands(tree: Path, known: dict[str, Struct]) -> list[Command]:
    names, aliases = headers.control_names(tree)
    table = headers.exports(tree)
    by_id: dict[int, list[str]] = {}
    for name, (number, _) in names.items():
        by_id.setdefault(number, []).append(name)
    out = []
    for number in sorted({*by_id, *table}):
        row = table.get(number)
        same = sorted(by_id.get(number, []), key=lambda n: (names[n][1] not in known, len(n), n))
        name = same[0] if same else (row.func if row else "")
        params = names[name][1] if same else ""
        if params not in known:
            params = row.params if row and row.params in known else _guess(name, known)
        also = [*same[1:], *(a for a, b in aliases.items() if b in same)]
        size = known[params].size if params else (row.size or 0 if row else 0)
        out.append(
            Command(number, name, params, row.access if row else 0, row is not None,
                    row.owner if row else "", tuple(sorted(also)), size)
        )  # fmt: skip
    return out


def from_tree(tree: Path, version: str | None = None) -> Release:
    """Everything the database holds about the release unpacked at ``tree``."""
    version = version or tree.name
    if not _VERSION.match(version):
        raise AbiError(f"`{tree}`: name the directory after its driver version, e.g. 535.261.03")
    known = kinds.refine(dwarf.structs(tree))
    macros = dwarf.macros(tree)
    return Release(
        version,
        known,
        {c.id: c for c in _commands(tree, known)},
        {c.id: c for c in headers.classes(tree, macros)},
        {(i.device, i.id): i for i in _ioctls(macros, known)},
    )


def from_git(repo: Path, tags: list[str] | None = None) -> Iterator[Release]:
    """Releases of a clone, oldest first; each tree is unpacked, read and thrown away."""
    git = ["git", "-C", str(repo)]
    if tags is None:
        listed = subprocess.run([*git, "tag"], capture_output=True, text=True, check=False)
        tags = [t for t in listed.stdout.split() if _VERSION.match(t)]
        if not tags:
            raise AbiError(f"`{repo}` holds no release tags")
    for tag in sorted(tags, key=version_key):
        with tempfile.TemporaryDirectory(prefix="nvabi") as tmp:
            tree = unpack(repo, tag, Path(tmp))
            yield from_tree(tree)


def unpack(repo: Path, tag: str, into: Path) -> Path:
    """The paths the generator reads of one tag, unpacked under ``into/tag``."""
    tree = into / tag
    tree.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(repo), "archive", tag, *PATHS], capture_output=True, check=False
    )
    if archive.returncode:
        first = archive.stderr.decode(errors="replace").strip().splitlines()[:1]
        raise AbiError(f"git archive `{tag}`: {' '.join(first)}")
    subprocess.run(["tar", "x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree
