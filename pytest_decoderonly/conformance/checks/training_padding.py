"""The side of the padding changes nothing that a loss is taken over.

A forward pass over a padded batch, as training loops call it, gives each row the logits that it has alone; so the loss is
the same on both sides. On the left `position_ids` counted from the mask are handed over where the model takes them; on the
right nothing but the mask is.

Protects from: training on one side of the padding and using the model on the other, where a row's positions or its state
differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.changes import BareForward, Rewritten
from pytest_decoderonly.conformance.checks import Variant, variants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 74
KIND = "training"
VARIANTS = variants(side=("left", "right"))


def run(case: Case, variant: Variant) -> Found:
    """Run a padded forward pass against each row alone."""
    if variant.parameters["side"] == "left":
        found = case.with_change(BareForward(position_ids=True), (6, 19, 33))
        if not found.passed:
            case.refuse_by_design()
        return found
    from pytest_decoderonly.compare.drive import Driver
    from pytest_decoderonly.compare.ways import right_padded

    driver = Driver(case.model, case.pad_id)

    def forward(_model: Any, rows: Sequence[Sequence[int]]) -> list[Any]:
        return right_padded(driver, rows)

    # Alone, too, without position_ids: some models count theirs from another number than 0.
    change = Rewritten(forward, reference=forward, name="a right-padded forward pass")
    return case.with_change(change, (6, 19, 33))
