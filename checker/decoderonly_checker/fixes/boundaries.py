"""Fixes of where in a row the labels begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Applicability
from decoderonly_checker.fixes.prompts import code_of
from decoderonly_checker.fixes.proposals import Proposal, Step, argument_of, can_change
from decoderonly_checker.fixes.scopes import Scope
from decoderonly_checker.source.ancestors import names_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from decoderonly_checker.flow.values import Site

_LENGTH = "prompt_length"
# What a tokenizer call may be given: the prompt alone is cut to the same width, and gets the same tokens in front.
_KEPT = frozenset({"truncation", "max_length", "add_special_tokens"})


def hide_prompt(
    labels: Site, made: Site, is_prompt: Callable[[str], bool], is_response: Callable[[str], bool]
) -> Proposal | None:
    """Propose labels that begin behind the prompt's own tokens: `[-100] * prompt_length + ids[prompt_length:]`.

    Unsafe: the prompt's last token may merge with the answer's first one.

    Args:
        labels: The statement that makes labels, or the copy in it: a copy of the ids of one row, a list.
        made: The tokenizer call, given prompt and response joined with `+`.
        is_prompt: Whether code speaks of a prompt.
        is_response: Whether code speaks of a response.
    """
    value, call = labels.node, made.node
    if isinstance(value, cst.Assign):
        value = value.value
    if (
        not isinstance(value, cst.BaseExpression)
        or not isinstance(call, cst.Call)
        or labels.source is not made.source
        or not (can_change(labels) and can_change(made))
    ):
        return None
    scope = Scope(labels)
    ids = _copied(value)
    text = argument_of(call, 0, "text")
    options = call.args[1:]
    if scope.node is not Scope(made).node or ids is None or text is None or scope.mentions(_LENGTH):
        return None
    if not isinstance(ids.value, cst.Name) or scope.bound_once(ids.value.value) is not call:
        return None
    if any(option.keyword is None or option.keyword.value not in _KEPT for option in options):
        return None
    prompt = _front(text, scope, is_prompt, is_response)
    if prompt is None or not _stays(prompt, scope):
        return None
    alone = call.with_changes(args=[call.args[0].with_changes(value=prompt), *options])
    length = f'{_LENGTH} = len({code_of(alone)}["input_ids"])'
    hidden = f"[-100] * {_LENGTH} + {code_of(ids)}[{_LENGTH}:]"
    steps = (
        Step(made, "line", length),
        Step(labels.of(labels.source, labels.cell, value), "replace", hidden),
    )
    return Proposal("hide the prompt, by its length", steps, Applicability.UNSAFE)


def _copied(value: cst.BaseExpression) -> cst.Subscript | None:
    """Return `x["input_ids"]` of a copy of it, a list."""
    if isinstance(value, cst.Call):
        if isinstance(value.func, cst.Attribute) and value.func.attr.value == "copy" and not value.args:
            value = value.func.value
        elif isinstance(value.func, cst.Name) and value.func.value == "list" and len(value.args) == 1:
            value = value.args[0].value
    if (
        not isinstance(value, cst.Subscript)
        or value.lpar
        or code_of(value.slice[0]).strip("'\"") != "input_ids"
    ):
        return None
    return value if len(value.slice) == 1 else None


def _front(
    text: cst.BaseExpression,
    scope: Scope,
    is_prompt: Callable[[str], bool],
    is_response: Callable[[str], bool],
) -> cst.BaseExpression | None:
    """Return what stands before the response in `prompt + response + …`."""
    if isinstance(text, cst.Name):
        bound = scope.bound_once(text.value)
        text = bound if isinstance(bound, cst.BaseExpression) else text
    while isinstance(text, cst.BinaryOperation) and isinstance(text.operator, cst.Add):
        if is_response(code_of(text.right)) and is_prompt(code_of(text.left)):
            return text.left if not text.left.lpar else None
        text = text.left
    return None


def _stays(prompt: cst.BaseExpression, scope: Scope) -> bool:
    """Whether the names in code mean the same all through the scope, or are none of its own."""
    return all(
        scope.bound_once(name.value) is not None or scope.is_outer(name.value) for name in names_in(prompt)
    )
