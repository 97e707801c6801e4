"""Other kinds of cache, and none, give the logits that the model's own cache gives.

Protects from: answers that change when a static cache is asked for (as torch.compile and export do), when a cache is
offloaded or switched off, because slots that are not in use are visible or positions are those of the cache's columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import Cache
from pytest_decoderonly.conformance.checks import Variant, variants
from pytest_decoderonly.conformance.found import NotApplicable

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 42
KIND = "cache"
VARIANTS = (*variants(what=("none", "static")), *variants(what=("dynamic", "offloaded"), full=True))


def run(case: Case, variant: Variant) -> Found:
    """Run with another cache."""
    from pytest_decoderonly.compare.precision import device_of

    kind, device = str(variant.parameters["what"]), device_of(case.model)
    if kind == "offloaded" and device.type == "cpu":
        raise NotApplicable(f"a cache is offloaded to the CPU, and the model is on {device}")
    return case.with_change(Cache(kind))
