"""Published bugs of scores: perplexities, log-likelihoods of continuations, rewards. Each is re-created small."""

from __future__ import annotations

import math

import pytest
import torch
from scorers import BOS, EOS, PAIRS, ROWS, TEXTS, caught, continuation, likelihood, log_probs, padded, sound
from tokenizers import Tokenizer, decoders, models
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from pytest_decoderonly import assert_scores_keep, tiny_decoder, tiny_tokenizer
from pytest_decoderonly.compare.verdict import Verdict


@pytest.fixture(scope="module")
def positional():
    """Learned positions, counted from the left edge where none are given."""
    return tiny_decoder("gpt2")


@pytest.fixture(scope="module")
def reward():
    config = tiny_decoder("llama").config
    config.num_labels = 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)
    return model.eval()


def test_z155_the_log_probability_of_one_pad_is_added(model):
    def score(rows):
        ids, mask = padded(rows)
        found = log_probs(model, ids, mask)
        return [found[i, : len(row)].sum().item() for i, row in enumerate(rows)]

    text = caught(score, ROWS)
    assert "DLM402" in text
    assert "the log-probability of the padding behind the last token is added" in text
    assert "2 of 3 rows" in text  # not the longest
    sound(likelihood(model), ROWS)


def test_z157_the_start_token_is_masked(model):
    def score(rows, visible=0):
        ids, mask = padded([[BOS, *row] for row in rows])
        mask[:, 0] = visible
        found = log_probs(model, ids, mask) * padded(rows)[1]
        return (-found.sum(-1) / padded(rows)[1].sum(-1)).exp()

    text = caught(score, ROWS)
    assert "DLM104" in text
    assert f"the token before the row's first (id {BOS}) is scored from, but masked" in text
    sound(lambda rows: score(rows, visible=1), ROWS)


def test_z159_a_perplexity_of_means_of_batches(model):
    def losses(rows):
        ids, mask = padded(rows)
        return -log_probs(model, ids, mask) * mask[:, 1:], mask[:, 1:]

    def means(rows, size=2):
        seen, total = 0, 0.0
        for start in range(0, len(rows), size):
            loss, mask = losses(rows[start : start + size])
            total += (loss.sum() / mask.sum()).item() * len(mask)  # the batch's mean, weighted by its rows
            seen += len(mask)
        return math.exp(total / seen)

    def by_token(rows):
        parts = [losses(rows[start : start + 2]) for start in range(0, len(rows), 2)]
        return math.exp(sum(loss.sum().item() for loss, _ in parts) / sum(mask.sum() for _, mask in parts))

    def by_row(rows):
        loss, mask = losses(rows)
        return (loss.sum(-1) / mask.sum(-1)).mean().item()

    assert abs(means(ROWS) / by_token(ROWS) - 1) < 0.2  # its value would not give it away
    text = caught(means, ROWS, reduction="token")
    assert "DLM402" in text
    assert "neither way" in text
    assert "10 of 18" in text
    assert "0.333" in text
    assert not assert_scores_keep(by_token, ROWS, reduction="token").wrong
    assert not assert_scores_keep(by_row, ROWS, reduction="row").wrong
    assert "it weighs them by rows" in caught(by_row, ROWS, reduction="token")
    assert "it weighs them by tokens" in caught(by_token, ROWS, reduction="row")
    assert "UNDECIDED: all rows have as many" in caught(by_token, [ROWS[0], ROWS[0][::-1]], reduction="token")


def test_z161_an_offset_counts_a_bos_that_the_log_probabilities_lack(model):
    text = caught(continuation(model, begin=lambda prompt: len(prompt) + 1), PAIRS)
    assert "DLM403" in text
    assert "the first 1 of 3 continuation tokens is not counted" in text
    assert "the score begins too late" in text
    sound(continuation(model), PAIRS)


