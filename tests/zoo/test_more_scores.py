"""Mistakes of scores that no list holds, each beside the same scorer without the mistake."""

from __future__ import annotations

import pytest
import torch
from scorers import BOS, EOS, PAIRS, ROWS, caught, continuation, likelihood, log_probs, padded, sound
from transformers import DynamicCache

from pytest_decoderonly import assert_scores_keep, tiny_decoder, tiny_tokenizer
from pytest_decoderonly.compare.verdict import Verdict


def terms(model, ids, first=1):
    """The log-probabilities of `ids[first:]`, of one row."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, first - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids[first:])[:, None])[:, 0]


def windows(model, rows, size=4, stride=2, *, again):
    """Rolling perplexity; `again` scores what windows share once more in each."""
    found = []
    for row in rows:
        total, done = torch.tensor(0.0), 0
        for begin in range(0, len(row), stride):
            end = min(begin + size, len(row))
            scored = terms(model, row[begin:end])
            total = total + (scored if again or not done else scored[-(end - done) :]).sum()
            done = end
            if end == len(row):
                break
        found.append(total)
    return found


def test_overlapping_windows_that_score_what_they_share_twice(model):
    text = caught(lambda rows: windows(model, rows, again=True), ROWS)
    assert "2 of 7 tokens are scored more than once: 3 windows overlap" in text
    assert "score only what the window before has not scored" in text
    result = assert_scores_keep(lambda rows: windows(model, rows, again=False), ROWS)
    assert result.verdict is Verdict.EQUAL
    assert "row 2 is run in 5 windows; what they score was read alone, not in the batch" in result.notes


def test_windows_that_share_no_token_leave_the_first_of_each_unscored(model):
    def score(pairs, stride, *, prompt=False, size=4):
        found = []
        for context, answer in pairs:
            row, total, done = [*context, *answer], torch.tensor(0.0), 1 if prompt else len(context)
            for begin in range(0, len(row) - 1, stride):
                scored = terms(model, row[begin : begin + size])
                total = total + scored[max(0, done - begin - 1) :].sum()
                done = max(done, begin + size)
            found.append(total)
        return found

    text = caught(lambda pairs: score(pairs, 4), PAIRS)
    assert "1 of 3 tokens is scored in none of the 2 windows" in text
    assert assert_scores_keep(lambda pairs: score(pairs, 3), PAIRS).verdict.clean
    text = caught(lambda pairs: score(pairs, 3, prompt=True), PAIRS)
    assert "3 prompt tokens are counted into the score of the continuation" in text


def test_a_likelihood_with_and_without_its_prompt_is_no_window(model):
    def score(pairs):
        return [
            terms(model, [*prompt, *answer], len(prompt)).sum() - terms(model, [BOS, *answer]).sum()
            for prompt, answer in pairs
        ]

    assert assert_scores_keep(score, [(p, a) for p, a in PAIRS]).verdict.clean


def test_the_border_of_the_first_row_is_taken_for_all(model):
    def score(pairs, own):
        rows = [[BOS, *prompt, *answer] for prompt, answer in pairs]
        found = log_probs(model, *padded(rows))
        begins = [len(prompt if own else pairs[0][0]) for prompt, _ in pairs]
        return [found[i, begins[i] : len(row) - 1].sum() for i, row in enumerate(rows)]

    text = caught(lambda pairs: score(pairs, own=False), PAIRS)
    assert "DLM403" in text
    assert "the continuation is taken from token 5 on, where that of row 0 begins" in text
    assert "each row's own prompt" in text
    sound(lambda pairs: score(pairs, own=True), PAIRS)


def test_the_first_token_of_a_left_padded_row_is_scored_from_padding(model):
    def score(rows, *, both):
        ids, mask = padded(rows, "left")
        return (log_probs(model, ids, mask) * mask[:, 1:] * (mask[:, :-1] if both else 1)).sum(-1)

    text = caught(lambda rows: score(rows, both=False), ROWS)
    assert "DLM402" in text
    assert "the row's first token is scored from the padding in front of it" in text
    sound(lambda rows: score(rows, both=True), ROWS)


def test_eos_within_a_text_is_masked_as_padding(model):
    def score(rows, *, compare):
        ids, mask = padded(rows, pad=EOS)
        mask = (ids != EOS).long() if compare else mask
        return (log_probs(model, ids, mask) * mask[:, 1:]).sum(-1)

    rows = [[35, 36, EOS, 38, 39, 41], [70, EOS, 71, 72], [80, 81, 82, EOS, 83, 84, 85]]
    text = caught(lambda rows: score(rows, compare=True), rows, eos_token_id=EOS, pad_token_id=EOS)
    assert "DLM104" in text
    assert "a token of the text (id 2) is masked, for it has the id of padding and EOS" in text
    sound(lambda rows: score(rows, compare=False), rows, eos_token_id=EOS, pad_token_id=EOS)


def test_targets_of_another_row(model):
    def score(rows, dims):
        ids, mask = padded(rows)
        logits = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        targets = ids.roll(-1, dims)
        last = torch.arange(ids.shape[1]) < mask.sum(-1, keepdim=True) - 1
        return (logits.gather(-1, targets[..., None])[..., 0] * last).sum(-1)

    text = caught(lambda rows: score(rows, 0), ROWS)
    assert "DLM403" in text
    sound(lambda rows: score(rows, 1), ROWS)

    def over_the_batch(rows):
        ids, mask = padded(rows)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
        return (logits.gather(-1, ids.roll(1, 0)[:, 1:, None])[..., 0] * mask[:, 1:]).sum(-1)

    text = caught(over_the_batch, ROWS)
    assert "another last token of the row moves score 2, not its own" in text
    assert "shift the targets along the positions (axis 1), not over the rows (axis 0)" in text


def test_a_total_that_no_row_sets_back(model):
    def score(rows, *, reset):
        found, total = [], torch.tensor(0.0)
        for row in rows:
            total = terms(model, row).sum() + (0 if reset else total)
            found.append(total)
        return found

    text = caught(lambda rows: score(rows, reset=False), ROWS)
    assert "the score follows what the model computed for rows 0 and 1, which stand before it" in text
    assert "begin each row's sum at zero" in text
    sound(lambda rows: score(rows, reset=True), ROWS)


def test_results_remembered_by_the_prompt_alone(model):
    pairs = [([35, 36, 37], [60, 61]), ([35, 36, 37], [62, 63, 64]), ([35, 36], [62])]

    def score(pairs, key):
        known = {}
        for pair in pairs:
            if key(pair) not in known:
                known[key(pair)] = continuation(model)([pair])[0]
        return [known[key(pair)] for pair in pairs]

    text = caught(lambda pairs: score(pairs, lambda pair: tuple(pair[0])), pairs)
    assert "the row gets the very score of row 0; alone the two differ" in text
    assert "1 of 3 rows" in text
    sound(lambda pairs: score(pairs, lambda pair: (tuple(pair[0]), tuple(pair[1]))), pairs)


def test_results_remembered_between_calls_cannot_be_judged(model):
    known = {}

    def score(rows):
        for row in rows:
            if tuple(row) not in known:
                known[tuple(row)] = likelihood(model)([row])[0]
        return [known[tuple(row)] for row in rows]

    text = caught(score, ROWS)
    assert "UNDECIDED" in text
    assert "give the scorer without its memory of results" in text


def test_a_cache_that_is_carried_from_row_to_row(model):
    def score(rows, *, new):
        found, cache = [], DynamicCache(config=model.config)
        for row in rows:
            cache = DynamicCache(config=model.config) if new else cache
            logits = model(input_ids=torch.tensor([row]), past_key_values=cache, use_cache=True).logits[0]
            found.append(logits[:-1].log_softmax(-1).gather(-1, torch.tensor(row)[1:, None]).sum())
        return found

    text = caught(lambda rows: score(rows, new=False), ROWS)
    assert "though each is run by itself: a state (a cache) is carried from one to the next" in text
    assert "begin each row with a new cache" in text
    sound(lambda rows: score(rows, new=True), ROWS)


def test_a_limit_that_cuts_continuations(model):
    def score(pairs, cut):
        rows = [cut([*prompt, *answer]) for prompt, answer in pairs]
        found = log_probs(model, *padded(rows))
        return [
            found[i, max(0, len(row) - len(answer) - 1) : len(row) - 1].sum()
            for i, (row, (_, answer)) in enumerate(zip(rows, pairs, strict=True))
        ]

    text = caught(lambda pairs: score(pairs, lambda row: row[:6]), PAIRS)
    assert "the model gets the row without its last 4 tokens" in text
    assert "truncate prompts on the left" in text
    sound(lambda pairs: score(pairs, lambda row: row[-7:]), PAIRS)


def test_the_mean_over_a_continuation_is_divided_by_all_tokens(model):
    def score(pairs, count):
        sums = continuation(model)(pairs)
        return [found / count(*pair) for found, pair in zip(sums, pairs, strict=True)]

    text = caught(lambda pairs: score(pairs, lambda prompt, answer: len(prompt) + len(answer)), PAIRS)
    assert "the sum over 3 tokens of the continuation is divided by 7, which counts the prompt too" in text
    sound(lambda pairs: score(pairs, lambda _, answer: len(answer)), PAIRS)
    sound(lambda pairs: score(pairs, lambda _, answer: len(answer) ** 0.6), PAIRS)


@pytest.mark.parametrize(("eos", "name", "code"), [(False, "BOS (id 1)", "DLM107"), (True, "EOS (id 2)", "")])
def test_a_continuation_tokenized_with_special_tokens_of_its_own(model, eos, name, code):
    tokenizer = tiny_tokenizer(bos=True, eos=eos)

    def score(pairs, special):
        found = []
        for prompt, answer in pairs:
            front = tokenizer(prompt, add_special_tokens=special != "none")["input_ids"]
            behind = tokenizer(answer, add_special_tokens=special == "both")["input_ids"]
            found.append(terms(model, [*front, *behind], len(front)).sum())
        return found

    pairs = [("Question: is the sky blue?", " yes"), ("An owl", " and the sky"), ("no", ", never more")]
    text = caught(lambda pairs: score(pairs, "both"), pairs, tokenizer=tokenizer)
    assert f"{name} stands between prompt and continuation, where the text has none" in text
    assert f"[{code}]" in text or not code
    sound(lambda pairs: score(pairs, "none" if eos else "front"), pairs, tokenizer=tokenizer)


def test_a_width_that_all_rows_are_padded_to(model):
    def score(rows, how, width=16):
        filled = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        mask = (torch.arange(width) < torch.tensor([[len(row)] for row in rows])).long()
        found = log_probs(model, filled, mask)
        inner = torch.ones_like(mask[:, 1:]) if how == "all" else mask[:, 1:]
        return (found * inner).sum(-1) / (width - 1 if how == "width" else inner.sum(-1))

    text = caught(lambda rows: score(rows, "all"), ROWS)
    assert "the log-probabilities of 9 padding tokens behind the last token are added" in text
    text = caught(lambda rows: score(rows, "width"), ROWS)
    assert "the sum over 6 tokens is divided by the padded width, 15" in text
    sound(lambda rows: score(rows, "tokens"), ROWS)


def test_lengths_in_another_order_than_the_rows(model):
    def score(rows, lengths):
        order = sorted(rows, key=len)
        ids, mask = padded(order)
        states = model.model(input_ids=ids, attention_mask=mask).last_hidden_state[..., :3].sum(-1)
        found = [states[i, length - 1] for i, length in enumerate(lengths(order))]
        return [found[order.index(row)] if lengths is own else found[i] for i, row in enumerate(rows)]

    def own(order):
        return [len(row) for row in order]

    text = caught(lambda rows: score(rows, lambda _: [len(row) for row in rows]), ROWS)
    assert "the score is read from row 1, not from the row itself" in text
    sound(lambda rows: score(rows, own), ROWS)


def test_the_first_token_alone_stands_for_the_continuation(model):
    def score(pairs):
        return [terms(model, [BOS, *prompt, *answer], len(prompt) + 1)[0] for prompt, answer in pairs]

    text = caught(score, PAIRS)
    assert "DLM403" in text
    assert "only the first of 3 continuation tokens is counted" in text
    sound(score, [(prompt, answer[:1]) for prompt, answer in PAIRS])


def test_a_last_batch_that_is_dropped_and_means_of_perplexities(model):
    def score(rows, *, drop=False, exp=False):
        batches = [rows[i : i + 2] for i in range(0, len(rows), 2)]
        sums, counts = [], []
        for batch in batches:
            if drop and len(batch) < 2:
                continue
            ids, mask = padded(batch)
            sums += (-log_probs(model, ids, mask) * mask[:, 1:]).sum(-1).tolist()
            counts += mask[:, 1:].sum(-1).tolist()
        if exp:
            return sum(torch.tensor(a / n).exp().item() for a, n in zip(sums, counts, strict=True)) / len(
                sums
            )
        return sum(sums) / sum(counts) if counts else float("nan")

    text = caught(lambda rows: score(rows, drop=True), ROWS, reduction="token")
    assert "row 2 not at all" in text
    assert "rows are left out of the score" in text
    assert not assert_scores_keep(score, ROWS, reduction="token").wrong

    def without_the_last(rows):
        ids, mask = padded(rows)
        loss = -log_probs(model, ids, mask) * mask[:, 1:]
        return loss[:-1].sum() / mask[:-1, 1:].sum()

    assert "row 2 not at all" in caught(without_the_last, ROWS, reduction="token")
    # Each row's perplexity counts alike: no mean of logarithms, yet by rows.
    assert not assert_scores_keep(lambda rows: score(rows, exp=True), ROWS, reduction="row").wrong
    assert "it weighs them by rows" in caught(lambda rows: score(rows, exp=True), ROWS, reduction="token")


# Innocent cases: no report.


@pytest.mark.parametrize("pick", [torch.min, torch.max, torch.median])
def test_scores_that_rest_on_some_tokens_by_their_likelihood(model, pick):
    def score(rows):
        ids, mask = padded(rows)
        found = log_probs(model, ids, mask)
        return [pick(found[i, : len(row) - 1]) for i, row in enumerate(rows)]

    sound(score, ROWS)
    sound(lambda pairs: [pick(terms(model, [BOS, *p, *a], len(p) + 1)) for p, a in pairs], PAIRS)


def test_ranks_and_clamped_likelihoods(model):
    def ranks(rows):
        ids, mask = padded(rows)
        logits, inner = model(input_ids=ids, attention_mask=mask).logits[:, :-1], mask[:, 1:]
        above = (logits > logits.gather(-1, ids[:, 1:, None])).sum(-1).float()
        return (above.log1p() * inner).sum(-1) / inner.sum(-1)

    sound(ranks, ROWS)
    sound(lambda rows: [terms(model, row).clamp(min=-6).sum() for row in rows], ROWS)


def test_continuations_divided_by_their_bytes(model):
    tokenizer = tiny_tokenizer(bos=True)

    def score(pairs):
        found = []
        for prompt, answer in pairs:
            ids, begin = tokenizer(prompt + answer)["input_ids"], len(tokenizer(prompt)["input_ids"])
            found.append(terms(model, ids, begin).sum() / len(answer.encode()))
        return found

    # The last one has 10 tokens, 12 bytes, and 12 tokens with its prompt.
    pairs = [("Question: is the sky blue?", " yes"), ("An owl", " and the sky"), ("no", ", never more")]
    sound(score, pairs, tokenizer=tokenizer)


def test_two_models_and_a_common_prefix(model):
    other = tiny_decoder("llama", seed=1)

    def ratio(rows):
        return [terms(model, row).sum() - terms(other, row).sum() for row in rows]

    def prefix(pairs):
        found = []
        for prompt, answer in pairs:
            cache = DynamicCache(config=model.config)
            first = model(input_ids=torch.tensor([prompt]), past_key_values=cache, use_cache=True)
            then = model(input_ids=torch.tensor([answer]), past_key_values=cache, use_cache=True)
            logits = torch.cat([first.logits[0, -1:], then.logits[0, :-1]])
            found.append(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum())
        return found

    sound(ratio, ROWS)
    assert assert_scores_keep(prefix, PAIRS).verdict.clean
