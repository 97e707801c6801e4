"""Further mistakes of calls of `generate`, none of them published: each is found, and what is put right passes."""

from __future__ import annotations

import pytest
import torch
from reports import report, says
from scripts import ANSWERS, PROMPTS, recorded
from transformers import DynamicCache

from pytest_decoderonly import assert_left_padded, record_generate, tiny_decoder, tiny_tokenizer

CHATS = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": p}] for p in PROMPTS]
QUESTIONS = [chat[1:] for chat in CHATS]


def called(model, tokenizer, batch, answers=ANSWERS, /, **options):
    return recorded(model, tokenizer, batch, answers, **options)[1]


def rendered(tokenizer, chats, **options):
    return [tokenizer.apply_chat_template(chat, tokenize=False, **options) for chat in chats]


# Padding and masks


def test_rows_padded_on_the_left_are_padded_again_on_the_right(model, tokenizer):
    """A dataset that was padded in pieces, joined by a collator that pads to the longest piece."""
    pieces = [tokenizer(PROMPTS[1:], padding=True), tokenizer(PROMPTS[:1])]
    rows = {
        name: [row for piece in pieces for row in piece[name]] for name in ("input_ids", "attention_mask")
    }
    for side in ("right", "left"):
        batch = tokenizer.pad(rows, padding=True, padding_side=side, return_tensors="pt")
        call = called(model, tokenizer, batch)
        if side == "left":
            call.assert_left_padded(tokenizer)
        else:
            says(report(call.assert_left_padded, tokenizer), "2 of 3 rows", "on the right", "DLM102")


def test_a_mask_of_ones(model, tokenizer):
    ids = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    call = called(
        model, tokenizer, {"input_ids": ids["input_ids"], "attention_mask": torch.ones_like(ids["input_ids"])}
    )
    says(report(call.assert_left_padded, tokenizer), "that the mask leaves visible", "DLM101")
    called(model, tokenizer, ids).assert_left_padded(tokenizer)


