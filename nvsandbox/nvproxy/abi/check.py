"""The independent check: header-derived commands against the driver's own ``g_*_nvoc.c`` tables.

The tables give each exported command's parameter struct by ``sizeof``. A disagreement is listed
with its cause; ``docs/abi-disagreements.md`` is made of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import dwarf, headers, kinds


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One command on which header and table differ; ``cause`` explains it."""

    version: str
    id: int
    name: str
    header: str
    table: str
    cause: str


def check_tree(tree: Path, version: str) -> tuple[int, list[Disagreement]]:
    """Commands compared, and those that disagree."""
    known = kinds.refine(dwarf.structs(tree))
    names, _ = headers.control_names(tree)
    table = headers.exports(tree)
    by_id: dict[int, list[tuple[str, str]]] = {}
    for name, (number, struct) in names.items():
        by_id.setdefault(number, []).append((name, struct))
    out: list[Disagreement] = []
    compared = 0
    for number, row in sorted(table.items()):
        rows = by_id.get(number)
        if rows is None:
            cause = "exported, but no public header names it (the function's name is used)"
            out.append(Disagreement(version, number, row.func, "", row.params, cause))
            continue
        compared += 1
        name, struct = rows[0]
        if any(s == row.params for _, s in rows):
            continue
        cause = _explain(struct, row, {n: s.size for n, s in known.items()})
        if cause:
            table_says = row.params or f"{row.size} bytes"
            out.append(Disagreement(version, number, name, struct, table_says, cause))
    return compared, out


def _explain(struct: str, row: headers.Export, sizes: dict[str, int]) -> str:
    """Why the two differ; empty when they only spell the same thing differently."""
    if not struct and not row.params and not row.size:
        return ""
    if not struct and row.params in sizes:
        return "header gives no struct (no message id); the table's is used"
    if not struct:
        return "header gives no struct and the table's is not public"
    if struct not in sizes and row.params in sizes:
        return "header's message id has no struct of that name; the table's is used"
    if struct not in sizes:
        return "neither struct is public"
    if not row.params and not row.size:
        return "table says no parameters; the header's struct is kept"
    size = sizes.get(row.params, row.size)
    if size == sizes[struct]:
        return f"two names for {size} bytes (a typedef alias)"
    return f"sizes differ: header {sizes[struct]}, table {size}; the driver checks the table's"
