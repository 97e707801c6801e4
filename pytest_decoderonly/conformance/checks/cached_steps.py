"""Cached steps give what one forward pass over the whole text gives.

Protects from: a cache that holds the wrong content, positions of cached steps that are off by one, a window
that forgets too early. Judged in float32 on the same weights, without padding or batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import Relation

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case

ORDER = 40


def run(case: Case) -> str:
    """Check cached-vs-full."""
    return case.judge((Relation.CACHED_VS_FULL,))
