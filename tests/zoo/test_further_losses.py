"""Further mistakes of losses, none of them published: each is found, and what is put right passes."""

from __future__ import annotations

import pytest
import torch
from pipelines import batch_of
from reports import report

from pytest_decoderonly import (
    assert_accumulation_equals_full_batch,
    assert_loss_ignores_prompt,
    canaries,
    tiny_tokenizer,
)

EOS = 2


def test_a_loss_ignores_the_padding_id_which_is_eos(model):
    batch = batch_of((3, 6), (5, 4))
    batch["input_ids"][:, -1] = batch["labels"][:, -1] = EOS

    def loss(ignored):
        def function(model, inputs):
            logits = model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1]
            labels = inputs["labels"][:, 1:]
            labels = labels.masked_fill(labels == -100, ignored)
            return torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=ignored
            )

        return function

    options = {"prompt_lengths": [3, 5], "pad_token_id": EOS, "eos_token_id": EOS}
    text = report(assert_loss_ignores_prompt, model, batch, loss_fn=loss(EOS), **options)
    assert "labels are masked where they equal pad_token_id, which is the EOS token too" in text
    assert_loss_ignores_prompt(model, batch, loss_fn=loss(-100), **options)


def test_losses_of_trainers(trainer, model):
    """What trainers of TRL compute, asked by gradient."""
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 2, rejected=True)
    options = {"tokenizer": tokenizer}
    found = trainer([c.preference() for c in given], tokenizer, "dpo")
    batch = next(iter(found.get_train_dataloader()))
    inputs = {**batch, "completion_mask": batch["completion_mask"]}
    mask = batch["completion_mask"]
    assert_loss_ignores_prompt(
        found.model, inputs, loss_fn=found.compute_loss, completion_mask=mask, **options
    )
    wrong = {**inputs, "completion_mask": batch["attention_mask"]}
    text = report(
        assert_loss_ignores_prompt,
        found.model,
        wrong,
        loss_fn=found.compute_loss,
        completion_mask=mask,
        **options,
    )
    assert "prompt tokens are in the loss" in text


def test_micro_batches_divided_by_all_their_positions(model):
    batches = [batch_of((3, n), (2, 4), seed=n) for n in (8, 19)]

    def loss(model, batch):
        labels = batch["labels"][:, 1:]
        return model(**batch).loss * (labels != -100).sum() / labels.numel()

    text = report(assert_accumulation_equals_full_batch, loss, model, batches)
    assert "2 micro-batches give other weights than one batch of all their rows" in text, text
    assert_accumulation_equals_full_batch(lambda m, b: m(**b, num_items_in_batch=35).loss, model, batches)


def test_a_trainer_that_does_not_hand_on_the_number_of_targets(trainer):
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 6)
    found = trainer([canary.prompt_completion() for canary in given], tokenizer)
    batches = list(found.get_train_dataloader())
    targets = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    text = report(
        assert_accumulation_equals_full_batch,
        lambda model, batch: found.compute_loss(model, batch) / len(batches),
        found.model,
        batches,
    )
    assert "each micro-batch is a mean over its own tokens, and these means are averaged" in text
    assert_accumulation_equals_full_batch(
        lambda model, batch: found.compute_loss(model, batch, num_items_in_batch=targets),
        found.model,
        batches,
    )


def masked_in_its_own_frame(model, batch, *, shifted):
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    found = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    mask = batch["labels"] != -100
    mask = mask[:, 1:] if shifted else mask[:, :-1]
    return -(found * mask).sum() / mask.sum()


def chunk_by_chunk(model, batch, *, shift_first):
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = torch.nn.functional.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    total = 0
    for start in range(0, labels.shape[1], 4):
        part, wanted = logits[:, start : start + 4], labels[:, start : start + 4]
        if not shift_first:
            part, wanted = part[:, :-1], wanted[:, :-1]
        total += torch.nn.functional.cross_entropy(part.flatten(0, 1), wanted.flatten(), reduction="sum")
    return total


@pytest.mark.parametrize(
    ("loss", "option", "wanted"),
    [
        (masked_in_its_own_frame, "shifted", "by one: were labels shifted, and their mask not?"),
        (chunk_by_chunk, "shift_first", "at borders of chunks, each of which was shifted by itself"),
    ],
)
def test_losses_that_shift_a_part(model, loss, option, wanted):
    batch = batch_of((3, 21), (5, 22))
    options = {"prompt_lengths": [3, 5]}
    wrong, right = (lambda m, b, on=on: loss(m, b, **{option: on}) for on in (False, True))
    text = report(assert_loss_ignores_prompt, model, batch, loss_fn=wrong, **options)
    assert wanted in text, text
    assert_loss_ignores_prompt(model, batch, loss_fn=right, **options)
