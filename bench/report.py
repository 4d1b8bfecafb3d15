"""What a run is shown as: a table, a comparison with an earlier run, a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Rows = dict[str, dict[str, dict[str, Any]]]
BAR, GAP, LABEL, WIDTH = 12, 10, 190, 860
COLOURS = ("#8c8c8c", "#d28b26", "#2a7ab0", "#3d9970", "#a05195")


def shown(value: float, unit: str) -> str:
    """A figure as a person reads it."""
    if unit == "MiB":
        return f"{value:.0f} MiB"
    for limit, div, name in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if value < limit:
            return f"{value / div:.3g} {name}"
    return f"{value / 1e9:.3g} s"


def table(rows: Rows, names: list[str]) -> str:
    out = [f"{'row':24}" + "".join(f"{n:>26}" for n in names)]
    for row, per in rows.items():
        base = per.get("native", {}).get("median")
        cells = ""
        for n in names:
            r = per.get(n)
            ratio = f" ({r['median'] / base:.2f}x)" if r and base and n != "native" else ""
            cells += f"{(shown(r['median'], r['unit']) + ratio) if r else '-':>26}"
        out.append(f"{row:24}{cells}")
    return "\n".join(out)


def compare(rows: Rows, base: Path) -> str:
    """Rows whose median is outside the other run's spread, and further from its median than that spread is wide."""
    before: Rows = json.loads(base.read_text())["rows"]
    out = []
    for row, per in rows.items():
        for name, now in per.items():
            was = before.get(row, {}).get(name)
            if was is None or not was["median"]:
                continue
            noise = max(was["max"] - was["min"], now["max"] - now["min"], 0.05 * was["median"])
            if abs(now["median"] - was["median"]) > noise:
                ratio = now["median"] / was["median"]
                word = "slower" if ratio > 1 else "faster"
                out.append(
                    f"{row:24}{name:22}{shown(was['median'], was['unit']):>12} -> "
                    f"{shown(now['median'], now['unit']):>12}  {ratio:.2f}x, {word}"
                )
    return "\n".join(out) or "no change beyond noise"


def plot(rows: Rows, names: list[str], out: Path) -> None:
    """Bars of the ratio to native, cut at 12; one group a row."""
    others = [n for n in names if n != "native"]
    parts: list[str] = []
    y = 40
    scale = (WIDTH - LABEL - 90) / 12
    for row, per in rows.items():
        base = per.get("native", {}).get("median")
        if not base:
            continue
        parts.append(f'<text x="{LABEL - 8}" y="{y + BAR}" text-anchor="end">{escape(row)}</text>')
        for i, n in enumerate(others):
            if n not in per:
                continue
            ratio = per[n]["median"] / base
            w = max(1.0, min(ratio, 12) * scale)
            parts.append(
                f'<rect x="{LABEL}" y="{y}" width="{w:.1f}" height="{BAR}" fill="{COLOURS[(i + 1) % 5]}"/>'
                f'<text x="{LABEL + w + 4:.1f}" y="{y + BAR - 2}" class="v">{ratio:.2f}x</text>'
            )
            y += BAR + 1
        y += GAP
    legend = "".join(
        f'<rect x="{LABEL + 190 * i}" y="12" width="12" height="12" fill="{COLOURS[(i + 1) % 5]}"/>'
        f'<text x="{LABEL + 190 * i + 18}" y="22">{escape(n)}</text>'
        for i, n in enumerate(others)
    )
    one = LABEL + scale
    out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" '
        f'font-size="11"><style>.v{{font-size:9px;fill:#555}}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'{legend}<line x1="{one:.1f}" y1="34" x2="{one:.1f}" y2="{y - 6}" stroke="#bbb" stroke-dasharray="3 3"/>'
        f"{''.join(parts)}</svg>\n"
    )
