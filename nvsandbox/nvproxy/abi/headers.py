"""Facts of a release that are text, not layout: numbers, names, flags, parents of classes.

Read from the control headers' ``finn:`` comments, ``g_*_nvoc.c`` (exported commands with their
flags), ``resource_list.h`` (classes), ``control.h`` (meaning of the flag bits, which move between
releases). Only numbers and names are taken.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .model import Access, ClassDef

_FINN: Final = re.compile(
    r"#define\s+(NV\w*_CTRL_\w+)\s+\((0x[0-9a-fA-F]+)U?\)\s*"
    r'/\*\s*finn: Evaluated from "\(\w+_INTERFACE_ID << 8\) \| (\w+)"'
)
_ALIAS: Final = re.compile(r"#define\s+(NV\w*_CTRL_CMD_\w+)\s+(NV\w*_CTRL_(?:CMD_)?\w+)\s*$", re.M)
_EXPORT: Final = re.compile(
    r"/\*flags=\*/\s+(0x[0-9a-f]+)u.*?/\*methodId=\*/\s+(0x[0-9a-f]+)u.*?/\*paramSize=\*/\s+"
    r'(?:sizeof\((\w+)\)|(\d+)).*?class_def_(\w+)\.classInfo.*?/\*func=\*/\s+"(\w+)"',
    re.S,
)
_FLAG_BIT: Final = re.compile(r"#define\s+RMCTRL_FLAGS_(\w+)\s+(0x[0-9a-fA-F]+)")
_MEANING: Final = {
    "PRIVILEGED": Access.PRIVILEGED,
    "NON_PRIVILEGED": Access.USER,
    "INTERNAL": Access.INTERNAL,
    "ROUTE_TO_PHYSICAL": Access.PHYSICAL,
    "PRIVILEGED_IF_RS_ACCESS_DISABLED": Access.ACCESS_RIGHTS,
    "CACHEABLE": Access.CACHEABLE,
}


@dataclass(frozen=True, slots=True)
class Export:
    """One row of a ``g_*_nvoc.c`` table."""

    id: int
    access: int
    params: str
    size: int | None
    owner: str
    func: str


def evaluate(expr: str, macros: dict[str, str], depth: int = 0) -> int | None:
    """The value of an integer macro body; ``None`` when it isn't one."""
    if depth > 12 or not expr:
        return None
    text = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", expr)
    text = re.sub(r"\bNVBIT(?:32|64)?\(", "(1<<", text)
    for name in set(re.findall(r"\b[A-Za-z_]\w*\b", text)):
        if re.fullmatch(r"x[0-9a-fA-F]+", name):
            continue
        value = evaluate(macros.get(name, ""), macros, depth + 1)
        if value is None:
            return None
        text = re.sub(rf"\b{name}\b", str(value), text)
    try:
        return _fold(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return None


def _fold(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp):
        a, b = _fold(node.left), _fold(node.right)
        match node.op:
            case ast.Add():
                return a + b
            case ast.Sub():
                return a - b
            case ast.BitOr():
                return a | b
            case ast.LShift() if 0 <= b < 64:
                return a << b
    raise ValueError("not a constant")


def _texts(folder: Path, pattern: str) -> list[str]:
    return [p.read_text(errors="replace") for p in sorted(folder.rglob(pattern))]


def control_names(tree: Path) -> tuple[dict[str, tuple[int, str]], dict[str, str]]:
    """Command name -> (id, struct or empty), and alias -> command name."""
    names: dict[str, tuple[int, str]] = {}
    aliases: dict[str, str] = {}
    for text in _texts(tree / "src/common/sdk/nvidia/inc/ctrl", "*.h"):
        for m in _FINN.finditer(text):
            struct = m[3].removesuffix("_MESSAGE_ID") if m[3].endswith("_MESSAGE_ID") else ""
            names[m[1]] = (int(m[2], 16), struct)
        aliases.update((m[1], m[2]) for m in _ALIAS.finditer(text))
    return names, {a: b for a, b in aliases.items() if b in names and a not in names}


def exports(tree: Path) -> dict[int, Export]:
    """Every exported control command of the driver's generated tables, by id."""
    text = (tree / "src/nvidia/inc/kernel/rmapi/control.h").read_text(errors="replace")
    bits = [(int(m[2], 16), _MEANING[m[1]]) for m in _FLAG_BIT.finditer(text) if m[1] in _MEANING]
    out: dict[int, Export] = {}
    for source in _texts(tree / "src/nvidia/generated", "g_*_nvoc.c"):
        for m in _EXPORT.finditer(source):
            flags = int(m[1], 16)
            access = 0
            for bit, meaning in bits:
                if flags & bit:
                    access |= meaning
            size = int(m[4]) if m[4] else None
            row = Export(int(m[2], 16), access, m[3] or "", size, m[5], m[6])
            out.setdefault(row.id, row)
    return out


def _split_entry(body: str) -> list[str]:
    """The comma-separated cells of one RS_ENTRY, parentheses kept together."""
    cells, depth, cell = [], 0, ""
    for ch in re.sub(r"/\*.*?\*/|//[^\n]*", "", body, flags=re.S):
        depth += (ch == "(") - (ch == ")")
        if depth < 0:
            break
        if ch == "," and depth == 0:
            cells.append(cell.strip())
            cell = ""
        else:
            cell += ch
    return [*cells, cell.strip()]


def classes(tree: Path, macros: dict[str, str]) -> list[ClassDef]:
    """Classes user-space can allocate, from ``resource_list.h``."""
    path = tree / "src/nvidia/src/kernel/rmapi/resource_list.h"
    text = path.read_text(errors="replace")
    # Before 530 the table has no privilege flags; classes check for themselves, few refuse users.
    unflagged = "ALLOC_NON_PRIVILEGED" not in text
    out: dict[int, ClassDef] = {}
    for body in re.split(r"^RS_ENTRY\(", text, flags=re.M)[1:]:
        cells = _split_entry(body)
        number = evaluate(cells[0], macros) if len(cells) >= 8 else None
        if number is None:
            continue
        info = re.match(r"RS_(NONE|OPTIONAL|REQUIRED)(?:\((\w+)\))?", cells[4])
        parents = tuple(re.findall(r"classId\((\w+)\)", cells[3]))
        if "RS_ANY_PARENT" in cells[3]:
            parents = ("*",)
        access = Access.KERNEL
        if "ALLOC_PRIVILEGED" in re.sub(r"NON_PRIVILEGED", "", cells[6]):
            access |= Access.PRIVILEGED
        root = "RS_ROOT_OBJECT" in cells[3]
        if unflagged or root or "ALLOC_NON_PRIVILEGED" in cells[6]:
            access |= Access.USER
        out[number] = ClassDef(
            number, cells[0], cells[1], (info and info[2]) or "",
            bool(info and info[1] == "REQUIRED"), cells[2] == "NV_TRUE", parents, int(access),
        )  # fmt: skip
    return list(out.values())
