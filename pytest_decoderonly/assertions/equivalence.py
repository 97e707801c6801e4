"""Assertions that a batch gives what its rows give alone, and that a way of running a model changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.assertions.drawing import advice, statement
from pytest_decoderonly.compare.arrays import as_rows
from pytest_decoderonly.compare.verdict import BatteryResult, ChangeResult, Relation, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pytest_decoderonly.changes import Change


def assert_batch_equals_single(
    model: Any,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompts: Sequence[str] | Any = None,
    *,
    new_tokens: int = 4,
    relations: Iterable[Relation | str] | None = None,
    pad_token_id: int | None = None,
    allow_by_design: bool = False,
    widths: Iterable[int] | None = None,
) -> BatteryResult:
    """Assert that padding, batching and caching leave results as they are; tell bugs from rounding.

    There is no tolerance to choose. Other ids under the padding and other text in the neighbours must change
    nothing, bit for bit, in the model's own dtype. Where the shape changes (alone against batched, more
    padding, cached against full) both sides are run in float32 on the same weights, where rounding and bugs
    lie orders of magnitude apart. Near-ties of the greedy choice pass and are listed in the result. The model
    comes back as it was: dtype, mode, buffers, random state.

    Reports DLM102, where the tokenizer pads on the right.

    Args:
        model: A causal LM with `generate`, or a module whose forward takes `input_ids` and `attention_mask`.
        tokenizer: Turns prompts into ids and gives the padding token; None where prompts are ids.
        prompts: Texts, or ids (ragged lists, or an unpadded tensor). Two or more of different lengths show
            most. None for three of 6, 19 and 33 ordinary tokens.
        new_tokens: Cached steps to compare after the prompt.
        relations: Names of the relations to judge, such as `"batch-vs-solo"`; all by default.
        pad_token_id: The padding id, where there is no tokenizer.
        allow_by_design: Let differences pass that the model's definition causes (dynamic rope scaling, expert
            capacity).
        widths: Padded widths at which the shortest prompt is tried alone. By default one column more than it
            has tokens, those around the next two multiples of 32 (31 to 34 and 63 to 66 for a short one),
            where kernels have failed, and one past a sliding window.

    Returns:
        The verdicts with their numbers; holds no tensors.

    Raises:
        AssertionError: Something differs beyond rounding, the tokenizer pads on the right, or nothing could
            be decided.
        TypeError: `model` or `prompts` cannot be used as such.
        ValueError: No prompts, an unknown relation, no positive width, or a tokenizer without a padding
            token.
    """
    __tracebackhide__ = True
    result, message = _report(
        model,
        tokenizer,
        prompts,
        new_tokens=new_tokens,
        relations=relations,
        pad_token_id=pad_token_id,
        allow_by_design=allow_by_design,
        widths=widths,
    )
    del model, tokenizer, prompts  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)
    assert result is not None  # noqa: S101 - without a result there is a message
    return result


def _report(
    model: Any,
    tokenizer: Any,
    prompts: Any,
    *,
    new_tokens: int,
    relations: Iterable[Relation | str] | None,
    pad_token_id: int | None,
    allow_by_design: bool,
    widths: Iterable[int] | None,
) -> tuple[BatteryResult | None, str]:
    _check_model(model)
    shapes = None if widths is None else [_width(width) for width in widths]
    wanted = None if relations is None else [named(relation) for relation in relations]
    pad_id = pad_token_id if pad_token_id is not None else getattr(tokenizer, "pad_token_id", None)
    if tokenizer is not None and pad_id is None:
        raise ValueError(
            "tokenizer: has no padding token, so no batch can be made; set one, such as "
            "tokenizer.pad_token = tokenizer.eos_token"
        )
    if getattr(tokenizer, "padding_side", "left") != "left":
        return None, statement(
            "the tokenizer pads on the right, so its batches are continued after the padding of the shorter rows",
            "DLM102",
            advice(
                "those rows get other, worse answers than alone, whatever the model does",
                'set tokenizer.padding_side = "left"',
            ),
        )
    rows = _rows(model, tokenizer, prompts)
    from pytest_decoderonly.assertions.report import render
    from pytest_decoderonly.compare.battery import run_battery

    pad = _pad_id(model, tokenizer, pad_token_id)
    result = run_battery(model, rows, pad_id=pad, relations=wanted, steps=new_tokens, widths=shapes)
    fine = result.verdict.clean or (allow_by_design and result.verdict is Verdict.BY_DESIGN)
    if fine:
        return result, ""
    return result, render(
        result, model=f"{type(model).__name__}, batched against single", tokenizer=tokenizer
    )


def assert_same_with(
    model: Any,
    prompts: Sequence[str] | Any,
    change: Change,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    new_tokens: int | None = None,
    pad_token_id: int | None = None,
    allow_by_design: bool = False,
) -> ChangeResult:
    """Assert that one and the same model gives the same with one thing changed about how it is run.

    The changes are those of `pytest_decoderonly.changes`: a cache kind, an attention backend, packed rows,
    `torch.compile`, `inputs_embeds`, beams, assisted decoding, a prompt in pieces, a warm cache, right padding,
    your own procedure. There is no tolerance to choose: both sides are run in float32 on the same weights,
    where rounding and bugs lie orders of magnitude apart; searches are judged by the scores behind their
    tokens, and near-ties are named as such. What cannot be tried (a backend that is not installed, a model
    without a cache) fails as undecided, with the reason. The model comes back as it was.

    Args:
        model: A causal LM of transformers.
        prompts: Texts, or ids (ragged lists, or an unpadded tensor). Two or more of different lengths show
            most. None for three of 6, 19 and 33 ordinary tokens.
        change: What is changed, such as `changes.Cache("static")`.
        tokenizer: Turns prompts into ids and gives the padding token; None where prompts are ids.
        new_tokens: Cached steps after the prompt, or tokens that a search writes; by default 4 steps, 8 tokens
            of beams, and with assistance 24 or as many as pass a sliding window.
        pad_token_id: The padding id, where there is no tokenizer.
        allow_by_design: Let differences pass that are by design (dynamic rope scaling, learned positions in
            a bare forward pass).

    Returns:
        The verdict with its numbers; holds no tensors.

    Raises:
        AssertionError: Something differs beyond rounding, or nothing could be decided.
        TypeError: `model`, `prompts` or `change` cannot be used as such.
        ValueError: No prompts, or `new_tokens` is not positive.
    """
    __tracebackhide__ = True
    result, message = _change_report(
        model,
        tokenizer,
        prompts,
        change,
        new_tokens=new_tokens,
        pad_token_id=pad_token_id,
        allow_by_design=allow_by_design,
    )
    del model, tokenizer, prompts, change  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)
    return result


def _change_report(
    model: Any,
    tokenizer: Any,
    prompts: Any,
    change: Any,
    *,
    new_tokens: int | None,
    pad_token_id: int | None,
    allow_by_design: bool,
) -> tuple[ChangeResult, str]:
    _check_model(model)
    rows = _rows(model, tokenizer, prompts)
    from pytest_decoderonly.assertions.report import render_change
    from pytest_decoderonly.compare.variants import default_steps, run_change

    pad = _pad_id(model, tokenizer, pad_token_id)
    steps = default_steps(model, rows, change) if new_tokens is None else new_tokens
    result = run_change(model, rows, change, pad_id=pad, steps=steps)
    if result.verdict.clean or (allow_by_design and result.verdict is Verdict.BY_DESIGN):
        return result, ""
    return result, render_change(result, model=type(model).__name__)


def _rows(model: Any, tokenizer: Any, prompts: Any) -> list[list[int]]:
    if prompts is not None:
        return encode(tokenizer, prompts)
    from pytest_decoderonly.compare.shapes import default_rows

    return default_rows(model)


def _width(width: object) -> int:
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ValueError(f"widths: must be positive integers, got {width!r}")
    return width


def _check_model(model: Any) -> None:
    if not callable(getattr(model, "forward", None)) or not hasattr(model, "parameters"):
        raise TypeError(f"model: must be a torch module with a forward, got {type(model).__name__}")


def _pad_id(model: Any, tokenizer: Any, pad_token_id: int | None) -> int:
    """The id under padding: given, the tokenizer's, the model's, else 0 (what it is must not matter)."""
    found = pad_token_id if pad_token_id is not None else getattr(tokenizer, "pad_token_id", None)
    fallback = getattr(getattr(model, "config", None), "pad_token_id", None)
    return found if found is not None else fallback if isinstance(fallback, int) else 0


def named(relation: Relation | str) -> Relation:
    """Return the relation of a name.

    Raises:
        ValueError: There is none of that name.
    """
    try:
        return Relation(relation)
    except ValueError:
        raise ValueError(f"relations: {relation!r} is none of {', '.join(map(str, Relation))}") from None


def encode(tokenizer: Any, prompts: Any) -> list[list[int]]:
    """Return the ids of each prompt, unpadded.

    Raises:
        TypeError: Texts without a tokenizer.
        ValueError: No prompts, or an empty one.
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    if isinstance(prompts, Sequence) and len(prompts) == 0:
        raise ValueError("prompts: there are none")
    if isinstance(prompts, Sequence) and all(isinstance(prompt, str) for prompt in prompts):
        if not callable(tokenizer):
            raise TypeError("tokenizer: is needed where prompts are texts; or give ids")
        rows = [list(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    else:
        rows = as_rows(prompts, "prompts")
    for i, row in enumerate(rows):
        if not row:
            raise ValueError(f"prompts: prompt {i} has no tokens")
    return rows
