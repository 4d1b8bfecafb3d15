"""Compile a release's public headers and read struct layouts back from DWARF (pyelftools).

Headers compile as they are; nothing in them is interpreted here, so a layout is what the
compiler that built the user-space would see on x86-64. Bit-fields don't occur in the interface.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from elftools.elf.elffile import ELFFile

from .model import AbiError, Field, Kind, Struct

INCLUDE_DIRS: Final = (
    "src/common/sdk/nvidia/inc",
    "kernel-open/common/inc",
    "src/nvidia/arch/nvalloc/unix/include",
    "kernel-open/nvidia-uvm",
)
_FIXED: Final = ("nvtypes.h", "nvos.h", "nv-ioctl.h", "nv-ioctl-numa.h", "nv_escape.h")
# declares the NVOS structs that carry a descriptor
_WRAPPERS: Final = "nv-unix-nvos-params-wrappers.h"
_UVM: Final = ("uvm_ioctl.h", "uvm_linux_ioctl.h")


def header_source(tree: Path) -> str:
    """A C file that includes every public control and class header of ``tree``."""
    sdk = tree / INCLUDE_DIRS[0]
    if not sdk.is_dir():
        raise AbiError(f"`{tree}` is not a tree of NVIDIA's open kernel modules (no {sdk.name})")
    names = [h for d in ("ctrl", "class") for h in sorted((sdk / d).rglob("*.h"))]
    wanted = [*_FIXED, *(str(h.relative_to(sdk)) for h in names), _WRAPPERS, *_UVM]
    return "".join(f'#include "{h}"\n' for h in wanted)


def _gcc(tree: Path, source: str, *args: str) -> bytes:
    cmd = ["gcc", "-w", *args, "-x", "c", "-", *(f"-I{tree / d}" for d in INCLUDE_DIRS)]
    try:
        done = subprocess.run(cmd, input=source.encode(), capture_output=True, check=False)
    except FileNotFoundError:
        raise AbiError("`gcc` is needed to build the ABI database") from None
    if done.returncode:
        first = done.stderr.decode(errors="replace").splitlines()[:1]
        raise AbiError(f"headers of `{tree}` do not compile: {' '.join(first)}")
    return done.stdout


def macros(tree: Path) -> dict[str, str]:
    """Every object-like macro of the headers with its unexpanded body."""
    out: dict[str, str] = {}
    for line in _gcc(tree, header_source(tree), "-dM", "-E").decode(errors="replace").splitlines():
        name, _, body = line.removeprefix("#define ").partition(" ")
        if "(" not in name:
            out[name] = body.strip()
    return out


def structs(tree: Path) -> dict[str, Struct]:
    """Every named struct and union of the headers by type name."""
    with tempfile.TemporaryDirectory(prefix="nvabi") as tmp:
        obj = Path(tmp, "abi.o")
        _gcc(
            tree,
            header_source(tree),
            "-g",
            "-gdwarf-4",
            "-fno-eliminate-unused-debug-types",
            "-c",
            "-o",
            str(obj),
        )
        with obj.open("rb") as f:
            return _Reader(ELFFile(f).get_dwarf_info()).read()


def _name(die: Any) -> str:
    attr = die.attributes.get("DW_AT_name")
    return attr.value.decode() if attr else ""


_AGGREGATE: Final = ("DW_TAG_structure_type", "DW_TAG_union_type")
_ENCODING: Final = {0x02: Kind.BOOL, 0x04: Kind.FLOAT, 0x05: Kind.INT, 0x06: Kind.INT}


class _Reader:
    """Walks the DIEs of one object; types are memoised by their offset."""

    def __init__(self, dwarf: Any) -> None:
        self.dwarf = dwarf
        self.names: dict[int, str] = {}
        self.memo: dict[int, Field] = {}
        self.out: dict[str, Struct] = {}

    def read(self) -> dict[str, Struct]:
        tops = [die for cu in self.dwarf.iter_CUs() for die in cu.get_top_DIE().iter_children()]
        named: list[tuple[str, Any]] = []
        for die in tops:
            if die.tag in _AGGREGATE and "DW_AT_byte_size" in die.attributes and _name(die):
                self.names.setdefault(die.offset, _name(die))
                named.append((_name(die), die))
        for die in tops:
            if die.tag == "DW_TAG_typedef" and "DW_AT_type" in die.attributes:
                t = self._strip(die)
                if t is not None and t.tag in _AGGREGATE and "DW_AT_byte_size" in t.attributes:
                    self.names.setdefault(t.offset, _name(die))
                    named.append((_name(die), t))
        for name, die in named:
            self.out.setdefault(name, self._aggregate(name, die))
        return self.out

    def _strip(self, die: Any) -> Any:
        while die.tag in ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type"):
            if "DW_AT_type" not in die.attributes:
                return None
            die = die.get_DIE_from_attribute("DW_AT_type")
        return die

    def _aggregate(self, name: str, die: Any) -> Struct:
        size = die.attributes["DW_AT_byte_size"].value
        return Struct(name, size, self._members(die), die.tag == "DW_TAG_union_type")

    def _members(self, die: Any) -> tuple[Field, ...]:
        out = []
        for c in die.iter_children():
            if c.tag != "DW_TAG_member":
                continue
            loc = c.attributes.get("DW_AT_data_member_location")
            t = self._type(c.get_DIE_from_attribute("DW_AT_type"))
            out.append(
                Field(
                    _name(c),
                    loc.value if loc else 0,
                    t.size,
                    t.kind,
                    t.dims,
                    t.ref,
                    fields=t.fields,
                )
            )
        return tuple(out)

    def _type(self, die: Any) -> Field:
        known = self.memo.get(die.offset)
        if known is None:
            known = self.memo[die.offset] = self._resolve(die)
        return known

    def _resolve(self, die: Any) -> Field:
        """The type as a nameless field at offset 0."""
        attrs = die.attributes
        if die.tag == "DW_TAG_typedef":
            name = _name(die)
            base = self._type(die.get_DIE_from_attribute("DW_AT_type"))
            if name == "NvP64":
                return Field("", 0, 8, Kind.POINTER)
            if name == "NvHandle":
                return Field("", 0, base.size, Kind.HANDLE)
            if name == "NvBool":
                return Field("", 0, base.size, Kind.BOOL)
            return base
        if die.tag in ("DW_TAG_const_type", "DW_TAG_volatile_type"):
            if "DW_AT_type" not in attrs:
                return Field("", 0, 1, Kind.UINT)
            return self._type(die.get_DIE_from_attribute("DW_AT_type"))
        if die.tag == "DW_TAG_pointer_type":
            return Field("", 0, 8, Kind.POINTER)
        if die.tag == "DW_TAG_array_type":
            elem = self._type(die.get_DIE_from_attribute("DW_AT_type"))
            return Field("", 0, elem.size, elem.kind, self._dims(die) + elem.dims, elem.ref,
                         fields=elem.fields)  # fmt: skip
        if die.tag in _AGGREGATE:
            kind = Kind.STRUCT if die.tag == _AGGREGATE[0] else Kind.UNION
            ref = self.names.get(die.offset, "")
            size = attrs["DW_AT_byte_size"].value if "DW_AT_byte_size" in attrs else 0
            return Field("", 0, size, kind, (), ref, fields=() if ref else self._members(die))
        size = attrs["DW_AT_byte_size"].value if "DW_AT_byte_size" in attrs else 8
        if die.tag == "DW_TAG_enumeration_type":
            return Field("", 0, size, Kind.ENUM)
        enc = attrs.get("DW_AT_encoding")
        return Field("", 0, size, _ENCODING.get(enc.value if enc else 0, Kind.UINT))

    @staticmethod
    def _dims(die: Any) -> tuple[int, ...]:
        out = []
        for c in die.iter_children():
            if "DW_AT_upper_bound" in c.attributes:
                out.append(c.attributes["DW_AT_upper_bound"].value + 1)
            elif "DW_AT_count" in c.attributes:
                out.append(c.attributes["DW_AT_count"].value)
            else:
                out.append(0)
        return tuple(out)
