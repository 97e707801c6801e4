"""The loss by its gradient: what it is taken over, what each position is taught, how much each token weighs."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_decoderonly import (
    UndecidedError,
    assert_accumulation_equals_full_batch,
    assert_loss_ignores_prompt,
    canaries,
    tiny_decoder,
    tiny_tokenizer,
)

cross_entropy = torch.nn.functional.cross_entropy


@pytest.fixture(scope="module")
def llama():
    return tiny_decoder("llama")


def batch_of(*rows, side="left", seed=0):
    """Rows of (prompt, completion) tokens, padded, with right labels."""
    random = torch.Generator().manual_seed(seed)
    width = max(map(sum, rows))
    made = {key: [] for key in ("input_ids", "labels", "attention_mask")}
    for prompt, completion in rows:
        text = torch.randint(5, 300, (prompt + completion,), generator=random).tolist()
        gap = width - len(text)
        for key, fill, values in (
            ("input_ids", 0, text),
            ("labels", -100, [-100] * prompt + text[prompt:]),
            ("attention_mask", 0, [1] * len(text)),
        ):
            made[key].append([fill] * gap + values if side == "left" else values + [fill] * gap)
    return {key: torch.tensor(value) for key, value in made.items()}


def by_hand(model, batch, *, shift=1, mask=None):
    """A loss written out: logits against the labels `shift` positions on."""
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"] if mask is None else batch["labels"].masked_fill(~mask, -100)
    if shift:
        logits, labels = logits[:, :-shift], labels[:, shift:]
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


def fails(model, batch, *texts, **options):
    with pytest.raises(AssertionError) as caught:
        assert_loss_ignores_prompt(model, batch, **options)
    for text in texts:
        assert text in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3),
    side=st.sampled_from(["left", "right"]),
    kind=st.sampled_from([torch.Tensor.tolist, torch.Tensor.numpy, torch.clone]),
)
def test_right_losses_pass(llama, rows, side, kind):
    batch = batch_of(*rows, side=side)
    given = {key: kind(value) for key, value in batch.items()}
    prompts = [prompt for prompt, _ in rows]
    found = assert_loss_ignores_prompt(llama, given, prompt_lengths=prompts)
    assert found.labels(-100) == batch["labels"].tolist()
    count = int((batch["labels"][:, 1:] != -100).sum())
    weights = np.array([w for row in found.weights for w in row if w])
    assert len(weights) == count
    assert np.allclose(weights, 1 / count, rtol=1e-5)
    assert_loss_ignores_prompt(llama, batch)
    assert_loss_ignores_prompt(llama, batch, completion_mask=batch["labels"] != -100)
    assert_loss_ignores_prompt(
        llama, batch, prompt_mask=(batch["labels"] == -100) & (batch["attention_mask"] > 0)
    )
    assert_loss_ignores_prompt(llama, batch, loss_fn=by_hand, prompt_lengths=prompts)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_wrong_label_is_found(llama, data):
    batch = batch_of((4, 5), (2, 4))
    row, position = data.draw(st.integers(0, 1)), data.draw(st.integers(1, 8))
    labels = batch["labels"]
    labels[row, position] = batch["input_ids"][row, position] if labels[row, position] == -100 else -100
    fails(llama, batch, f"row {row} ", f"position {position}: ", prompt_lengths=[4, 2])


@pytest.mark.parametrize(
    "arch", ["llama", "gpt2", "gemma2", "cohere", "granite", "mamba", "bamba", "mixtral"]
)
def test_each_kind_of_model(arch):
    model, batch = tiny_decoder(arch), batch_of((3, 5), (2, 3))
    assert assert_loss_ignores_prompt(model, batch, prompt_lengths=[3, 2]).by == "logits"
    shifted = {**batch, "labels": torch.cat([batch["labels"][:, 1:], torch.full((2, 1), -100)], 1)}
    fails(model, shifted, "DLM305", prompt_lengths=[3, 2])
    fails(model, {**batch, "labels": batch["input_ids"]}, "DLM301", prompt_lengths=[3, 2])


def test_what_is_named(llama):
    batch = batch_of((3, 5), (2, 3))
    options = {"prompt_lengths": [3, 2]}
    ids, labels = batch["input_ids"], batch["labels"]
    everything = ids.masked_fill(batch["attention_mask"] == 0, -100)
    fails(llama, {**batch, "labels": everything}, "prompt tokens are in the loss", "DLM301", **options)
    padded = torch.where(batch["attention_mask"] == 0, ids, labels)
    fails(llama, {**batch, "labels": padded}, "padding tokens are in the loss", "DLM302", **options)
    # Two shifts, in the loss or in the labels; none at all.
    twice = "trained to predict the one after the next"
    fails(llama, batch, "DLM305", twice, loss_fn=lambda m, b: by_hand(m, b, shift=2), **options)
    fails(llama, batch, "DLM305", loss_fn=lambda m, b: by_hand(m, b, shift=2))
    fails(llama, batch, "what it has just read", loss_fn=lambda m, b: by_hand(m, b, shift=0), **options)
    fails(llama, {**batch, "labels": torch.full_like(ids, -100)}, "DLM311", **options)
    ended = {**batch, "labels": labels.clone(), "input_ids": ids.clone()}
    ended["input_ids"][:, -1] = 2
    ended["labels"][:, -1] = -100
    fails(
        llama,
        ended,
        "the EOS that ends the completion is not supervised",
        "DLM303",
        eos_token_id=2,
        **options,
    )
    # The loss forgets the mask that the labels have.
    fails(
        llama,
        batch,
        "DLM301",
        loss_fn=lambda m, b: by_hand(m, {**b, "labels": b["input_ids"]}, mask=b["attention_mask"] > 0),
    )


def test_nothing_of_the_model_changes(llama):
    batch = batch_of((3, 5), (2, 3))
    llama.train()
    llama.zero_grad()
    first = next(llama.parameters())
    first.grad = torch.ones_like(first)
    first.requires_grad_(False)
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    state, kept = torch.get_rng_state(), {key: value.clone() for key, value in batch.items()}

    def dropping(model, inputs):
        inputs.pop("labels")
        model.eval()
        return torch.nn.functional.dropout(model(**inputs).logits[:, 3:], 0.5).square().mean() * torch.rand(
            ()
        )

    for function in (None, dropping):
        with pytest.raises(AssertionError) if function else contextlib.nullcontext():
            assert_loss_ignores_prompt(llama, batch, loss_fn=function, prompt_lengths=[3, 2])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in llama.modules())
    assert torch.equal(first.grad, torch.ones_like(first))
    assert not first.requires_grad
    assert all(p.grad is None and p.requires_grad for p in list(llama.parameters())[1:])
    assert all(torch.equal(value, before[name]) for name, value in llama.state_dict().items())
    assert all(torch.equal(value, kept[key]) for key, value in batch.items())
    assert not llama.lm_head._forward_hooks
    first.requires_grad_(True)
    llama.zero_grad()
    llama.eval()


def fused(model, batch, shift=1):
    """Linear cross-entropy on hidden states and the head's weight, as fused kernels do."""
    states = model.model(batch["input_ids"], attention_mask=batch["attention_mask"])
    hidden = states.last_hidden_state if hasattr(states, "last_hidden_state") else states
    hidden, labels = hidden[:, :-shift].flatten(0, 1), batch["labels"][:, shift:].flatten()
    chosen = labels != -100
    return cross_entropy(hidden[chosen] @ model.lm_head.weight.T, labels[chosen], reduction="sum")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_that_never_make_the_logits(llama, dtype):
    model = llama if dtype is torch.float32 else copy.deepcopy(llama).to(dtype)
    batch = batch_of((3, 5), (2, 3))
    found = assert_loss_ignores_prompt(model, batch, loss_fn=fused, prompt_lengths=[3, 2])
    assert found.by == "hidden states"
    assert found.labels(-100) == batch["labels"].tolist()
    assert [round(share, 2) for row in found.weights for share in row if share] == [1.0] * 8
    fails(model, batch, "DLM305", loss_fn=lambda m, b: fused(m, b, 2), prompt_lengths=[3, 2])
    fails(model, {**batch, "labels": batch["input_ids"]}, "DLM301", loss_fn=fused, prompt_lengths=[3, 2])
    # What is taught is read off the gradient: the batch need not hold labels.
    without = {key: value for key, value in batch.items() if key != "labels"}
    fails(
        model,
        without,
        "DLM301",
        loss_fn=lambda m, b: fused(m, {**b, "labels": b["input_ids"]}),
        prompt_lengths=[3, 2],
    )


