"""DLM107: a text that begins with BOS got another one when it was tokenized."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, forward_steps, generate_steps
from pytest_decoderonly.runtime.report import plural, printable, shorten

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import ForwardCall, GenerateCall
    from pytest_decoderonly.runtime.provenance import Tokenized
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports rows that begin with two BOS tokens, as a tokenizer made them that was free to add its own."""

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge the rows of a generate call."""
        return self._reported(call, call.origins)

    def on_forward(self, call: ForwardCall) -> Finding | None:
        """Judge the rows of a forward."""
        padding = call.own_padding or (None,) * len(call.rows)
        return self._reported(
            call, [call.log.origin(row, pads) for row, pads in zip(call.rows, padding, strict=True)]
        )

    def _reported(
        self, call: GenerateCall | ForwardCall, origins: list[tuple[Tokenized, int] | None]
    ) -> Finding | None:
        doubled = [
            (number, origin)
            for number, origin in enumerate(origins)
            if origin is not None and _doubled(*origin)
        ]
        if not doubled:
            return None
        number, (made, own) = doubled[0]
        text = shorten(printable(call.text_of(made.real(own))), 56)
        return self.finding(
            "warning",
            f"{plural(len(doubled), 'row')} of {len(origins)} {'begins' if len(doubled) == 1 else 'begin'} with two BOS "
            f"tokens (id {made.bos_token_id})",
            made.place or call.place,
            steps=generate_steps(call) if hasattr(call, "has_mask") else forward_steps(call),  # type: ignore[arg-type]
            rows=[(f"row {number}", f"|{text}|")],
            effect="the text held its BOS already, as chat templates write it: the model has never seen two",
            help="tokenize such text with add_special_tokens=False, or let apply_chat_template tokenize",
        )


def _doubled(made: Tokenized, number: int) -> bool:
    if made.bos_token_id is None or not made.adds_special or made.padding is None:
        return False
    bos = ids.token_bytes(made.bos_token_id)
    # Exactly two: a run of more is somebody's own text.
    return ids.run_length(made.real(number), bos, at_end=False) == 2
