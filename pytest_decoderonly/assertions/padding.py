"""Assertions about where the padding is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_decoderonly.assertions.drawing import around, listing, plural, strip, table, token_text
from pytest_decoderonly.compare.arrays import Rows, as_rows
from pytest_decoderonly.compare.padding import PaddingAudit, Problem, Side, audit_padding


def assert_left_padded(
    input_ids: Any, attention_mask: Any = None, *, tokenizer: Any = None, pad_token_id: int | None = None
) -> None:
    """Assert that a batch for `generate` is padded on the left, and that its mask agrees with the padding.

    Also where padding and EOS share an id: the mask then decides which of them are real.

    Args:
        input_ids: Ids of shape (rows, positions): tensor, array or lists. Or what a tokenizer returned, with
            its mask in it.
        attention_mask: The mask of the same shape. Without one, the runs of `pad_token_id` at both ends count
            as padding.
        tokenizer: Gives `pad_token_id`, and the text of tokens in the message.
        pad_token_id: The padding id, where there is no tokenizer.

    Raises:
        AssertionError: A row is padded on the right, the mask hides a real token, or it leaves padding
            visible.
        TypeError: Neither a mask nor a padding id is given, or an argument is no array of integers.
        ValueError: Shapes disagree.
    """
    __tracebackhide__ = True
    message = _report("left", input_ids, attention_mask, tokenizer, pad_token_id)
    del input_ids, attention_mask, tokenizer  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)


def assert_right_padded(
    input_ids: Any, attention_mask: Any = None, *, tokenizer: Any = None, pad_token_id: int | None = None
) -> None:
    """Assert that a batch is padded on the right, as code that counts from column 0 expects.

    Args:
        input_ids: Ids of shape (rows, positions), or what a tokenizer returned.
        attention_mask: The mask of the same shape.
        tokenizer: Gives `pad_token_id`, and the text of tokens in the message.
        pad_token_id: The padding id, where there is no tokenizer.

    Raises:
        AssertionError: A row is padded on the left, or mask and padding disagree.
        TypeError: Neither a mask nor a padding id is given, or an argument is no array of integers.
        ValueError: Shapes disagree.
    """
    __tracebackhide__ = True
    message = _report("right", input_ids, attention_mask, tokenizer, pad_token_id)
    del input_ids, attention_mask, tokenizer  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)


def _report(side: Side, input_ids: Any, attention_mask: Any, tokenizer: Any, pad_token_id: int | None) -> str:
    if isinstance(input_ids, Mapping):
        if "input_ids" not in input_ids:
            raise ValueError(
                f"input_ids: the mapping has no 'input_ids', only {', '.join(map(repr, input_ids))}"
            )
        attention_mask = input_ids.get("attention_mask") if attention_mask is None else attention_mask
        input_ids = input_ids["input_ids"]
    ids = as_rows(input_ids, "input_ids")
    mask = None if attention_mask is None else as_rows(attention_mask, "attention_mask")
    same_shape(ids, mask, "attention_mask")
    widths = {len(row) for row in ids}
    if len(widths) > 1:
        raise ValueError(
            f"input_ids: rows have {min(widths)} to {max(widths)} positions: this is no padded batch"
        )
    pad_id = pad_token_id if pad_token_id is not None else getattr(tokenizer, "pad_token_id", None)
    if mask is None and pad_id is None:
        raise TypeError(
            "attention_mask: give it, or pad_token_id or a tokenizer with a pad token, so that "
            "padding can be told from text"
        )
    audit = audit_padding(
        ids,
        mask,
        side=side,
        pad_id=pad_id,
        bos_id=getattr(tokenizer, "bos_token_id", None),
        eos_id=getattr(tokenizer, "eos_token_id", pad_id),
    )
    return _message(audit, ids, mask, side, tokenizer) if audit.problems else ""


def same_shape(ids: Rows, other: Rows | None, name: str) -> None:
    """Check that `other` has the rows and lengths of `ids`.

    Raises:
        ValueError: It has not.
    """
    if other is None:
        return
    if len(other) != len(ids):
        raise ValueError(f"{name}: {plural(len(other), 'row')}, but input_ids has {len(ids)}")
    for i, (mine, theirs) in enumerate(zip(ids, other, strict=True)):
        if len(mine) != len(theirs):
            raise ValueError(f"{name}: row {i} has {len(theirs)} positions, but input_ids has {len(mine)}")


def _message(audit: PaddingAudit, ids: Rows, mask: Rows | None, side: Side, tokenizer: Any) -> str:
    bad = len(audit.problems)
    header = (
        f"the batch is not {side}-padded: {bad} of {plural(len(ids), 'row')} "
        f"{'is' if bad == 1 else 'are'} wrong"
    )
    blocks = [_block(problem, ids[problem.row], mask, audit, tokenizer) for problem in audit.problems]
    legend = "signs: # real token, _ padding" + ("" if mask is None else " (as the mask says)")
    return listing(header, blocks, [legend])


def _block(
    problem: Problem, ids: list[int], mask: Rows | None, audit: PaddingAudit, tokenizer: Any
) -> list[str]:
    real = audit.real[problem.row]
    signs, pointer = strip(["#" if flag else "_" for flag in real], problem.position)
    columns = around(problem.position, len(ids))
    lines = [("position", [str(i) for i in columns]), ("id", [str(ids[i]) for i in columns])]
    show = token_text(tokenizer)
    if show is not None:
        lines.append(("token", [show(ids[i]) for i in columns]))
    if mask is not None:
        lines.append(("mask", [str(mask[problem.row][i]) for i in columns]))
    head = f"row {problem.row}   {plural(sum(real), 'real token')} + {len(real) - sum(real)} padding"
    return [
        f"{head}   [{problem.code}]",
        signs,
        f"{pointer} position {problem.position}: {problem.what}",
        *(f"   {line}" for line in table(columns, lines)),
        f"effect: {problem.effect}",
        f"do:     {problem.advice}",
    ]
