"""DLM204: what a text-generation pipeline returns is read with the prompt in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck
from pytest_decoderonly.runtime.report import Step, call_text, plural, printable, shorten
from pytest_decoderonly.runtime.usage import Fate, key_read, use_of

if TYPE_CHECKING:
    from types import CodeType

    from pytest_decoderonly.runtime.events import PipelineCall
    from pytest_decoderonly.runtime.report import Finding

_KEY = "generated_text"


class Check(GuardCheck):
    """Reports calls with plain texts, of a pipeline that nobody told whether the prompt is to be returned.

    The code around the call must read `generated_text`; who only runs the pipeline reads no answer. The place is where it is
    read, as for the checker; where the source does not show that, the pipeline's call.
    """

    def on_pipeline(self, call: PipelineCall) -> Finding | None:
        """Judge by the options of pipeline and call, and by the names that the calling functions use."""
        if call.asked or not any(_reads(place.code) for place in call.places):
            return None
        prompt, text = call.example
        answer = text[len(prompt) :]
        use = use_of(call.places)
        if use.fate in (Fate.ECHO, Fate.STATED):
            return None
        read = key_read(call.places, _KEY)
        found = self.finding(
            "warning" if use.fate in (Fate.CUT, Fate.SHOWN) else "error",
            f"generated_text of {plural(call.texts, 'prompt')} begins with the prompt",
            read or call.place,
            steps=[
                *([Step("read", read, call_text(read))] if read is not None else []),
                Step("called", call.place, call_text(call.place)),
                *([Step("pipeline", call.made_at, call_text(call.made_at))] if call.made_at else []),
            ],
            rows=[("text", f"[{shorten(printable(prompt), 40)}]{shorten(printable(answer), 32)}")],
            effect="cutting it off as text holds only while the prompt comes back as it was given"
            if use.fate is Fate.CUT
            else "the text repeats the prompt for whoever reads, scores or compares it",
            help="return_full_text=False at the pipeline or at the call",
        )
        found.also_at = (call.place,) if call.place is not None else ()
        return found


def _reads(code: CodeType | None) -> bool:
    """Whether a function, or a comprehension in it, names the key."""
    constants = code.co_consts if code is not None else ()
    return _KEY in constants or any(
        _reads(part) for part in constants if getattr(part, "co_name", "").endswith(("comp>", "genexpr>"))
    )
