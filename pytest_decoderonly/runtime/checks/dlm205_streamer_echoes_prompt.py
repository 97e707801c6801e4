"""DLM205: a streamer prints the prompt before the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, generate_steps
from pytest_decoderonly.runtime.report import Step, call_text, printable, shorten

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import GenerateCall
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports streamers of transformers that were made without `skip_prompt`; written out, False is a choice."""

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge by the streamer of the call, and where that was made."""
        if call.echo is None or call.lone_start or not call.outputs:
            return None
        place = call.echo.place or call.place
        size = len(call.rows[0])
        prompt = shorten(printable(call.text_of(call.rows[0])), 40)
        answer = shorten(printable(call.text_of(call.outputs[0][size:])), 32)
        return self.finding(
            "warning",
            f"{call.echo.streamer} streams the prompt before the answer",
            place,
            steps=[*generate_steps(call), Step("streamer", call.echo.place, call_text(call.echo.place))],
            rows=[("row 0", f"[{prompt}]{answer}  [{ids.width(call.rows[0])} prompt tokens]")],
            effect="whoever reads the stream gets the question first",
            help=f"{call.echo.streamer}(tokenizer, skip_prompt=True)",
        )
