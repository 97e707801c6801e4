"""DLM102: a decoder-only `generate` given rows that end in padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, generate_steps, padded_row_picture
from pytest_decoderonly.runtime.report import plural

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import GenerateCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports rows whose last column is padding, by the mask, the tokenizer that made them, or their pad ids.

    An end-of-text that closes a prompt is no padding, also where the tokenizer pads with that token.
    """

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge by the last column of each row."""
        wrong = [number for number, row in enumerate(call.padding or ()) if row.right]
        if not wrong:
            return None
        shown = ", ".join(map(str, wrong[:8])) + (", …" if len(wrong) > 8 else "")
        return self.finding(
            "error",
            f"generate() got {plural(len(wrong), 'row')} of {len(call.rows)} padded on the right "
            f"(by {call.known_by})",
            call.place,
            steps=generate_steps(call),
            rows=[padded_row_picture(call, number) for number in wrong[:3]],
            effect=f"{'row' if len(wrong) == 1 else 'rows'} {shown}: the answer continues the padding",
            help='pad on the left: tokenizer.padding_side = "left", or padding_side="left" at the call',
        )
