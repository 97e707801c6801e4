"""How labels lie against their ids: moved, of another row, with gaps, hidden by another value than the loss ignores."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.padding import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BY_ONE = "; by one: were labels shifted, and their mask not?"
INVERTED = (
    "the mask is the wrong way round: what must be hidden is learned, and what must be learned is hidden"
)


def displaced(expected: set[int], got: set[int], real: Sequence[bool]) -> int:
    """Return by how many positions `got` is `expected` moved as a whole; 0 where it is something else.

    Positions that were counted without the padding on the left are known also where a part of them fell on
    padding, and was hidden there.
    """
    if len(got) < 2 or got == expected:
        return 0
    left = next((i for i, flag in enumerate(real) if flag), 0)
    if left:
        moved = {position - left for position in expected if position >= left}
        if got in (moved, {position for position in moved if real[position]}):
            return -left
    if len(got) != len(expected):
        return 0
    step = min(got) - min(expected)
    return step if got == {position + step for position in expected} else 0


def shift_problem(
    number: int, ids: Sequence[int], labels: Sequence[int], supervised: Sequence[bool]
) -> Problem | None:
    """Say whether most supervised labels are the ids of a neighbouring position, or of no position near."""
    on = [i for i, flag in enumerate(supervised) if flag]
    wrong = [i for i in on if labels[i] != ids[i]]
    if not wrong or len(wrong) <= len(on) // 2:
        return None
    for step, code in ((1, "DLM305"), (-1, "DLM310")):
        near = [i for i in wrong if 0 <= i + step < len(ids) and labels[i] == ids[i + step]]
        if len(near) >= max(2, (len(wrong) * 3) // 4) or (len(near) == len(wrong) == 1 and len(on) == 1):
            word = "next" if step == 1 else "previous"
            return Problem(
                code,
                number,
                wrong[0],
                f"labels hold the id of the {word} position ({len(near)} of {len(on)} supervised tokens)",
                "the model shifts labels itself, so each token is trained to predict the one after the next"
                if step == 1
                else "each token is trained to predict what it has just read",
                "hand over labels that stand at the same positions as their input_ids",
            )
    step = _far_step(ids, labels, wrong)
    if step:
        pads = len(set(ids[:step])) == 1 if step > 0 else False
        return Problem(
            "DLM310",
            number,
            wrong[0],
            f"labels hold the ids of {abs(step)} positions further {'right' if step > 0 else 'left'}"
            + (f": the ids have {step} padding tokens on the left, the labels not" if pads else ""),
            "the model is trained to answer another sequence than the one that it reads",
            "pad labels together with their ids, on the same side and to the same width"
            if pads
            else "look how labels, or the logits that they are compared with, are cut: the two begin at different places",
        )
    if len(wrong) > 2 and len(wrong) == len(on):
        return Problem(
            "DLM304",
            number,
            wrong[0],
            f"none of the {len(on)} labels is the token of its position, nor of a position beside it",
            "the model is trained to answer another sequence than the one that it reads",
            "put prompt and completion into input_ids, copy them to labels, and set the prompt to -100",
        )
    return None


def _far_step(ids: Sequence[int], labels: Sequence[int], wrong: Sequence[int]) -> int:
    """Return by how many positions labels are moved against their ids, 0 where they are not."""
    if len(wrong) < 4:  # fewer may agree by chance
        return 0
    size = len(ids)
    for step in sorted(range(-size, size), key=abs):
        if step and all(0 <= i + step < size and labels[i] == ids[i + step] for i in wrong):
            return step
    return 0


def of_another_row(
    problem: Problem, wanted: Mapping[int, int], others: Mapping[str, Sequence[int]]
) -> Problem:
    """Say of labels (`wanted`, by position) that are no tokens of their row whether they are those of another."""
    if problem.code != "DLM304" or len(wanted) < 3:
        return problem
    for name, row in others.items():
        if all(i < len(row) and label == row[i] for i, label in wanted.items()):
            return replace(
                problem,
                what=f"the labels are the tokens of {name}",
                advice="look where rows are ordered, shuffled or zipped: ids and labels were not moved together",
            )
    return problem


def other_ignore_value(
    number: int, outside: Sequence[int], ids: Sequence[int], labels: Sequence[int], ignore_index: int
) -> Problem | None:
    """Say whether all that must be hidden has one and the same label, which is not the one that the loss ignores."""
    values = {labels[i] for i in outside}
    copies = sum(labels[i] == ids[i] for i in outside)
    if len(outside) < 2 or len(values) != 1 or ignore_index in values or copies > len(outside) // 2:
        return None
    value = next(iter(values))
    return Problem(
        "DLM308",
        number,
        outside[0],
        f"prompt and padding are labelled {value}, but the loss ignores {ignore_index}",
        f"the model is trained to answer token {value} there",
        f"mask with {ignore_index}, or hand ignore_index={value} to the loss and to this assertion",
    )


def why_left_out(out: Sequence[int], answer: Sequence[int], ids: Sequence[int]) -> str:
    """Say from the places that are missing in an answer what may have hidden them; "" where its beginning is.

    Args:
        out: Positions of the answer that are not supervised, in order.
        answer: All positions of the answer, in order.
        ids: Tokens of the row.
    """
    out, answer = list(out), list(answer)
    if out == answer[: len(out)]:
        return ""
    token = ids[out[0]]
    if {i for i in answer if ids[i] == token} == set(out) and all(ids[i] == token for i in out):
        return f"labels are masked where they equal {token}: mask by position, not by token id"
    if len(out) > 1 and len(out) < len(answer) // 2:
        steps = {b - a for a, b in pairwise(out)}
        if len(steps) == 1 and (distance := steps.pop()) > 1:
            return (
                f"they stand at equal distances of {distance}: at borders of chunks, each of which was shifted by "
                "itself? shift before cutting"
            )
    if out == answer[-len(out) :]:
        return "the end of the answer is left out: were labels made before the row was cut or lengthened?"
    return "there are gaps in the answer: look what hides labels in its midst"
