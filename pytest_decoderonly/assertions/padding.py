"""Assertions about where the padding is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_decoderonly.assertions.drawing import (
    Block,
    advice,
    legend,
    listing,
    neighbourhood,
    plural,
    share,
    statement,
    strip,
)
from pytest_decoderonly.compare.arrays import Rows, as_rows
from pytest_decoderonly.compare.embeddings import embedding_table
from pytest_decoderonly.compare.padding import (
    PaddingAudit,
    Problem,
    Side,
    SpecialIds,
    audit_padding,
    out_of_reach,
)


def assert_left_padded(
    input_ids: Any,
    attention_mask: Any = None,
    *,
    tokenizer: Any = None,
    pad_token_id: int | None = None,
    eos_token_id: Any = None,
    model: Any = None,
) -> None:
    """Assert that a batch for `generate` is padded on the left, and that its mask agrees with the padding.

    Also where padding and EOS share an id: the mask then decides which of them are real, and a mask made by
    comparing ids with the padding id, which hides the real ones, is found.

    Reports DLM101, DLM102, DLM103 and DLM104.

    Args:
        input_ids: Ids of shape (rows, positions): tensor, array or lists. Or what a tokenizer returned, with
            its mask in it.
        attention_mask: The mask of the same shape. Without one, the runs of `pad_token_id` at both ends count
            as padding; one EOS at the end of a text does not.
        tokenizer: Gives `pad_token_id`, the vocabulary, BOS and EOS, and the text of tokens in the message.
        pad_token_id: The padding id, where there is no tokenizer.
        eos_token_id: The id that ends a text, or several, where there is no tokenizer.
        model: Gives the number of embeddings, which every id must be below, and what `generate` makes of ids
            that come without a mask.

    Raises:
        AssertionError: A row is padded on the right, the mask hides a real token, leaves padding visible or
            is missing where padding and EOS share an id, or the padding token cannot be used.
        TypeError: Neither a mask nor a padding id is given, or an argument is no array of integers.
        ValueError: Shapes disagree.
    """
    __tracebackhide__ = True
    special = special_ids(tokenizer, pad_token_id, eos_token_id)
    message = _report("left", input_ids, attention_mask, tokenizer, special=special, model=model)
    del input_ids, attention_mask, tokenizer, model  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)


def assert_right_padded(
    input_ids: Any,
    attention_mask: Any = None,
    *,
    tokenizer: Any = None,
    pad_token_id: int | None = None,
    model: Any = None,
) -> None:
    """Assert that a batch is padded on the right, as code that counts from column 0 expects.

    Args:
        input_ids: Ids of shape (rows, positions), or what a tokenizer returned.
        attention_mask: The mask of the same shape.
        tokenizer: Gives `pad_token_id`, the vocabulary, BOS and EOS, and the text of tokens in the message.
        pad_token_id: The padding id, where there is no tokenizer.
        model: Gives the number of embeddings, which every id must be below.

    Raises:
        AssertionError: A row is padded on the left, mask and padding disagree, or the padding token cannot be
            used.
        TypeError: Neither a mask nor a padding id is given, or an argument is no array of integers.
        ValueError: Shapes disagree.
    """
    __tracebackhide__ = True
    special = special_ids(tokenizer, pad_token_id)
    message = _report("right", input_ids, attention_mask, tokenizer, special=special, model=model)
    del input_ids, attention_mask, tokenizer, model  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)


def _report(
    side: Side, input_ids: Any, attention_mask: Any, tokenizer: Any, *, special: SpecialIds, model: Any
) -> str:
    whole = isinstance(input_ids, Mapping)  # what goes to the model, so that a mask that is not there is none
    if whole:
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
    if mask is None and special.pad is None:
        if tokenizer is not None and len(ids) > 1:
            return _UNPADDABLE
        raise TypeError(
            "attention_mask: give it, or pad_token_id or a tokenizer with a pad token, so that "
            "padding can be told from text"
        )
    audit = audit_padding(ids, mask, side=side, special=special)
    embeddings, placeholders = _embeddings(model)
    lost = out_of_reach(
        ids,
        audit.real,
        pad_id=special.pad,
        vocabulary=_vocabulary(tokenizer, ids),
        embeddings=embeddings,
        placeholders=placeholders,
    )
    if lost is not None:
        others = tuple(problem for problem in audit.problems if problem.row != lost.row)
        return _message(replace(audit, problems=(lost, *others)), ids, mask, side, tokenizer)
    if audit.problems:
        return _message(audit, ids, mask, side, tokenizer)
    if whole and mask is None and side == "left" and audit.padded_rows:
        return _without_mask(audit, ids, special, tokenizer, model)
    return ""


_UNPADDABLE = statement(
    "the tokenizer has no padding token, so that nothing tells padding from text",
    "DLM103",
    advice(
        "rows of different lengths cannot be batched, or are filled with an id that means something else",
        "set tokenizer.pad_token (tokenizer.eos_token will do for generation, with the mask that the tokenizer "
        "returns)",
    ),
)


def special_ids(tokenizer: Any, pad_token_id: int | None = None, eos_token_id: Any = None) -> SpecialIds:
    """Return what a tokenizer says of padding, BOS and EOS; the two ids are for where there is none.

    Raises:
        TypeError: `eos_token_id` is neither an id nor ids.
    """
    pad = pad_token_id if pad_token_id is not None else getattr(tokenizer, "pad_token_id", None)
    if tokenizer is None:
        ends = None
        if eos_token_id is not None:
            given = [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id
            ends = frozenset(as_rows(given, "eos_token_id")[0])
        return SpecialIds(pad=pad, eos=ends)
    bos, eos = getattr(tokenizer, "bos_token_id", None), getattr(tokenizer, "eos_token_id", None)
    others = {bos, eos, getattr(tokenizer, "unk_token_id", None)}
    # The template's tokens stand in texts: some end a turn with the token that they pad with.
    spoken = str(getattr(tokenizer, "pad_token", None)) in str(getattr(tokenizer, "chat_template", None))
    return SpecialIds(
        pad=pad,
        bos=bos,
        eos=frozenset() if eos is None else frozenset({eos}),
        own_pad=not spoken
        and pad not in others
        and pad in (getattr(tokenizer, "all_special_ids", None) or ()),
        adds_bos=bos is not None and adds_bos(tokenizer),
    )


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts BOS in front of a text, found by asking it for one."""
    try:
        ids = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    except Exception:  # a tokenizer of the user's own may take no text, or no such option
        return False
    return bool(ids) and ids[0] == tokenizer.bos_token_id


