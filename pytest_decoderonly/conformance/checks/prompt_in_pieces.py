"""A long prompt that is fed in pieces gives what it gives at once.

Protects from: chunked prefill, as servers do it for long prompts, that begins a piece with the wrong state, position or
mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import ChunkedPrefill
from pytest_decoderonly.conformance.checks import Variant, variants

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 46
KIND = "cache"
VARIANTS = (Variant({"what": "halves"}), *variants(size=(1, 8), full=True))


def run(case: Case, variant: Variant) -> Found:
    """Run the prompt in pieces."""
    size = variant.parameters.get("size")
    return case.with_change(ChunkedPrefill(size if isinstance(size, int) else None))
