"""DLM101: a decoder-only `generate` given several prompts, or padding, and no attention mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, generate_steps, padded_row_picture
from pytest_decoderonly.runtime.report import plural

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import GenerateCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports ids with padding, or of several prompts, that go to `generate` without a mask.

    A single prompt without padding needs no mask, nor does a start token alone; a model whose forward takes
    none cannot be given one. A batch of equal lengths that a tokenizer made from text is right by luck: the next text has
    another length. Ids that no tokenizer is known to have made, drawn at random for a test of shapes, need not be prompts.
    """

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge by the real rows: padding first, then their number."""
        if call.has_mask or not call.takes_mask or call.lone_start:
            return None
        padded = call.padding_total()
        if not padded and (len(call.rows) < 2 or call.tokenized is None):
            return None
        prompts = plural(len(call.rows), "prompt")
        rows = [
            padded_row_picture(call, number) for number, row in enumerate(call.padding or ()) if row.total
        ]
        if padded and not call.guessable:
            effect = (
                f"{plural(padded, 'padding token')} {'is' if padded == 1 else 'are'} read as text: "
                "the padded prompts get other answers than on their own"
            )
        elif padded:
            effect = (
                f"generate() guesses a mask from the pad id {call.pad_token_id}: right only while that id is "
                "nowhere part of a prompt and is not the end-of-text id"
            )
        else:
            effect = (
                "the prompts happen to be of one length here; a shorter one's padding will be read as text"
            )
        return self.finding(
            "error",
            f"generate() got ids of {prompts}{' with padding' if padded else ''} and no attention_mask",
            call.place,
            steps=generate_steps(call),
            rows=rows[:3],
            effect=effect,
            help="pass the whole encoding, generate(**enc), or attention_mask=enc['attention_mask'] as well",
        )
