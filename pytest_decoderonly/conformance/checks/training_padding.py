"""The side of the padding changes nothing that a loss is taken over.

A forward pass with the mask and without `position_ids`, as training loops call it, gives each row the logits that it has
alone; so the loss is the same on both sides.

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
        return case.with_change(BareForward(), (6, 19, 33))
    from pytest_decoderonly.compare.drive import Driver
    from pytest_decoderonly.compare.ways import right_padded

    driver = Driver(case.model, case.pad_id)

    def forward(_model: Any, rows: Sequence[Sequence[int]]) -> list[Any]:
        return right_padded(driver, rows)

    return case.with_change(Rewritten(forward, name="a right-padded forward pass"), (6, 19, 33))
