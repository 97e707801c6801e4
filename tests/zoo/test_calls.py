"""Published bugs of calls of `generate`: padding side, truncation, templates, stops, caches.

Each is built anew and found on the recorded call, with its mechanism named. Beside each stands the call put right.
"""

from __future__ import annotations

import torch
from reports import report, says
from scripts import ANSWERS, PROMPTS, ask, padded_right, recorded
from transformers import DynamicCache, GenerationMixin, PreTrainedTokenizerFast, StoppingCriteria
from transformers.generation.stopping_criteria import StopStringCriteria

from pytest_decoderonly import (
    assert_left_padded,
    assert_prompts_whole,
    record_generate,
    tiny_decoder,
    tiny_tokenizer,
)

IGNORED = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


# Padding


def test_z067_the_padding_side_of_another_kind_of_model(model, tokenizer):
    for side in ("right", "left"):
        batch = tokenizer(PROMPTS, padding=True, padding_side=side, return_tensors="pt")
        _, call = recorded(model, tokenizer, batch, ANSWERS)
        if side == "left":
            call.assert_left_padded(tokenizer)
        else:
            text = report(call.assert_left_padded, tokenizer)
            says(text, "2 of 3 rows are wrong", "row 1", "DLM102", "generate continues after the padding")


def test_z069_a_reloaded_tokenizer_forgets_its_padding_side(model, tmp_path):
    tiny_tokenizer(padding_side="right").save_pretrained(tmp_path)
    mine = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    mine.padding_side = "left"

    def with_bos(tokenizer, *, keep):
        kept = {"padding_side": tokenizer.padding_side} if keep else {}
        return PreTrainedTokenizerFast.from_pretrained(tokenizer.name_or_path, add_bos_token=True, **kept)

    for keep in (False, True):
        again = with_bos(mine, keep=keep)
        _, call = recorded(model, again, again(PROMPTS, padding=True, return_tensors="pt"), ANSWERS)
        if keep:
            call.assert_left_padded(again)
        else:
            says(report(call.assert_left_padded, mine), "DLM102", 'set tokenizer.padding_side = "left"')


def test_z071_rollouts_from_right_padded_prompts(model, tokenizer):
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    flipped = padded_right([row[::-1] for row in rows], 0)
    for batch in (padded_right(rows, 0), {name: value.flip(1) for name, value in flipped.items()}):
        batch["attention_mask"] = batch["input_ids"].not_equal(0).long()
        _, call = recorded(model, tokenizer, batch, ANSWERS, do_sample=True)
        if bool(batch["attention_mask"][:, -1].all()):
            call.assert_left_padded(tokenizer)
        else:
            says(report(call.assert_left_padded, tokenizer), "DLM102", "padding tokens on the right")


def test_z085_prompts_are_filled_to_a_static_shape_on_the_right(model, tokenizer):
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    out, call = recorded(model, tokenizer, padded_right(rows, 0, width=32), ANSWERS)
    says(
        report(call.assert_left_padded, tokenizer),
        "3 of 3 rows are wrong",
        "generate continues after the padding",
    )
    says(
        report(assert_left_padded, out, tokenizer=tokenizer),
        "padding tokens (id 0) stand between real tokens",
    )
    filled = tokenizer.pad({"input_ids": rows}, padding="max_length", max_length=32, return_tensors="pt")
    out, call = recorded(model, tokenizer, filled, ANSWERS)
    call.assert_left_padded(tokenizer)
    call.assert_answers_whole(out[:, 32:], tokenizer)


# Truncation and templates


def test_z073_a_prompt_cut_to_make_room_and_an_answer_cut_at_its_old_length(model, tokenizer):
    prompt = PROMPTS[0]
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]

    def reply(new_tokens, context, *, fixed):
        kept = ids[:, -(context - new_tokens) :]
        out = ask(model, tokenizer, {"input_ids": kept}, ANSWERS[:1], max_new_tokens=new_tokens)
        return tokenizer.decode(out[0][(kept if fixed else ids).shape[1] :], skip_special_tokens=True)

    with record_generate() as recorder:
        answers = [reply(16, 200, fixed=False), reply(16, 32, fixed=False), reply(16, 200, fixed=True)]
    enough, cut, fixed = recorder
    enough.assert_prompts_whole([prompt], tokenizer)
    enough.assert_answers_whole(answers[:1], tokenizer)
    lost = ids.shape[1] - 16
    says(
        report(cut.assert_prompts_whole, [prompt], tokenizer),
        f"the first {lost} of the prompt's",
        "tokens are lost",
    )
    text = report(cut.assert_answers_whole, answers[1:2], tokenizer)
    says(
        text,
        f"the first {lost} tokens are lost",
        f"cut at {ids.shape[1]}: a length counted before truncation",
    )
    fixed.assert_answers_whole(answers[2:], tokenizer)


