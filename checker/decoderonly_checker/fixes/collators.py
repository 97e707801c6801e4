"""Fixes of which collator makes the batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Applicability
from decoderonly_checker.fixes.proposals import Proposal, Step, can_change, leave_out_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.values import Site

_KEEPS = "DataCollatorForSeq2Seq"
# What both collators take, and what goes; a processor in the place of a tokenizer is another matter.
_SHARED = frozenset({"tokenizer", "pad_to_multiple_of", "return_tensors"})
_LIBRARY = "transformers"


def keep_labels(site: Site) -> Proposal | None:
    """Propose `DataCollatorForSeq2Seq` in the place of a collator of transformers that makes labels anew.

    Unsafe: it passes on whatever else the rows hold, and pads `labels` only.
    """
    node = site.node
    if not isinstance(node, cst.Call) or not can_change(site):
        return None
    names = {argument.keyword.value for argument in node.args if argument.keyword is not None}
    alone = [argument for argument in node.args if argument.keyword is None]  # in its place, the tokenizer
    if len(alone) + ("tokenizer" in names) != 1 or any(argument.star for argument in alone):
        return None
    if not names <= _SHARED | {"mlm"}:
        return None
    steps = _renamed(site, node.func)
    if steps is None:
        return None
    if "mlm" in names:
        left_out = leave_out_argument(site, "mlm")
        if left_out is None:
            return None
        steps += left_out.steps
    return Proposal(f"use `{_KEEPS}`, which keeps labels", steps, Applicability.UNSAFE)


def _renamed(site: Site, called: cst.BaseExpression) -> tuple[Step, ...] | None:
    """Return the steps that call the other collator by its name, which is imported where the one's is."""
    if isinstance(called, cst.Attribute):
        if not isinstance(called.value, cst.Name) or called.value.value != _LIBRARY:
            return None
        return (Step(site.of(site.source, site.cell, called.attr), "replace", _KEEPS),)
    cell = site.source.cell(site.cell)
    tree, ancestors = cell.tree, cell.ancestors
    if not isinstance(called, cst.Name) or tree is None or ancestors is None:
        return None
    imports = list(_imported(tree))
    step = Step(site.of(site.source, site.cell, called), "replace", _KEEPS)
    if any(name.value == _KEEPS for name in imports):
        return (step,)
    own = [name for name in imports if name.value == called.value]
    if len(own) != 1 or _KEEPS in ancestors.names:
        return None
    both = _KEEPS if ancestors.names[called.value] == 2 else f"{called.value}, {_KEEPS}"
    return (Step(site.of(site.source, site.cell, own[0]), "replace", both), step)


def _imported(tree: cst.Module) -> Iterator[cst.Name]:
    """Yield the names that are imported from the library at the top of a module, under their own names."""
    for line in tree.body:
        for statement in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            if not isinstance(statement, cst.ImportFrom) or isinstance(statement.names, cst.ImportStar):
                continue
            if isinstance(statement.module, cst.Name) and statement.module.value == _LIBRARY:
                for alias in statement.names:
                    if alias.asname is None and isinstance(alias.name, cst.Name):
                        yield alias.name


__all__ = ["keep_labels"]
