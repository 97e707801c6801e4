"""A real model that is made to say what a test has written, so that answers can be read."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor

from pytest_decoderonly import record_generate

PROMPTS = ["Question: is the sky blue? Answer:", "Hi there", "Write one word for it"]
ANSWERS = [" yes, it is blue", " no", " sky, and that is it"]


class Says(LogitsProcessor):
    """Makes row i say texts[i], and EOS behind it where `ends` is true; then anything but EOS."""

    def __init__(self, tokenizer, texts, *, ends=True):
        eos = [tokenizer.eos_token_id] if ends else []
        self.rows = [[*tokenizer(text, add_special_tokens=False)["input_ids"], *eos] for text in texts]
        self.start = None
        self.eos = tokenizer.eos_token_id

    def __call__(self, input_ids, scores):
        self.start = input_ids.shape[1] if self.start is None else self.start
        step = input_ids.shape[1] - self.start
        each = len(input_ids) // len(self.rows)
        for i, row in enumerate(scores):
            mine = self.rows[i // each]
            if step < len(mine):
                row[mine[step]] = row.max() + 100
            else:
                row[self.eos] = -float("inf")
        return scores


def ask(model, tokenizer, batch, texts, /, *, ends=True, **options):
    """Generate from a batch; the model answers with these texts."""
    options = {"max_new_tokens": 40, **options}
    return model.generate(**batch, logits_processor=[Says(tokenizer, texts, ends=ends)], **options)


def recorded(model, tokenizer, batch, texts, /, **options):
    """The same, with its record."""
    with record_generate() as recorder:
        out = ask(model, tokenizer, batch, texts, **options)
    return out, recorder.call


def padded_right(rows, pad, width=None):
    """Ids and mask of rows that are filled on the right."""
    width = width or max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}
