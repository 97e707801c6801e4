"""The plot: all tools on all trees, and how this checker grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speed.tools import OURS, TOOLS

if TYPE_CHECKING:
    from pathlib import Path

    from speed.results import Part

_OURS_COLOUR, _RUFF_COLOUR, _OTHER_COLOUR = "#1f6feb", "#d97706", "#9ca3af"


def draw(parts: dict[str, Part], file: Path) -> None:
    """Draw the plot into a file; its suffix says in which format.

    Raises:
        RuntimeError: matplotlib is missing.
        OSError: The file cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError as problem:
        raise RuntimeError("the plot needs matplotlib: pip install matplotlib") from problem
    mpl.use("Agg")
    # The same numbers give the same file.
    mpl.rcParams.update({"svg.hashsalt": "checker-speed", "font.size": 9, "axes.titlesize": 10})
    from matplotlib import pyplot as plt

    trees = parts["trees"].trees
    figure = plt.figure(figsize=(max(4.4 * len(trees), 9), 7.6), layout="constrained")
    above, below = figure.subfigures(2, 1)
    for axes, tree in zip(above.subplots(1, len(trees), squeeze=False)[0], trees, strict=True):
        _bars(axes, f"{tree.name}: {tree.files:,} files, {tree.size / 1e6:.1f} MB", tree.rows)
    for axes, unit in zip(below.subplots(1, 2), ("files", "KB"), strict=True):
        _growth(axes, [line for line in parts["scaling"].lines if line.unit == unit], unit)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def _colour(name: str) -> str:
    if name.startswith(OURS):
        return _OURS_COLOUR
    return _RUFF_COLOUR if name.startswith("ruff") else _OTHER_COLOUR


def _bars(axes: Any, title: str, rows: list[Any]) -> None:
    order = [tool.name for tool in TOOLS]
    rows = sorted(rows, key=lambda row: order.index(row.name) if row.name in order else len(order))
    known = [row.wall for row in rows if row.wall]
    if not known:
        return
    lowest, highest = min(known) / 3, max(known) * 6
    for place, row in enumerate(rows):
        if not row.wall:
            axes.text(lowest * 1.1, place, "failed or not available", va="center", color="#b91c1c")
            continue
        hatch = "///" if row.estimated else None
        axes.barh(place, row.wall, color=_colour(row.name), hatch=hatch, edgecolor="white")
        shown = f"{row.wall:,.0f} s" if row.wall >= 10 else f"{row.wall:.2f} s"
        axes.text(row.wall * 1.08, place, ("about " if row.estimated else "") + shown, va="center")
    axes.set_xscale("log")
    axes.set_xlim(lowest, highest)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(title)
    hatched = "; hatched: extrapolated" if any(row.estimated for row in rows) else ""
    axes.set_xlabel(f"wall time in seconds (logarithmic{hatched})")
    axes.spines[["top", "right"]].set_visible(False)


def _growth(axes: Any, lines: list[Any], unit: str) -> None:
    for line in lines:
        points = [(size, row.wall) for size, row in zip(line.sizes, line.rows, strict=True) if row.wall]
        if not points:
            continue
        exponent = f", exponent {line.exponent:.2f}" if line.exponent is not None else ""
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            linestyle="--" if "warm" in line.name else "-",
            color=_colour(line.name),
            label=f"{line.name}{exponent}",
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    if lines:
        axes.set_xticks(lines[0].sizes, [f"{size:,}" for size in lines[0].sizes])
    axes.minorticks_off()
    axes.set_xlabel("small files" if unit == "files" else "length of one file in KB")
    axes.set_ylabel("wall time in seconds")
    axes.set_title(
        "Growth with the number of files" if unit == "files" else "Growth with the length of a file"
    )
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
