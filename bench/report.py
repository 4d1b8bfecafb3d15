"""What a run is shown as: a table, a comparison with an earlier run, a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from .results import Failed, Rows

BAR, GAP, LABEL, WIDTH, CUT = 12, 10, 190, 900, 12
COLOURS = ("#d28b26", "#a05195", "#3d9970", "#2a7ab0", "#7fb2d6", "#8c8c8c", "#665191")
FEW = 3  # runs; with fewer the spread says little


def shown(value: float, unit: str) -> str:
    """A figure as a person reads it."""
    if unit in ("MiB", "KiB"):
        return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    if unit == "/s":
        return f"{value / 1e3:.3g} k/s"
    for limit, div, name in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if value < limit:
            return f"{value / div:.3g} {name}"
    return f"{value / 1e9:.3g} s"


def ratio(cell: dict[str, Any] | None, base: dict[str, Any] | None) -> float | None:
    """How many times worse than ``base``: longer, larger, or fewer a second; None without two figures."""
    if cell is None or base is None or not cell.get("median") or not base.get("median"):
        return None
    now, was = cell["median"], base["median"]
    return float(was / now if cell["unit"] == "/s" else now / was)


def _cell(cell: dict[str, Any] | None, base: dict[str, Any] | None) -> str:
    if cell is None:
        return "-"
    if "failed" in cell:
        return "failed"
    out = shown(cell["median"], cell["unit"])
    if cell["n"] > 1 and cell["median"]:
        out += f" ±{(cell['max'] - cell['min']) / abs(cell['median']) * 50:.0f}%"
    times = ratio(cell, base)
    return out if times is None or cell is base else f"{out} ({times:.2f}x)"


def table(rows: Rows, names: list[str]) -> str:
    """Median, half the spread in percent, and how many times worse than native; then why cells have failed."""
    out = [f"{'row':24}" + "".join(f"{n:>26}" for n in names)]
    why: dict[tuple[str, str], list[str]] = {}
    for row, per in rows.items():
        base = per.get("native")
        out.append(f"{row:24}" + "".join(f"{_cell(per.get(n), base):>26}" for n in names))
        for n, c in per.items():
            if "failed" in c:
                why.setdefault((n, c["failed"]), []).append(row)
    out += [f"failed: {n}: {text} ({', '.join(some)})" for (n, text), some in why.items()]
    return "\n".join(out)


def load(path: Path) -> Rows:
    """The rows of an earlier run. Raises Failed."""
    try:
        rows = json.loads(path.read_text())["rows"]
        for per in rows.values():
            for cell in per.values():
                if "failed" not in cell:
                    float(cell["median"] + cell["min"] + cell["max"] + cell["n"])
                    str.encode(cell["unit"])
    except OSError as e:
        raise Failed(f"`{path}`: {e.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failed(f"`{path}` is not what --json writes") from None
    found: Rows = rows
    return found


def compare(rows: Rows, before: Rows) -> str:
    """Cells whose medians differ by more than the spread of either run, by 5 % at least and by 20 % where a time was taken once
    or twice; then what failed in one run only, and what only one of them has."""
    out = []
    for row, per in rows.items():
        for name, now in per.items():
            was = before.get(row, {}).get(name)
            if was is None:
                continue
            where = f"{row:24}{name:22}"
            if "failed" in now or "failed" in was:
                if "failed" not in was:
                    out.append(f"{where}fails now: {now['failed']}")
                elif "failed" not in now:
                    out.append(f"{where}no longer fails")
            elif now["unit"] != was["unit"]:
                out.append(f"{where}not comparable: {was['unit']} before, {now['unit']} now")
            elif _beyond_noise(now, was):
                times = ratio(now, was)
                how = (
                    "" if times is None else f"  {times:.2f}x, {'worse' if times > 1 else 'better'}"
                )
                out.append(
                    f"{where}{shown(was['median'], was['unit']):>12} -> {shown(now['median'], now['unit']):>12}{how}"
                )
    out = out or ["no change beyond noise"]
    for text, some, others in (("now", rows, before), ("before", before, rows)):
        only = _only(some, others)
        if only:
            out.append(f"only {text}: {', '.join(only)}")
    return "\n".join(out)


def _only(some: Rows, others: Rows) -> list[str]:
    """What ``others`` has not: whole rows, whole runtimes, and cells of the rest."""
    theirs = {n for per in others.values() for n in per}
    names = sorted({n for per in some.values() for n in per} - theirs)
    cells = [
        f"{r} ({n})" for r, per in some.items() for n in per
        if r in others and n in theirs and n not in others[r]
    ]  # fmt: skip
    return [r for r in some if r not in others] + names + cells


def _beyond_noise(now: dict[str, Any], was: dict[str, Any]) -> bool:
    least = 0.2 if now["unit"] == "ns" and min(now["n"], was["n"]) < FEW else 0.05
    noise = max(was["max"] - was["min"], now["max"] - now["min"], least * abs(was["median"]))
    return bool(abs(now["median"] - was["median"]) > noise)


def plot(rows: Rows, names: list[str], out: Path) -> None:
    """Bars of the ratio to native, cut at 12; one group a row."""
    others = [n for n in names if n != "native"]
    parts: list[str] = []
    y = 40
    scale = (WIDTH - LABEL - 90) / CUT
    for row, per in rows.items():
        ratios = {n: ratio(per.get(n), per.get("native")) for n in others}
        if all(r is None for r in ratios.values()):
            continue
        parts.append(f'<text x="{LABEL - 8}" y="{y + BAR}" text-anchor="end">{escape(row)}</text>')
        for i, n in enumerate(others):
            times = ratios[n]
            if times is None:
                continue
            w = max(1.0, min(times, CUT) * scale)
            parts.append(
                f'<rect x="{LABEL}" y="{y}" width="{w:.1f}" height="{BAR}" fill="{COLOURS[i % len(COLOURS)]}"/>'
                f'<text x="{LABEL + w + 4:.1f}" y="{y + BAR - 2}" class="v">{times:.2f}x</text>'
            )
            y += BAR + 1
        y += GAP
    step = (WIDTH - LABEL) // max(len(others), 1)
    legend = "".join(
        f'<rect x="{LABEL + step * i}" y="12" width="12" height="12" fill="{COLOURS[i % len(COLOURS)]}"/>'
        f'<text x="{LABEL + step * i + 18}" y="22">{escape(n)}</text>'
        for i, n in enumerate(others)
    )
    one = LABEL + scale
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" '
        f'font-size="11"><style>.v{{font-size:9px;fill:#555}}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'{legend}<line x1="{one:.1f}" y1="34" x2="{one:.1f}" y2="{y - 6}" stroke="#bbb" stroke-dasharray="3 3"/>'
        f"{''.join(parts)}</svg>\n"
    )
