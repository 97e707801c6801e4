"""Searches write tokens: beams and assisted decoding, judged by the scores behind the tokens, in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_decoderonly.compare.drive import Batch, CannotDriveError, NotOfferedError
from pytest_decoderonly.compare.judge import Ruling
from pytest_decoderonly.compare.verdict import RowError, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from pytest_decoderonly.changes import Assisted, Beams
    from pytest_decoderonly.compare.drive import Driver, Row
    from pytest_decoderonly.compare.verdict import Limits


_FORBIDDEN = -1e4


@dataclass(frozen=True)
class Findings:
    """What a search showed: the ruling, an error for each row, and sentences for the report.

    `faults` are short names of what was wrong, from which a culprit is told.
    """

    ruling: Ruling
    errors: tuple[RowError, ...] = ()
    details: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def beams(driver: Driver, rows: Sequence[Row], change: Beams, *, tokens: int, limits: Limits) -> Findings:
    """Run beam search over the batch and over each row alone.

    Three things must hold: the sequences of prompt i stand at i * n to i * n + n - 1; each score is the mean
    log-probability that one forward pass gives the same text; a row's best scores are those that it has
    alone. Texts may differ where their scores agree: a near-tie.
    """
    _needs_generate(driver)
    count = change.num_return_sequences
    batch = _padded(rows, driver.pad_id)
    together = _Found.of(driver, batch, change, tokens)
    details, notes, faults = [], [], []
    shaped = _shaped(driver.target)
    if shaped:
        notes.append(
            f"the generation config changes scores ({', '.join(shaped)}), so they are held against the row's own alone, and "
            "not against its text's"
        )
    if together.sequences.shape[0] != count * len(rows):
        text = f"{together.sequences.shape[0]} sequences for {len(rows)} prompts of {count} each"
        return Findings(Ruling(Verdict.DIFFERENT, text), (), (text,), (), ("rows",))
    errors = []
    for i, row in enumerate(rows):
        mine = range(i * count, (i + 1) * count)
        for j in mine:
            prompt = tuple(together.sequences[j, batch.width - len(row) : batch.width].tolist())
            if prompt != row:
                faults.append("rows")
                details.append(f"sequence {j} does not begin with prompt {i}, to which it belongs")
        alone = _Found.of(driver, _padded([row], driver.pad_id), change, tokens)
        found: list[float] = []
        for j in mine:
            written = tuple(together.sequences[j, batch.width :].tolist())
            score, scale = _rescored(driver, row, written)
            off = 0.0 if shaped else abs(float(together.scores[j]) - score) / scale
            found.append(off)
            if not off <= limits.suspicious:
                faults.append("score")
                details.append(
                    f"row {i}, sequence {j - mine[0]}: beam score {float(together.scores[j]):.4f}, but its text has "
                    f"{score:.4f} in one forward pass"
                )
        best, own = sorted(together.scores[mine].tolist())[::-1], sorted(alone.scores.tolist())[::-1]
        for rank, (mixed, single) in enumerate(zip(best, own, strict=True)):
            off = abs(mixed - single) / scale
            found.append(off)
            if not off <= limits.suspicious:
                faults.append("batch")
                details.append(
                    f"row {i}, rank {rank}: best score {mixed:.4f} in the batch, {single:.4f} alone"
                )
        texts = {tuple(together.sequences[j, batch.width :].tolist()) for j in mine}
        lone = {tuple(s[len(row) :].tolist()) for s in alone.sequences}
        if texts != lone and max(found) <= limits.suspicious:
            notes.append(f"row {i}: other texts of the same scores in the batch than alone: near-ties")
        errors.append(RowError(i, np.array(found), 0, scale, batch.width, batch.width - len(row)))
    return Findings(
        _ruling(tuple(errors), limits, "scores"),
        tuple(errors),
        tuple(details[:8]),
        tuple(notes),
        tuple(dict.fromkeys(faults)),
    )


# Settings of a generation config that make a score another than the text's log-probability, and where they do not.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "bad_words_ids": (None, []),
    "sequence_bias": (None, {}),
    "repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "exponential_decay_length_penalty": (None,),
    "renormalize_logits": (None, False),
    "guidance_scale": (None, 1.0),
}


def _shaped(model: Any) -> list[str]:
    """Return the names of a model's own settings that change the scores of its beams."""
    config = getattr(model, "generation_config", None)
    return [name for name, neutral in _NEUTRAL.items() if getattr(config, name, None) not in neutral]


@dataclass(frozen=True)
class _Found:
    sequences: torch.Tensor
    scores: torch.Tensor

    @classmethod
    def of(cls, driver: Driver, batch: Batch, change: Beams, tokens: int) -> _Found:
        def search() -> _Found:
            from transformers import GenerationConfig

            ids, mask = driver.tensors(batch.rows, batch.fills)
            output = driver.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=GenerationConfig(
                    do_sample=False,
                    num_beams=change.num_beams,
                    num_return_sequences=change.num_return_sequences,
                    max_new_tokens=tokens,
                    min_new_tokens=tokens,  # every text has the same length, so scores need no other divisor
                    length_penalty=1.0,
                    use_cache=True,
                    pad_token_id=driver.pad_id,
                    return_dict_in_generate=True,
                    output_scores=True,
                ),
            )
            scores = getattr(output, "sequences_scores", None)
            if scores is None:
                raise CannotDriveError("generate gave no scores of its beams")
            return cls(output.sequences.cpu(), scores.detach().double().cpu())

        return driver.guarded(batch, search)


