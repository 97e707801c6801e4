"""DLM201: ids that a decoder-only `generate` returned are decoded with the prompt still in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, tokenized_steps
from pytest_decoderonly.runtime.report import Step, call_text, plural, printable, shorten
from pytest_decoderonly.runtime.usage import Fate, cut_by_choice

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import DecodeCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports a decode of whole outputs, prompt and continuation together.

    The ids are followed by what they are (`provenance.Log.carried_prompt`), so that slices, lists and
    copies are recognised, and the prompt by itself, a text tokenized again and a continuation that repeats
    its prompt are not mistaken.
    """

    def on_decode(self, call: DecodeCall) -> Finding | None:
        """Report what the user's own code decodes; a library that decodes whole rows may cut them."""
        known = (Fate.CUT, Fate.ECHO, Fate.STATED)
        if not call.matches or not call.caller.direct or call.use.fate in known:
            return None  # a cut as text is DLM202; who asks for the prompt or states the text knows of it
        places = (match.generated.place for _, match in call.matches)
        if any(place is not None and cut_by_choice(place) for place in places):
            return None  # a function with an option for it was asked for prompt and answer together
        number, match = call.matches[0]
        row = call.rows[number]
        event = match.generated
        end = match.prompt_width * ids.ITEM
        padding = min(event.left[match.row] - match.skipped, match.prompt_width)
        prompt = "·" * min(padding, 12) + shorten(printable(call.text_of(row[padding * ids.ITEM : end])), 40)
        answer = shorten(printable(call.text_of(row[end:])), 40)
        new = ids.width(row) - match.prompt_width
        prompts = plural(len(call.matches), "row")
        place, made_at = call.caller.place, event.place
        return self.finding(
            "warning" if call.use.fate is Fate.SHOWN else "error",
            f"{call.method}() got {prompts} that generate() returned with the prompt still in front",
            place,
            steps=[
                Step("decoded", place, call_text(place)),
                Step("generated", made_at, call_text(made_at) or f"{event.model}.generate"),
                *tokenized_steps(event.tokenized, "tokenized"),
            ],
            rows=[
                (
                    f"row {number}",
                    f"[{prompt}]{answer}  [{plural(match.prompt_width, 'prompt token')}] + {new} new",
                )
            ],
            effect="the text repeats the prompt for whoever reads, scores or compares it; cut off as text it may leave a rest",
            help=(
                f"cut the prompt off as tokens, before decoding: output[:, {event.width}:], that is "
                "output[:, enc['input_ids'].shape[1]:]"
            ),
        )
