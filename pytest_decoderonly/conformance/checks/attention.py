"""Attention backends agree, with padding and without.

Protects from: answers that change when a model is moved to another backend, because the backends are not given the same
mask, scale, window or cap.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from pytest_decoderonly.changes import Attention
from pytest_decoderonly.conformance.checks import Variant, variants
from pytest_decoderonly.conformance.found import Found, NotApplicable

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case

ORDER = 50
KIND = "backend"
# Flash attention is a package of its own: where it is missing there is nothing to be checked.
_FLASH = ("flash_attention_2",) if find_spec("flash_attn") is not None else ()
VARIANTS = (
    *variants(backend=("eager", "sdpa", *_FLASH)),
    *variants(backend=("flex_attention",), full=True),
)


def run(case: Case, variant: Variant) -> Found:
    """Run with another backend."""
    from pytest_decoderonly.compare.precision import device_of

    backend = str(variant.parameters["backend"])
    device = device_of(case.model)
    if backend.startswith("flash") and device.type != "cuda":
        raise NotApplicable(f"flash attention runs on CUDA, the model is on {device}")
    return case.with_change(Attention(backend))
