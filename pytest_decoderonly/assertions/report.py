"""The battery's result as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.assertions.drawing import (
    MAX_LINES,
    MAX_ROWS,
    columns,
    legend,
    plural,
    strip,
    token_text,
)
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


MAX_CHOICES = 2
_WORDS = {
    Verdict.DIFFERENT: "DIFFERENT, not rounding",
    Verdict.BY_DESIGN: "different by design",
    Verdict.UNDECIDED: "UNDECIDED",
}
_WIDE = 10
_MEANINGS = {"_": "padding", "=": "equal", "x": "wrong", "|": "the cached steps begin"}
_SCALE = (
    "max |difference of logits| / standard deviation of the logits; in float32 rounding "
    "gives 1e-6 to 1e-4, bugs above 1e-3"
)


def number(value: float | None) -> str:
    """Return `1.3e-06`, `0`, `nan` or `-` for what was not run."""
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}"


def render(result: BatteryResult, *, model: str, tokenizer: Any = None, brief: bool = False) -> str:
    """Return the report of a battery that is not clean: verdict and culprit, rows, relations, how it was measured.

    Args:
        result: What the battery gave.
        model: What the model is called in the first line.
        tokenizer: Shows the text of tokens.
        brief: Leave out what a full report of the same result has shown: rows and tokens.
    """
    rest = _relations(result)
    if not brief:
        rest += _choices(result.flips, "flips", tokenizer, result.dtype)
        rest += _choices(result.ties, "ties", tokenizer, result.dtype)
    rest += _measured(result)
    doubts = [r.reason for r in result.relations if r.verdict is Verdict.UNDECIDED and r.reason]
    top = _top(result, model, next(iter(doubts), ""))
    rows: list[str] = []
    if result.failing and not brief:
        relation = result.failing[0]
        rows = _rows(str(relation.relation), relation.limit, relation.failing, len(top) + len(rest))
    return "\n".join([*top, *rows, *rest])


def render_change(result: ChangeResult, *, model: str) -> str:
    """Return the report of a change that is not clean: verdict and culprit, rows, how it was measured."""
    top = _top(result, f"{model} with {result.change}", result.reason)
    because = [("because", result.reason)] if result.verdict is not Verdict.UNDECIDED else []
    if result.decisive:
        both = [("float32", result.single)] if result.single else []
        if result.dtype != "float32" and result.work:
            both.insert(0, (result.dtype, result.work))
        numbers = ", ".join(f"{name} {number(worst(errors))}" for name, errors in both)
        because.append(("greatest", numbers or number(worst(result.decisive))))
    rest = [*columns(because, _WIDE), *_measured(result)]
    if result.details:
        left = len(result.details) - MAX_ROWS
        rows = columns([("found", detail) for detail in result.details[:MAX_ROWS]], _WIDE)
        rows += [f"... and {left} more like these"] * (left > 0)
    else:
        rows = _rows(result.change, result.limit, result.failing, len(top) + len(rest))
    return "\n".join([*top, *rows, *rest])


def drawn_rows(result: BatteryResult | ChangeResult) -> list[str]:
    """Return the rows that a report of this result draws, with their legend; empty where all are right."""
    if isinstance(result, ChangeResult):
        return _rows(result.change, result.limit, result.failing, 0)
    if not result.failing:
        return []
    relation = result.failing[0]
    return _rows(str(relation.relation), relation.limit, relation.failing, 0)


def first_parting(result: BatteryResult | ChangeResult) -> str:
    """Return where the activations of two runs part first, in one line; empty where that was not looked for."""
    layer = result.layer
    if layer is None:
        return ""
    off = f"(activations off by {number(layer.error)} of their spread)"
    return f"{layer.name}: row {layer.row}, {layer.place} {off}"


def _top(result: BatteryResult | ChangeResult, subject: str, reason: str) -> list[str]:
    """The verdict, who is to blame (or why it is undecided), what to do, where it begins."""
    culprit = result.culprit
    facts = []
    if culprit is not None:
        facts += [("culprit", f"{culprit.name}: {culprit.sentence}"), ("do", culprit.advice)]
    if result.layer is not None:
        facts.append(("first", first_parting(result)))
    named = f" ({culprit.name})" if culprit is not None else ""
    if result.verdict is Verdict.UNDECIDED and reason:
        named = f": {reason}"
    return [f"{subject}: {_WORDS.get(result.verdict, str(result.verdict))}{named}", *columns(facts, _WIDE)]


def _measured(result: BatteryResult | ChangeResult) -> list[str]:
    lengths = ", ".join(map(str, result.lengths[:8])) + (", ..." if len(result.lengths) > 8 else "")
    prompts = f"{plural(len(result.lengths), 'prompt')} of {lengths} tokens"
    where = f"{result.dtype} on {result.device}, {plural(result.runs, 'run')}"
    facts = [("note", note) for note in result.notes]
    return columns([*facts, ("compared", f"{prompts}, {where}"), ("scale", _SCALE)], _WIDE)


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


def _rows(name: str, limit: float, failing: Sequence[RowError], others: int) -> list[str]:
    """Draw rows, as many as fit beside so many other lines, two at least."""
    if not failing:
        return []
    shown = failing[: max(2, min(MAX_ROWS, (MAX_LINES - 2 - others) // 2))]
    lines = [line for error in shown for line in draw(name, limit, error)]
    left = len(failing) - len(shown)
    lines += [f"... and {plural(left, 'more row')} like these"] * (left > 0)
    drawn = "".join(line for line in lines[: 2 * len(shown) : 2])
    return [*lines, legend(drawn, _MEANINGS)]


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
            f"{name + ':':<{_WIDE}}row {choice.row}, after {choice.place}: batched {batched}, single {solo}; "
            f"margin {number(choice.margin)}, error {number(choice.error)} ({dtype} logits)"
        )
    if len(choices) > MAX_CHOICES:
        lines.append(f"... and {len(choices) - MAX_CHOICES} more {name}")
    return lines