def test_a_mask_by_comparison_hides_turns_that_end_in_the_padding_token(model, tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    prompts = [f"Is it so?{tokenizer.eos_token}{prompt}" for prompt in PROMPTS]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    called(model, tokenizer, batch).assert_left_padded(tokenizer)
    batch["attention_mask"] = (batch["input_ids"] != tokenizer.pad_token_id).long()
    says(
        report(called(model, tokenizer, batch).assert_left_padded, tokenizer),
        "3 of 3",
        "DLM104",
        "between real tokens",
    )


def test_ids_are_sorted_by_length_and_their_mask_is_not(model, tokenizer):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    order = batch["attention_mask"].sum(1).argsort()
    both = {name: value[order] for name, value in batch.items()}
    call = called(model, tokenizer, both)
    call.assert_left_padded(tokenizer)
    call.assert_prompts_whole([PROMPTS[i] for i in order], tokenizer)
    mixed = called(model, tokenizer, {**batch, "input_ids": both["input_ids"]})
    says(report(mixed.assert_left_padded, tokenizer), "3 of 3 rows are wrong", "DLM101", "DLM104")


def test_a_padding_token_that_the_model_has_no_row_for(model):
    tokenizer = tiny_tokenizer(pad=False)
    tokenizer.add_special_tokens({"pad_token": "<new pad>"})
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with record_generate() as recorder, pytest.raises(IndexError):
        model.generate(**batch, max_new_tokens=2)
    says(report(recorder.call.assert_left_padded, tokenizer), "DLM103", "resize_token_embeddings")
    larger = tiny_decoder("llama")
    larger.resize_token_embeddings(len(tokenizer))
    called(larger, tokenizer, batch).assert_left_padded(tokenizer)


def test_examples_are_joined_after_they_were_padded(model, tokenizer):
    shots = tokenizer(["Hi? no.", "Is it? yes, it is."], padding=True, return_tensors="pt")
    question = tokenizer(PROMPTS[:1], return_tensors="pt")["input_ids"]
    joined = torch.cat([shots["input_ids"].reshape(1, -1), question], 1)
    call = called(
        model, tokenizer, {"input_ids": joined, "attention_mask": torch.ones_like(joined)}, ANSWERS[:1]
    )
    says(report(call.assert_left_padded, tokenizer), "padding token", "DLM101")
    text = "Hi? no.Is it? yes, it is." + PROMPTS[0]
    called(model, tokenizer, tokenizer([text], return_tensors="pt"), ANSWERS[:1]).assert_left_padded(
        tokenizer
    )


# Truncation and templates


def test_truncation_one_token_too_short(model, tokenizer):
    longest = max(len(tokenizer(prompt)["input_ids"]) for prompt in PROMPTS)
    for size, whole in ((longest - 1, False), (longest, True)):
        batch = tokenizer(PROMPTS, padding=True, truncation=True, max_length=size, return_tensors="pt")
        call = called(model, tokenizer, batch)
        if whole:
            call.assert_prompts_whole(PROMPTS, tokenizer)
        else:
            text = report(call.assert_prompts_whole, PROMPTS, tokenizer)
            says(text, "1 of 3 prompts does", "row 0", "the last 1 of the prompt's", "DLM105", "':'")


def test_the_beginning_of_chats_is_cut_where_they_are_padded(model, tokenizer):
    tokenizer.truncation_side = "left"
    texts = rendered(tokenizer, CHATS, add_generation_prompt=True)
    for size in (40, 80):
        options = {"padding": "max_length", "truncation": True, "max_length": size, "return_tensors": "pt"}
        call = called(model, tokenizer, tokenizer(texts, **options))
        if size == 80:
            call.assert_prompts_whole(CHATS, tokenizer)
        else:
            text = report(call.assert_prompts_whole, CHATS, tokenizer)
            says(text, "the first 14 of the prompt's 54 tokens are lost", "the system message")
            call.assert_prompts_whole(CHATS, tokenizer, may_lose_beginning=True)


@pytest.mark.parametrize("template", ["chatml", "gemma", "llama-2"])
def test_the_chat_template_is_applied_twice(model, template):
    tokenizer = tiny_tokenizer(chat_template=template)
    once = rendered(tokenizer, QUESTIONS, add_generation_prompt=True)
    again = rendered(
        tokenizer, [[{"role": "user", "content": text}] for text in once], add_generation_prompt=True
    )
    for texts in (once, again):
        call = called(model, tokenizer, tokenizer(texts, padding=True, return_tensors="pt"))
        for prompts in (QUESTIONS, PROMPTS):
            if texts is once:
                call.assert_prompts_whole(prompts, tokenizer)
            else:
                text = report(call.assert_prompts_whole, prompts, tokenizer)
                says(text, "3 of 3", "DLM107")
                if template != "llama-2" or prompts is PROMPTS:
                    says(text, "the chat template was applied twice", "render once")


@pytest.mark.parametrize("template", ["chatml", "gemma"])
def test_an_answer_to_be_continued_is_closed(model, template):
    """The chat ends with the beginning of an answer; another one is opened behind it."""
    tokenizer = tiny_tokenizer(chat_template=template)
    chats = [[*chat, {"role": "assistant", "content": "Sure: it"}] for chat in QUESTIONS]
    for option in ("add_generation_prompt", "continue_final_message"):
        texts = rendered(tokenizer, chats, **{option: True})
        call = called(model, tokenizer, tokenizer(texts, padding=True, return_tensors="pt"))
        if option == "continue_final_message":
            call.assert_prompts_whole(chats, tokenizer)
        else:
            text = report(call.assert_prompts_whole, chats, tokenizer)
            says(
                text,
                "3 of 3",
                "is closed, and another one is opened",
                "continue_final_message=True",
                "DLM108",
            )
    # A whole conversation, as training has it, is none that goes on.
    whole = tokenizer(rendered(tokenizer, chats), padding=True, return_tensors="pt")
    called(model, tokenizer, whole).assert_prompts_whole(chats, tokenizer)


def test_prompts_and_generation_prompts_that_stand_twice(model, tokenizer):
    once = rendered(tokenizer, QUESTIONS, add_generation_prompt=True)
    header = "<|im_start|>assistant\n"
    for texts, word in (
        ([text + header for text in once], "the generation prompt stands twice at the end"),
        ([text + text for text in once], "the prompt stands twice in the row"),
        (once, ""),
    ):
        call = called(model, tokenizer, tokenizer(texts, padding=True, return_tensors="pt"))
        if word:
            says(report(call.assert_prompts_whole, QUESTIONS, tokenizer), "3 of 3", word)
        else:
            call.assert_prompts_whole(QUESTIONS, tokenizer)


@pytest.mark.parametrize("template", ["gemma", "llama-2"])
def test_bos_of_the_template_and_of_the_tokenizer(model, template):
    tokenizer = tiny_tokenizer(bos=True, chat_template=template)
    texts = rendered(tokenizer, QUESTIONS, add_generation_prompt=True)
    for twice in (True, False):
        batch = tokenizer(texts, padding=True, add_special_tokens=twice, return_tensors="pt")
        call = called(model, tokenizer, batch)
        if twice:
            text = report(call.assert_prompts_whole, QUESTIONS, tokenizer)
            says(text, "3 of 3", "begins with 2 BOS tokens", "DLM107")
        else:
            call.assert_prompts_whole(QUESTIONS, tokenizer)


def test_a_tokenizer_that_ends_prompts_with_eos(model):
    for eos in (True, False):
        tokenizer = tiny_tokenizer(eos=eos)
        call = called(model, tokenizer, tokenizer(PROMPTS, padding=True, return_tensors="pt"))
        if eos:
            says(report(call.assert_prompts_whole, PROMPTS, tokenizer), "EOS follows the prompt", "DLM107")
        else:
            call.assert_prompts_whole(PROMPTS, tokenizer)
    tokenizer = tiny_tokenizer(eos=True)
    tokenizer.pad_token = tokenizer.eos_token  # without a mask nothing tells the end of a text from padding
    call = called(
        model, tokenizer, {"input_ids": tokenizer(PROMPTS[:1], return_tensors="pt")["input_ids"]}, ANSWERS[:1]
    )
    call.assert_prompts_whole(PROMPTS[:1], tokenizer)


def test_chats_without_their_generation_prompt(model, tokenizer):
    for asked in (False, True):
        texts = rendered(tokenizer, CHATS, add_generation_prompt=asked)
        call = called(model, tokenizer, tokenizer(texts, padding=True, return_tensors="pt"))
        if asked:
            call.assert_prompts_whole(CHATS, tokenizer)
        else:
            says(
                report(call.assert_prompts_whole, CHATS, tokenizer),
                "the generation prompt",
                "is missing",
                "DLM108",
            )


def test_prompts_are_repeated_batch_by_batch(model, tokenizer):
    """For several samples a prompt, with answers grouped by prompt afterwards."""
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    wanted = [prompt for prompt in PROMPTS for _ in range(2)]
    answers = [answer for answer in ANSWERS for _ in range(2)]
    call = called(model, tokenizer, {n: v.repeat_interleave(2, 0) for n, v in batch.items()}, answers)
    call.assert_prompts_whole(wanted, tokenizer)
    call = called(model, tokenizer, {n: v.repeat(2, 1) for n, v in batch.items()}, answers)
    says(
        report(call.assert_prompts_whole, wanted, tokenizer),
        "4 of 6",
        "row 1",
        "the row does not hold its prompt, but prompt 2",
    )


# Stops, limits, caches


def test_the_loop_ends_at_the_first_eos_of_any_row(model, tokenizer):
    def until(condition):
        def loop(model, input_ids, logits_processor, stopping_criteria, generation_config, **options):
            mask, done = options["attention_mask"], torch.zeros(len(input_ids), dtype=torch.bool)
            for _ in range(generation_config.max_new_tokens):
                scores = model(input_ids=input_ids, attention_mask=mask).logits[:, -1]
                tokens = logits_processor(input_ids, scores).argmax(-1).masked_fill(done, 0)
                done = done | (tokens == 2)
                input_ids = torch.cat([input_ids, tokens[:, None]], 1)
                mask = torch.cat([mask, mask[:, -1:]], 1)
                if condition(done):
                    break
            return input_ids

        return loop

    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    text = report(called(model, tokenizer, batch, custom_generate=until(torch.any)).assert_stopped)
    says(text, "of 40 tokens, though rows 0, 2 had not stopped", "cut short by the end of another row")
    called(model, tokenizer, batch, custom_generate=until(torch.all)).assert_stopped()


def test_turns_end_in_another_token_than_eos(model, tokenizer):
    """The model ends its turns as the template does; generation waits for EOS."""
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    turns = [f"{answer}<|im_end|>" for answer in ANSWERS]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    call = called(model, tokenizer, batch, turns, ends=False)
    call.assert_stopped()  # nothing in the call says that turns end there
    says(report(call.assert_stopped, ["<|im_end|>"], tokenizer), "after every row had stopped", "then:")
    call = called(model, tokenizer, batch, turns, ends=False, eos_token_id=[2, end])
    call.assert_stopped(["<|im_end|>"], tokenizer)


def test_stops_that_a_text_hides(model):
    """A stop that begins in the prompt, at a space that the decoder drops, or in the name of a special token."""
    tokenizer = tiny_tokenizer(kind="metaspace")
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    options = {"ends": False, "eos_token_id": None, "tokenizer": tokenizer, "pad_token_id": 0}
    for stop, turns in ((" sky", ["sky it"] * 3), (": no", [" no it"] + [" is: no"] * 2)):
        call = called(model, tokenizer, batch, turns, stop_strings=stop, **options)
        call.assert_stopped()
    # "e" stands in the name "<eos>": some criteria stop there, others do not.
    called(
        model, tokenizer, batch, ["<eos>in"] * 3, stop_strings="e", max_new_tokens=6, **options
    ).assert_stopped()
    del options["tokenizer"]
    call = called(model, tokenizer, batch, ["<eos>in"] * 3, max_new_tokens=6, **options)
    call.assert_stopped(["e"], tokenizer)


def test_max_length_leaves_no_room(model, tokenizer):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    says(
        report(called(model, tokenizer, batch, max_new_tokens=None, max_length=20).assert_room, 16),
        "room for 2",
        "DLM106",
    )
    called(model, tokenizer, batch, max_new_tokens=16).assert_room(16)


def test_a_cache_of_another_conversation(model, tokenizer):
    first, second = (
        tokenizer(prompt, return_tensors="pt")["input_ids"] for prompt in (PROMPTS[1], PROMPTS[0])
    )
    for continued in (False, True):
        cache = DynamicCache(config=model.config)
        with record_generate() as recorder:
            out = model.generate(first, past_key_values=cache, max_new_tokens=2)
            ids = torch.cat([out, second], 1) if continued else second
            model.generate(ids, past_key_values=cache, max_new_tokens=2)
        recorder[0].assert_continues_cache()
        if continued:
            recorder[1].assert_continues_cache()
        else:
            says(report(recorder[1].assert_continues_cache), "do not begin with the 6 tokens in its cache")


def test_a_batch_that_is_not_made_by_a_tokenizer_of_torch(tokenizer):
    """The same findings for lists and arrays, as servers hold them."""
    batch = tokenizer(PROMPTS, padding=True)
    assert_left_padded(batch["input_ids"], batch["attention_mask"], tokenizer=tokenizer)
    right = tokenizer(PROMPTS, padding=True, padding_side="right", return_tensors="np")
    says(report(assert_left_padded, right, tokenizer=tokenizer), "2 of 3 rows are wrong", "DLM102")
