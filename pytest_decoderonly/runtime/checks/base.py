"""What a check of the guard is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.assertions.drawing import around, strip, table
from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.reading import decoder
from pytest_decoderonly.runtime.report import Finding, Step, call_text, plural, printable, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_decoderonly.runtime.events import (
        CollatorCall,
        DecodeCall,
        ForwardCall,
        GenerateCall,
        PipelineCall,
    )
    from pytest_decoderonly.runtime.frames import Caller, CallPlace
    from pytest_decoderonly.runtime.labels import LabelProblem, LabelRow
    from pytest_decoderonly.runtime.provenance import Padding, Tokenized
    from pytest_decoderonly.runtime.runs import Run

_PICTURE = 64


class GuardCheck:
    """Judges the calls that the guard saw. `code` and `name` come from the file's name."""

    def __init__(self, code: str, name: str) -> None:
        self.code = code
        self.name = name

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge a call of a decoder-only `generate` that got ids, after it returned."""

    def on_decode(self, call: DecodeCall) -> Finding | None:
        """Judge a call of `decode` or `batch_decode`."""

    def on_forward(self, call: ForwardCall) -> Finding | None:
        """Judge a call of a decoder-only model's forward outside of `generate`, before it runs."""

    def on_pipeline(self, call: PipelineCall) -> Finding | None:
        """Judge a call of a text-generation pipeline whose results begin with the prompt."""

    def on_collate(self, call: CollatorCall) -> Finding | None:
        """Judge a batch that a language-modeling collator made of examples with masked labels."""

    def on_tokenize_error(self, tokenizer: Any, error: BaseException, who: Caller) -> Finding | None:
        """Explain an exception of a tokenizer; it counts only where that is what ends the block or the test."""

    def on_run(self, run: Run) -> Finding | None:
        """Judge what only the whole of a block or a test shows."""

    def finding(
        self,
        severity: str,
        message: str,
        place: CallPlace | None,
        *,
        steps: list[Step],
        rows: list[tuple[str, str]],
        effect: str,
        help: str,  # noqa: A002 - the catalogue's own word
    ) -> Finding:
        """Make a finding of this check."""
        return Finding(
            self.code, self.name, severity, message, place, tuple(steps), tuple(rows), effect, help
        )


def generate_steps(call: GenerateCall) -> list[Step]:
    """Return the chain of a generate call: called, ids built, tokenizer."""
    place = call.caller.place
    text = (
        call_text(place)
        or f"{call.model}.generate{'' if place else ', in a thread that runs no code of yours'}"
    )
    return [Step("called", place, text), *tokenized_steps(call.tokenized)]


def tokenized_steps(made: Tokenized | None, label: str = "ids built") -> list[Step]:
    """Return where rows were tokenized and by which tokenizer; nothing where that is not known."""
    if made is None:
        return []
    padding = ""
    if made.padding is not None and any(row.total for row in made.padding):
        left, right = sum(row.left for row in made.padding), sum(row.right for row in made.padding)
        sides = [
            f"{plural(n, 'padding token')} on the {side}"
            for n, side in ((left, "left"), (right, "right"))
            if n
        ]
        padding = ", " + " and ".join(sides)
    shape = f"({made.row_count}, {made.width}){padding}"
    source = shorten(call_text(made.place), 48)
    pad = "no pad token"
    if made.pad_token_id is not None:
        same = " = EOS" if made.pad_token_id == made.eos_token_id else ""
        pad = f"pad token {printable(made.pad_token or '')!s}{same} ({made.pad_token_id})"
    return [
        Step(label, made.place, f"{source} -> {shape}" if source else shape),
        Step("tokenizer", None, f'padding_side="{made.padding_side}", {pad}'),
    ]


def padded_row_picture(call: GenerateCall, number: int) -> tuple[str, str]:
    """Draw one row of a generate call: padding as dots, the real tokens as text."""
    assert call.padding is not None  # noqa: S101 - the callers drew it from there
    return row_picture(number, call.rows[number], call.padding[number], call.text_of)


def row_picture(
    number: int, row: bytes, padding: Padding, text_of: Callable[[bytes], str]
) -> tuple[str, str]:
    """Draw a row: padding as dots, the real tokens as text."""
    real = row[padding.left * ids.ITEM : len(row) - padding.right * ids.ITEM]
    text = shorten(printable(text_of(real)), _PICTURE)
    parts = ["·" * min(padding.left, 24), text, "·" * min(padding.right, 24)]
    sides = [f"{n} padding {where}" for n, where in ((padding.left, "left"), (padding.right, "right")) if n]
    return (
        f"row {number}",
        f"|{' '.join(part for part in parts if part)}|  {', '.join(sides) or 'no padding'}",
    )


def forward_steps(call: ForwardCall) -> list[Step]:
    """Return the chain of a forward: called, ids built, tokenizer."""
    text = call_text(call.place) or f"{call.model}.forward"
    return [Step("called", call.place, text), *tokenized_steps(call.tokenized)]


def label_picture(
    row: LabelRow, wrong: tuple[int, ...], text_of: Callable[[bytes], str]
) -> list[tuple[str, str]]:
    """Draw a row of labels: one sign a position, a pointer, and the tokens around it."""
    signs = [
        "!" if i in set(wrong) else "_" if not row.start <= i < row.end else "C" if i in row.counted else "p"
        for i in range(len(row.ids))
    ]
    point = wrong[0] if wrong else 0
    drawn, pointer = strip(signs, point)
    columns = around(point, len(row.ids), 3)
    lines = [
        ("position", [str(i) for i in columns]),
        ("token", [shorten(repr(text_of(ids.token_bytes(row.ids[i]))), 14) for i in columns]),
        ("label", [str(row.labels[i]) for i in columns]),
    ]
    return [
        (f"row {row.number}", drawn),
        ("", f"{pointer} {_LEGEND}"),
        *(("", line) for line in table(lines)),
    ]


_LEGEND = "_ padding, p not in the loss, C in the loss, ! wrong"


class LabelCheck(GuardCheck):
    """A check of the labels of a forward: `labels.judge` tells what is wrong, each code reports its own."""

    def on_forward(self, call: ForwardCall) -> Finding | None:
        """Report the rows with this code's problem, the first one drawn."""
        if call.labels is None:
            return None
        problems = [problem for problem in call.problems if problem.code == self.code]
        return self._reported(call, problems) if problems else None

    def _reported(self, call: ForwardCall, problems: list[LabelProblem]) -> Finding:
        first = problems[0]
        rows = "" if len(call.rows) == 1 else f"in {len(problems)} of {plural(len(call.rows), 'row')}: "
        steps = forward_steps(call)
        text_of = (
            decoder(first.made[0][1].tokenizer) if call.tokenized is None and first.made else call.text_of
        )
        for label, made in first.made:
            steps.append(Step(label, made.place, call_text(made.place)))
        return self.finding(
            first.severity,
            f"{rows}{first.what}",
            call.place,
            steps=steps,
            rows=label_picture(first.row, first.wrong, text_of),
            effect=first.effect,
            help=first.help,
        )
