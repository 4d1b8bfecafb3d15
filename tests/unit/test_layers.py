"""Layers import downwards only (docs/architecture.md). Imports for type checking alone don't count."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "nvsandbox"
# Each part may import its own and those listed before it; parts in one tuple may import each other.
LAYERS: list[tuple[str, ...]] = [
    ("sentry/errors", "sentry/abi", "sentry/syscalls/decode"),
    ("platform",),
    ("sentry/kernel", "sentry/mm", "sentry/vfs"),
    ("sentry/fs", "sentry/net", "sentry/ipc", "sentry/loader", "gofer"),
    ("sentry/syscalls", "sentry/strace"),
    ("sentry/mounts", "sentry/boot", "sentry/first", "sentry/seccomp"),
    ("sandbox", "oci", "nvproxy", "nvsim"),
    ("cli",),
]


def part_of(module: str) -> int | None:
    """The layer of ``nvsandbox.x.y``."""
    path = module.removeprefix("nvsandbox.").replace(".", "/")
    best: tuple[int, int] | None = None
    for level, parts in enumerate(LAYERS):
        for p in parts:
            if (path == p or path.startswith(p + "/")) and (best is None or len(p) > best[0]):
                best = (len(p), level)
    return best[1] if best else None


def imports(tree: ast.Module, module: str, is_package: bool) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = module.split(".")
                up = node.level - (1 if is_package else 0)
                base = base[: len(base) - up] if up else base
                name = ".".join([*base, *([node.module] if node.module else [])])
            else:
                name = node.module or ""
            found.add(name)
            found |= {f"{name}.{a.name}" for a in node.names}
    return {n for n in found if n.startswith("nvsandbox.")}


def test_imports_go_down() -> None:
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        rel = path.relative_to(ROOT.parent).with_suffix("")
        parts = list(rel.parts)
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        mine = part_of(module)
        if mine is None:
            continue
        for name in imports(ast.parse(path.read_text()), module, is_package):
            theirs = part_of(name)
            if theirs is not None and theirs > mine:
                wrong.append(f"{module} imports {name}")
    assert wrong == []


def sources() -> dict[str, Path]:
    """All modules' files by the modules' names."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for m in graph[todo.pop()] - seen:
            seen.add(m)
            todo.append(m)
    return seen


def test_every_module_can_be_imported_first() -> None:
    """Modules that import each other in a circle take no names from each other, but the modules, as ``from . import x``."""
    files = {m: p for m, p in sources().items() if "_compiled" not in m}
    graph: dict[str, set[str]] = {}
    taken: list[tuple[str, str]] = []
    for module, path in files.items():
        found = imports(ast.parse(path.read_text()), module, path.name == "__init__.py")
        froms = {n.rpartition(".")[0] for n in found - files.keys()} & files.keys()
        # Its own package is there before it, whether it says so or not.
        graph[module] = {m for m in found & files.keys() if not module.startswith(m + ".")} | froms
        taken += [(module, m) for m in froms]
    wrong = [f"{a} imports from {b}" for a, b in taken if a in reached(graph, b)]
    assert wrong == []


def test_click_is_imported_by_the_command_line_only() -> None:
    for path in ROOT.rglob("*.py"):
        if "cli" not in path.relative_to(ROOT).parts:
            assert "import click" not in path.read_text(), path
