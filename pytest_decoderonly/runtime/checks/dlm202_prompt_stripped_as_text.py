"""DLM202: the prompt is taken off decoded text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, tokenized_steps
from pytest_decoderonly.runtime.report import Step, call_text, printable, shorten
from pytest_decoderonly.runtime.usage import Fate

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import DecodeCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports outputs decoded with the prompt in front, whose text the source then cuts from the front."""

    def on_decode(self, call: DecodeCall) -> Finding | None:
        """Judge what the user's own code decodes by what its next lines do with the text."""
        if not call.matches or not call.caller.direct or call.use.fate is not Fate.CUT:
            return None
        number, match = call.matches[0]
        event, place = match.generated, call.use.place
        row = call.rows[number]
        start, end = event.left[match.row] - match.skipped, match.prompt_width
        prompt = call.text_of(row[max(0, start) * ids.ITEM : end * ids.ITEM])
        return self.finding(
            "warning",
            "the prompt is taken off as text from what generate() returned",
            place,
            steps=[
                Step("cut", place, call_text(place)),
                Step("decoded", call.caller.place, call_text(call.caller.place)),
                Step("generated", event.place, call_text(event.place) or f"{event.model}.generate"),
                *tokenized_steps(event.tokenized, "tokenized"),
            ],
            rows=[
                (
                    f"row {number}",
                    f"[{shorten(printable(prompt), 56)}] is what the prompt's {end} tokens decode to",
                )
            ],
            effect="decoding need not give the prompt back letter for letter: special tokens and spaces shift the cut",
            help=f"cut before decoding: output[:, {event.width}:], that is output[:, enc['input_ids'].shape[1]:]",
        )
