"""DLM105: a prompt for `generate` lost its end to truncation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, generate_steps
from pytest_decoderonly.runtime.report import plural, printable, shorten

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import GenerateCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports rows that a tokenizer truncated on the right, as it says itself, and that went to `generate` so."""

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge by what the tokenizer left over when it made the rows."""
        cut = [
            (number, origin[0])
            for number, origin in enumerate(call.origins)
            if origin is not None and origin[1] in origin[0].truncated
        ]
        if not cut:
            return None
        number, made = cut[0]
        row = call.rows[number]
        pads = call.padding[number] if call.padding else None
        real = row[pads.left * ids.ITEM :] if pads is not None else row
        return self.finding(
            "warning",
            f"generate() got {plural(len(cut), 'prompt')} whose end was truncated away",
            made.place or call.place,
            steps=generate_steps(call),
            rows=[(f"row {number}", f"|{shorten(printable(call.text_of(real)), 48)}|<- cut here")],
            effect="the question and the header of the answer stand at the end of a prompt: that is what is missing",
            help='truncate on the left: tokenizer.truncation_side = "left", or shorten the document before the prompt is made',
        )
