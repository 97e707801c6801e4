"""The battery's result as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.assertions.drawing import MAX_ROWS, plural, strip, token_text
from pytest_decoderonly.compare.verdict import (
    BatteryResult,
    ChangeResult,
    Choice,
    RowError,
    Verdict,
    worst,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_CHOICES = 4
_WORDS = {
    Verdict.DIFFERENT: "DIFFERENT, not rounding",
    Verdict.BY_DESIGN: "different by design",
    Verdict.UNDECIDED: "UNDECIDED",
}
_SCALE = (
    "scale     max |difference of logits| / standard deviation of the logits; in float32 rounding "
    "gives 1e-6 to 1e-4, bugs above 1e-3"
)


def number(value: float | None) -> str:
    """Return `1.3e-06`, `0`, `nan` or `-` for what was not run."""
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}"


def render(result: BatteryResult, *, model: str, tokenizer: Any = None, brief: bool = False) -> str:
    """Return the report of a battery that is not clean, verdict first.

    Args:
        result: What the battery gave.
        model: What the model is called in the first line.
        tokenizer: Shows the text of tokens.
        brief: Leave out what a full report of the same result has shown: rows and tokens.
    """
    lengths = ", ".join(map(str, result.lengths[:8])) + (", ..." if len(result.lengths) > 8 else "")
    where = f"{result.dtype} on {result.device}"
    lines = [
        f"{model}: {_WORDS.get(result.verdict, str(result.verdict))}",
        f"compared  {plural(len(result.lengths), 'prompt')} of {lengths} tokens, {where}, {result.runs} runs",
    ]
    if result.culprit is not None:
        lines += [
            f"culprit   {result.culprit.name}: {result.culprit.sentence}",
            f"do        {result.culprit.advice}",
        ]
    if result.layer is not None:
        layer = result.layer
        lines.append(
            f"first     {layer.name}: row {layer.row}, {layer.place} (activations off by "
            f"{number(layer.error)} of their spread)"
        )
    lines += _relations(result)
    if not brief:
        lines += _rows(result)
        lines += _choices(result.flips, "flips", tokenizer, result.dtype)
        lines += _choices(result.ties, "ties", tokenizer, result.dtype)
    lines += [f"note      {note}" for note in result.notes]
    lines.append(_SCALE)
    return "\n".join(lines)


def render_change(result: ChangeResult, *, model: str) -> str:
    """Return the report of a change that is not clean, verdict first."""
    lengths = ", ".join(map(str, result.lengths[:8])) + (", ..." if len(result.lengths) > 8 else "")
    where = f"{result.dtype} on {result.device}"
    lines = [
        f"{model} with {result.change}: {_WORDS.get(result.verdict, str(result.verdict))}",
        f"compared  {plural(len(result.lengths), 'prompt')} of {lengths} tokens, {where}, {result.runs} runs",
        f"because   {result.reason}",
    ]
    if result.culprit is not None:
        lines += [
            f"culprit   {result.culprit.name}: {result.culprit.sentence}",
            f"do        {result.culprit.advice}",
        ]
    if result.layer is not None:
        lines.append(
            f"first     {result.layer.name}: row {result.layer.row}, {result.layer.place} (activations off by "
            f"{number(result.layer.error)} of their spread)"
        )
    if result.decisive:
        both = [("float32", result.single)] if result.single else []
        if result.dtype != "float32" and result.work:
            both.insert(0, (result.dtype, result.work))
        numbers = ", ".join(f"{name} {number(worst(errors))}" for name, errors in both)
        lines.append(f"greatest  {numbers or number(worst(result.decisive))}")
    if result.details:
        lines += [f"found     {detail}" for detail in result.details]
    else:
        for error in result.failing[:MAX_ROWS]:
            lines += draw(result.change, result.limit, error)
        if result.failing:
            left = len(result.failing) - MAX_ROWS
            lines += [f"... and {plural(left, 'more row')} like these"] * (left > 0)
            lines.append("signs     _ padding, = equal, x wrong; | the cached steps begin")
    lines += [f"note      {note}" for note in result.notes]
    return "\n".join([*lines, _SCALE])


def _relations(result: BatteryResult) -> list[str]:
    both = result.dtype != "float32"
    head = [
        "relation",
        "verdict",
        *([result.dtype] if both else []),
        "float32",
        "what must hold, or why it is undecided",
    ]
    rows = [head]
    for relation in result.relations:
        verdict = relation.verdict.value if relation.verdict.clean else relation.verdict.value.upper()
        if not relation.applicable:
            verdict = "not applicable"
        numbers = [number(worst(relation.work))] if both else []
        single = worst(relation.single) if both else worst(relation.decisive)
        text = relation.reason if relation.verdict is Verdict.UNDECIDED else relation.relation.says
        rows.append(
            [
                str(relation.relation),
                verdict,
                *numbers,
                number(single),
                text,
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head) - 1)]
    return [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]


def _rows(result: BatteryResult) -> list[str]:
    """Draw the rows of the first relation that does not hold."""
    failing = result.failing
    if not failing:
        return []
    relation = failing[0]
    lines = []
    for error in relation.failing[:MAX_ROWS]:
        lines += draw(str(relation.relation), relation.limit, error)
    left = len(relation.failing) - MAX_ROWS
    if left > 0:
        lines.append(f"... and {plural(left, 'more row')} like these")
    lines.append("signs     _ padding, = equal, x wrong; | the cached steps begin")
    return lines


def draw(name: str, limit: float, error: RowError) -> list[str]:
    """Draw one row: padding, positions that agree or not, a pointer at the first wrong one."""
    first = error.first(limit)
    point = 0 if first is None else first
    signs = ["_"] * error.pads
    for i, value in enumerate(error.errors):
        if i == error.prefill:
            signs.append("|")
        signs.append("=" if value <= limit else "x")
    at = error.pads + point + (point >= error.prefill)
    line, pointer = strip(signs, at)
    value = float(error.errors[point]) if error.errors.size else 0.0
    off = f"off by {number(value)} = {number(value * error.scale)} in logits"
    if math.isnan(value):
        off = "not finite"
    where = f"{name}, {error.width} columns: first wrong at {error.place(point)}"
    return [f"row {error.row:<5} {line}", f"          {pointer} {where}, {off}"]


def _choices(choices: Sequence[Choice], name: str, tokenizer: Any, dtype: str) -> list[str]:
    show = token_text(tokenizer) or (lambda _token: "")
    lines = []
    for choice in choices[:MAX_CHOICES]:
        batched, solo = (f"{token} {show(token)}".rstrip() for token in (choice.batched, choice.solo))
        lines.append(
            f"{name:<9} row {choice.row}, after {choice.place}: batched {batched}, single {solo}; "
            f"margin {number(choice.margin)}, error {number(choice.error)} ({dtype} logits)"
        )
    if len(choices) > MAX_CHOICES:
        lines.append(f"... and {len(choices) - MAX_CHOICES} more {name}")
    return lines
