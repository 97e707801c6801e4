"""DLM110: a left-padded batch in a forward whose mask does not show the padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, forward_steps, row_picture
from pytest_decoderonly.runtime.report import plural
from pytest_decoderonly.runtime.usage import Fate, use_of

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import ForwardCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports rows that a tokenizer padded on the left, by the mask it returned with them, and that came without it.

    Padding behind the text is seen by no real token, and is left to the checks of labels and of what is read.
    """

    def on_forward(self, call: ForwardCall) -> Finding | None:
        """Judge by the tokenizer's mask against the call's: none, or one that is 1 all over."""
        all_ones = call.mask is not None and all(b"\0" not in bits for bits in call.mask)
        if (call.mask_given and not all_ones) or call.made_padding is None:
            return None
        padded = [number for number, pads in enumerate(call.made_padding) if pads.left]
        if not padded or use_of(call.places).fate is Fate.DISCARDED:
            return None
        return self.finding(
            "error",
            f"forward() got {plural(len(padded), 'row')} of {len(call.rows)} padded on the left, and "
            f"{'a mask of ones' if all_ones else 'no attention_mask'}",
            call.place,
            steps=forward_steps(call),
            rows=[row_picture(n, call.rows[n], call.made_padding[n], call.text_of) for n in padded[:3]],
            effect="the padding is read as text: the real tokens behind it get other logits than on their own",
            help="pass the tokenizer's attention_mask on: model(**encoding)",
        )
