"""DLM401: the last position of a right-padded batch is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, forward_steps, row_picture
from pytest_decoderonly.runtime.report import Step, call_text, plural
from pytest_decoderonly.runtime.usage import last_position_read

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import ForwardCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports `[:, -1]` of what a forward returned, where rows of that batch end in padding.

    The batch is the real one; where the index stands is read off the source of the function that called.
    """

    def on_forward(self, call: ForwardCall) -> Finding | None:
        """Judge by the mask, or the tokenizer's where the call has none."""
        padding = call.own_padding or call.made_padding or ()
        padded = [number for number, pads in enumerate(padding) if pads.right]
        if not padded or len(call.rows) < 2 or not call.caller.direct:
            return None
        place = last_position_read(call.caller.place) if call.caller.place is not None else None
        if place is None:
            return None
        return self.finding(
            "error",
            f"[:, -1] reads the last column, which is padding in {plural(len(padded), 'row')} of {len(call.rows)}",
            place,
            steps=[Step("read", place, call_text(place)), *forward_steps(call)],
            rows=[row_picture(n, call.rows[n], padding[n], call.text_of) for n in padded[:3]],
            effect="what is read there follows a padding token, and not the text",
            help="index with attention_mask.sum(dim=1) - 1, or pad on the left and pass position_ids",
        )
