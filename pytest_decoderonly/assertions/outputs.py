"""Assertions about what generation returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_decoderonly.assertions.drawing import Block, advice, columns, listing, plural, quoted, share
from pytest_decoderonly.compare.arrays import as_rows
from pytest_decoderonly.compare.outputs import Remainder, find_prompt_ids, find_prompt_text, settled
from pytest_decoderonly.compare.texts import Codec


def assert_no_prompt(
    outputs: Any, prompts: Any, *, tokenizer: Any = None, attention_mask: Any = None
) -> None:
    """Assert that generated ids or texts do not carry their prompts any more.

    Texts are compared without special tokens, case, Unicode forms and whitespace. The whole prompt counts
    where the output starts with it (or with a rendered chat around it), a part of it where the output starts
    with the prompt's end: then the cut was too early.

    Answers that repeat words of the prompt are left alone: a greeting returned, a sentence repeated on
    request, a question quoted. Where that cannot be told from a rest of the prompt, the other rows decide.
    `assert_answers_whole` has no such doubt, as it sees what `generate` returned.

    Reports DLM201 and DLM203.

    Args:
        outputs: Generated ids of shape (rows, positions), or one text, or a list of texts.
        prompts: The prompts in the same form and number; ids may be padded. One prompt may stand for all
            outputs. Texts go with ids, and ids with texts, where a tokenizer is given.
        tokenizer: Converts where outputs and prompts differ in form; its special tokens are not compared in
            texts.
        attention_mask: The prompts' mask, where they are padded ids.

    Raises:
        AssertionError: An output still carries its prompt; says what remained and where.
        TypeError: An argument is neither ids nor texts, or a tokenizer is needed.
        ValueError: Numbers of outputs and prompts disagree, or a prompt is empty.
    """
    __tracebackhide__ = True
    message = _report(outputs, prompts, tokenizer, attention_mask)
    del outputs, prompts, tokenizer, attention_mask  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)


def _report(outputs: Any, prompts: Any, tokenizer: Any, attention_mask: Any) -> str:
    mine, theirs = _texts(outputs), _texts(prompts)
    codec = Codec.of(tokenizer)
    if mine is not None:
        wanted = theirs if theirs is not None else _decoded(prompts, tokenizer, attention_mask)
        found = [_in_text(i, out, prompt, codec) for i, (out, prompt) in _pairs(mine, wanted)]
        return _message(settled(found), len(mine), mine, None)
    ids = as_rows(outputs, "outputs")
    if theirs is not None:
        if not callable(tokenizer):
            raise TypeError("tokenizer: is needed to compare generated ids with prompts that are texts")
        wanted_ids = [list(tokenizer(prompt)["input_ids"]) for prompt in theirs]
        texts = [codec.decode(row, skip=False) for row in ids]
        by_text = [_in_text(i, out, prompt, codec) for i, (out, prompt) in _pairs(texts, theirs)]
        by_ids = [find_prompt_ids(i, out, prompt, codec) for i, (out, prompt) in _pairs(ids, wanted_ids)]
        # Both see the same; tokens are what is cut.
        found = [
            b if b is not None and (a is None or b.sure or not a.sure) else a
            for a, b in zip(by_text, by_ids, strict=True)
        ]
        return _message(settled(found), len(ids), texts, tokenizer, ids)
    found = [
        find_prompt_ids(i, out, prompt, codec)
        for i, (out, prompt) in _pairs(ids, _unpadded(prompts, tokenizer, attention_mask))
    ]
    return _message(settled(found), len(ids), None, tokenizer, ids)


def _in_text(row: int, output: str, prompt: str, codec: Codec) -> Remainder | None:
    """Look for the prompt as it was written, and as the tokenizer gives it back (unknown letters, accents)."""
    found = find_prompt_text(row, output, prompt, codec.special_texts)
    if found is None and callable(codec.tokenizer):
        again = codec.decode(codec.tokenizer(prompt)["input_ids"])
        if again != prompt:
            return find_prompt_text(row, output, again, codec.special_texts)
    return found


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and value and all(isinstance(item, str) for item in value):
        return list(value)
    if isinstance(value, Sequence) and any(isinstance(item, str) for item in value):
        raise TypeError("outputs, prompts: must hold texts only or ids only, got a mixture")
    return None


def _unpadded(prompts: Any, tokenizer: Any, attention_mask: Any) -> list[list[int]]:
    rows = as_rows(prompts, "prompts")
    if attention_mask is not None:
        mask = as_rows(attention_mask, "attention_mask")
        if [len(row) for row in mask] != [len(row) for row in rows]:
            raise ValueError("attention_mask: must have the shape of prompts")
        return [
            [t for t, m in zip(row, flags, strict=True) if m] for row, flags in zip(rows, mask, strict=True)
        ]
    pad_id = getattr(tokenizer, "pad_token_id", None)
    for row in rows if pad_id is not None else ():
        while len(row) > 1 and row[0] == pad_id:
            row.pop(0)
        while len(row) > 1 and row[-1] == pad_id:
            row.pop()
    return rows


def _decoded(prompts: Any, tokenizer: Any, attention_mask: Any) -> list[str]:
    if not hasattr(tokenizer, "decode"):
        raise TypeError("tokenizer: is needed to compare texts with prompts that are ids")
    rows = _unpadded(prompts, tokenizer, attention_mask)
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


def _pairs(outputs: Sequence[Any], prompts: Sequence[Any]) -> list[tuple[int, tuple[Any, Any]]]:
    if len(prompts) == 1 and len(outputs) > 1:
        prompts = [prompts[0]] * len(outputs)
    if len(prompts) != len(outputs):
        raise ValueError(f"prompts: {plural(len(prompts), 'prompt')} for {plural(len(outputs), 'output')}")
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompts: prompt {i} is empty, so nothing of it can remain")
    return list(enumerate(zip(outputs, prompts, strict=True)))


def _message(
    found: Sequence[Remainder | None],
    total: int,
    texts: list[str] | None,
    tokenizer: Any,
    ids: list[list[int]] | None = None,
) -> str:
    bad = [remainder for remainder in found if remainder is not None]
    if not bad:
        return ""
    blocks = []
    for rest in bad:
        shown = rest.shown
        follows = ""
        if rest.unit == "tokens" and ids is not None:
            tokens = ids[rest.row]
            decode = getattr(tokenizer, "decode", None)
            shown = (
                decode(tokens[rest.start : rest.end])
                if decode
                else " ".join(map(str, tokens[rest.start : rest.end]))
            )
            follows = decode(tokens[rest.end :]) if decode else " ".join(map(str, tokens[rest.end :]))
        elif texts is not None:
            follows = texts[rest.row][rest.end :]
        cut = "output_ids[:, input_ids.shape[1]:]"
        do = (
            f"cut it off as tokens before decoding: {cut}"
            if rest.whole
            else (
                "cut at the padded width of the prompts, not at the row's own length or a fixed "
                f"number: {cut}"
            )
        )
        code = "DLM201" if rest.whole else "DLM203"
        blocks.append(
            Block(
                f"output {rest.row}   {rest.what}   [{code}]",
                tuple(columns([("left", quoted(shown)), ("then", quoted(follows))])),
                advice=advice("the question is returned, stored or scored as if the model had said it", do),
            )
        )
    verb = "carries" if len(bad) == 1 else "carry"
    return listing(f"{share(len(bad), total, 'output')} still {verb} the prompt", blocks)
