"""Small pipelines that turn canaries into labelled rows, and how their verdicts are read."""

from __future__ import annotations

import torch
from reports import report, says

from pytest_decoderonly import assert_only_responses_supervised

PAD = 0


def judged(rows, given, tokenizer, *texts, **options):
    text = report(assert_only_responses_supervised, rows, given, tokenizer, **options)
    says(text, *texts)
    return text


def passes(rows, given, tokenizer, **options):
    return assert_only_responses_supervised(rows, given, tokenizer, **options)


def find(ids, part):
    return next((i for i in range(len(ids) - len(part) + 1) if ids[i : i + len(part)] == part), -1)


def row_of(ids, labels):
    assert len(ids) == len(labels)
    return {"input_ids": ids, "labels": labels}


def from_prompt(tokenizer, canary, prompt, whole):
    """The plain way: ids of the prompt alone tell how many positions are hidden."""
    hidden, ids = (tokenizer(text)["input_ids"] for text in (prompt, whole))
    return row_of(ids, [-100] * len(hidden) + ids[len(hidden) :])


def plain(tokenizer, given, eos="<eos>"):
    made = []
    for canary in given:
        prompt = f"Question: {canary.prompt}\nAnswer:"
        made.append(from_prompt(tokenizer, canary, prompt, f"{prompt} {canary.response}{eos}"))
    return made


def rendered(tokenizer, canary):
    return tokenizer.apply_chat_template(canary.messages(), tokenize=False)


def answers_by_place(tokenizer, canary, text, *, before="", behind="<|im_end|>", special=True):
    """Supervise what stands between `before` and `behind` each answer, by characters."""
    encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    spans = []
    for turn in canary.turns:
        if turn.role == "assistant":
            start = text.index(before + turn.text)
            spans.append((start, start + len(before + turn.text + behind)))
    labels = [
        token if any(a < end and b > start and b > a for start, end in spans) else -100
        for token, (a, b) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]
    return row_of(encoded["input_ids"], labels)


def pad(rows, side, fill=PAD):
    width = max(len(row["input_ids"]) for row in rows)
    batch = {"input_ids": [], "labels": [], "attention_mask": []}
    for row in rows:
        gap = width - len(row["input_ids"])
        for key, value, values in (
            ("input_ids", fill, row["input_ids"]),
            ("labels", -100, row["labels"]),
            ("attention_mask", 0, [1] * len(row["input_ids"])),
        ):
            batch[key].append([value] * gap + values if side == "left" else values + [value] * gap)
    return {key: torch.tensor(value) for key, value in batch.items()}


def batch_of(*rows, side="left", seed=0):
    random = torch.Generator().manual_seed(seed)
    made = []
    for prompt, completion in rows:
        ids = torch.randint(5, 300, (prompt + completion,), generator=random).tolist()
        made.append(row_of(ids, [-100] * prompt + ids[prompt:]))
    return pad(made, side)