def test_z163_eos_as_the_token_before_the_first(model):
    def score(texts, front=EOS):
        rows = [[front, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts]
        return likelihood(model)(rows)

    tokenizer = tiny_tokenizer(bos=True)
    text = caught(score, TEXTS, tokenizer=tokenizer)
    assert f"the row starts with EOS (id {EOS}); the tokenizer's BOS is {BOS}" in text
    sound(lambda texts: score(texts, BOS), TEXTS, tokenizer=tokenizer)


def test_z165_the_first_eos_is_taken_for_padding(reward):
    def pooled(rows, find):
        ids, mask = padded(rows, pad=EOS)
        scores = reward.score(reward.model(input_ids=ids, attention_mask=mask).last_hidden_state)[..., 0]
        return scores[torch.arange(len(rows)), find(ids, mask)]

    rows = [[35, 36, EOS, 38, 39, EOS], [70, EOS, 71, 72, EOS], [*ROWS[2], EOS]]
    text = caught(
        lambda rows: pooled(rows, lambda ids, _: (ids == EOS).int().argmax(-1) - 1), rows, pad_token_id=EOS
    )
    assert "DLM401" in text
    assert (
        "the score is read at token 1 of 6, not at the last one: the next token (id 2) is taken for padding"
        in text
    )
    sound(lambda rows: pooled(rows, lambda _, mask: mask.sum(-1) - 1), rows, pad_token_id=EOS)


def test_z167_the_number_of_tokens_as_a_position_of_a_left_padded_row(reward):
    def pooled(rows, find):
        ids, mask = padded(rows, "left")
        scores = reward.score(reward.model(input_ids=ids, attention_mask=mask).last_hidden_state)[..., 0]
        return scores[torch.arange(len(rows)), find(mask)].tolist()

    text = caught(lambda rows: pooled(rows, lambda mask: mask.sum(-1) - 1), ROWS)
    assert "DLM401" in text
    assert "in the batch the score is read at token 2 of 7, not at token 6 (4 padding on the left)" in text
    assert "which is padding (8 padding on the left)" in text
    sound(lambda rows: pooled(rows, lambda mask: torch.full_like(mask[:, 0], mask.shape[1] - 1)), ROWS)


def test_z169_the_last_column_of_a_right_padded_batch(model):
    def reranker(rows, side):
        ids, mask = padded(rows, side)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, -1]
        return (logits[:, 100] - logits[:, 101]).sigmoid()

    text = caught(lambda rows: reranker(rows, "right"), ROWS)
    assert "DLM401" in text
    assert (
        "in the batch the score is read at column 10 of 11, which is padding (4 padding on the right)" in text
    )
    sound(lambda rows: reranker(rows, "left"), ROWS)


def test_z171_the_mask_of_right_padding_on_a_left_padded_batch(model):
    def score(rows):
        ids, mask = padded(rows, "left")
        lengths = mask.sum(-1)
        wrong = torch.arange(mask.shape[1] - 1) < lengths[:, None] - 1
        return (log_probs(model, ids, mask) * wrong).sum(-1) / (lengths - 1)

    text = caught(score, ROWS)
    assert "DLM402" in text
    assert "the positions counted are 4 off: 4 of the row's own are left out, 4 are padding" in text
    sound(likelihood(model, "left"), ROWS)


def test_z173_rows_that_fill_the_last_batch_are_kept(model):
    def score(rows, keep=True):
        filled = [*rows, *rows[: -len(rows) % 2]]  # what a distributed sampler does
        found = [
            x for start in range(0, len(filled), 2) for x in likelihood(model)(filled[start : start + 2])
        ]
        return found if keep else found[: len(rows)]

    text = caught(score, ROWS)
    assert "4 scores for 3 rows" in text
    assert "averages count rows twice" in text
    sound(lambda rows: score(rows, keep=False), ROWS)
    assert "2 scores for 3 rows" in caught(lambda rows: likelihood(model)(rows[:2]), ROWS)

    def mean(rows):
        ids, mask = padded([*rows, rows[0]])
        loss = -log_probs(model, ids, mask) * mask[:, 1:]
        return loss.sum() / mask[:, 1:].sum()

    assert "neither way" in caught(mean, ROWS, reduction="token")


def test_z175_bos_from_the_template_and_from_the_tokenizer(model):
    tokenizer = tiny_tokenizer(bos=True, chat_template="llama-2")

    def score(questions, special=True):
        chats = [[{"role": "user", "content": text}] for text in questions]
        texts = tokenizer.apply_chat_template(chats, tokenize=False)
        batch = tokenizer(texts, padding=True, add_special_tokens=special, return_tensors="pt")
        inner = batch["attention_mask"][:, 1:] * batch["attention_mask"][:, :-1]
        return (log_probs(model, batch["input_ids"], batch["attention_mask"]) * inner).sum(-1)

    text = caught(score, TEXTS, tokenizer=tokenizer)
    assert "DLM107" in text
    assert f"BOS (id {BOS}) stands twice at the start" in text
    sound(lambda questions: score(questions, special=False), TEXTS, tokenizer=tokenizer)


# Mistakes of the same kinds that have no number.


def test_the_prompt_is_in_the_score(model):
    text = caught(continuation(model, begin=lambda _: 1), PAIRS)
    assert "DLM403" in text
    assert "4 prompt tokens are counted into the score of the continuation" in text
    text = caught(continuation(model, begin=lambda prompt: len(prompt) - 1), PAIRS)
    assert "1 prompt token is counted into the score of the continuation" in text
    rows = [prompt + answer for prompt, answer in PAIRS]
    assert "prompt tokens are counted" in caught(likelihood(model), rows, prompt_lengths=[4, 2, 5])