def test_z075_max_length_does_not_count_embeddings(model, tokenizer, monkeypatch):
    ids = tokenizer(PROMPTS[:1], return_tensors="pt")["input_ids"]
    embeddings = model.get_input_embeddings()(ids)
    width = ids.shape[1]

    def both():
        with record_generate() as recorder:
            by_ids = model.generate(ids, max_length=width + 5, eos_token_id=None)
            by_embeddings = model.generate(inputs_embeds=embeddings, max_length=width + 5, eos_token_id=None)
        return (*recorder, by_ids[:, width:], by_embeddings)

    first, second, by_ids, by_embeddings = both()
    assert torch.equal(by_ids, by_embeddings)
    first.assert_stopped()
    second.assert_stopped()
    before = GenerationMixin._prepare_generated_length

    def uncounted(self, generation_config, **options):
        length = generation_config.max_length
        done = before(self, generation_config=generation_config, **options)
        done.max_length = length
        return done

    monkeypatch.setattr(GenerationMixin, "_prepare_generated_length", uncounted)
    first, second, _, by_embeddings = both()
    assert by_embeddings.shape[1] > 5
    first.assert_stopped()
    says(
        report(second.assert_stopped),
        f"generated {by_embeddings.shape[1]} tokens, its limit leaves 5",
        "embeddings",
    )


def test_z077_the_template_ignores_the_generation_prompt(model):
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    for template in (IGNORED, None):
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = template or tokenizer.chat_template
        batch = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
        )
        _, call = recorded(model, tokenizer, batch, ANSWERS)
        if template is None:
            call.assert_prompts_whole(chats, tokenizer)
        else:
            text = report(call.assert_prompts_whole, chats, tokenizer)
            says(
                text,
                "3 of 3",
                "the chat template leaves out the generation prompt",
                "DLM108",
                "goes on as the user",
            )


# Stops

TURNS = [" yes\nUser: a", " no, it is not\nUser: and", " sky\nUser: of"]


class _Never(StoppingCriteria):
    """Its inner loop appends False for every row, too."""

    def __init__(self, stops, tokenizer):
        self.stops, self.tokenizer = stops, tokenizer

    def __call__(self, input_ids, _scores, **_):
        met = []
        for row in input_ids:
            met.extend(self.tokenizer.decode(row).endswith(stop) for stop in self.stops)
            met.append(False)
        return torch.full((len(input_ids),), all(met))


class _Flat(StoppingCriteria):
    """Compares the end of the flattened batch, and stops all rows."""

    def __init__(self, stop):
        self.stop = stop

    def __call__(self, input_ids, _scores, **_):
        flat = input_ids.ravel()[-len(self.stop) :]
        return torch.full((len(input_ids),), flat.tolist() == self.stop)


def test_z079_a_criterion_that_is_never_met(model, tokenizer):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    stop = "\nUser:"
    _, call = recorded(
        model,
        tokenizer,
        batch,
        TURNS,
        ends=False,
        eos_token_id=None,
        stopping_criteria=[_Never([stop], tokenizer)],
    )
    text = report(call.assert_stopped, [stop], tokenizer)
    says(text, "after every row had stopped, at token", "of 40", "one truth value a row")
    _, call = recorded(
        model,
        tokenizer,
        batch,
        TURNS,
        ends=False,
        eos_token_id=None,
        stopping_criteria=[StopStringCriteria(tokenizer, [stop])],
        pad_token_id=0,
    )
    call.assert_stopped([stop], tokenizer)
    assert call.new_tokens.shape[1] < 40


