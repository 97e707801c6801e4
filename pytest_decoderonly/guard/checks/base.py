"""What a check of the guard is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.guard.report import Finding, Step, call_text, plural, printable, shorten

if TYPE_CHECKING:
    from pytest_decoderonly.guard.events import DecodeCall, GenerateCall
    from pytest_decoderonly.guard.frames import CallPlace
    from pytest_decoderonly.guard.provenance import Tokenized

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
    padding = call.padding[number]
    row = call.rows[number]
    from pytest_decoderonly.guard.ids import ITEM

    real = row[padding.left * ITEM : len(row) - padding.right * ITEM]
    text = shorten(printable(call.text_of(real)), _PICTURE)
    parts = ["·" * min(padding.left, 24), text, "·" * min(padding.right, 24)]
    sides = [f"{n} padding {where}" for n, where in ((padding.left, "left"), (padding.right, "right")) if n]
    return (
        f"row {number}",
        f"|{' '.join(part for part in parts if part)}|  {', '.join(sides) or 'no padding'}",
    )
