"""Assertions about what the loss is taken over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_decoderonly.assertions.drawing import around, listing, plural, strip, table, token_text
from pytest_decoderonly.assertions.padding import same_shape
from pytest_decoderonly.compare.arrays import as_counts, as_rows
from pytest_decoderonly.compare.labels import (
    IGNORE,
    Boundary,
    LabelAudit,
    LabelRow,
    PromptNotFoundError,
    audit_labels,
    find_boundary,
)

_SIGNS = {
    ("padding", False): "_",
    ("padding", True): "!",
    ("prompt", False): "p",
    ("prompt", True): "!",
    ("completion", True): "C",
    ("completion", False): "?",
    ("either", True): "C",
    ("either", False): "p",
}


def assert_labels_mask_prompt(
    labels: Any,
    input_ids: Any,
    *,
    prompt_lengths: Any = None,
    prompts: Any = None,
    completion_mask: Any = None,
    attention_mask: Any = None,
    tokenizer: Any = None,
    pad_token_id: int | None = None,
    eos_token_id: int | None = None,
    ignore_index: int = IGNORE,
) -> None:
    """Assert that exactly the completion is supervised.

    Prompt and padding must be ignored, and every completion token labelled with its own id.

    Say what the prompt is in one of three ways: `prompt_lengths`, `prompts` with a `tokenizer`, or
    `completion_mask`.

    Args:
        labels: What goes to the model as labels, of the shape of `input_ids`.
        input_ids: Ids of prompt and completion together, (rows, positions); rows may be padded on either
            side, or be ragged.
        prompt_lengths: Prompt tokens of each row (or one number for all), padding not counted.
        prompts: Each row's prompt, as text or as ids. A token that merges the prompt's end with the
            completion's start counts as either.
        completion_mask: 1 where a token is to be supervised, else 0.
        attention_mask: 0 at padding. Without one, the runs of the padding id at both ends count as padding.
        tokenizer: Turns prompts into ids; gives the padding and EOS ids, and the text of tokens in the
            message.
        pad_token_id: The padding id, where there is no tokenizer.
        eos_token_id: The EOS id, where there is no tokenizer.
        ignore_index: The label that the loss ignores.

    Raises:
        AssertionError: A prompt or padding token is in the loss, a completion token (its EOS too) is not,
            labels are shifted or hold other ids, or a row supervises nothing.
        TypeError: None or more than one way to tell the prompt is given, or an argument is no array of
            integers.
        ValueError: Numbers of rows disagree.
    """
    __tracebackhide__ = True
    given = {"prompt_lengths": prompt_lengths, "prompts": prompts, "completion_mask": completion_mask}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise TypeError(
            "prompt_lengths, prompts, completion_mask: give exactly one of them, got "
            f"{' and '.join(named) or 'none'}"
        )
    if prompts is not None and not callable(tokenizer):
        raise TypeError("tokenizer: is needed to find prompts in input_ids; or give prompt_lengths")
    message = _report(
        labels,
        input_ids,
        given,
        attention_mask=attention_mask,
        tokenizer=tokenizer,
        special=(pad_token_id, eos_token_id),
        ignore_index=ignore_index,
    )
    # The error must not keep tensors alive.
    del labels, input_ids, prompt_lengths, prompts, completion_mask, attention_mask, tokenizer, given
    if message:
        raise AssertionError(message)


def _report(
    labels: Any,
    input_ids: Any,
    given: dict[str, Any],
    *,
    attention_mask: Any,
    tokenizer: Any,
    special: tuple[int | None, int | None],
    ignore_index: int,
) -> str:
    ids = as_rows(input_ids, "input_ids")
    marks = as_rows(labels, "labels")
    if len(marks) != len(ids):
        raise ValueError(f"labels: {plural(len(marks), 'row')}, but input_ids has {len(ids)}")
    for i, (row, mine) in enumerate(zip(ids, marks, strict=True)):
        if len(row) != len(mine):
            return (
                f"row {i}: labels have {len(mine)} positions, input_ids {len(row)}   [DLM304]\n"
                "        effect: a decoder-only model predicts the next token of one sequence; labels "
                "of another length cannot be compared\n"
                "        do:     put prompt and completion into input_ids, copy them to labels, and "
                "set the prompt to -100"
            )
    mask = None if attention_mask is None else as_rows(attention_mask, "attention_mask")
    same_shape(ids, mask, "attention_mask")
    chosen = (
        None if given["completion_mask"] is None else as_rows(given["completion_mask"], "completion_mask")
    )
    same_shape(ids, chosen, "completion_mask")
    pad_id, eos_id = (
        value if value is not None else getattr(tokenizer, name, None)
        for value, name in zip(special, ("pad_token_id", "eos_token_id"), strict=True)
    )
    boundaries: list[Boundary] | None = None
    if given["prompt_lengths"] is not None:
        boundaries = [
            Boundary(count) for count in as_counts(given["prompt_lengths"], "prompt_lengths", len(ids))
        ]
    elif given["prompts"] is not None:
        prompts = _prompts(given["prompts"], len(ids))
        boundaries = []
        for i, prompt in enumerate(prompts):
            real = [t for j, t in enumerate(ids[i]) if mask is None or mask[i][j]]
            if mask is None and pad_id is not None:
                while real and real[0] == pad_id:
                    real.pop(0)
            try:
                boundaries.append(find_boundary(tokenizer, prompt, real))
            except PromptNotFoundError as error:
                return (
                    f"row {i}: {error}   [DLM307]\n"
                    "        effect: where the prompt ends cannot be told, and a mask made from its "
                    "length would be wrong\n"
                    "        do:     tokenize prompt and completion so that the prompt's ids are a "
                    "prefix of the row, or give completion_mask"
                )
    audit = audit_labels(
        marks,
        ids,
        boundaries=boundaries,
        completion_mask=chosen,
        attention_mask=mask,
        pad_id=pad_id,
        eos_id=eos_id,
        ignore_index=ignore_index,
    )
    return _message(audit, tokenizer) if audit.problems else ""


def _prompts(prompts: Any, rows: int) -> Sequence[Any]:
    if isinstance(prompts, str):
        prompts = [prompts]
    if isinstance(prompts, Sequence) and prompts and all(isinstance(prompt, str) for prompt in prompts):
        found: Sequence[Any] = list(prompts)
    else:
        found = as_rows(prompts, "prompts")
    if len(found) != rows:
        raise ValueError(f"prompts: {plural(len(found), 'prompt')} for {plural(rows, 'row')}")
    return found


def _message(audit: LabelAudit, tokenizer: Any) -> str:
    bad = len(audit.problems)
    header = f"labels supervise the wrong tokens in {bad} of {plural(len(audit.rows), 'row')}"
    blocks = [_block(row, tokenizer) for row in audit.rows if row.problem is not None]
    legend = (
        "signs: _ padding, p prompt, C completion in the loss, ! in the loss and must not "
        "be, ? not in the loss and must be"
    )
    return listing(header, blocks, [legend])


def _block(row: LabelRow, tokenizer: Any) -> list[str]:
    problem = row.problem
    assert problem is not None  # noqa: S101 - only rows with a problem are drawn
    signs, pointer = strip(
        [_SIGNS[kind, flag] for kind, flag in zip(row.kinds, row.supervised, strict=True)], problem.position
    )
    columns = around(problem.position, len(row.ids))
    lines = [("position", [str(i) for i in columns]), ("id", [str(row.ids[i]) for i in columns])]
    show = token_text(tokenizer)
    if show is not None:
        lines.append(("token", [show(row.ids[i]) for i in columns]))
    lines.append(("is", [row.kinds[i] for i in columns]))
    lines.append(("label", [str(row.labels[i]) for i in columns]))
    prompt = row.count("prompt") + row.count("either")
    parts = f"{prompt} prompt + {row.count('completion')} completion + {row.count('padding')} padding"
    head = f"row {row.row}   {parts}, {sum(row.supervised)} of {len(row.ids)} in the loss   [{problem.code}]"
    return [
        head,
        signs,
        f"{pointer} position {problem.position}: {problem.what}",
        *(f"   {line}" for line in table(columns, lines)),
        f"effect: {problem.effect}",
        f"do:     {problem.advice}",
        *(f"note:   {note}" for note in row.notes),
    ]