def test_z081_a_stop_in_the_last_row_stops_all(model, tokenizer):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    stop = tokenizer("\nUser:")["input_ids"]
    options = {"ends": False, "eos_token_id": None}
    _, call = recorded(model, tokenizer, batch, TURNS, stopping_criteria=[_Flat(stop)], **options)
    text = report(call.assert_stopped, ["\nUser:"], tokenizer)
    says(text, "of 40 tokens, though row 1 had not stopped", "never the flattened batch")
    # Whose last row never stops: the stops of the others are ignored.
    turns = [*TURNS[:2], " sky"]
    _, call = recorded(model, tokenizer, batch, turns, stopping_criteria=[_Flat(stop)], **options)
    assert call.new_tokens.shape[1] == 40
    # The same rows, stopped one by one: by the library's own criterion, given as an option.
    _, call = recorded(model, tokenizer, batch, TURNS, stop_strings="\nUser:", tokenizer=tokenizer, **options)
    call.assert_stopped()


# Caches


def test_z083_a_cache_is_continued_with_the_new_turn_alone(model, tokenizer):
    first = tokenizer(["Hi there"], return_tensors="pt")
    turn = tokenizer(["\nUser: is the sky blue, and why is it so?\nBot:"], return_tensors="pt")["input_ids"]
    alone = model.generate(torch.cat([ask(model, tokenizer, first, [" yes"]), turn], 1), max_new_tokens=4)
    found = {}
    for way in ("turn", "whole", "turn and mask", "turn, last token and mask"):
        cache = DynamicCache(config=model.config)
        with record_generate() as recorder:
            out = ask(model, tokenizer, first, [" yes"], past_key_values=cache)
            ids = {"turn": turn, "whole": torch.cat([out, turn], 1), "turn and mask": turn}.get(way)
            if ids is None:
                ids = torch.cat([out[:, -1:], turn], 1)
            mask = torch.ones(
                1, ids.shape[1] + (cache.get_seq_length() if "mask" in way else 0), dtype=torch.long
            )
            more = model.generate(ids, attention_mask=mask, past_key_values=cache, max_new_tokens=4)
        recorder[0].assert_continues_cache()
        found[way] = (recorder[1], torch.equal(more[:, ids.shape[1] :], alone[:, -4:]))
    assert {way: right for way, (_, right) in found.items()} == {
        "turn": False,
        "whole": True,
        "turn and mask": False,
        "turn, last token and mask": True,
    }
    says(
        report(found["turn"][0].assert_continues_cache),
        "do not begin with the",
        "give generate the whole conversation",
    )
    says(
        report(found["turn and mask"][0].assert_continues_cache),
        "last token generated before is neither in the cache",
    )
    found["whole"][0].assert_continues_cache()
    found["turn, last token and mask"][0].assert_continues_cache()


# Innocent cases


def test_i21_more_sequences_than_prompts(model, tokenizer):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    for each, how in ((3, {"do_sample": True}), (2, {"num_beams": 2})):
        with record_generate() as recorder:
            out = model.generate(**batch, max_new_tokens=6, num_return_sequences=each, **how)
        call = recorder.call
        call.assert_left_padded(tokenizer)
        call.assert_prompts_whole(PROMPTS, tokenizer)
        answers = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        call.assert_answers_whole(answers, tokenizer)
        call.assert_answers_whole(answers[::each], tokenizer)  # the best of each prompt


def test_i23_virtual_tokens(tokenizer):
    from peft import PromptTuningConfig, get_peft_model

    model = get_peft_model(
        tiny_decoder("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    )
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with record_generate() as recorder:
        out = model.generate(**batch, max_new_tokens=4)
    call = recorder.call
    call.assert_left_padded(tokenizer)
    call.assert_prompts_whole(PROMPTS, tokenizer)
    call.assert_answers_whole(out[:, batch["input_ids"].shape[1] :], tokenizer)
    call.assert_stopped()


def test_i25_max_length_counts_the_prompts(model, tokenizer):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    width = batch["input_ids"].shape[1]
    out, call = recorded(model, tokenizer, batch, ANSWERS, max_new_tokens=None, max_length=width + 8)
    call.assert_left_padded(tokenizer)
    call.assert_answers_whole(out[:, width:], tokenizer)
    call.assert_stopped()
    says(report(call.assert_room, 9), "had room for 8 new tokens, expected 9: max_length", "DLM106")


def test_i29_a_single_prompt_without_a_mask(model, tokenizer):
    for pad in (True, False):
        mine = tiny_tokenizer(pad=pad)
        batch = {"input_ids": mine(PROMPTS[0], return_tensors="pt")["input_ids"]}
        _, call = recorded(model, mine, batch, ANSWERS[:1])
        call.assert_left_padded(mine)
        call.assert_left_padded()
        assert_prompts_whole(call.input_ids, PROMPTS[:1], mine)
