"""A right-padded prompt is refused, or its rows go on as they do alone.

The mask and the positions of the row's own tokens are handed over, so that a model has what it needs.

Protects from: states, convolutions and positions that are taken at the end of the padding, so that every shorter row is
continued from something else than its prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import RightPadded
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 66
KIND = "generate"
VARIANTS = (Variant(),)
_LENGTHS = (6, 9, 14)
_STEPS = 2


def run(case: Case, _variant: Variant) -> Found:
    """Run a right-padded prompt and cached steps."""
    from pytest_decoderonly.compare.shapes import window_of

    # Short, so that a sliding window has no part in it: that is shown by other items.
    window = window_of(case.model)
    longest = _LENGTHS[-1] if window is None else min(_LENGTHS[-1], max(2, window - _STEPS))
    lengths = tuple(max(1, length * longest // _LENGTHS[-1]) for length in _LENGTHS)
    return case.with_change(RightPadded(), lengths, steps=_STEPS)