def _vocabulary(tokenizer: Any, ids: Rows) -> int | None:
    """One more than the highest id of the tokenizer; its length alone where that is enough to judge."""
    try:
        size: int = len(tokenizer)
        if max((max(row, default=0) for row in ids), default=0) < size:
            return size
        highest: int = max(tokenizer.get_vocab().values())
        return max(size, highest + 1)  # a vocabulary may have holes
    except (TypeError, AttributeError, NotImplementedError, ValueError):
        # A tokenizer of the user's own: no length, no `get_vocab`, an empty one; transformers' base class implements neither.
        return None


def _embeddings(model: Any) -> tuple[int | None, frozenset[int]]:
    """Return how many rows the embedding has, and the ids that stand for images, audio and the like."""
    if model is None:
        return None, frozenset()
    if not hasattr(model, "get_input_embeddings"):
        raise TypeError(f"model: must be a transformers model, got {type(model).__name__}")
    table = embedding_table(model)
    rows = 0 if table is None else len(table)
    named: dict[str, Any] = dict(vars(model.config)) if rows and hasattr(model, "config") else {}
    marks = {v for k, v in named.items() if k.endswith(("_token_id", "_token_index")) and isinstance(v, int)}
    return rows or None, frozenset(marks - {named.get("pad_token_id")})


def _without_mask(audit: PaddingAudit, ids: Rows, special: SpecialIds, tokenizer: Any, model: Any) -> str:
    """Judge padded ids that come without a mask: `generate` can tell padding from its id only if that is no EOS."""
    config = getattr(model, "generation_config", None)
    known = model is not None and getattr(config, "pad_token_id", None) != special.pad
    if not (special.pad_is_eos or known):
        return ""
    why = (
        "padding and EOS share an id, so that generate cannot tell them apart"
        if special.pad_is_eos
        else f"the model's generation_config.pad_token_id is {getattr(config, 'pad_token_id', None)}, the "
        f"padding id is {special.pad}"
    )
    problems = tuple(
        Problem(
            "DLM101",
            row,
            0,
            f"{plural(real.index(True), 'padding token')} and no attention_mask: {why}",
            "the model reads the padding as text",
            "hand on the attention_mask that the tokenizer returned (see tokenizer.model_input_names)",
        )
        for row, real in enumerate(audit.real)
        if not real[0]
    )
    found = replace(audit, problems=problems)
    return _message(found, ids, None, "left", tokenizer) if problems else ""


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
    rows = f"{share(bad, len(ids), 'row')} {'is' if bad == 1 else 'are'} wrong"
    sides = any(problem.code == "DLM102" for problem in audit.problems)
    header = f"the batch is not {side}-padded: {rows}" if sides else f"padding and mask do not agree: {rows}"
    if any(problem.code == "DLM103" for problem in audit.problems):
        header = f"the padding cannot be used: {rows}"
    blocks = [_block(problem, ids[problem.row], mask, audit, tokenizer) for problem in audit.problems]
    drawn = "".join("#" if flag else "_" for problem in audit.problems for flag in audit.real[problem.row])
    told = "" if mask is None else " (as the mask says)"
    return listing(header, blocks, [legend(drawn, {"#": "real token", "_": "padding"}, told)])


def _block(problem: Problem, ids: list[int], mask: Rows | None, audit: PaddingAudit, tokenizer: Any) -> Block:
    real = audit.real[problem.row]
    signs, pointer = strip(["#" if flag else "_" for flag in real], problem.position)
    head = f"row {problem.row}   {plural(sum(real), 'real token')} + {len(real) - sum(real)} padding"
    return Block(
        f"{head}   [{problem.code}]",
        (signs, f"{pointer} position {problem.position}: {problem.what}"),
        neighbourhood(
            problem.position, ids, tokenizer, [] if mask is None else [("mask", mask[problem.row])]
        ),
        advice=advice(problem.effect, problem.advice),
    )
