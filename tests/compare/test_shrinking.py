"""Known mistakes of real code, found in drawn batches: each shrinks to the smallest batch that shows it."""

from __future__ import annotations

import torch
from hypothesis import find, settings
from transformers import DataCollatorForLanguageModeling

from pytest_decoderonly import (
    assert_answers_whole,
    assert_labels_mask_prompt,
    tiny_decoder,
    tiny_tokenizer,
)
from pytest_decoderonly.strategies import conversations, merges, prompt_completion_pairs, ragged_batches

SMALLEST = settings(
    max_examples=500, deadline=None, database=None, derandomize=True, report_multiple_bugs=False
)
EOS = 2


def smallest(strategy, fails):
    def wrong(case):
        try:
            fails(case)
        except AssertionError:
            return True
        return False

    return find(strategy, wrong, settings=SMALLEST)


def test_learned_positions_that_count_the_padding():
    """GPT-2's own forward pass, left-padded, with a mask and no position_ids: one token, one pad."""
    model = tiny_decoder("gpt2")

    def compare(batch):
        with torch.no_grad():
            found = model(**batch.inputs).logits[:, -1]
            for row, last in zip(batch.rows, found, strict=True):
                torch.testing.assert_close(last, model(input_ids=torch.tensor([row])).logits[0, -1])

    batch = smallest(ragged_batches(form="torch"), compare)
    assert batch.rows == ((1,),)
    assert batch.input_ids.tolist() == [[0, 1]]


def test_states_that_are_broadcast_over_the_batch():
    """RWKV's cached steps take all rows' states for each row: two rows of one token, no padding."""
    model = tiny_decoder("rwkv")

    def step(ids, then):
        state = model(input_ids=ids, use_cache=True).state
        return model(input_ids=then, state=state, use_cache=True).logits

    def compare(batch):
        with torch.no_grad():
            ids = batch.input_ids
            found = step(ids, ids[:, -1:])
            for row, mine in zip(ids, found, strict=True):
                alone = step(row[None], row[None, -1:])
                assert mine.shape == alone[0].shape
                torch.testing.assert_close(mine, alone[0])

    batch = smallest(ragged_batches(form="torch", max_tokens=4, max_extra=0), compare)
    assert batch.rows == ((1,), (1,))
    assert batch.pads == 0


def test_a_collator_that_hides_the_end_because_it_has_the_padding_s_id():
    """The collator of transformers for language modelling, where padding and EOS share an id."""
    tokenizer = tiny_tokenizer(pad=False, padding_side="right")
    tokenizer.pad_token = tokenizer.eos_token
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)

    def check(batch):
        rows = [list(row) for row in batch.rows]
        made = collate([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows])
        assert_labels_mask_prompt(
            made["labels"], made["input_ids"], prompt_lengths=0, attention_mask=made["attention_mask"]
        )

    found = smallest(ragged_batches([*range(5, 40)], side="right", pad_token_id=EOS, pad_inside=True), check)
    assert found.rows == ((EOS,),)


def test_answers_cut_at_the_rows_own_length():
    """What generate puts behind padded prompts, cut by the number of real tokens: the least padding shows it."""
    model = tiny_decoder("llama")

    def check(batch):
        sequences = model.generate(**batch.inputs, max_new_tokens=2, do_sample=False, eos_token_id=None)
        answers = [row[length:].tolist() for row, length in zip(sequences, batch.lengths, strict=True)]
        assert_answers_whole(answers, sequences, batch.inputs)

    batch = smallest(ragged_batches(form="torch", max_tokens=6), check)
    assert batch.rows == ((1,),)
    assert batch.pads == 1


def test_a_prompt_counted_alone_where_its_end_merges():
    tokenizer = tiny_tokenizer()

    def check(pair):
        row = tokenizer(pair.prompt + pair.completion)["input_ids"]
        count = len(tokenizer(pair.prompt)["input_ids"])
        labels = ([-100] * count + row[count:])[: len(row)]
        assert_labels_mask_prompt([labels], [row], prompts=[pair.prompt], tokenizer=tokenizer)

    # A label of the merged token may be there or not: what is wrong is a row that supervises nothing.
    pair = smallest(prompt_completion_pairs(tokenizer), check)
    assert merges(tokenizer, *pair)
    assert len(pair.prompt + pair.completion) <= 3


def test_an_answer_that_ends_its_turn_too_early():
    """A chat cut at the first end-of-turn text: only a content that holds that text shows it."""
    tokenizer = tiny_tokenizer()

    def check(chat):
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        answer = text.rpartition("<|im_start|>assistant\n")[2].partition("<|im_end|>")[0]
        assert answer == chat[-1]["content"]

    chat = smallest(conversations(markers=["<|im_end|>"], max_turns=2), check)
    assert [message["role"] for message in chat] == ["user", "assistant"]
    assert chat[0]["content"] == "a"
    assert chat[1]["content"].replace("<|im_end|>", "", 1) in ("", "a", "aa")
