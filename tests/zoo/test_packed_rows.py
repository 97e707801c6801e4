"""Mistakes of packed rows that nobody published: where one ends and the next begins; beside each its sound twin."""

from __future__ import annotations

import torch
from pipelines import judged, passes, plain

from pytest_decoderonly import canaries, tiny_tokenizer


def test_borders_of_packed_rows():
    from transformers import DataCollatorWithFlattening

    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 4)
    rows = plain(tokenizer, given)
    batch = dict(DataCollatorWithFlattening(return_tensors="pt")(rows))
    passes(batch, given, tokenizer)
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()

    def restarting(places):
        counted, positions = 0, []
        for i in range(batch["position_ids"].shape[1]):
            counted = 0 if i in places else counted + bool(i)
            positions.append(counted)
        return {**batch, "position_ids": torch.tensor([positions])}

    late = restarting([0, *(place + 20 for place in starts[1:])])
    judged(late, given, tokenizer, "position_ids")
    inside = restarting([*starts, starts[1] + len(rows[1]["input_ids"]) - 12])
    judged(inside, given, tokenizer, "position_ids begin again in the midst of canary 1")
    judged(restarting(starts[:-1]), given, tokenizer, "position_ids go on from canary 2 to canary 3")
    # One text, by its own word.
    passes(restarting([0]), given, tokenizer)


def test_packed_rows_without_an_end():
    from transformers import DataCollatorWithFlattening

    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    for end in ("", "<eos>"):
        batch = dict(DataCollatorWithFlattening(return_tensors="pt")(plain(tokenizer, given, eos=end)))
        if end:
            passes(batch, given, tokenizer)
        else:
            judged(batch, given, tokenizer, "no answer is followed by EOS", "DLM309")