def test_tokens_that_share_a_row_of_the_head(llama):
    model = copy.deepcopy(llama)
    with torch.no_grad():
        model.lm_head.weight[5:] = model.lm_head.weight[5]
    batch = batch_of((3, 5), (2, 3))
    assert (
        assert_loss_ignores_prompt(model, batch, loss_fn=fused, prompt_lengths=[3, 2]).by == "hidden states"
    )


def test_fused_losses_of_a_plain_module():
    """No backbone is known: labels are tried one column at a time."""

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix, self.lm_head = (
                torch.nn.Embedding(300, 8),
                torch.nn.Linear(8, 8),
                torch.nn.Linear(8, 300),
            )

        def get_input_embeddings(self):
            return self.embed

        def model(self, ids, attention_mask):
            return self.mix(self.embed(ids).cumsum(1)) * attention_mask[..., None]

    model, batch = Own(), batch_of((3, 5), (2, 3))
    found = assert_loss_ignores_prompt(model, batch, loss_fn=fused, prompt_lengths=[3, 2])
    assert (found.by, found.labels(-100)) == ("labels", batch["labels"].tolist())
    fails(model, batch, "DLM305", loss_fn=lambda m, b: fused(m, b, 2), prompt_lengths=[3, 2])
    without = {key: value for key, value in batch.items() if key != "labels"}
    with pytest.raises(UndecidedError, match="does not go through the output of its head"):
        assert_loss_ignores_prompt(
            model, without, loss_fn=lambda m, b: fused(m, {**b, "labels": b["input_ids"]}), prompt_lengths=3
        )


