"""Published bugs of what is made of generated ids: prompts that are left, answers cut elsewhere, lost ends.

Each is built anew and found on the recorded call, with its mechanism named. Beside each stands the code put right.
"""

from __future__ import annotations

import threading

import torch
from reports import report, says
from scripts import ANSWERS, PROMPTS, Says, recorded
from transformers import TextIteratorStreamer

from pytest_decoderonly import assert_no_prompt, record_generate


def width(batch):
    return batch["input_ids"].shape[1]


def test_z087_the_prompt_is_replaced_in_text_that_lacks_its_special_tokens(model, tokenizer):
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    prompts = [
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats
    ]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    out, call = recorded(model, tokenizer, batch, ANSWERS)
    texts = tokenizer.batch_decode(out, skip_special_tokens=True)
    answers = [text.replace(prompt, "") for text, prompt in zip(texts, prompts, strict=True)]
    text = report(call.assert_answers_whole, answers, tokenizer)
    says(text, "3 of 3 answers", "of the prompt", "are left", "nothing was cut off", "DLM201")
    says(
        report(assert_no_prompt, answers, prompts, tokenizer=tokenizer),
        "3 of 3 outputs still carry the prompt",
        "DLM201",
    )
    cut = tokenizer.batch_decode(out[:, width(batch) :], skip_special_tokens=True)
    call.assert_answers_whole(cut, tokenizer)
    assert_no_prompt(cut, prompts, tokenizer=tokenizer)
    # Where nothing is skipped, the prompt is a part of the text.
    whole = tokenizer.batch_decode(out, skip_special_tokens=False)
    replaced = [text.partition(prompt)[2] for text, prompt in zip(whole, prompts, strict=True)]
    call.assert_answers_whole(replaced, tokenizer)


def test_z089_clean_up_moves_the_characters_that_the_prompt_is_cut_by(model, tokenizer):
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    prompts = ["is it blue , or is it not ? Say so :", "Hi there"]
    assert [tokenizer.decode(tokenizer(p)["input_ids"]) == p for p in prompts] == [False, True]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    out, call = recorded(model, tokenizer, batch, ANSWERS[:2])
    texts = tokenizer.batch_decode(out, skip_special_tokens=True)
    answers = [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]
    text = report(call.assert_answers_whole, answers, tokenizer)
    says(
        text,
        "1 of 2 answers is",
        "answer 0",
        "lost",
        "DLM202",
        "the beginning of what the model said is missing",
    )
    # In the prompt as the tokenizer gives it back.
    again = [tokenizer.decode(tokenizer(p)["input_ids"]) for p in prompts]
    call.assert_answers_whole([t[len(p) :] for t, p in zip(texts, again, strict=True)], tokenizer)
    call.assert_answers_whole(
        tokenizer.batch_decode(out[:, width(batch) :], skip_special_tokens=True), tokenizer
    )


def test_z091_the_streamer_repeats_the_prompt(model, tokenizer):
    batch = tokenizer(PROMPTS[:1], return_tensors="pt")
    for skip_prompt in (False, True):
        streamer = TextIteratorStreamer(
            tokenizer, skip_prompt=skip_prompt, timeout=60, skip_special_tokens=True
        )
        processor = [Says(tokenizer, ANSWERS[:1])]
        options = {**batch, "streamer": streamer, "logits_processor": processor, "max_new_tokens": 20}
        with record_generate() as recorder:
            thread = threading.Thread(target=model.generate, kwargs=options)
            thread.start()
            shown = "".join(streamer)
            thread.join()
        call = recorder.call
        if skip_prompt:
            call.assert_answers_whole([shown], tokenizer)
            assert_no_prompt(shown, PROMPTS[0])
        else:
            says(report(call.assert_answers_whole, [shown], tokenizer), "nothing was cut off", "DLM201")
            says(report(assert_no_prompt, shown, PROMPTS[0]), "the whole prompt")


def loop(*, eos_before_padding):
    """A greedy loop of one's own, handed to generate."""

    def generate(model, input_ids, logits_processor, stopping_criteria, generation_config, **options):
        attention_mask = options["attention_mask"]
        eos, pad = generation_config.eos_token_id, generation_config.pad_token_id
        done = torch.zeros(len(input_ids), dtype=torch.bool)
        for _step in range(generation_config.max_new_tokens):
            scores = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -1]
            tokens = logits_processor(input_ids, scores).argmax(-1)
            if not eos_before_padding:
                done = done | (tokens == eos)
            tokens = tokens.masked_fill(done, pad)
            if eos_before_padding:
                done = done | (tokens == eos)
            input_ids = torch.cat([input_ids, tokens[:, None]], 1)
            attention_mask = torch.cat([attention_mask, torch.ones_like(tokens[:, None])], 1)
            if bool(done.all()):
                break
        return input_ids

    return generate


def test_z093_the_eos_that_ends_a_row_is_stored_as_padding(model, tokenizer):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    for right in (False, True):
        out, call = recorded(model, tokenizer, batch, ANSWERS, custom_generate=loop(eos_before_padding=right))
        assert bool((out == 2).any()) is right
        answers = out[:, width(batch) :]
        call.assert_answers_whole(answers, tokenizer)  # a cut at the right place it is
        if right:
            call.assert_answers_whole(answers, tokenizer, ends_at_eos=True)
        else:
            text = report(call.assert_answers_whole, answers, tokenizer, ends_at_eos=True)
            says(text, "3 of 3", "stopped early and holds no EOS: padding stands where it should be")
            says(text, "write EOS before the row is marked as finished")


def test_z095_what_follows_eos_is_hidden_by_a_sum_over_the_batch(model, tokenizer):
    """The loop goes on for all rows; a mask must take out what stands behind a row's EOS."""
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    out, call = recorded(
        model, tokenizer, batch, [*ANSWERS[1:], ANSWERS[0]], eos_token_id=None, max_new_tokens=16
    )
    new = out[:, width(batch) :]
    for axis in (0, 1):
        ended = (new == tokenizer.eos_token_id).int()
        mask = ended.cumsum(axis) - ended == 0
        texts = [
            tokenizer.decode(row[flags], skip_special_tokens=True)
            for row, flags in zip(new, mask, strict=True)
        ]
        if axis == 1:
            call.assert_answers_whole(texts, tokenizer, ends_at_eos=True)
        else:
            text = report(call.assert_answers_whole, texts, tokenizer, ends_at_eos=True)
            says(text, "behind EOS are kept", "count along the row (axis 1), not over the batch")
