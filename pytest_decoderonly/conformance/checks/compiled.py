"""`torch.compile` gives the logits that the same weights give when they are run plainly.

Protects from: lengths, positions and masks that were constant while the graph was traced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import Compiled
from pytest_decoderonly.conformance.checks import Variant, variants

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 54
KIND = "backend"
VARIANTS = variants(backend=("aot_eager",), full=True)


def run(case: Case, variant: Variant) -> Found:
    """Run compiled."""
    return case.with_change(Compiled(str(variant.parameters["backend"])))