def _rescored(driver: Driver, row: Row, text: Row) -> tuple[float, float]:
    """Return the mean log-probability of `text` after `row`, and the spread of the logits behind it."""
    import torch

    trace = driver.full(Batch((row,), ((),), (text,)))
    logits = trace.row(0)[len(row) - 1 : -1].double().cpu()
    chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(text)[:, None])
    return float(chosen.mean()), float(logits.std()) or 1.0


def assisted(
    driver: Driver, rows: Sequence[Row], change: Assisted, *, tokens: int, limits: Limits
) -> Findings:
    """Compare greedy tokens with an assistant and without; a difference is judged by the logits behind it."""
    _needs_generate(driver)
    errors, details, notes, faults = [], [], [], []
    for i, row in enumerate(rows):
        batch = _padded([row], driver.pad_id)
        plain, logits = _greedy(driver, batch, tokens)
        other, _ = _greedy(driver, batch, tokens, change)
        found = np.zeros(len(plain))
        scale = float(logits[logits > _FORBIDDEN].std()) or 1.0  # what is forbidden has no part in the spread
        if len(other) != len(plain):
            shorter = min(len(other), len(plain))
            if other[:shorter] == plain[:shorter]:
                found[-1] = float("inf")
                details.append(f"row {i}: {len(other)} tokens with assistance, {len(plain)} without")
        for t, (mine, theirs) in enumerate(zip(plain, other, strict=False)):
            if mine != theirs:
                found[t] = float(logits[t, mine] - logits[t, theirs]) / scale
                said = f"row {i}, new token {t}: {theirs} with assistance, {mine} without"
                if found[t] <= 2 * limits.suspicious:
                    notes.append(f"{said}: a tie ({found[t]:.1e} of the logits' spread)")
                    # From here on the texts are two: the other one is judged by what it was written after.
                    rest = _margins(driver, row, other, forbidden=logits[0] <= _FORBIDDEN)[t + 1 :]
                    found[t + 1 : t + 1 + len(rest)] = rest / scale
                    wrong = np.flatnonzero(rest / scale > 2 * limits.suspicious)
                    if wrong.size:
                        at = t + 1 + int(wrong[0])
                        details.append(
                            f"row {i}, new token {at}: {other[at]} with assistance, which is no greedy choice after its "
                            f"own text; {found[at]:.1e} of the logits' spread apart"
                        )
                        faults.append("past")
                else:
                    details.append(f"{said}; {found[t]:.1e} of the logits' spread apart")
                    faults.append("past" if t + len(row) else "first")
                break
        errors.append(RowError(i, found, 0, scale, len(row), 0))
    return Findings(
        _ruling(tuple(errors), limits, "tokens"),
        tuple(errors),
        tuple(details[:8]),
        tuple(notes),
        tuple(dict.fromkeys(faults)),
    )


def _margins(driver: Driver, row: Row, text: Sequence[int], *, forbidden: torch.Tensor) -> np.ndarray:
    """By how much the best token beats each token of `text` after the row and the text before: (tokens,)."""
    import torch

    trace = driver.full(Batch((row,), ((),), (tuple(text),)))
    logits = trace.row(0)[len(row) - 1 : -1].double().cpu().masked_fill(forbidden, float("-inf"))
    chosen = logits.gather(1, torch.tensor(text)[:, None])[:, 0]
    return np.array((logits.amax(-1) - chosen).tolist())


def _greedy(
    driver: Driver, batch: Batch, tokens: int, change: Assisted | None = None
) -> tuple[list[int], torch.Tensor]:
    import torch

    def search() -> tuple[list[int], torch.Tensor]:
        from transformers import GenerationConfig

        ids, mask = driver.tensors(batch.rows, batch.fills)
        more: dict[str, Any] = {}
        settings: dict[str, Any] = {}
        if change is not None and change.assistant is not None:
            more["assistant_model"] = change.assistant
        elif change is not None:
            settings["prompt_lookup_num_tokens"] = change.lookup
        output = driver.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=GenerationConfig(
                do_sample=False,
                num_beams=1,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                use_cache=True,
                pad_token_id=driver.pad_id,
                return_dict_in_generate=True,
                output_scores=True,
                **settings,
            ),
            **more,
        )
        # Scores, not logits: what the tokens were chosen by, EOS forbidden.
        scores = torch.cat([s[:1] for s in output.scores]).detach().double().cpu()
        return output.sequences[0, batch.width :].tolist(), torch.nan_to_num(scores, neginf=_FORBIDDEN)

    return driver.guarded(batch, search)


def _padded(rows: Sequence[Row], pad_id: int) -> Batch:
    width = max(map(len, rows))
    return Batch(tuple(rows), tuple((pad_id,) * (width - len(row)) for row in rows), ((),) * len(rows))


def _needs_generate(driver: Driver) -> None:
    if driver.target is None:
        raise NotOfferedError("the model has no `generate` of transformers")


def _ruling(errors: tuple[RowError, ...], limits: Limits, what: str) -> Ruling:
    rel = max((float("inf") if not error.finite else error.worst) for error in errors)
    if rel == 0:
        return Ruling(Verdict.EQUAL, f"the same {what}")
    if rel <= 2 * limits.suspicious:
        return Ruling(Verdict.ROUNDING, f"{what} within {rel:.1e} of the logits' spread, in float32")
    if rel <= limits.bug:
        reason = (
            f"{what} {rel:.1e} of the logits' spread apart in float32: between rounding and any known bug"
        )
        return Ruling(Verdict.UNDECIDED, reason)
    return Ruling(Verdict.DIFFERENT, f"{what} {rel:.1e} of the logits' spread apart, in float32")
