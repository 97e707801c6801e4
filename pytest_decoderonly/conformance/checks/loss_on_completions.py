"""The model's own loss is taken over the tokens that have labels, each at its own place, and over nothing else.

By the gradient of the loss at each position's logits, with the prompt and the padding labelled -100.

Protects from: a loss that teaches the prompt or the padding, shifts labels twice or not at all, or leaves tokens out.
"""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.conformance.checks import Variant, variants
from pytest_decoderonly.conformance.found import Found, NotApplicable, failed
from pytest_decoderonly.conformance.training import IGNORE, on_labelled_batch
from pytest_decoderonly.errors import message_of

if TYPE_CHECKING:
    from pytest_decoderonly.compare.attribution import Attribution
    from pytest_decoderonly.conformance.case import Case

ORDER = 70
KIND = "training"
VARIANTS = variants(side=("left", "right"))


# As in "The labels are **not shifted** inside the model." of transformers.
_NOT_SHIFTED = re.compile(r"labels are \W*not shifted", re.IGNORECASE)
_SHIFTED = (
    "labels are not shifted inside the model, as its documentation says, and the loss is right where they come shifted: "
    "labels = labels[:, 1:], one column to the left of input_ids, which no collator for causal language models does"
)


def run(case: Case, variant: Variant) -> Found:
    """Read off what each position is taught."""
    from pytest_decoderonly.assertions.loss import assert_loss_ignores_prompt
    from pytest_decoderonly.compare.attribution import UndecidedError
    from pytest_decoderonly.compare.precision import undisturbed

    side = str(variant.parameters["side"])

    def read(batch: dict[str, Any], **boundary: Any) -> Attribution:
        with undisturbed(case.model):
            return assert_loss_ignores_prompt(
                case.model, batch, tokenizer=case.tokenizer, pad_token_id=case.pad_id, **boundary
            )

    def read_shifted(batch: dict[str, Any]) -> Attribution:
        wanted = batch["labels"] != IGNORE
        labels = batch["labels"].roll(-1, 1)
        labels[:, -1] = IGNORE
        return read({**batch, "labels": labels}, completion_mask=wanted)

    try:
        taught, halved = on_labelled_batch(case, side, read)
    except UndecidedError as error:
        raise NotApplicable(f"cannot be told: {error}") from error
    except AssertionError as error:
        if _wants_shifted(case.model):
            with suppress(AssertionError, ValueError):
                on_labelled_batch(case, side, read_shifted)
                raise NotApplicable(_SHIFTED) from None
        text = f"{case.name}, labels at their own tokens, padded on the {side}: {error}"
        return replace(failed(text, []), codes=tuple(dict.fromkeys(re.findall(r"DLM\d+", text))))
    except (TypeError, ValueError) as error:
        raise NotApplicable(f"the model computes no loss from labels: {message_of(error)}") from error
    count = sum(token is not None for row in taught.taught for token in row)
    return Found(
        f"{count} completion tokens taught, nothing else (read off the gradient at the {taught.by})",
        notes=(halved,) if halved else (),
    )


def _wants_shifted(model: Any) -> bool:
    """Whether the class's own documentation says that labels have to come shifted."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    text = inspect.getdoc(type(inner).forward) or ""
    return _NOT_SHIFTED.search(" ".join(text.split())) is not None
