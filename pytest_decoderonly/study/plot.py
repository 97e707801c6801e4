"""The study as a picture: how many answers stay, and how fast."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.study.render import setting

if TYPE_CHECKING:
    from pytest_decoderonly.study.result import CellResult, Study

SUFFIXES = (".svg", ".png")
# Colours that people who cannot tell red from green tell apart (Okabe and Ito).
_SAME, _ROUNDING, _UNDECIDED, _DIFFERENT = "#0072B2", "#56B4E9", "#999999", "#D55E00"
_RIGHT, _SPEED = "#009E73", "#555555"


def draw(study: Study, suffix: str) -> bytes:
    """Return the picture as a file's bytes.

    Args:
        study: What to draw; ways that could not be run are named and left empty.
        suffix: `.svg` or `.png`.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Words stay words in an SVG, and the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "decoderonly", "svg.fonttype": "none", "font.size": 9}):
        count = len(study.cells)
        figure = Figure(figsize=(11, 2.0 + 0.42 * count), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        right, same, speed = figure.subplots(1, 3, sharey=True)
        places = list(range(count))
        _shares(right, study.cells)
        handles = _kinds(same, study.cells)
        _speeds(speed, study.cells)
        right.set_yticks(places, [_label(cell) for cell in study.cells])
        right.invert_yaxis()  # one y axis for all three
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(setting(study), fontsize=8, color="#444444")
        for axes in (right, same, speed):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(left=False)
        file = io.BytesIO()
        figure.savefig(
            file, format=suffix.lstrip("."), dpi=150, metadata={"Date": None} if suffix == ".svg" else None
        )
    return file.getvalue()


def _label(cell: CellResult) -> str:
    if cell.alone:
        return cell.name
    more = f", +{cell.padding} columns" if cell.padding else ""
    return f"{cell.name}\nbatches of {cell.batch_size}{more}"


def _shares(axes: Any, cells: list[CellResult]) -> None:
    axes.set_title("right answers (95 % interval)")
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the questions")
    for place, cell in enumerate(cells):
        if cell.error is not None:
            axes.text(2, place, "could not be run", va="center", color=_DIFFERENT)
        elif cell.right is not None:
            share = 100 * cell.right.count / cell.right.total
            ends = [[share - 100 * cell.right.low], [100 * cell.right.high - share]]
            axes.barh(place, share, height=0.6, color=_RIGHT, alpha=0.75)
            axes.errorbar(share, place, xerr=ends, color="black", capsize=3, linewidth=1)
            axes.text(
                100, place, f"{cell.right.count}/{cell.right.total}", va="center", ha="right", fontsize=8
            )


def _kinds(axes: Any, cells: list[CellResult]) -> list[Any]:
    axes.set_title("answers beside the prompt alone")
    axes.set_xlabel("answers")
    names = (
        ("the same tokens", _SAME), ("other by rounding", _ROUNDING),
        ("not told apart", _UNDECIDED), ("changed", _DIFFERENT),
    )  # fmt: skip
    for place, cell in enumerate(cells):
        if cell.same is None:
            continue
        left = 0
        counts = (cell.same.count, cell.rounding, cell.undecided + cell.unjudged, cell.different)
        for count, (_, colour) in zip(counts, names, strict=True):
            axes.barh(place, count, left=left, height=0.6, color=colour)
            left += count
    return [axes.barh(0, 0, color=colour, label=name) for name, colour in names]


def _speeds(axes: Any, cells: list[CellResult]) -> None:
    axes.set_title("tokens per second, times alone")
    axes.axvline(1, color="#bbbbbb", linewidth=1, zorder=0)
    for place, cell in enumerate(cells):
        if cell.speed is not None:
            axes.barh(place, cell.speed, height=0.6, color=_SPEED, alpha=0.75)
            axes.text(cell.speed, place, f" {cell.speed:.1f}x", va="center", fontsize=8)
    axes.margins(x=0.15)
