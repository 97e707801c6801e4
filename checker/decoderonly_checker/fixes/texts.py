"""Fixes of text: a prompt cut off as text, an end that is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Applicability
from decoderonly_checker.fixes.prompts import code_of, cut_prompt, is_plain
from decoderonly_checker.fixes.proposals import Proposal, Step, argument_of, can_change
from decoderonly_checker.fixes.scopes import Scope
from decoderonly_checker.source.ancestors import names_in

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Decode, TextCut
    from decoderonly_checker.flow.values import Site

# What takes nothing off a text but blanks.
_TRIMS = frozenset({"strip", "lstrip", "rstrip"})
_CUTS = frozenset({"replace", "removeprefix", "split", "partition", "rpartition", "rsplit"})


def cut_before_decode(cut: TextCut, decode: Decode) -> Proposal | None:
    """Propose to cut the prompt off the ids before the decode, in the place of a cut of the text that nobody else reads.

    Unsafe: the text may begin otherwise than the rest of the whole one did, without a blank.
    """
    if (
        len(decode.cuts) != 1
        or any(use.site.key == decode.site.key for use in decode.uses)
        or not can_change(cut.site)
        or decode.site.source is not cut.site.source
    ):
        return None
    scope = Scope(cut.site)
    ids = cut_prompt(decode) if scope.node is Scope(decode.site).node else None
    text = _text_of(cut.site.node)
    if ids is None or text is None or not _is_decode(text, cut.site, decode, scope):
        return None
    whole = cut.site.of(cut.site.source, cut.site.cell, text)
    step = Step(cut.site, "tail", "", whole)
    line = cut.site.around()[-2]
    if (
        isinstance(text, cst.Name)
        and isinstance(line, cst.SimpleStatementLine)
        and _assigned(line, text.value) is cut.site.node
        and line.trailing_whitespace.comment is None
    ):
        step = Step(cut.site, "remove", "")  # `text = text` would be left
    return Proposal(f"{ids.message}, before the decode", (*ids.steps, step), Applicability.UNSAFE)


def _text_of(cut: cst.CSTNode) -> cst.BaseExpression | None:
    """Return what a prompt is taken off in `text[n:]`, `text.replace(…)`, `text.split(…)[1]`."""
    if isinstance(cut, cst.Subscript) and len(cut.slice) == 1:
        if isinstance(cut.slice[0].slice, cst.Slice):
            return cut.value if cut.slice[0].slice.upper is None else None
        cut = cut.value
        if not _calls(cut, _CUTS - {"replace", "removeprefix"}):
            return None
    elif not _calls(cut, frozenset({"replace", "removeprefix"})):
        return None
    return cut.func.value if isinstance(cut, cst.Call) and isinstance(cut.func, cst.Attribute) else None


def _calls(node: cst.CSTNode, names: frozenset[str]) -> bool:
    return (
        isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value in names
    )


def _bound_before(cut: Site, name: str) -> cst.BaseExpression | None:
    """Return what a name stands for where `name = name[n:]` takes it for the last time, in a row of statements."""
    around = cut.around()
    line = next((one for one in reversed(around) if isinstance(one, cst.SimpleStatementLine)), None)
    block = around[around.index(line) - 1] if line is not None else None
    if not isinstance(block, cst.Module | cst.IndentedBlock) or _assigned(line, name) is None:
        return None
    if sum(one.value == name for one in names_in(block.body[block.body.index(line)])) != 2:
        return None
    for before in reversed(block.body[: block.body.index(line)]):
        if any(one.value == name for one in names_in(before)):
            value = _assigned(before, name)
            twice = value is not None and any(one.value == name for one in names_in(value))
            return None if twice else value
    return None


def _assigned(line: cst.CSTNode | None, name: str) -> cst.BaseExpression | None:
    """Return what a line assigns to a name and to nothing else."""
    statement = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    if not isinstance(statement, cst.Assign) or len(statement.targets) != 1:
        return None
    target = statement.targets[0].target
    return statement.value if isinstance(target, cst.Name) and target.value == name else None


def _is_decode(text: cst.CSTNode | None, cut: Site, decode: Decode, scope: Scope) -> bool:
    """Whether code is what a decode gave, or a name for it that is read here alone."""
    for _ in range(6):
        if text is decode.site.node:
            return True
        if isinstance(text, cst.Subscript) and len(text.slice) == 1:
            index = text.slice[0].slice
            if not (decode.batch and isinstance(index, cst.Index) and isinstance(index.value, cst.Integer)):
                return False
            text = text.value
        elif isinstance(text, cst.Call) and isinstance(text.func, cst.Attribute) and _calls(text, _TRIMS):
            text = text.func.value
        elif isinstance(text, cst.Name):
            once = scope.mentions(text.value) == 2
            text = scope.bound_once(text.value) if once else _bound_before(cut, text.value)
        else:
            return False
    return False


def end_text(site: Site) -> Proposal | None:
    """Propose to append the EOS token to the one text that a tokenizer is called with.

    Unsafe: whoever appends it elsewhere has two of them.
    """
    node = site.node
    if not isinstance(node, cst.Call) or not can_change(site):
        return None
    maker: cst.BaseExpression = node.func
    if isinstance(maker, cst.Attribute) and maker.attr.value in {"encode", "encode_plus", "__call__"}:
        maker = maker.value
    text = argument_of(node, 0, "text")
    if not is_plain(maker) or text is None:
        return None
    joined = isinstance(text, cst.BinaryOperation) and isinstance(text.operator, cst.Add) and not text.lpar
    if not joined and (
        not isinstance(
            text, cst.Name | cst.Attribute | cst.Subscript | cst.FormattedString | cst.SimpleString
        )
        or text.lpar
    ):
        return None
    code = f" + {code_of(maker)}.eos_token"
    last = text
    while isinstance(last, cst.BinaryOperation):
        last = last.right
    if last.lpar:
        return None
    return Proposal(
        f"append `{code_of(maker)}.eos_token`",
        (Step(site.of(site.source, site.cell, text), "end", code),),
        Applicability.UNSAFE,
    )


def set_pad_token(site: Site | None) -> Proposal | None:
    """Propose to make the EOS token the pad token, where a tokenizer is made. Unsafe: all who use it pad with it."""
    if site is None or not isinstance(site.node, cst.Call):
        return None
    around = site.around()
    statement = around[-1] if around else None
    if (
        not isinstance(statement, cst.Assign)
        or statement.value is not site.node
        or len(statement.targets) != 1
    ):
        return None
    target = statement.targets[0].target
    if not is_plain(target):
        return None
    code = f"{code_of(target)}.pad_token = {code_of(target)}.eos_token"
    return Proposal(f"add `{code}`", (Step(site, "line", code),), Applicability.UNSAFE)
