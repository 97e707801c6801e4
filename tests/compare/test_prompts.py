"""Prompts that reach the model whole are never reported; what truncation takes is, with how many tokens are gone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spellings import NAMES, spelling

from pytest_decoderonly import assert_prompts_whole, tiny_tokenizer

LONG = "Text: the more the rows of a batch differ, the more padding there is.\nQuestion: is it so? Answer:"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is the sky blue today?"}]
# Without a header in front of answers, as [INST] templates; with one that asking for it does not bring.
NO_HEADER = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
)
DEAF = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


def _report(*args, **options):
    with pytest.raises(AssertionError) as caught:
        assert_prompts_whole(*args, **options)
    return str(caught.value)


TEXT = st.text(st.sampled_from("the sky is blue? Answer: no, yes.\né "), min_size=1, max_size=40)


@given(
    st.sampled_from(NAMES),
    st.lists(TEXT, min_size=1, max_size=4),
    st.sampled_from(["left", "right"]),
    st.booleans(),
)
@settings(max_examples=100)
def test_whole_prompts_are_never_reported(name, prompts, side, masked):
    tokenizer = spelling(name)
    prompts = [f"a{prompt}" for prompt in prompts]
    batch = tokenizer(prompts, padding=True, padding_side=side)
    assert_prompts_whole(
        batch["input_ids"], prompts, tokenizer, attention_mask=batch["attention_mask"] if masked else None
    )
    framed = [f"Task: {prompt}\nAnswer:" for prompt in prompts]
    assert_prompts_whole(tokenizer(framed)["input_ids"], prompts, tokenizer)


@given(st.sampled_from(NAMES), TEXT, st.sampled_from(["left", "right"]), st.data())
@settings(max_examples=100)
def test_truncation_is_reported_with_its_tokens(name, text, side, data):
    tokenizer = spelling(name)
    prompt = f"Question: {text}"
    alone = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    kept = data.draw(st.integers(3, len(alone) - 1))
    ids = alone[:kept] if side == "right" else alone[len(alone) - kept :]
    # A part that stands in the prompt more than once may be either end of it, or lie inside.
    assume(all(alone[s : s + kept] != ids for s in range(1, len(alone) - kept)))
    assume(side == "right" or alone[:kept] != ids)
    ids = tokenizer(prompt)["input_ids"][: -len(alone)] + ids
    lost = len(alone) - kept
    word = (
        f"the last {lost} of the prompt's {len(alone)} tokens" if side == "right" else f"the first {lost} of"
    )
    text = _report([ids], prompt, tokenizer)
    assert word in text, text
    assert ("DLM105" in text) == (side == "right")
    if side == "left":
        assert_prompts_whole([ids], prompt, tokenizer, may_lose_beginning=True)


def test_truncation_by_the_tokenizer(tokenizer):
    batch = tokenizer([LONG, "Hi there"], truncation=True, max_length=32, padding=True, return_tensors="pt")
    text = _report(batch, [LONG, "Hi there"], tokenizer)
    assert (
        "1 of 2 prompts does not reach the model as written\nrow 0   the last 35 of the prompt's 67 tokens are lost"
        in text
    )
    assert "..." + "#" * 28 + "x" * 28 + "...\n" in text
    tokenizer.truncation_side = "left"
    batch = tokenizer([LONG, "Hi there"], truncation=True, max_length=32, padding=True, return_tensors="pt")
    assert "the first 35 of the prompt's 67 tokens are lost\n" in _report(
        batch, [LONG, "Hi there"], tokenizer
    )
    ids = tokenizer(LONG)["input_ids"]
    assert "35 of the prompt's 67 tokens are lost in the middle" in _report(
        [ids[:16] + ids[-16:]], LONG, tokenizer
    )
    assert "the last 39 of the prompt's 67 tokens are lost, the first 12 too" in _report(
        [ids[12:28]], LONG, tokenizer
    )


def test_chats(tokenizer):
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert_prompts_whole([ids], CHAT, tokenizer)
    assert_prompts_whole([ids, ids], [CHAT, CHAT], tokenizer)
    assert_prompts_whole([ids], [CHAT[1]["content"]], tokenizer)  # a text inside its template
    bare = tokenizer.apply_chat_template(CHAT, add_generation_prompt=False, return_dict=False)
    text = _report([bare], CHAT, tokenizer)
    assert f"the generation prompt ({len(ids) - len(bare)} tokens) is missing at the end   [DLM108]" in text
    alone = tokenizer.apply_chat_template(CHAT[1:], add_generation_prompt=False, return_dict=False)
    assert "a rendered chat without its generation prompt" in _report(
        [alone], [CHAT[1]["content"]], tokenizer
    )
    text = _report([ids[:-20]], CHAT, tokenizer)
    assert "the last 20 of" in text
    assert "the generation prompt among them   [DLM105]" in text
    assert "some of the generation prompt   [DLM105]" in _report([ids[:-3]], CHAT, tokenizer)
    assert "EOS follows the generation prompt   [DLM107]" in _report([[*ids, 2]], CHAT, tokenizer)
    # An answer that was begun, other tools or another system message: the last message and the header tell.
    assert_prompts_whole([[*ids, 50, 60]], CHAT, tokenizer)
    begun = [*CHAT, {"role": "assistant", "content": "Yes, it"}]
    rendered = tokenizer.apply_chat_template(begun, continue_final_message=True, return_dict=False)
    assert_prompts_whole([rendered], begun, tokenizer)
    tools = [{"role": "system", "content": "Use tools."}, CHAT[1]]
    other = tokenizer.apply_chat_template(tools, add_generation_prompt=True, return_dict=False)
    assert_prompts_whole([other], CHAT, tokenizer)


def test_templates_without_a_generation_prompt(tokenizer):
    tokenizer.chat_template = DEAF
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    text = _report([ids], CHAT, tokenizer)
    assert "the chat template leaves out the generation prompt '<|im_start|>assistant'" in text
    assert "DLM108" in text
    tokenizer.chat_template = NO_HEADER
    ids = tokenizer.apply_chat_template(CHAT[1:], add_generation_prompt=True, return_dict=False)
    assert_prompts_whole([ids], CHAT[1:], tokenizer)


def test_options_of_the_template(tokenizer):
    tokenizer.chat_template += "{% if add_generation_prompt and quiet %}<think></think>{% endif %}"
    ids = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, quiet=True, return_dict=False)
    assert_prompts_whole([ids], CHAT, tokenizer)
    assert_prompts_whole([ids], CHAT, tokenizer, template_options={"quiet": True})
    short = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert "are lost" in _report([short], CHAT, tokenizer, template_options={"quiet": True})


def test_bos_once():
    tokenizer = tiny_tokenizer(bos=True)
    tokenizer.chat_template = "<bos>" + tokenizer.chat_template
    chat = [CHAT]
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    right = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert_prompts_whole([right], chat, tokenizer)
    text = _report(tokenizer([rendered], return_tensors="pt"), chat, tokenizer)
    assert "the row begins with 2 BOS tokens   [DLM107]" in text
    assert "DLM107" in _report(tokenizer([rendered]), [rendered], tokenizer)
    assert "BOS is missing in front" in _report([right[1:]], chat, tokenizer)
    assert_prompts_whole(tokenizer(["Hi you"])["input_ids"], ["Hi you"], tokenizer)
    assert "BOS is missing" in _report(
        tokenizer(["Hi you"], add_special_tokens=False)["input_ids"], ["Hi you"], tokenizer
    )
    joined = tokenizer("Hi you,")["input_ids"] + tokenizer(" say it")["input_ids"]
    assert "BOS stands a second time, at position" in _report([joined], ["Hi you,"], tokenizer)
    several = tokenizer("Hi<bos>you")["input_ids"]
    assert_prompts_whole([several], ["Hi<bos>you"], tokenizer)  # meant so: it stands in the prompt
    without = tiny_tokenizer()
    assert_prompts_whole(without(["Hi you"])["input_ids"], ["Hi you"], without)


def test_bos_that_is_padding():
    tokenizer = tiny_tokenizer(bos=True)
    tokenizer.pad_token = tokenizer.bos_token
    batch = tokenizer(["Hi you", LONG], padding=True, return_tensors="pt")
    assert_prompts_whole(batch, ["Hi you", LONG], tokenizer)
    assert_prompts_whole(batch["input_ids"], ["Hi you", LONG], tokenizer)


def test_rows_of_other_prompts(tokenizer):
    prompts = ["Is the sky blue?", "Who are you, and why?"]
    ids = tokenizer(prompts)["input_ids"]
    text = _report(ids[::-1], prompts, tokenizer)
    assert "row 0   the row does not hold its prompt, but prompt 1" in text
    assert "2 of 2 prompts do not reach the model" in text
    assert "the row does not hold its prompt\n" in _report([[9, 8, 7, 6, 5, 4]], prompts[:1], tokenizer)


def test_ids_as_prompts(tokenizer):
    ids = tokenizer([LONG])["input_ids"]
    assert_prompts_whole(torch.tensor(ids), torch.tensor(ids), tokenizer)
    assert "the last 5 of" in _report([ids[0][:-5]], ids, tokenizer)


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (([[9]], ["a", "b"]), ValueError, "prompts: 2 prompts for 1 row of input_ids"),
        (([[9]], [""]), ValueError, "prompts: prompt 0 is empty"),
        (([[9]], ["a", [1]]), TypeError, "prompts: must hold texts only, chats only or ids only"),
        (({"ids": 1}, ["a"]), ValueError, "input_ids: the mapping has no 'input_ids', only 'ids'"),
    ],
)
def test_usage_errors(args, error, text, tokenizer):
    with pytest.raises(error) as caught:
        assert_prompts_whole(*args, tokenizer)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokenizers_that_cannot_serve(tokenizer):
    with pytest.raises(TypeError, match="tokenizer: must be a tokenizer, got NoneType"):
        assert_prompts_whole([[9]], ["a"], None)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="tokenizer: has no chat template"):
        assert_prompts_whole([[9]], CHAT, tokenizer)
