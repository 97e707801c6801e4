"""The assertion that prompts reach the model as they were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_decoderonly.assertions.drawing import (
    Block,
    advice,
    legend,
    listing,
    neighbourhood,
    plural,
    share,
    strip,
)
from pytest_decoderonly.assertions.padding import same_shape, special_ids
from pytest_decoderonly.compare.arrays import as_rows
from pytest_decoderonly.compare.padding import real_rows
from pytest_decoderonly.compare.prompts import Kind, Prompt, PromptProblem, audit_prompts, make_prompt
from pytest_decoderonly.compare.texts import Codec


def assert_prompts_whole(
    input_ids: Any,
    prompts: Any,
    tokenizer: Any,
    *,
    attention_mask: Any = None,
    may_lose_beginning: bool = False,
    template_options: Mapping[str, Any] | None = None,
) -> None:
    """Assert that each row holds its prompt from the first token to the last, BOS once, and no EOS behind it.

    A prompt may stand inside more text (a template around it), and tokens may merge at its borders.

    Reports DLM105, DLM107 and DLM108.

    Args:
        input_ids: What goes to the model: ids of shape (rows, positions), padded or ragged, or what a tokenizer
            returned.
        prompts: One prompt a row: texts, chats (lists of messages with `role` and `content`, rendered with the
            tokenizer's chat template, which must end with the generation prompt), or ids.
        tokenizer: The tokenizer that the ids are made with.
        attention_mask: The mask of `input_ids`; without one, padding is told by the padding id.
        may_lose_beginning: Accept prompts that were truncated on the left on purpose.
        template_options: Further arguments of `apply_chat_template` that the prompts were rendered with, such
            as `tools` or `enable_thinking`.

    Raises:
        AssertionError: The end, the middle or the beginning of a prompt is lost (says how many tokens), a chat
            lacks its generation prompt or was rendered twice, BOS is doubled or missing, EOS follows the prompt,
            or a row holds another prompt.
        TypeError: An argument is neither ids, texts nor chats, or the tokenizer is none.
        ValueError: Numbers of rows and prompts disagree, or a prompt is empty.
    """
    __tracebackhide__ = True
    message = _report(
        input_ids,
        prompts,
        tokenizer,
        attention_mask,
        may_lose_beginning=may_lose_beginning,
        options=template_options or {},
    )
    del input_ids, prompts, tokenizer, attention_mask  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)


def _report(
    input_ids: Any,
    prompts: Any,
    tokenizer: Any,
    attention_mask: Any,
    *,
    may_lose_beginning: bool,
    options: Mapping[str, Any],
) -> str:
    if not callable(tokenizer) or not hasattr(tokenizer, "decode"):
        raise TypeError(f"tokenizer: must be a tokenizer, got {type(tokenizer).__name__}")
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
    wanted = _prompts(prompts, tokenizer, options)
    if len(wanted) != len(ids):
        raise ValueError(
            f"prompts: {plural(len(wanted), 'prompt')} for {plural(len(ids), 'row')} of input_ids"
        )
    special = special_ids(tokenizer)
    rows = [
        [token for token, flag in zip(row, real, strict=True) if flag]
        for row, real in zip(ids, real_rows(ids, mask, special), strict=True)
    ]
    problems = audit_prompts(
        rows,
        wanted,
        codec=Codec.of(tokenizer),
        special=special,
        count_bos=mask is not None or special.pad != special.bos,
        ends_known=mask is not None or not special.pad_is_eos,
    )
    if may_lose_beginning:
        problems = [problem for problem in problems if not problem.what.startswith("the first ")]
    return _message(problems, len(ids), tokenizer) if problems else ""


def _prompts(value: Any, tokenizer: Any, options: Mapping[str, Any]) -> list[Prompt]:
    kind: Kind = "ids"
    given: list[Any]
    if isinstance(value, str):
        kind, given = "text", [value]
    elif _is_chat(value):
        kind, given = "chat", [value]
    elif isinstance(value, Sequence) and value and all(isinstance(item, str) for item in value):
        kind, given = "text", list(value)
    elif isinstance(value, Sequence) and value and all(_is_chat(item) for item in value):
        kind, given = "chat", list(value)
    elif isinstance(value, Sequence) and any(isinstance(item, str) or _is_chat(item) for item in value):
        raise TypeError("prompts: must hold texts only, chats only or ids only, got a mixture")
    else:
        given = as_rows(value, "prompts")
    for i, prompt in enumerate(given):
        if not len(prompt):
            raise ValueError(f"prompts: prompt {i} is empty")
    if kind == "chat" and not getattr(tokenizer, "chat_template", None):
        raise ValueError("tokenizer: has no chat template to render the prompts with")
    return [make_prompt(prompt, kind, tokenizer, options) for prompt in given]


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(message, Mapping) and "role" in message for message in value)
    )


def _message(problems: list[PromptProblem], rows: int, tokenizer: Any) -> str:
    verb = "does" if len(problems) == 1 else "do"
    header = f"{share(len(problems), rows, 'prompt')} {verb} not reach the model as written"
    drawn = "".join("x" if lost else "#" for problem in problems for lost in problem.lost)
    meanings = {"#": "token that is there", "x": "token that is lost"}
    return listing(header, [_block(problem, tokenizer) for problem in problems], [legend(drawn, meanings)])


def _block(problem: PromptProblem, tokenizer: Any) -> Block:
    signs, pointer = strip(["x" if lost else "#" for lost in problem.lost], problem.point)
    whose = "of the prompt" if any(problem.lost) else "of the row"
    return Block(
        f"row {problem.row}   {problem.what}" + (f"   [{problem.code}]" if problem.code else ""),
        (signs, f"{pointer} position {problem.point} {whose}"),
        neighbourhood(problem.point, problem.ids, tokenizer),
        advice=advice(problem.effect, problem.advice),
    )
