"""DLM104: an attention mask hides real end-of-text tokens, because it was made by comparing ids with the pad id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime import ids
from pytest_decoderonly.runtime.checks.base import GuardCheck, forward_steps, generate_steps
from pytest_decoderonly.runtime.report import plural

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import ForwardCall, GenerateCall
    from pytest_decoderonly.runtime.provenance import Tokenized
    from pytest_decoderonly.runtime.report import Finding


class Check(GuardCheck):
    """Reports masks that are 0 at tokens which the tokenizer's own mask, returned with these very ids, shows as real.

    Each of them must be the pad token, which is the end-of-text token as well, and no such token may be left: then the mask is
    the comparison `ids != pad_token_id`, and not a choice.
    """

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge the mask of a generate call."""
        hidden = _hidden(call.rows, call.mask, call.origins)
        return self._reported(call, hidden) if hidden else None

    def on_forward(self, call: ForwardCall) -> Finding | None:
        """Judge the mask of a forward."""
        hidden = _hidden(call.rows, call.mask, [call.log.tokenized_row(row) for row in call.rows])
        return self._reported(call, hidden) if hidden else None

    def _reported(self, call: GenerateCall | ForwardCall, hidden: list[tuple[int, list[int]]]) -> Finding:
        number, positions = hidden[0]
        total = sum(len(places) for _, places in hidden)
        token = ids.ids_of(call.rows[number])[positions[0]]
        mask = (call.mask or [])[number]
        signs = "".join("!" if i in positions else str(bit) for i, bit in enumerate(mask))
        steps = generate_steps(call) if hasattr(call, "has_mask") else forward_steps(call)  # type: ignore[arg-type]
        return self.finding(
            "error",
            f"the attention mask hides {plural(total, 'real end-of-text token')} (id {token}), as if they were padding",
            call.place,
            steps=steps,
            rows=[
                (
                    f"row {number}",
                    f"{signs[:72]}{'...' if len(signs) > 72 else ''}  (the mask; ! is a real token)",
                )
            ],
            effect="the model does not see where turns or texts end; in a loss made with this mask it never learns to end",
            help="use the attention_mask that the tokenizer returns, not ids != pad_token_id",
        )


def _hidden(
    rows: list[bytes], masks: list[bytes] | None, origins: list[tuple[Tokenized, int] | None]
) -> list[tuple[int, list[int]]]:
    """Return for each row that the mask hides end-of-text tokens of, where; empty where any other position differs."""
    found = []
    for number, (row, origin) in enumerate(zip(rows, origins, strict=True) if masks else ()):
        if origin is None:
            continue
        made, own = origin
        if made.padding is None or made.pad_token_id is None or made.pad_token_id != made.eos_token_id:
            continue
        if made.rows[own] != row:
            continue
        values, pads = ids.ids_of(row), made.padding[own]
        real = range(pads.left, len(values) - pads.right)
        ends = [i for i in real if values[i] == made.pad_token_id]
        mask = (masks or [])[number]
        if [i for i in real if not mask[i]] != ends:
            return []
        if ends:
            found.append((number, ends))
    return found
