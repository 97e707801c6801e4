"""DLM206: the output of an encoder-decoder is cut at the prompt's length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, tokenized_steps
from pytest_decoderonly.runtime.provenance import Encoded
from pytest_decoderonly.runtime.report import Step, call_text, plural, printable, shorten

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import DecodeCall
    from pytest_decoderonly.runtime.provenance import Cut
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports ends of outputs that begin at the width, or the length, of what the encoder read."""

    def on_decode(self, call: DecodeCall) -> Finding | None:
        """Judge what the user's own code decodes."""
        wrong = [(number, cut) for number, cut in call.cuts if _at_the_prompt(cut)]
        if not wrong or not call.caller.direct:
            return None
        number, cut = wrong[0]
        event, place = cut.event, call.caller.place
        assert isinstance(event, Encoded)  # noqa: S101 - only those are wrong
        row = event.outputs[cut.row]
        lost = shorten(printable(call.text_of(row[: cut.column * ids.ITEM])), 40)
        kept = shorten(printable(call.text_of(row[cut.column * ids.ITEM :])), 32)
        return self.finding(
            "error",
            f"{call.method}() got {plural(len(wrong), 'row')} of an encoder-decoder's output, cut at the prompt's length",
            place,
            steps=[
                Step("decoded", place, call_text(place)),
                Step("generated", event.place, call_text(event.place) or f"{event.model}.generate"),
                *tokenized_steps(event.tokenized, "tokenized"),
            ],
            rows=[
                (f"row {number}", f"! {lost} !{kept}  {plural(cut.column, 'token')} of the answer cut off")
            ],
            effect="the output holds no prompt: what is cut off is the answer",
            help="decode the whole output: encoder-decoders return the answer alone",
        )


def _at_the_prompt(cut: Cut) -> bool:
    event = cut.event
    if not isinstance(event, Encoded) or cut.column < 2:
        return False
    if not cut.kept:
        return event.prompt_width >= ids.width(event.outputs[cut.row])
    return cut.column in (event.prompt_width, event.prompt_lengths[cut.row])
