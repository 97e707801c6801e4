"""DLM109: a left-padded batch in a forward without position ids, on a model that counts columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, forward_steps, row_picture
from pytest_decoderonly.runtime.report import plural
from pytest_decoderonly.runtime.usage import Fate, use_of

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import ForwardCall
    from pytest_decoderonly.runtime.report import Finding

_COUNTED = ("learned", "sinusoidal")


class Check(GuardCheck):
    """Reports rows with padding on the left by their mask, for types of models that number the columns from 0."""

    def on_forward(self, call: ForwardCall) -> Finding | None:
        """Judge by the mask of the call; without one, DLM110 is what is wrong."""
        padded = [number for number, pads in enumerate(call.own_padding or ()) if pads.left]
        if not padded or call.has_positions or (not call.shifts_labels and not call.is_backbone):
            return None
        from decoderonly_checker.knowledge.model_classes import positions_of

        if positions_of(call.model_type) not in _COUNTED or use_of(call.places).fate is Fate.DISCARDED:
            return None
        assert call.own_padding is not None  # noqa: S101 - padded rows were read from it
        return self.finding(
            "error",
            f"forward() got {plural(len(padded), 'row')} of {len(call.rows)} padded on the left, and no position_ids",
            call.place,
            steps=forward_steps(call),
            rows=[row_picture(n, call.rows[n], call.own_padding[n], call.text_of) for n in padded[:3]],
            effect=f"{call.model} numbers the columns, padding included: these rows get other logits than on their own",
            help="pass position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0), or pad on the right",
        )
