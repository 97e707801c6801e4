"""`generate(inputs_embeds=…)` continues a prompt as `input_ids` does.

Protects from: soft prompts and multimodal pipelines whose embeddings are dropped, scaled twice or taken for a prompt that
the cache already holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.changes import InputsEmbeds
from pytest_decoderonly.conformance.checks import Variant

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case
    from pytest_decoderonly.conformance.found import Found

ORDER = 64
KIND = "generate"
VARIANTS = (Variant(),)


def run(case: Case, _variant: Variant) -> Found:
    """Run from embeddings."""
    return case.with_change(InputsEmbeds())