@pytest.mark.parametrize(
    ("step", "words"), [(0, "the token at the same position"), (2, "the token after the next")]
)
def test_log_probabilities_of_other_tokens(model, step, words):
    def score(rows):
        ids, mask = padded(rows)
        logits = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        end = ids.shape[1] - step
        found = logits[:, :end].gather(-1, ids[:, step:, None])[..., 0]
        return (found * mask[:, step:]).sum(-1)

    text = caught(score, ROWS)
    assert "DLM403" in text
    assert words in text


def test_the_mean_is_taken_over_the_padded_width(model):
    def score(rows):
        ids, mask = padded(rows)
        return (log_probs(model, ids, mask) * mask[:, 1:]).mean(-1)

    text = caught(score, ROWS)
    assert "DLM402" in text
    assert "the sum over 6 tokens is divided by the padded width, 10" in text


def test_padding_is_not_masked(model):
    def score(rows):
        ids, mask = padded(rows, "left")
        return (log_probs(model, ids, None) * mask[:, 1:] * mask[:, :-1]).sum(-1)

    text = caught(score, ROWS)
    assert "DLM110" in text
    assert "4 padding tokens are not masked" in text


def test_learned_positions_of_a_left_padded_batch(positional):
    def score(rows):
        ids, mask = padded(rows, "left")
        return (log_probs(positional, ids, mask) * mask[:, 1:] * mask[:, :-1]).sum(-1)

    text = caught(score, ROWS)
    assert "DLM109" in text
    assert "the row has 4 padding tokens on the left and the model gets no position_ids" in text
    sound(likelihood(positional, "left"), ROWS)


def test_rewards_normalised_over_the_batch(reward):
    def score(rows):
        ids, mask = padded(rows)
        found = reward(input_ids=ids, attention_mask=mask).logits[:, 0]
        return found - found.mean()

    assert "the score follows what the model computed for rows 1 and 2" in caught(score, ROWS)


def test_scores_in_another_order(model):
    def score(rows):
        return likelihood(model)(sorted(rows, key=len))

    text = caught(score, ROWS)
    assert "the row's text moves score 1, not its own" in text
    assert "give the scores back in the order of the rows" in text


def test_a_border_from_tokenizing_the_prompt_alone(model):
    """Where prompt and continuation merge, the prompt alone has more tokens than it has in the whole."""
    letters = sorted(set("is the sky blue? not"))
    vocab = {piece: 5 + i for i, piece in enumerate([*letters, "ky", "sky"])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[("k", "y"), ("s", "ky")]))
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)

    def score(pairs, whole=False):
        found = []
        for prompt, answer in pairs:
            ids = tokenizer(prompt + answer, return_tensors="pt")["input_ids"]
            alone = tokenizer(prompt)["input_ids"]
            start = len(alone)
            if whole:
                start = next(
                    (i for i, (a, b) in enumerate(zip(alone, ids[0].tolist(), strict=False)) if a != b), start
                )
            found.append(log_probs(model, ids, torch.ones_like(ids))[0, start - 1 :].sum())
        return found

    pairs = [("is the sk", "y blue"), ("the sk", "y is not blue?")]
    text = caught(score, pairs, tokenizer=tokenizer)
    assert "DLM403" in text
    assert "the first 1 of 6 continuation tokens is not counted" in text
    sound(lambda rows: score(rows, whole=True), pairs, tokenizer=tokenizer)
    sound(score, [("is the sky", " blue?"), ("the sky is", " not blue")], tokenizer=tokenizer)


def test_pooling_over_padding(model):
    """Embeddings are scores of many numbers."""

    def mean(rows, masked):
        ids, mask = padded(rows)
        states = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if not masked:
            return states.mean(1)
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    text = caught(lambda rows: mean(rows, masked=False), ROWS)
    assert "DLM402" in text
    assert "4 padding positions are counted into the score" in text
    sound(lambda rows: mean(rows, masked=True), ROWS)


def test_a_scorer_without_a_model_in_sight():
    table = {token: math.sin(token) for token in range(100)}

    def score(rows, counted=len):
        width = max(map(len, rows))
        return [
            sum(table[token] for token in row) / (width if counted is None else counted(row)) for row in rows
        ]

    text = caught(lambda rows: score(rows, None), ROWS)
    assert "DLM402" in text
    assert "no torch module was called" in text
    assert assert_scores_keep(score, ROWS).verdict is Verdict.EQUAL
    assert "another last token leaves the score as it is" in caught(
        lambda rows: score([r[:-1] for r in rows]), ROWS
    )


