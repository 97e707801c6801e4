"""Published bugs of losses: what they are taken over, how tokens weigh, what packed rows see. Each is built anew."""

from __future__ import annotations

import pytest
import torch
from pipelines import PAD, batch_of
from reports import report

from pytest_decoderonly import (
    assert_accumulation_equals_full_batch,
    assert_labels_mask_prompt,
    assert_loss_ignores_prompt,
    assert_same_with,
    assert_scores_keep,
    changes,
    tiny_decoder,
)

EOS = 2
cross_entropy = torch.nn.functional.cross_entropy


ROWS = [[5 + 7 * i % 290 for i in range(start, start + n)] for start, n in ((0, 6), (40, 19), (100, 33))]


def test_z101_packed_samples_see_each_other(model):
    text = report(assert_same_with, model, ROWS, changes.Packed(mask=True))
    assert "packed rows visible" in text
    assert assert_same_with(model, ROWS, changes.Packed()).verdict.clean


def test_z103_positions_that_restart_do_not_stop_leakage(model):
    for lost in (changes.Packed(mask=True), changes.Packed(use_cache=True)):
        assert "packed rows visible" in report(assert_same_with, model, ROWS, lost)


def of_pairs(*, on_prompt):
    """DPO on one pair: rows are chosen and rejected."""

    def loss(model, batch):
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        ids, counted = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:].bool()
        if not on_prompt:
            counted = batch["labels"][:, 1:] != -100
        found = (logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0] * counted).sum(1)
        return -torch.nn.functional.logsigmoid(0.1 * (found[0] - found[1]))

    return loss


def test_z111_preference_log_probs_take_the_prompt_in(model):
    batch = batch_of((4, 5), (4, 3))
    options = {"prompt_lengths": 4}
    text = report(assert_loss_ignores_prompt, model, batch, loss_fn=of_pairs(on_prompt=True), **options)
    assert "prompt tokens are in the loss" in text
    assert "[DLM301]" in text
    assert_loss_ignores_prompt(model, batch, loss_fn=of_pairs(on_prompt=False), **options)


def per_token(model, batch):
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    return cross_entropy(logits.transpose(1, 2), labels, reduction="none"), labels != -100


def test_z117_mean_of_the_means_of_micro_batches(model):
    batches = [batch_of((3, n), seed=n) for n in (8, 19, 32)]
    text = report(assert_accumulation_equals_full_batch, lambda m, b: m(**b).loss / 3, model, batches)
    assert "each micro-batch is a mean over its own tokens, and these means are averaged" in text
    assert "off by 0.6" in text
    assert_accumulation_equals_full_batch(lambda m, b: m(**b, num_items_in_batch=59).loss, model, batches)


def test_z119_fully_masked_samples_shrink_gradients(model):
    batch = batch_of((3, 2), (3, 2), (3, 4))
    batch["labels"][2] = -100

    def loss(at_least):
        def function(model, inputs):
            losses, on = per_token(model, inputs)
            return losses.sum() / on.sum(1).clamp_min(at_least).sum()

        return function

    text = report(assert_accumulation_equals_full_batch, loss(1), model, [batch])
    assert "without the 1 row that supervise nothing, the others weigh 1.25 times as much" in text
    assert_accumulation_equals_full_batch(loss(0), model, [batch])


def shifted_loss(times):
    def loss(model, batch):
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-times]
        return cross_entropy(logits.flatten(0, 1), batch["labels"][:, times:].flatten())

    return loss


def test_z121_shifted_logits_go_to_a_loss_that_shifts(model):
    batch = batch_of((3, 6), (5, 4))
    text = report(assert_loss_ignores_prompt, model, batch, loss_fn=shifted_loss(2), prompt_lengths=[3, 5])
    assert "[DLM305]" in text
    assert "each token is trained to predict the one after the next" in text
    assert_loss_ignores_prompt(model, batch, loss_fn=shifted_loss(1), prompt_lengths=[3, 5])


def test_z123_the_dataset_shifts_and_the_model_too(model):
    batch = batch_of((3, 6), (5, 4))
    shifted = {**batch, "labels": torch.cat([batch["labels"][:, 1:], torch.full((2, 1), -100)], 1)}
    options = {"prompt_lengths": [3, 5]}
    for check in (
        lambda b: assert_loss_ignores_prompt(model, b, **options),
        lambda b: assert_loss_ignores_prompt(model, b),
        lambda b: assert_labels_mask_prompt(
            b["labels"], b["input_ids"], attention_mask=b["attention_mask"], **options
        ),
    ):
        assert "[DLM305]" in report(check, shifted)
        check(batch)


def test_z147_completion_ids_against_the_logits_of_the_prompt(model):
    batch = batch_of((6, 4), (6, 4))
    size = 4

    def loss(cut):
        def function(model, inputs):
            logits = model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
            logits = logits[:, :-1][:, cut]
            ids = inputs["input_ids"][:, -size:]
            return -logits.log_softmax(-1).gather(-1, ids[..., None]).mean()

        return function

    text = report(assert_loss_ignores_prompt, model, batch, loss_fn=loss(slice(0, size)), prompt_lengths=6)
    assert "labels hold the ids of 5 positions further right" in text
    assert "the two begin at different places" in text
    assert_loss_ignores_prompt(model, batch, loss_fn=loss(slice(-size, None)), prompt_lengths=6)


def log_probs_of(model, *, positions):
    def score(rows):
        width = max(map(len, rows))
        ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        given = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if positions else {}
        logits = model(input_ids=ids, attention_mask=mask, **given).logits[:, :-1]
        found = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return (found * mask[:, 1:] * mask[:, :-1]).sum(-1)

    return score


@pytest.mark.parametrize("bug", ["z151", "z153"])
def test_z151_z153_log_probs_without_positions_in_left_padded_rows(bug, model):
    learned = tiny_decoder("gpt2", seed=int(bug[1:]))
    assert "position" in report(assert_scores_keep, log_probs_of(learned, positions=False), ROWS)
    assert_scores_keep(log_probs_of(learned, positions=True), ROWS)
    # Rotary positions are relative: nothing to report.
    assert_scores_keep(log_probs_of(model, positions=False), ROWS)


def test_i27_action_masks_in_the_frame_of_the_next_token(model):
    batch = batch_of((4, 5), (2, 4))

    def loss(model, inputs):
        logits = model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1]
        taken = logits.log_softmax(-1).gather(-1, inputs["input_ids"][:, 1:, None])[..., 0]
        action_mask = (inputs["labels"] != -100)[:, 1:]
        advantages = torch.tensor([[1.0], [-0.5]])
        ratio = (taken - taken.detach()).exp()
        clipped = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        return -(clipped * action_mask).sum() / action_mask.sum()

    assert_loss_ignores_prompt(model, batch, loss_fn=loss, prompt_lengths=[4, 2])


def test_i33_eos_between_documents_of_pretraining(model):
    ids = torch.tensor([[10, 11, 12, EOS, 13, 14, EOS, 15, 16]])
    assert_labels_mask_prompt(ids, ids, prompt_lengths=0, eos_token_id=EOS)
    assert_loss_ignores_prompt(model, {"input_ids": ids, "labels": ids}, prompt_lengths=0, eos_token_id=EOS)


def test_innocent_prompt_lengths_beside_a_frozen_model(model):
    """Nothing of the model has to be trainable."""
    frozen = tiny_decoder("llama").requires_grad_(False)
    assert_loss_ignores_prompt(frozen, batch_of((4, 5), (2, 4)), prompt_lengths=[4, 2])
