"""Tiny tokenizers: nothing of a text is lost, and each variant does what the real ones do that it stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError

from pytest_decoderonly import tiny_tokenizer
from pytest_decoderonly.tiny import BOS_ID, CHAT_TEMPLATES, EOS_ID, PAD_ID, VOCAB_SIZE

KINDS = ("byte-level", "metaspace")
TOKENIZERS = {kind: tiny_tokenizer(kind=kind) for kind in KINDS}
CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": " yes"},
    {"role": "user", "content": "And you?"},
    {"role": "assistant", "content": "no"},
]


@given(st.sampled_from(KINDS), st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_makes_a_round_trip(kind, text):
    tokenizer = TOKENIZERS[kind]
    if any(special in text for special in tokenizer.all_special_tokens):
        return
    if kind == "metaspace":
        text = text.replace("\u2581", " ")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens(kind):
    plain = TOKENIZERS[kind]
    assert len(plain) == VOCAB_SIZE
    assert (plain.pad_token_id, plain.bos_token_id, plain.eos_token_id) == (PAD_ID, BOS_ID, EOS_ID)
    bare = plain("the sky")["input_ids"]
    assert not {BOS_ID, EOS_ID} & set(bare)
    assert tiny_tokenizer(kind=kind, bos=True)("the sky")["input_ids"] == [BOS_ID, *bare]
    assert tiny_tokenizer(kind=kind, eos=True)("the sky")["input_ids"] == [*bare, EOS_ID]
    both = tiny_tokenizer(kind=kind, bos=True, eos=True)
    assert both("the sky")["input_ids"] == [BOS_ID, *bare, EOS_ID]
    assert both("the sky", add_special_tokens=False)["input_ids"] == bare
    other = plain("no")["input_ids"]
    assert both("the sky", "no")["input_ids"] == [BOS_ID, *bare, EOS_ID, BOS_ID, *other, EOS_ID]
    assert plain.decode([BOS_ID, *bare, EOS_ID], skip_special_tokens=True) == "the sky"


def test_padding():
    assert tiny_tokenizer()(["a", "abc"], padding=True)["attention_mask"][0] == [0, 0, 1]
    assert tiny_tokenizer(padding_side="right")(["a", "abc"], padding=True)["attention_mask"][0] == [1, 0, 0]
    with pytest.raises(ValueError, match="padding token"):
        tiny_tokenizer(pad=False)(["a", "abc"], padding=True)


def test_metaspace_puts_a_space_in_front_and_byte_level_does_not():
    spaced = TOKENIZERS["metaspace"]
    assert spaced.convert_ids_to_tokens(spaced("the sky")["input_ids"]) == ["\u2581the", "\u2581sky"]
    # The well-known trap: text tokenized in two parts has a space too many.
    apart = spaced("the")["input_ids"] + spaced("sky")["input_ids"]
    assert apart == spaced("the sky")["input_ids"]
    assert spaced.decode(spaced("sk")["input_ids"] + spaced("y")["input_ids"]) == "sk y"
    bare = TOKENIZERS["byte-level"]
    assert bare.decode(bare("sk")["input_ids"] + bare("y")["input_ids"]) == "sky"


@pytest.mark.parametrize(
    ("kind", "prompt", "answer"), [("byte-level", "Answer: ", "yes"), ("metaspace", "A:", " no")]
)
def test_a_prompt_and_an_answer_may_merge(kind, prompt, answer):
    tokenizer = TOKENIZERS[kind]
    apart = tokenizer(prompt)["input_ids"] + tokenizer(answer)["input_ids"]
    assert tokenizer(prompt + answer)["input_ids"] != apart


@pytest.mark.parametrize("kind", KINDS)
def test_chat_templates(kind):
    def render(name, chat=CHAT, **kwargs):
        tokenizer = tiny_tokenizer(kind=kind, chat_template=name)
        return tokenizer.apply_chat_template(chat, tokenize=False, **kwargs)

    chatml = (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n yes<|im_end|>\n"
        "<|im_start|>user\nAnd you?<|im_end|>\n<|im_start|>assistant\nno<|im_end|>\n"
    )
    assert render(True) == render("chatml") == render("chatml-generation") == chatml
    opened = render("chatml", CHAT[:1], add_generation_prompt=True)
    assert opened == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert chatml.startswith(opened)
    llama = render("llama-2", [{"role": "system", "content": "Be kind."}, *CHAT])
    assert llama == (
        "<bos>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] yes <eos><bos>[INST] And you? [/INST] no <eos>"
    )
    gemma = render("gemma")
    assert gemma.startswith(
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nyes<end_of_turn>\n"
    )
    assert gemma.startswith(render("gemma", CHAT[:1], add_generation_prompt=True))
    assert "<eos>" not in gemma
    for name in ("llama-2", "gemma"):
        with pytest.raises(TemplateError, match="must alternate"):
            render(name, [CHAT[0], CHAT[0]])
    with pytest.raises(TemplateError, match="System role not supported"):
        render("gemma", [{"role": "system", "content": "Be kind."}, *CHAT])
    assert tiny_tokenizer(kind=kind, chat_template=False).chat_template is None


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_markers_of_a_template_are_single_tokens(name):
    tokenizer = tiny_tokenizer(chat_template=name)
    ids = tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=True)["input_ids"]
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(CHAT, tokenize=False)
    end = {"llama-2": EOS_ID}.get(name, 4)
    assert ids.count(end) == (2 if name == "llama-2" else 4)
    assert len(tokenizer) == VOCAB_SIZE


def test_generation_markers_give_the_assistants_tokens():
    tokenizer = tiny_tokenizer(chat_template="chatml-generation")
    found = tokenizer.apply_chat_template(
        CHAT, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    chosen = [i for i, m in zip(found["input_ids"], found["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(chosen) == " yes<|im_end|>no<|im_end|>"


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"padding_side": "top"}, "padding_side: must be 'left' or 'right', got 'top'"),
        ({"kind": "wordpiece"}, "kind: must be one of byte-level, metaspace, got 'wordpiece'"),
        (
            {"chat_template": "alpaca"},
            "chat_template: must be True, False or one of chatml, .*, got 'alpaca'",
        ),
        ({"chat_template": None}, "chat_template: must be True, False or one of chatml, .*, got None"),
    ],
)
def test_usage_errors(kwargs, text):
    with pytest.raises(ValueError, match=text):
        tiny_tokenizer(**kwargs)