# Innocent cases: no report.


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_i01_rounding_of_any_precision(dtype, side):
    model = tiny_decoder("llama", dtype=dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    sound(likelihood(model.train(), side), ROWS)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("arch", ["mixtral", "mamba", "gemma2", "opt", "falcon_h1", "qwen3_moe"])
def test_i03_i05_kernels_experts_and_states(arch):
    model = tiny_decoder(arch)

    def score(rows):
        ids, mask = padded(rows)
        return (log_probs(model, ids, mask) * mask[:, 1:]).sum(-1)

    sound(score, ROWS)


def test_i01_a_low_precision_that_the_scorer_chooses():
    model = tiny_decoder("llama")

    def score(rows):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return likelihood(model)(rows)

    # How far a batch's rounding is from a row's own depends on the CPU: it is within bounds or cannot be judged, and no mistake.
    try:
        said = "" if assert_scores_keep(score, ROWS).verdict.clean else "not clean"
    except AssertionError as problem:
        said = str(problem)
    assert not said or said.startswith(
        "whether the scores keep is UNDECIDED: the scorer computes in bfloat16"
    )


def test_i07_near_ties_of_a_choice(model):
    """A choice of one token is a whole number: how it would move cannot be seen, and that is said."""

    def score(rows):
        ids, mask = padded(rows)
        logits = model(input_ids=ids, attention_mask=mask).logits
        return [int(logits[i, len(row) - 1].argmax()) for i, row in enumerate(rows)]

    result = assert_scores_keep(score, ROWS)
    assert any("whole numbers" in note for note in result.notes)


def test_i11_positions_that_are_only_shifted(model):
    def score(rows):
        ids, mask = padded(rows, "left")
        return (log_probs(model, ids, mask) * mask[:, 1:] * mask[:, :-1]).sum(-1)

    sound(score, ROWS)


@pytest.mark.parametrize("arch", ["llama", "gpt2", "mamba"])
def test_right_padding_without_a_mask_is_harmless(arch):
    model = tiny_decoder(arch)

    def score(rows):
        ids, mask = padded(rows)
        return (log_probs(model, ids, None) * mask[:, 1:]).sum(-1)

    sound(score, ROWS)


def test_the_likelihood_of_one_answer_token(model):
    def score(rows):
        ids, mask = padded(rows)
        return log_probs(model, ids, mask)[torch.arange(len(rows)), mask.sum(-1) - 2]

    sound(score, ROWS)


def test_a_continuation_that_the_scorer_ends_with_eos_or_does_not_count(model):
    def score(rows, counted):
        ids, mask = padded([[*row, EOS] for row in rows])
        inner = mask[:, 1:] * (counted | (ids[:, 1:] != EOS))
        return (log_probs(model, ids, mask) * inner).sum(-1)

    for counted in (True, False):
        sound(lambda rows, c=counted: score(rows, c), ROWS)
        sound(lambda rows, c=counted: score(rows, c), [[*row, EOS] for row in ROWS], eos_token_id=EOS)


def test_i17_dropout():
    model = tiny_decoder("llama", attention_dropout=0.2).train()
    sound(likelihood(model), ROWS)


def test_i27_rewards_on_the_last_token_and_the_library_s_own_pooling(reward):
    def score(rows):
        ids, mask = padded(rows)
        return reward(input_ids=ids, attention_mask=mask).logits

    sound(score, ROWS)


def test_scorers_that_put_rows_into_batches_of_their_own(model):
    def score(rows):
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        found = [0.0] * len(rows)
        for start in range(0, len(rows), 2):
            chosen = order[start : start + 2]
            for i, value in zip(chosen, likelihood(model)([rows[i] for i in chosen]), strict=True):
                found[i] = value.item()
        return found

    sound(score, [*ROWS, [50, 51, 52, 53]])


def test_scores_of_tokens_of_texts_and_of_inputs_without_their_last_token(model):
    tokenizer = tiny_tokenizer(bos=True, padding_side="right")

    def of_texts(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        found = log_probs(model, batch["input_ids"], batch["attention_mask"])
        return [
            row[: int(n) - 1].tolist() for row, n in zip(found, batch["attention_mask"].sum(-1), strict=True)
        ]

    sound(of_texts, TEXTS, tokenizer=tokenizer)

    def without_the_last(pairs):
        rows = [[BOS, *prompt, *answer] for prompt, answer in pairs]
        ids, mask = padded([row[:-1] for row in rows])
        logits = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        found = []
        for i, (row, (_, answer)) in enumerate(zip(rows, pairs, strict=True)):
            end = len(row) - 1
            mine = logits[i, end - len(answer) : end].gather(-1, torch.tensor(answer)[:, None])
            found.append(mine.sum())
        return torch.stack(found)

    sound(without_the_last, PAIRS)
    sound(continuation(model), [([], [60, 61, 62]), *PAIRS])


def test_rectangles_of_token_scores_arrays_and_tensors_of_ids(model):
    def score(rows):
        ids, mask = padded(rows)
        return log_probs(model, ids, mask) * mask[:, 1:]

    sound(score, ROWS)
    sound(lambda rows: score([row.tolist() for row in rows]).numpy(), [torch.tensor(row) for row in ROWS])
