"""Rows to score, and scorers that are right: what the cases of scores are made from."""

from __future__ import annotations

import torch
from reports import report

from pytest_decoderonly import assert_scores_keep
from pytest_decoderonly.compare.verdict import Verdict

PAD, BOS, EOS = 0, 1, 2
TEXTS = ["Question: is the sky blue? Answer: yes", "no", "An owl and the sky"]
ROWS = [[35, 36, 37, 38, 39, 60, 61], [70, 71, 72], [80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90]]
PAIRS = [([35, 36, 37, 38], [60, 61, 62]), ([70, 71], [72, 73]), ([80, 81, 82, 83, 84], [85, 86, 87, 88, 89])]


def padded(rows, side="right", pad=PAD):
    width = max(map(len, rows))

    def fill(row, value):
        left = (width - len(row)) * (side == "left")
        return [value] * left + list(row) + [value] * (width - len(row) - left)

    ids = torch.tensor([fill(row, pad) for row in rows])
    return ids, torch.tensor([fill([1] * len(row), 0) for row in rows])


def log_probs(model, ids, mask, **kwargs):
    """The log-probability of each token but the first, (rows, positions - 1)."""
    logits = model(input_ids=ids, attention_mask=mask, **kwargs).logits[:, :-1]
    return logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


def likelihood(model, side="right"):
    """A correct scorer."""

    def score(rows):
        ids, mask = padded(rows, side)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        inner = mask[:, 1:] * mask[:, :-1]
        return (log_probs(model, ids, mask, position_ids=positions) * inner).sum(-1)

    return score


def continuation(model, begin=len, bos=(BOS,)):
    """Sums the continuation's log-probabilities; `begin` counts where it starts in ids with `bos` in front."""

    def score(pairs):
        rows = [[*bos, *prompt, *answer] for prompt, answer in pairs]
        ids, mask = padded(rows)
        found = log_probs(model, ids, mask)
        starts = [begin([*bos, *prompt]) - 1 for prompt, _ in pairs]
        return [found[i, start : len(rows[i]) - 1].sum() for i, start in enumerate(starts)]

    return score


def caught(score, rows, **kwargs):
    return report(assert_scores_keep, score, rows, **kwargs)


def sound(score, rows, **kwargs):
    result = assert_scores_keep(score, rows, **kwargs)
    assert result.verdict in (Verdict.EQUAL, Verdict.ROUNDING)
    assert not [note for note in result.notes if "not looked at" in note], result.notes
    return result
