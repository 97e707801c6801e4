"""Where the marks of a chart stand, in units of its view box. Plain numbers: the page's template draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_decoderonly.conformance.outcome import LayerDeviation, Outcome

# Decades that are drawn: below the first an error is as good as none, above the last logits have nothing in common.
LOWEST, HIGHEST = -8, 2
ROUNDING, BUG = Limits().suspicious, Limits().bug  # rounding stays below the one, bugs above the other
_LAYERS_SHOWN = 64


@dataclass(frozen=True)
class Mark:
    """One value: where it stands (0 to 1 along the axis), how it reads, and what kind it is."""

    at: float
    text: str
    kind: str


@dataclass(frozen=True)
class Line:
    """One line of a dot plot: a name, its marks, and the verdict in words."""

    name: str
    marks: tuple[Mark, ...]
    verdict: str


@dataclass(frozen=True)
class Bar:
    """One bar of a profile: a name, how long it is (0 to 1), the value as text, and whether it is over the limit."""

    name: str
    length: float
    text: str
    over: bool


def place(value: float | None) -> float:
    """Return where a deviation stands on the logarithmic axis, 0 to 1; NaN and infinity stand at its end."""
    if value is None or value == 0:
        return 0.0
    if not math.isfinite(value):
        return 1.0
    return min(1.0, max(0.0, (math.log10(abs(value)) - LOWEST) / (HIGHEST - LOWEST)))


def ticks() -> list[tuple[float, str]]:
    """Return the axis' ticks: place and text, every second decade."""
    return [(place(10.0**power), f"1e{power}") for power in range(LOWEST, HIGHEST + 1, 2)]


def deviations(outcomes: Iterable[Outcome]) -> list[Line]:
    """Return what was measured of one model, one line a relation: the greatest value of each dtype over all its items."""
    worst: dict[str, dict[str, float]] = {}
    verdicts: dict[str, list[str]] = {}
    for outcome in outcomes:
        for number in outcome.numbers:
            values = worst.setdefault(number.relation, {})
            for dtype, value in (("float32", number.float32), (number.dtype, number.native)):
                if value is not None:
                    values[dtype] = _greater(values.get(dtype, 0.0), value)
            verdicts.setdefault(number.relation, []).append(number.verdict)
    return [
        Line(
            name,
            tuple(
                Mark(
                    place(value),
                    f"{dtype} {number_text(value)}",
                    "float32" if dtype == "float32" else "native",
                )
                for dtype, value in sorted(values.items())
            ),
            _gravest(verdicts[name]),
        )
        for name, values in worst.items()
    ]


def profile(layers: Sequence[LayerDeviation]) -> tuple[list[Bar], int]:
    """Return the bars of a layer profile, and how many layers were left out where there are very many."""
    shown = list(layers)
    if len(shown) > _LAYERS_SHOWN:
        first = next((i for i, layer in enumerate(shown) if not layer.deviation <= ROUNDING), 0)
        start = min(max(0, first - _LAYERS_SHOWN // 4), len(shown) - _LAYERS_SHOWN)
        shown = shown[start : start + _LAYERS_SHOWN]
    return [
        Bar(layer.name, place(layer.deviation), number_text(layer.deviation), not layer.deviation <= ROUNDING)
        for layer in shown
    ], len(layers) - len(shown)


def number_text(value: float | None) -> str:
    """Return `1.3e-06`, `0`, `nan`, or `-` for what was not run."""
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}"


def _greater(one: float, other: float) -> float:
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)


_GRAVITY = (
    "not applicable",
    "equal",
    "equal up to rounding",
    "different by design",
    "undecided",
    "different",
)


def _gravest(verdicts: Iterable[str]) -> str:
    return max(
        verdicts, key=lambda verdict: _GRAVITY.index(verdict) if verdict in _GRAVITY else len(_GRAVITY)
    )
