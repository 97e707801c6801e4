"""A training step's gradient is finite and reaches every decoder layer that has something to train.

Protects from: layers that never learn (a detached state, a frozen part, an adapter that is switched off) and NaN in the
first step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.conformance.checks import Variant
from pytest_decoderonly.conformance.found import Found, NotApplicable, failed
from pytest_decoderonly.conformance.training import gradient_flow, on_labelled_batch

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.case import Case

ORDER = 72
KIND = "training"
VARIANTS = (Variant(),)


def run(case: Case, _variant: Variant) -> Found:
    """Take the gradient of the loss of a padded batch."""
    if not any(parameter.requires_grad for parameter in case.model.parameters()):
        raise NotApplicable("no weight of the model is trainable (requires_grad is False everywhere)")
    from pytest_decoderonly.compare.precision import why_not_castable

    # Weights of a GGUF file are called quantised as well, and are plain numbers.
    if "quantised" in why_not_castable(case.model) and not hasattr(case.model, "peft_config"):
        raise NotApplicable("the weights are quantised, and there is no adapter on them to be trained")
    flow, halved = on_labelled_batch(case, "right", lambda batch: gradient_flow(case.model, batch))
    notes = (halved,) if halved else ()
    headline = f"{case.name}: the gradient of a training step does not flow"
    if flow.error:
        raise NotApplicable(f"the model computes no loss from labels: {flow.error}")
    if flow.raised:
        return failed(headline, [f"the backward pass raised: {flow.raised}"], notes=notes)
    problems = [f"{name}: its gradient is NaN or infinite" for name in flow.not_finite[:5]]
    problems += [f"{name}: every gradient in it is zero or missing" for name in flow.dead[:5]]
    left = len(flow.not_finite) + len(flow.dead) - len(problems)
    if problems:
        return failed(headline, [*problems, *([f"... and {left} more"] if left else [])], notes=notes)
    return Found(
        f"{flow.trained} trainable weights in {flow.layers} layers, all layers reached, all gradients finite",
        notes=notes,
    )
