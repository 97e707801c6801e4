"""The assertion that a row's score is its own: alone, in any batch, and of its own tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.assertions.drawing import (
    Block,
    advice,
    legend,
    listing,
    neighbourhood,
    share,
    statement,
    strip,
    table,
)
from pytest_decoderonly.assertions.report import number
from pytest_decoderonly.compare.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_decoderonly.compare.scorereads import ScoreRow
    from pytest_decoderonly.compare.scores import ScoreRelation, ScoreResult
    from pytest_decoderonly.compare.totals import Reduction, TotalResult

_MEANINGS = {
    "_": "not the row's own (padding)",
    "p": "prompt",
    "R": "read by the score",
    ".": "not read",
    "!": "read and must not be",
    "?": "not read and must be",
}


def assert_scores_keep(
    score: Callable[[Any], Any],
    rows: Any,
    *,
    prompt_lengths: Any = None,
    reduction: Literal["token", "row"] | None = None,
    tokenizer: Any = None,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> ScoreResult | TotalResult:
    """Assert that a score (a log-likelihood, a perplexity, a reward) is the same in any batch, and of its own tokens.

    There is no tolerance to choose, and nothing to tell about the model: the torch modules that `score` calls are
    seen at work. Their states are moved one position at a time; a score that follows, reads that position. So it is
    known which positions count, alone and in the batch: padding must not, nor the prompt where the continuation is
    scored, and each token of the continuation must. Then values: alone, in the batch, in another order, beside other
    text, in float32 on the same weights, in units of what another last token does to the score. Models come back as
    they were: dtype, mode, buffers, random state.

    Reports DLM104, DLM107, DLM109, DLM110, DLM401, DLM402 and DLM403.

    Args:
        score: Your function: takes a list of rows, as given here, and returns one number a row (tensor of shape
            (rows,) or (rows, 1), array or list), or a list of one number a token for each row. With `reduction`,
            one number for all rows.
        rows: Two or more rows of unequal lengths, as `score` takes them: lists (or arrays, tensors) of token ids,
            texts, or (prompt, continuation) pairs of either. Short ones are enough.
        prompt_lengths: Where rows are ids of prompt and continuation together: tokens of the prompt (or one number
            for all). Only the continuation may count then, as with pairs.
        reduction: What the mean over all rows must be: `"token"`, every token weighs the same (the perplexity of a
            corpus), or `"row"`, every row does.
        tokenizer: Gives BOS, EOS and padding ids, where the prompt ends in pairs of texts, and the text of tokens in
            the message.
        bos_token_id: The BOS id, where there is no tokenizer.
        eos_token_id: The EOS id, where there is no tokenizer.
        pad_token_id: The padding id, where there is no tokenizer.

    Returns:
        The verdicts with their numbers; holds no tensors.

    Raises:
        AssertionError: A score depends on padding, neighbours or order, misses or adds tokens, or weighs rows
            otherwise; or nothing could be decided.
        TypeError: `score` is not callable, or `rows` or what it returns is of none of these forms.
        ValueError: Fewer than two rows, an empty one, or an unknown `reduction`.
    """
    __tracebackhide__ = True
    if not callable(score):
        raise TypeError(f"score: must be a function of a list of rows, got {type(score).__name__}")
    if reduction not in (None, "token", "row"):
        raise ValueError(f"reduction: must be 'token', 'row' or None, got {reduction!r}")
    result: ScoreResult | TotalResult
    if reduction is not None:
        from pytest_decoderonly.compare.totals import judge_total

        result = judge_total(score, rows, reduction)
        message = _total_message(result)
    else:
        from pytest_decoderonly.compare.scores import judge_scores

        bos, eos, pad = (
            given if given is not None else getattr(tokenizer, name, None)
            for given, name in (
                (bos_token_id, "bos_token_id"),
                (eos_token_id, "eos_token_id"),
                (pad_token_id, "pad_token_id"),
            )
        )
        result = judge_scores(
            score,
            rows,
            prompt_lengths=prompt_lengths,
            bos_id=bos,
            eos_id=eos,
            pad_id=pad,
            tokenizer=tokenizer if hasattr(tokenizer, "decode") else None,
        )
        message = "" if result.verdict.clean else render_scores(result, tokenizer)
    del score, rows, prompt_lengths, tokenizer  # the error must not keep tensors alive
    if message:
        raise AssertionError(message)
    return result


def render_scores(result: ScoreResult, tokenizer: Any = None) -> str:
    """Return the report of scores that do not keep: rows drawn first, then the relations with their numbers."""
    notes = list(result.notes)
    if result.verdict is Verdict.UNDECIDED:
        reasons = [relation.reason for relation in result.relations if relation.verdict is Verdict.UNDECIDED]
        header = f"whether the scores keep is UNDECIDED: {reasons[0] if reasons else notes.pop()}"
    else:
        bad = len(result.rows)
        some = share(bad, result.total_rows, "row")
        header = f"{some} {'gets a score that is not its own' if bad == 1 else 'get scores that are not their own'}"
    footer = [legend(drawn, _MEANINGS)] if (drawn := "".join(row.signs for row in result.rows)) else []
    if result.relations:
        footer += table(
            [(relation.name, (number(relation.worst), _said(relation))) for relation in result.relations],
            left=True,
        )
        footer.append(
            "scale: move of a score / move by another last token, in float32; rounding gives below 1e-3, mistakes above 1e-2"
        )
    footer += [f"note:  {note}" for note in notes]
    return listing(header, [_block(row, tokenizer) for row in result.rows], footer)


def _said(relation: ScoreRelation) -> str:
    verdict = relation.verdict.value
    return f"{verdict if relation.verdict.clean else verdict.upper()}: {relation.says}"


def _block(row: ScoreRow, tokenizer: Any) -> Block:
    problem = row.problem
    code = f"   [{problem.code}]" if problem.code else ""
    scores = "" if math.isnan(row.batched) else f"score {row.batched:.6g} in the batch"
    if scores and not math.isnan(row.alone):
        scores += f", {row.alone:.6g} alone"
    if scores and not math.isnan(row.scale):
        scores += f"; another last token moves it by {row.scale:.2g}"
    drawing: tuple[str, ...] = (problem.what,)
    around: tuple[str, ...] = ()
    if row.signs:
        signs, pointer = strip(row.signs, max(0, problem.position))
        if problem.position < 0:
            drawing = (signs, problem.what)
        else:
            drawing = (signs, f"{pointer} position {problem.position}: {problem.what}")
            around = neighbourhood(problem.position, row.ids, tokenizer)
    return Block(
        f"row {problem.row}   {scores}".rstrip() + code,
        drawing,
        around,
        advice=advice(problem.effect, problem.advice),
    )


def _total_message(result: TotalResult) -> str:
    if result.reason:
        return f"how the rows are weighed is UNDECIDED: {result.reason}"
    if not result.wrong:
        return ""
    other: Reduction = "row" if result.reduction == "token" else "token"
    found = f"by {other}s" if all(weight.is_by(other) for weight in result.weights) else "neither way"
    left = [weight.row for weight in result.weights if abs(weight.found) < 1e-3]
    if left:
        found += f", and row{'s' * (len(left) > 1)} {', '.join(map(str, left))} not at all"
        effect = "rows are left out of the score"
    elif found == "neither way":
        effect = "the score depends on how rows are put into batches"
    else:
        effect = "the score is another one than its name says"
    if result.reduction == "token":
        do = "add up the log-probabilities and the numbers of tokens over all batches, and divide once"
    else:
        do = "take the mean of each row first, then the mean over all rows of all batches"
    facts = []
    for w in result.weights:
        weights = f"weighs {w.found:.3f}; by tokens it would weigh {w.by_token:.3f}, by rows {w.by_row:.3f}"
        facts.append((f"row {w.row}", f"{w.tokens} of {w.total_tokens} scored tokens, {weights}"))
    scale = ("scale", "the weight is told from how the score moves when a row's tokens alone become likelier")
    return statement(
        f"the score of all rows does not weigh them by {result.reduction}s: it weighs them {found}",
        "DLM402",
        [*facts, scale, *advice(effect, do)],
    )
