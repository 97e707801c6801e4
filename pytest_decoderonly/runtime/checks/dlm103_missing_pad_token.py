"""DLM103: padding is asked of a tokenizer that has no padding token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.runtime.checks.base import GuardCheck
from pytest_decoderonly.runtime.report import Step, call_text, printable

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.frames import Caller
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Explains the tokenizer's own error, where nobody has caught that."""

    def on_tokenize_error(self, tokenizer: Any, error: BaseException, who: Caller) -> Finding | None:
        """Recognise the error by the tokenizer that has no padding token, and by what it says."""
        if getattr(tokenizer, "pad_token", None) is not None or "padding token" not in str(error):
            return None
        name = printable(str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__))
        eos = getattr(tokenizer, "eos_token", None)
        return self.finding(
            "error",
            "padding is asked of a tokenizer without a padding token",
            who.place,
            steps=[
                Step("tokenized", who.place, call_text(who.place)),
                Step(
                    "tokenizer",
                    None,
                    f"{name}, eos token {printable(str(eos)) if eos else 'none'}, no pad token",
                ),
            ],
            rows=[],
            effect="the tokenizer raises: texts of unequal length cannot be one tensor",
            help="tokenizer.pad_token = tokenizer.eos_token, and pass the attention mask on to the model",
        )
