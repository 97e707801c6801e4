"""Cached steps give what one forward pass over the whole text gives.

Judged in float32 on the same weights, for lone rows and for the rows of a padded batch.

Protects from: answers that go astray after the first token, because the cache holds the wrong content, a cached step
has a wrong position, or a window forgets too early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 40
KIND = "cache"
VARIANTS = (
    Variant({"batch": 1, "length": 6}),
    Variant({"batch": 1, "length": 33}),
    Variant({"batch": 3, "length": 33}),
    Variant({"what": "beyond-window"}),
    Variant({"batch": 1, "length": 257}),
    Variant({"batch": 2, "length": 257}),
    Variant({"batch": 1, "length": 1025}, full=True),
)


def run(case: Case, variant: Variant) -> Found:
    """Check cached-vs-full."""
    if variant.parameters.get("what") == "beyond-window":
        return case.read_beyond_window(Relation.CACHED_VS_FULL, lambda error: error.errors.size)
    rows, width = variant.parameters["batch"], variant.parameters["length"]
    result = case.long_battery(int(width)) if int(width) > 66 else case.battery()
    # A model with few positions is run on shorter rows.
    wanted = min(int(width), max(result.lengths))
    return case.read(
        Relation.CACHED_VS_FULL, lambda error: error.rows == rows and error.width == wanted, result=result
    )