def test_chunks_of_the_logits(llama):
    """The head is called on parts of the positions, or of the rows."""

    def by_positions(model, batch):
        hidden = model.model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        logits = torch.cat([model.lm_head(part) for part in hidden.split(3, 1)], 1)
        return cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())

    def by_rows(model, batch):
        return sum(by_hand(model, {k: v[i : i + 1] for k, v in batch.items()}) for i in range(2))

    batch = batch_of((3, 5), (2, 3))
    for function in (by_positions, by_rows):
        found = assert_loss_ignores_prompt(llama, batch, loss_fn=function, prompt_lengths=[3, 2])
        assert (found.by, found.labels(-100)) == ("logits", batch["labels"].tolist())


def test_a_plain_module():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.lm_head = torch.nn.Embedding(300, 8), torch.nn.Linear(8, 300)

        def forward(self, ids):
            return self.lm_head(self.embed(ids).cumsum(1))

    def loss(model, batch, shift=1):
        logits = model(batch["input_ids"])
        return cross_entropy(logits[:, :-shift].flatten(0, 1), batch["labels"][:, shift:].flatten())

    batch = batch_of((3, 5), (2, 3))
    assert_loss_ignores_prompt(Own(), batch, loss_fn=loss, prompt_lengths=[3, 2])
    fails(Own(), batch, "DLM305", loss_fn=lambda m, b: loss(m, b, 2), prompt_lengths=[3, 2])


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing_factor": 0.1}, {"loss_type": "nll"}, {"loss_type": "dft"}]
)
def test_trainers(options, tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = tiny_tokenizer()
    rows = [row.prompt_completion() for row in canaries(tokenizer, 2)]
    trainer = SFTTrainer(
        tiny_decoder(),
        args=SFTConfig(str(tmp_path), report_to="none", bf16=False, use_cpu=True, **options),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    lengths = [int((row == -100).sum()) - int((seen == 0).sum()) for row, seen in zip(
        batch["labels"], batch["attention_mask"], strict=True)]  # fmt: skip
    loss_fn = trainer.compute_loss
    assert_loss_ignores_prompt(
        trainer.model, batch, loss_fn=loss_fn, prompt_lengths=lengths, tokenizer=tokenizer
    )
    wrong = {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}
    fails(trainer.model, wrong, "DLM301", loss_fn=loss_fn, prompt_lengths=lengths)


@pytest.mark.parametrize("architecture", ["gemma2", "granite", "phi", "lora"])
def test_fused_heads_of_other_models(architecture, tmp_path):
    """Logits that are capped, scaled, or have a bias; an adapter around the model."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    tokenizer = tiny_tokenizer()
    lora = architecture == "lora"
    trainer = SFTTrainer(
        tiny_decoder("llama" if lora else architecture),
        args=SFTConfig(str(tmp_path), report_to="none", bf16=False, use_cpu=True),
        train_dataset=Dataset.from_list([row.prompt_completion() for row in canaries(tokenizer, 2)]),
        processing_class=tokenizer,
        peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]) if lora else None,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    found = assert_loss_ignores_prompt(trainer.model, batch, loss_fn=trainer.compute_loss)
    assert (found.by, found.labels(-100)) == ("hidden states", batch["labels"].tolist())
    wrong = {**batch, "labels": batch["input_ids"]}
    fails(
        trainer.model,
        wrong,
        "in the loss",
        loss_fn=trainer.compute_loss,
        completion_mask=batch["labels"] != -100,
    )


def micro_batches(*sizes, rows=2):
    return [batch_of(*[(3, size)] * rows, seed=size) for size in sizes]


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=4))
def test_weights_of_micro_batches(llama, sizes):
    batches = micro_batches(*sizes)
    total = 2 * sum(sizes)
    assert_accumulation_equals_full_batch(
        lambda m, b: m(**b, num_items_in_batch=total if len(b["input_ids"]) else 1).loss, llama, batches
    )
    mean = lambda m, b: m(**b).loss / len(sizes)  # noqa: E731
    if len(set(sizes)) == 1:
        assert_accumulation_equals_full_batch(mean, llama, batches)
    else:
        with pytest.raises(AssertionError, match="a mean over its own tokens, and these means are averaged"):
            assert_accumulation_equals_full_batch(mean, llama, batches)


def per_token(model, batch):
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    return cross_entropy(logits.transpose(1, 2), labels, reduction="none"), labels != -100


def test_other_ways_to_weigh(llama):
    def of_rows(model, batch):
        losses, on = per_token(model, batch)
        return (losses.sum(1) / on.sum(1)).mean() / 2

    def summed(model, batch):
        return per_token(model, batch)[0].sum()

    def clamped(model, batch):
        losses, on = per_token(model, batch)
        return losses.sum() / on.sum(1).clamp_min(1).sum()

    def scaled(model, batch):
        return per_token(model, batch)[0].sum() / len(batch["input_ids"])

    batches = micro_batches(4, 9)
    assert_accumulation_equals_full_batch(of_rows, llama, batches)
    assert_accumulation_equals_full_batch(summed, llama, batches)
    assert_accumulation_equals_full_batch(summed, llama, batches, full=None)
    empty = batch_of((3, 4), (3, 4), (3, 4))
    empty["labels"][1] = -100
    with pytest.raises(
        AssertionError, match=r"without the 1 row that supervise nothing, the others weigh 1.1.. times"
    ):
        assert_accumulation_equals_full_batch(clamped, llama, [empty])
    assert_accumulation_equals_full_batch(lambda m, b: m(**b).loss, llama, [empty])
    four = [micro_batches(4)[0] for _ in range(3)]
    assert_accumulation_equals_full_batch(scaled, llama, four)
    with pytest.raises(AssertionError, match=r"micro-batches weigh 1\.5 times what the full batch does"):
        assert_accumulation_equals_full_batch(
            lambda m, b: scaled(m, b) * (0.5 if len(b["input_ids"]) == 2 else 1), llama, four
        )


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"batch": {"labels": [[1]]}}, TypeError, "batch: must be a mapping with input_ids"),
        ({"batch": {"input_ids": [1, 2]}}, TypeError, "input_ids must have the shape"),
        (
            {"batch": {"input_ids": [[5, 6]]}},
            ValueError,
            "batch: has no labels, so the model computes no loss",
        ),
        ({"loss_fn": lambda *_: 1.0}, TypeError, "loss_fn: must return the loss as a tensor"),
        ({"prompt_lengths": 1, "prompt_mask": [[1]]}, TypeError, "got prompt_lengths and prompt_mask"),
        ({"prompt_mask": [[1]]}, ValueError, "prompt_mask: 1 row, but input_ids has 2"),
    ],
)
def test_usage_errors_are_one_line(llama, change, error, text):
    arguments = {"batch": batch_of((3, 5), (2, 3)), **change}
    with pytest.raises(error) as caught:
        assert_loss_ignores_prompt(llama, **arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="batches: must be a list"):
        assert_accumulation_equals_full_batch(by_hand, llama, [])


@pytest.mark.parametrize("everywhere", [False, True])
def test_distillation_teaches_no_single_token(llama, everywhere):
    """The divergence from a teacher is in the loss at the answer alone; what the teacher says is no label."""
    batch = batch_of((3, 5), (2, 3))
    teacher = torch.randn((*batch["input_ids"].shape, 320), generator=torch.Generator().manual_seed(0))

    def loss(model, inputs):
        logits = model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        wanted = (4 * teacher[..., : logits.shape[-1]]).softmax(-1)
        apart = (wanted * (wanted.log() - logits.log_softmax(-1))).sum(-1)[:, :-1]
        mask = torch.ones_like(inputs["input_ids"]) if everywhere else inputs["labels"] != -100
        return (apart * mask[:, 1:]).sum()

    if everywhere:
        fails(llama, batch, "prompt tokens are in the loss", loss_fn=loss, prompt_lengths=[3, 2])
    else:
        found = assert_loss_ignores_prompt(llama, batch, loss_fn=loss, prompt_lengths=[3, 2])
        assert found.labels(-100) == batch["labels"].tolist()
