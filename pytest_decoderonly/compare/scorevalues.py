"""What is wrong with scores whose values do not keep, where the positions that are read do not say it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.padding import WHOLE_ROW, Problem

if TYPE_CHECKING:
    from pytest_decoderonly.compare.reading import Call
    from pytest_decoderonly.compare.scorefaults import Reads

_BATCH = "the score depends on what the row is batched with"


def count_fault(got: int, count: int) -> Problem:
    """More scores than rows, or fewer."""
    more = got > count
    return Problem(
        "",
        min(got, count) - 1,
        WHOLE_ROW,
        f"{got} scores for {count} rows",
        "averages count rows twice" if more else "rows are left out of the result",
        "drop what fills the last batch up to its size, for as many rows as were added"
        if more
        else "score the last, incomplete batch too (drop_last=False)",
    )


def nan_fault(row: int, batched: float, alone: float) -> Problem:
    """A score that is no finite number."""
    fine = math.isfinite(alone)
    return Problem(
        "",
        row,
        WHOLE_ROW,
        f"the score is {batched:g}"
        + (f" in the batch; alone it is {alone:.6g}" if fine else ", alone as in the batch"),
        "a mean over rows is lost, or the row is left out of it",
        "is a row of padding alone normalised, or infinity multiplied with a mask of 0? Use masked_fill before the sum"
        if fine
        else "is there a token to score at all, and is the sum divided by a number that is not 0?",
    )


def twin_fault(row: int, other: int) -> Problem:
    """Two rows that score differently alone have one and the same score in the batch."""
    return Problem(
        "",
        row,
        WHOLE_ROW,
        f"the row gets the very score of row {other}; alone the two differ",
        "one of the two is another row's score",
        "is the score remembered by a part of the row (its prompt, its length)? Remember it by prompt and continuation",
    )


def target_fault(row: int, others: list[int]) -> Problem:
    """Another last token of this row moves the score of another row, or none."""
    return Problem(
        "DLM403",
        row,
        WHOLE_ROW,
        f"another last token of the row moves score {others[0]}, not its own"
        if others
        else "another last token of the row moves no score",
        "log-probabilities are taken of another row's tokens",
        "shift the targets along the positions (axis 1), not over the rows (axis 0)",
    )


def divisor_fault(reads: Reads, slope: float) -> Problem | None:
    """Whether a mean is divided by the tokens of the whole row, or by a width that rows are padded to."""
    count, width = len(reads.alone), len(reads.ids)
    sizes = {reads.length, reads.length - 1, reads.length - (reads.offset or 0)} if reads.prompt else set()
    for size in sorted(sizes):
        if size > count and abs(slope * size - count) < 1e-3:
            return Problem(
                "",
                reads.row,
                WHOLE_ROW,
                f"the sum over {count} tokens of the continuation is divided by {size}, which counts the prompt too",
                "continuations behind long prompts score too high",
                "divide by the number of tokens that are summed",
            )
    for size in (width, width - 1):
        if width > reads.length and size > count and abs(slope * size - count) < 1e-3:
            return Problem(
                "DLM402",
                reads.row,
                reads.start + reads.length if reads.start == 0 else 0,
                f"the sum over {count} tokens is divided by the padded width, {size}",
                "short rows score too high",
                "divide by the number of real tokens, attention_mask[:, 1:].sum(-1)",
            )
    return None


def width_fault(reads: Reads, values: tuple[float, float], call: Call) -> Problem | None:
    """Whether the score in the batch is the score alone, divided by the padded width instead of the row's tokens."""
    if reads.batch is None:
        return None
    alone, batched = values
    _, at, start = reads.batch
    width = len(call.ids[at])
    count, length = len(reads.alone), reads.length
    ratio = batched / alone if alone else 0.0
    for own, size in ((count, width), (count, width - 1), (length, width), (length - 1, width - 1)):
        if width > length and size and abs(ratio - own / size) < 1e-4:
            return Problem(
                "DLM402",
                reads.row,
                0 if start else length,
                f"the sum over {count} tokens is divided by the padded width, {size}",
                _BATCH,
                "divide by the number of real tokens, attention_mask[:, 1:].sum(-1)",
            )
    return None


def explain_value(
    row: int,
    relation: str,
    reads: Reads | None,
    call: Call | None,
    *,
    shorter: bool,
) -> Problem:
    """Say why a score differs though the right positions are read."""
    effect = _BATCH
    single = call is not None and len(call.ids) == 1
    if relation in ("batch-size", "row-order", "neighbours"):
        what = {
            "batch-size": "three copies of the row score otherwise than the row alone, without any padding",
            "row-order": "the score changes with the order of the rows",
            "neighbours": "the score changes with the text of other rows",
        }[relation]
        if relation == "neighbours" and single:
            what += ", though each is run by itself: a state (a cache) is carried from one to the next"
            return Problem("", row, WHOLE_ROW, what, effect, "begin each row with a new cache, or with none")
        return Problem(
            "",
            row,
            WHOLE_ROW,
            what,
            effect,
            "average over the row's own tokens; normalise nothing over the batch",
        )
    if reads is not None and call is not None and reads.batch is not None:
        _, at, start = reads.batch
        width = len(call.ids[at])
        pads = [c for c in range(width) if not start <= c < start + reads.length]
        mask = call.mask[at] if call.mask is not None else None
        seen = [c for c in pads if mask is None or mask[c]]
        # Padding behind a token cannot reach it: only padding in front is seen.
        if any(c < start for c in seen):
            return Problem(
                "DLM110",
                row,
                seen[0],
                f"{len(seen)} padding tokens are not masked",
                "the model reads the padding as text",
                "pass the attention_mask that the tokenizer returned with these ids",
            )
        if start and not call.positions:
            return Problem(
                "DLM109",
                row,
                start,
                f"the row has {start} padding tokens on the left and the model gets no position_ids",
                "where positions are learned, every token stands at another position than alone",
                "pass position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0), or pad on the right for scoring",
            )
    start = reads.batch[2] if reads is not None and reads.batch is not None else 0
    what = "the score in the batch is not that of the row alone"
    if shorter:
        what += "; the row is padded there"
    return Problem(
        "DLM402" if shorter else "",
        row,
        WHOLE_ROW,
        what,
        effect,
        "score the row alone and in the batch, and compare term by term",
    )
