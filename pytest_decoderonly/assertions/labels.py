"""Assertions about what the loss is taken over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
from pytest_decoderonly.assertions.padding import same_shape
from pytest_decoderonly.compare.arrays import Rows, as_counts, as_rows
from pytest_decoderonly.compare.chats import ChatError, RowDiffersError, places_in_row
from pytest_decoderonly.compare.labels import (
    IGNORE,
    Boundary,
    LabelAudit,
    LabelRow,
    PromptNotFoundError,
    audit_labels,
    find_boundary,
)
from pytest_decoderonly.compare.packing import Example, PackedRows, find_examples, lengths_from_cumulative
from pytest_decoderonly.compare.padding import Problem, real_positions

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
_MEANINGS = {
    "_": "padding",
    "p": "prompt",
    "C": "completion in the loss",
    "!": "in the loss and must not be",
    "?": "not in the loss and must be",
}


def assert_labels_mask_prompt(
    labels: Any,
    input_ids: Any,
    *,
    prompt_lengths: Any = None,
    prompts: Any = None,
    messages: Any = None,
    completion_mask: Any = None,
    assistant_masks: Any = None,
    attention_mask: Any = None,
    position_ids: Any = None,
    seq_lengths: Any = None,
    cu_seqlens: Any = None,
    tokenizer: Any = None,
    pad_token_id: int | None = None,
    eos_token_id: int | None = None,
    ignore_index: int = IGNORE,
    turns: Literal["all", "last"] = "all",
) -> None:
    """Assert that exactly the completion is supervised.

    Prompt and padding must be ignored, and every completion token labelled with its own id.

    Say what the prompt is in one of four ways: `prompt_lengths`; `prompts` or `messages` with a `tokenizer`;
    or `completion_mask`, `assistant_masks` or both.

    Rows that hold several examples are packed: `position_ids`, `seq_lengths` or `cu_seqlens` say where each
    begins. Prompts, their lengths and conversations are then given one for each example, in order. The first
    token of an example must not be supervised where another stands before it.

    Reports DLM301, DLM302, DLM303, DLM304, DLM305, DLM307, DLM308, DLM310 and DLM311.

    Args:
        labels: What goes to the model as labels, of the shape of `input_ids`.
        input_ids: Ids of prompt and completion together, (rows, positions); rows may be padded on either
            side, or be ragged.
        prompt_lengths: Prompt tokens of each row (or one number for all), padding not counted.
        prompts: Each row's prompt, as text or as ids. A token that merges the prompt's end with the
            completion's start counts as either.
        messages: Each row's conversation, a list of dicts with `role` and `content`. The assistant's turns,
            each with its terminator, are what is to be supervised: what the template's `{% generation %}`
            markers enclose, or, without markers, what follows each generation prompt up to the terminator.
            White space behind a terminator, and an empty block of thoughts that the template puts before an
            answer, may be supervised or not.
        completion_mask: 1 where a token is to be supervised, else 0, of the shape of `input_ids` (TRL).
        assistant_masks: The same, as `apply_chat_template(return_assistant_tokens_mask=True)` returns it.
            Given both masks, a token must be marked in both.
        attention_mask: 0 at padding. Without one, the runs of the padding id at both ends count as padding.
        position_ids: Positions that begin again with each packed example, of the shape of `input_ids`.
        seq_lengths: The tokens of each example of each row (TRL), padding not counted.
        cu_seqlens: Cumulative lengths, from 0, of the examples of a single row (flash attention).
        tokenizer: Turns prompts into ids; gives the padding and EOS ids, and the text of tokens in the
            message.
        pad_token_id: The padding id, where there is no tokenizer.
        eos_token_id: The EOS id, where there is no tokenizer.
        ignore_index: The label that the loss ignores.
        turns: With `messages`, whether `"all"` of the assistant's turns are to be supervised, or the `"last"`.

    Raises:
        AssertionError: A prompt or padding token is in the loss, a completion token (its EOS too) is not,
            labels are shifted or hold other ids, a row supervises nothing, a packed example is learned from
            the one before, or positions and lengths of packed examples contradict each other.
        TypeError: None or more than one way to tell the prompt is given, or an argument is no array of
            integers.
        ValueError: Numbers of rows disagree, or a template cannot render a conversation.
    """
    __tracebackhide__ = True
    given = {
        "prompt_lengths": prompt_lengths,
        "prompts": prompts,
        "messages": messages,
        "completion_mask": completion_mask,
        "assistant_masks": assistant_masks,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1 and named != ["completion_mask", "assistant_masks"]:
        raise TypeError(f"{', '.join(given)}: give exactly one of them, got {' and '.join(named) or 'none'}")
    if turns not in ("all", "last"):
        raise ValueError(f"turns: must be 'all' or 'last', got {turns!r}")
    if turns == "last" and messages is None:
        raise TypeError("turns: goes with messages only")
    if prompts is not None and not callable(tokenizer):
        raise TypeError("tokenizer: is needed to find prompts in input_ids; or give prompt_lengths")
    if messages is not None and not hasattr(tokenizer, "apply_chat_template"):
        raise TypeError("tokenizer: one with a chat template is needed for messages; or give assistant_masks")
    message = _report(
        labels,
        input_ids,
        given,
        attention_mask=attention_mask,
        packing=(position_ids, seq_lengths, cu_seqlens),
        tokenizer=tokenizer,
        special=(pad_token_id, eos_token_id),
        ignore_index=ignore_index,
        last=turns == "last",
    )
    # The error must not keep tensors alive.
    del labels, input_ids, prompt_lengths, prompts, messages, completion_mask, assistant_masks, attention_mask
    del position_ids, seq_lengths, cu_seqlens, tokenizer, given
    if message:
        raise AssertionError(message)


def _report(
    labels: Any,
    input_ids: Any,
    given: dict[str, Any],
    *,
    attention_mask: Any,
    packing: tuple[Any, Any, Any],
    tokenizer: Any,
    special: tuple[int | None, int | None],
    ignore_index: int,
    last: bool,
) -> str:
    ids = as_rows(input_ids, "input_ids")
    marks = as_rows(labels, "labels")
    if len(marks) != len(ids):
        raise ValueError(f"labels: {plural(len(marks), 'row')}, but input_ids has {len(ids)}")
    for i, (row, mine) in enumerate(zip(ids, marks, strict=True)):
        if len(row) != len(mine):
            return statement(
                f"row {i}: labels have {len(mine)} positions, input_ids {len(row)}",
                "DLM304",
                advice(
                    "a decoder-only model predicts the next token of one sequence; labels of another length "
                    "cannot be compared",
                    "put prompt and completion into input_ids, copy them to labels, and set the prompt to -100",
                ),
            )
    mask = None if attention_mask is None else as_rows(attention_mask, "attention_mask")
    same_shape(ids, mask, "attention_mask")
    chosen = _chosen(ids, given)
    pad_id, eos_id = (
        value if value is not None else getattr(tokenizer, name, None)
        for value, name in zip(special, ("pad_token_id", "eos_token_id"), strict=True)
    )
    names: list[str] | None = None
    follows: list[bool] | None = None
    if any(value is not None for value in packing):
        real = [real_positions(row, None if mask is None else mask[i], pad_id) for i, row in enumerate(ids)]
        packed = _examples(ids, real, packing)
        if packed.problems:
            return _contradiction(packed.problems)
        cut = packed.examples
        names = [f"row {e.row}, example {e.number} (from position {e.start})" for e in cut]
        follows = [e.number > 0 for e in cut]
        chosen = None if chosen is None else [chosen[e.row][e.start : e.end] for e in cut]
        outside = _outside(marks, cut, ignore_index)
        if outside:
            return outside
        ids, marks = ([rows[e.row][e.start : e.end] for e in cut] for rows in (ids, marks))
        mask = [[1] * len(row) for row in ids]
    real_ids = [_real_ids(row, None if mask is None else mask[i], pad_id) for i, row in enumerate(ids)]
    boundaries: list[Boundary] | None = None
    either: list[list[bool]] | None = None
    if given["prompt_lengths"] is not None:
        boundaries = [
            Boundary(count) for count in as_counts(given["prompt_lengths"], "prompt_lengths", len(ids))
        ]
    elif given["prompts"] is not None:
        boundaries = []
        for i, prompt in enumerate(_prompts(given["prompts"], len(ids))):
            found = _boundary(tokenizer, prompt, real_ids[i])
            if isinstance(found, PromptNotFoundError):
                return _not_found(names[i] if names else f"row {i}", found, "completion_mask")
            boundaries.append(found)
    elif given["messages"] is not None:
        chosen, either = [], []
        for i, conversation in enumerate(_conversations(given["messages"], len(ids))):
            places = _places(tokenizer, conversation, real_ids[i], i, last=last)
            if isinstance(places, RowDiffersError):
                return _not_found(names[i] if names else f"row {i}", places, "assistant_masks")
            spread = _spread(places, ids[i], None if mask is None else mask[i], pad_id)
            chosen.append([int(place == "in") for place in spread])
            either.append([place == "both" for place in spread])
    audit = audit_labels(
        marks,
        ids,
        boundaries=boundaries,
        completion_mask=chosen,
        attention_mask=mask,
        pad_id=pad_id,
        eos_id=eos_id if given["messages"] is None else None,
        ignore_index=ignore_index,
        either=either,
        follows=follows,
        names=names,
    )
    return label_report(audit, tokenizer)


def _boundary(tokenizer: Any, prompt: Any, row: Sequence[int]) -> Boundary | PromptNotFoundError:
    try:
        return find_boundary(tokenizer, prompt, row)
    except PromptNotFoundError as error:
        return error


def _places(
    tokenizer: Any, conversation: Sequence[Any], row: Sequence[int], number: int, *, last: bool
) -> list[str] | RowDiffersError:
    try:
        return places_in_row(tokenizer, conversation, row, last=last)
    except RowDiffersError as error:
        return error
    except ChatError as error:
        raise ValueError(f"messages: conversation {number}: {error}") from error


def _chosen(ids: Rows, given: dict[str, Any]) -> Rows | None:
    """Return the mask of what is to be supervised, marked in all masks that are given."""
    masks = []
    for name in ("completion_mask", "assistant_masks"):
        if given[name] is not None:
            masks.append(as_rows(given[name], name))
            same_shape(ids, masks[-1], name)
    if not masks:
        return None
    return [[int(all(bits)) for bits in zip(*rows, strict=True)] for rows in zip(*masks, strict=True)]


def _examples(ids: Rows, real: Sequence[Sequence[bool]], packing: tuple[Any, Any, Any]) -> PackedRows:
    position_ids, seq_lengths, cu_seqlens = packing
    positions = None
    if position_ids is not None:
        positions = as_rows(position_ids, "position_ids")
        same_shape(ids, positions, "position_ids")
    lengths = None
    if seq_lengths is not None and cu_seqlens is not None:
        raise TypeError("seq_lengths, cu_seqlens: give one of them")
    if cu_seqlens is not None:
        if len(ids) != 1:
            raise ValueError(f"cu_seqlens: tells the examples of a single row, but input_ids has {len(ids)}")
        lengths = [lengths_from_cumulative(as_rows(cu_seqlens, "cu_seqlens")[0])]
    if seq_lengths is not None:
        lengths = as_rows(seq_lengths, "seq_lengths")
        if len(lengths) != len(ids):
            raise ValueError(f"seq_lengths: {plural(len(lengths), 'row')}, but input_ids has {len(ids)}")
    return find_examples(real, position_ids=positions, lengths=lengths)


def _contradiction(problems: Sequence[Problem]) -> str:
    blocks = [
        Block(
            f"row {problem.row}   [{problem.code}]",
            (f"position {problem.position}: {problem.what}",),
            advice=advice(problem.effect, problem.advice),
        )
        for problem in problems
    ]
    return listing(f"the borders of packed examples are wrong in {plural(len(problems), 'row')}", blocks)


def _outside(marks: Rows, examples: Sequence[Example], ignore_index: int) -> str:
    """Say whether padding around the examples is supervised."""
    inside = {(e.row, i) for e in examples for i in range(e.start, e.end)}
    for row, values in enumerate(marks):
        bad = [i for i, label in enumerate(values) if label != ignore_index and (row, i) not in inside]
        if bad:
            problem = Problem(
                "DLM302",
                row,
                bad[0],
                f"{plural(len(bad), 'padding token')} {'is' if len(bad) == 1 else 'are'} in the loss",
                "the model is trained to write padding",
                "set labels to -100 where attention_mask is 0",
            )
            return _contradiction([problem])
    return ""


def _real_ids(row: Sequence[int], mask: Sequence[int] | None, pad_id: int | None) -> list[int]:
    """Return the tokens that prompts are looked for in.

    Without a mask what follows is not cut off: an answer's EOS may share the padding's id.
    """
    real = [token for j, token in enumerate(row) if mask is None or mask[j]]
    if mask is None and pad_id is not None:
        while real and real[0] == pad_id:
            real.pop(0)
    return real


def _spread(
    places: Sequence[str], row: Sequence[int], mask: Sequence[int] | None, pad_id: int | None
) -> list[str]:
    """Put what was found of the real tokens back to the columns of the padded row."""
    if mask is None:
        lead = len(row) - len(_real_ids(row, None, pad_id))
        return ["out"] * lead + list(places)
    found = iter(places)
    return [next(found) if flag else "out" for flag in mask]


def _not_found(row: str, error: Exception, instead: str) -> str:
    return statement(
        f"{row}: {error}",
        "DLM307",
        advice(
            "where the prompt ends cannot be told, and a mask made from its length would be wrong",
            "tokenize prompt and completion so that the prompt's ids are a prefix of the row, or give "
            f"{instead}",
        ),
    )


def _conversations(messages: Any, rows: int) -> list[Any]:
    if isinstance(messages, Sequence) and messages and all(isinstance(item, Mapping) for item in messages):
        messages = [messages]
    if not isinstance(messages, Sequence) or not all(
        isinstance(item, Sequence) and item and all(isinstance(turn, Mapping) for turn in item)
        for item in messages
    ):
        raise TypeError(
            "messages: must be a list of conversations, each a list of dicts with role and content"
        )
    if len(messages) != rows:
        raise ValueError(f"messages: {plural(len(messages), 'conversation')} for {plural(rows, 'row')}")
    return list(messages)


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


def label_report(
    audit: LabelAudit, tokenizer: Any, header: str = "labels supervise the wrong tokens", label: str = "label"
) -> str:
    """Return the message about an audit's problems, "" where there are none."""
    if not audit.problems:
        return ""
    header = f"{header} in {share(len(audit.problems), len(audit.rows), 'row')}"
    wrong = [row for row in audit.rows if row.problem is not None]
    drawn = "".join(_signs(row) for row in wrong)
    return listing(header, [_block(row, tokenizer, label) for row in wrong], [legend(drawn, _MEANINGS)])


def _signs(row: LabelRow) -> str:
    return "".join(_SIGNS[kind, flag] for kind, flag in zip(row.kinds, row.supervised, strict=True))


def _block(row: LabelRow, tokenizer: Any, label: str) -> Block:
    problem = row.problem
    assert problem is not None  # noqa: S101 - only rows with a problem are drawn
    signs, pointer = strip(_signs(row), problem.position)
    prompt = row.count("prompt") + row.count("either")
    parts = f"{prompt} prompt + {row.count('completion')} completion + {row.count('padding')} padding"
    head = f"{row.name}   {parts}, {sum(row.supervised)} of {len(row.ids)} in the loss   [{problem.code}]"
    return Block(
        head,
        (signs, f"{pointer} position {problem.position}: {problem.what}"),
        neighbourhood(problem.position, row.ids, tokenizer, [("is", row.kinds), (label, row.labels)]),
        tuple(("note", note) for note in row.notes),
        advice(problem.effect, problem.advice),
    )
