"""Assertions about the loss itself: which positions it is taken over, and how much each token weighs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.assertions.drawing import advice, plural, statement
from pytest_decoderonly.assertions.labels import label_report
from pytest_decoderonly.assertions.padding import same_shape
from pytest_decoderonly.compare.arrays import Rows, as_counts, as_rows
from pytest_decoderonly.compare.attribution import Attribution, as_tensors, attribute
from pytest_decoderonly.compare.labels import IGNORE, Boundary, audit_labels
from pytest_decoderonly.compare.weights import WeightAudit, audit_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.compare.attribution import LossFn

_MAX_PARTS = 10


def assert_loss_ignores_prompt(
    model: Any,
    batch: Mapping[str, Any],
    *,
    loss_fn: LossFn | None = None,
    prompt_lengths: Any = None,
    prompt_mask: Any = None,
    completion_mask: Any = None,
    tokenizer: Any = None,
    pad_token_id: int | None = None,
    eos_token_id: int | None = None,
    head: Any = None,
    ignore_index: int = IGNORE,
) -> Attribution:
    """Assert that no prompt or padding position touches the loss, and that each answer token is learned.

    By the gradient of the loss at the logits of each position, not by its value: the output of the head is
    replaced by equal logits, and what is then taught is read off the gradient of each position. Where a fused
    or chunked loss never makes the logits (TRL's trainers), it is read off the gradient of the last hidden
    states; where that cannot be, labels are tried one column at a time, which costs a forward and a backward
    pass for each. Parameters, their gradients, modes and the random state stay as they are.

    Say what the prompt is by `prompt_lengths`, `prompt_mask` or `completion_mask`. With none of them, the
    batch's own labels say what is to be learned; then it is the loss alone that is checked.

    Args:
        model: A causal language model.
        batch: `input_ids` of shape (rows, positions) and whatever else the loss needs: tensors, arrays or
            lists. Its `attention_mask` says what is padding.
        loss_fn: Computes the loss from `(model, batch)`: a tensor, a tuple that begins with one, or an output
            with `.loss`; `trainer.compute_loss`, say. By default `model(**batch).loss`.
        prompt_lengths: Prompt tokens of each row (or one number for all), padding not counted.
        prompt_mask: 1 on prompt tokens, of the shape of `input_ids`.
        completion_mask: 1 on the tokens to be learned, of the shape of `input_ids`.
        tokenizer: Gives the padding and EOS ids, and the text of tokens in the message.
        pad_token_id: The padding id, where there is no tokenizer.
        eos_token_id: The EOS id, where there is no tokenizer.
        head: The module whose output are the logits, where `model.get_output_embeddings()` does not say it.
        ignore_index: The label that the loss ignores.

    Returns:
        What each position is taught.

    Raises:
        AssertionError: A prompt or padding token is in the loss, an answer token (its EOS too) is not, labels
            are shifted twice or not at all, or a row trains nothing.
        TypeError: More than one way to tell the prompt is given, or the batch or the loss is of another kind.
        ValueError: Shapes disagree, there is no loss, or what it is taken over cannot be told
            (`UndecidedError`).
    """
    __tracebackhide__ = True
    given = {
        "prompt_lengths": prompt_lengths,
        "prompt_mask": prompt_mask,
        "completion_mask": completion_mask,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise TypeError(f"{', '.join(given)}: give one of them at most, got {' and '.join(named)}")
    special = tuple(
        value if value is not None else getattr(tokenizer, name, None)
        for value, name in ((pad_token_id, "pad_token_id"), (eos_token_id, "eos_token_id"))
    )
    found = attribute(model, batch, loss_fn, head=head, ignore_index=ignore_index)
    message = _report(found, batch, given, special=special, tokenizer=tokenizer, ignore_index=ignore_index)
    del model, batch, given, prompt_lengths, prompt_mask, completion_mask, head  # no tensors in the error
    if message:
        raise AssertionError(message)
    return found


def _report(
    found: Attribution,
    batch: Mapping[str, Any],
    given: dict[str, Any],
    *,
    special: tuple[int | None, ...],
    tokenizer: Any,
    ignore_index: int,
) -> str:
    ids = as_rows(batch["input_ids"], "batch: input_ids")
    mask = batch.get("attention_mask")
    seen = as_rows(mask, "batch: attention_mask") if mask is not None and _flat(mask) else None
    same_shape(ids, seen, "attention_mask")
    boundaries: list[Boundary] | None = None
    chosen: Rows | None = None
    if given["prompt_lengths"] is not None:
        counts = as_counts(given["prompt_lengths"], "prompt_lengths", len(ids))
        boundaries = [Boundary(count) for count in counts]
    elif given["prompt_mask"] is not None:
        prompt = as_rows(given["prompt_mask"], "prompt_mask")
        same_shape(ids, prompt, "prompt_mask")
        chosen = [
            [int(not flag and (seen is None or bool(seen[i][j]))) for j, flag in enumerate(row)]
            for i, row in enumerate(prompt)
        ]
    elif given["completion_mask"] is not None:
        chosen = as_rows(given["completion_mask"], "completion_mask")
        same_shape(ids, chosen, "completion_mask")
    elif batch.get("labels") is not None:
        labels = as_rows(batch["labels"], "batch: labels")
        same_shape(ids, labels, "labels")
        chosen = [[int(label != ignore_index) for label in row] for row in labels]
    else:
        raise TypeError(
            "prompt_lengths, prompt_mask, completion_mask: one of them is needed where the batch has no labels"
        )
    taught = found.labels(ignore_index)
    audit = audit_labels(
        taught,
        ids,
        boundaries=boundaries,
        completion_mask=chosen,
        attention_mask=seen,
        pad_id=special[0],
        eos_id=special[1],
        ignore_index=ignore_index,
        # Nothing predicts the first position.
        either=[[i == 0 for i in range(len(row))] for row in ids],
    )
    return label_report(audit, tokenizer, "the loss is taken over the wrong tokens", "taught")


def _flat(mask: Any) -> bool:
    return int(getattr(mask, "ndim", 2)) <= 2


def assert_accumulation_equals_full_batch(
    loss_fn: LossFn,
    model: Any,
    batches: Sequence[Mapping[str, Any]],
    *,
    full: Mapping[str, Any] | None = None,
    head: Any = None,
) -> WeightAudit:
    """Assert that micro-batches weigh their tokens as one batch of all their rows does.

    A mean over each micro-batch, averaged again, gives tokens of short micro-batches more weight: the loss
    moves by little, the gradient by half. So it is not the loss that is compared, but the weight of each
    token in it, read from the gradient at equal logits, for the micro-batches one by one and for the full
    batch. The gradient of all parameters is linear in these weights. Rows that supervise nothing must not
    change the weights of the others.

    Args:
        loss_fn: The loss that goes to `backward` for one micro-batch, from `(model, batch)`. Whether it is
            divided by their number is left open.
        model: A causal language model.
        batches: The micro-batches of one step, each with `input_ids` and `labels` of shape (rows, positions).
        full: All their rows in one batch; by default they are padded on the right and joined.
        head: The module whose output are the logits, where `model.get_output_embeddings()` does not say it.

    Returns:
        The weights, and the rounding that was allowed.

    Raises:
        AssertionError: Tokens weigh otherwise than in the full batch, or rows without labels change weights.
        TypeError: A batch is of another kind.
        ValueError: There is no batch, or no label, or weights cannot be told
            (`UndecidedError`).
    """
    __tracebackhide__ = True
    if isinstance(batches, Mapping) or not batches:
        raise ValueError("batches: must be a list of one micro-batch or more")
    tensors = [as_tensors(batch, model) for batch in batches]
    audit = audit_weights(
        loss_fn, model, tensors, None if full is None else as_tensors(full, model), head=head
    )
    del tensors, batches, full, model, loss_fn, head  # the error must not keep tensors alive
    if audit.problem:
        raise AssertionError(_weights_report(audit))
    return audit


def _weights_report(audit: WeightAudit) -> str:
    facts = []
    for part in audit.parts[:_MAX_PARTS]:
        low, high = f"{part.least:.4g}", f"{part.most:.4g}"
        weight = low if low == high else f"{low} to {high}"
        text = (
            f"{plural(part.tokens, 'token')}, each with {weight} of the weight that it has in the full batch"
        )
        facts.append((f"micro-batch {part.number}", text))
    if len(audit.parts) > _MAX_PARTS:
        facts.append(("...", f"and {len(audit.parts) - _MAX_PARTS} more"))
    facts.append(("gradient", f"off by {audit.error:.2g} of its norm at the logits"))
    facts.append(("scale", f"rounding, measured by other orders of the rows, is {audit.rounding:.1g}"))
    header = f"tokens do not weigh the same: {audit.problem}"
    return statement(header, "", [*facts, *advice(audit.effect, audit.advice)])
