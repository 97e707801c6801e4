"""What goes into generate and forward: DLM103 to DLM110 and DLM401, and what looks like them."""

# ruff: noqa: B018 - an expression that is thrown away, and functions in a loop that run at once

from __future__ import annotations

import contextlib

import pytest
import torch

from pytest_decoderonly.runtime import watch
from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
CHAT = [{"role": "user", "content": "Is it?"}]
NEW = {"max_new_tokens": 4, "do_sample": False}


@pytest.fixture(scope="module")
def gpt2():
    """A model that numbers columns from 0."""
    return tiny_decoder("gpt2")


def found(function):
    with watch() as findings:
        function()
    return [finding.code for finding in findings]


class TestMissingPadToken:
    def test_an_error_that_ends_the_block_is_explained(self):
        tokenizer = tiny_tokenizer(pad=False)
        with pytest.raises(ValueError, match="padding token"), watch() as findings:
            tokenizer(PROMPTS, padding=True)
        (finding,) = findings
        assert (finding.code, finding.severity) == ("DLM103", "error")
        assert "no pad token" in str(finding)

    def test_as_the_cause_of_another_error(self):
        tokenizer = tiny_tokenizer(pad=False)
        with pytest.raises(RuntimeError), watch() as findings:  # noqa: PT012
            try:
                tokenizer(PROMPTS, padding=True)
            except ValueError as error:
                raise RuntimeError("mine") from error
        assert [finding.code for finding in findings] == ["DLM103"]

    def test_an_error_that_is_expected_is_not(self):
        tokenizer = tiny_tokenizer(pad=False)

        def expects():
            with pytest.raises(ValueError, match="padding token"):
                tokenizer(PROMPTS, padding=True)

        assert found(expects) == []

    def test_another_error_is_not(self):
        tokenizer = tiny_tokenizer(pad=False)
        with pytest.raises(ZeroDivisionError), watch() as findings:  # noqa: PT012
            with contextlib.suppress(ValueError):
                tokenizer(PROMPTS, padding=True)
            1 / 0
        assert findings == []


def rows_alone(encoding):
    """Return the rows of an encoding as `pad` takes them, without their masks."""
    ids = encoding["input_ids"]
    return [{"input_ids": row} for row in (ids if isinstance(ids, list) else ids.tolist())]


class TestMaskByComparison:
    TEXTS = ("yes<eos>no", "the question is<eos>and no<eos>")

    def test_generate_and_forward(self, model, eos_tokenizer):
        def run(call):
            enc = eos_tokenizer(list(self.TEXTS), padding=True, return_tensors="pt")
            mask = (enc["input_ids"] != eos_tokenizer.pad_token_id).long()
            call(enc["input_ids"], mask)

        generate = lambda ids, mask: model.generate(ids, attention_mask=mask, **NEW)  # noqa: E731
        forward = lambda ids, mask: model(ids, attention_mask=mask).logits  # noqa: E731
        assert found(lambda: run(forward)) == ["DLM104"]
        assert "DLM104" in found(lambda: run(generate))

    def test_innocent(self, model, tokenizer, eos_tokenizer):
        def own_pad():
            enc = tokenizer(list(self.TEXTS), padding=True, return_tensors="pt")
            model(enc["input_ids"], attention_mask=enc["input_ids"] != tokenizer.pad_token_id)

        def tokenizers_mask():
            model(**eos_tokenizer(list(self.TEXTS), padding=True, return_tensors="pt"))

        def no_end_of_text_in_the_texts():
            enc = eos_tokenizer(PROMPTS, padding=True, return_tensors="pt")
            model(enc["input_ids"], attention_mask=enc["input_ids"] != eos_tokenizer.pad_token_id)

        def a_choice_of_tokens():
            enc = eos_tokenizer(list(self.TEXTS), padding=True, return_tensors="pt")
            mask = enc["attention_mask"].clone()
            mask[:, -2] = 0
            model(enc["input_ids"], attention_mask=mask)

        def padded_again():
            enc = eos_tokenizer(PROMPTS, padding=True, return_tensors="pt")
            wider = eos_tokenizer.pad([{"input_ids": [5] * 40}, *rows_alone(enc)], return_tensors="pt")
            mask = torch.ones_like(wider["input_ids"])
            mask[1:] = 0
            mask[1:, -enc["input_ids"].shape[1] :] = enc["attention_mask"]
            model(wider["input_ids"], attention_mask=mask)

        def padded_by_hand_and_again():
            rows = [[2, 2, 2, 5, 6], [7, 8, 9, 10, 11]]
            again = eos_tokenizer.pad({"input_ids": rows}, return_tensors="pt")
            model(again["input_ids"], attention_mask=again["input_ids"] != eos_tokenizer.pad_token_id)

        for program in (
            own_pad,
            tokenizers_mask,
            no_end_of_text_in_the_texts,
            a_choice_of_tokens,
            padded_again,
            padded_by_hand_and_again,
        ):
            assert found(program) == [], program.__name__

    def test_rows_padded_without_their_masks(self, model, eos_tokenizer):
        def run():
            enc = eos_tokenizer.pad(rows_alone(eos_tokenizer(list(self.TEXTS))), return_tensors="pt")
            model(enc["input_ids"], attention_mask=enc["input_ids"] != eos_tokenizer.pad_token_id)

        assert found(run) == ["DLM104"]


class TestTruncation:
    LONG = "the question is yes and no, what is the answer? " * 4

    @pytest.mark.parametrize("texts", [LONG, [LONG, "the answer"]], ids=["one", "batch"])
    def test_right(self, model, tokenizer, texts):
        tokenizer.truncation_side = "right"

        def run():
            enc = tokenizer(texts, truncation=True, max_length=12, padding=True, return_tensors="pt")
            model.generate(**enc, **NEW)

        with watch() as findings:
            run()
        assert [(finding.code, finding.severity) for finding in findings] == [("DLM105", "warning")]
        assert findings[0].place.source.startswith("enc = tokenizer(")

    def test_padded_later(self, model, tokenizer):
        tokenizer.truncation_side = "right"

        def run():
            rows = [tokenizer(text, truncation=True, max_length=12) for text in (self.LONG, "the answer")]
            model.generate(**tokenizer.pad(rows, return_tensors="pt"), **NEW)

        assert found(run) == ["DLM105"]

    def test_innocent(self, model, tokenizer):
        def left():
            tokenizer.truncation_side = "left"
            model.generate(**tokenizer(self.LONG, truncation=True, max_length=12, return_tensors="pt"), **NEW)

        def nothing_to_cut():
            tokenizer.truncation_side = "right"
            model.generate(**tokenizer("yes", truncation=True, max_length=12, return_tensors="pt"), **NEW)

        def training():
            tokenizer.truncation_side = "right"
            enc = tokenizer(self.LONG, truncation=True, max_length=12, return_tensors="pt")
            model(**enc, labels=enc["input_ids"])

        for program in (left, nothing_to_cut, training):
            assert found(program) == [], program.__name__


class TestMaxLength:
    def test_written_out(self, model, tokenizer):
        enc = tokenizer(PROMPTS[0], return_tensors="pt")
        width = enc["input_ids"].shape[1]
        with watch() as findings:
            model.generate(**enc, max_length=20, eos_token_id=None, do_sample=False)
        assert [(finding.code, finding.severity) for finding in findings] == [("DLM106", "warning")]
        assert f"ended after {20 - width} tokens" in findings[0].message

    def test_an_end_of_text_that_the_call_takes_back_ends_nothing(self, model, tokenizer):
        """The argument None stands above the model's own setting."""
        enc = tokenizer(PROMPTS[0], return_tensors="pt")

        def only_ends(_, scores):
            return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([2]), 0.0)

        ends = {"do_sample": False, "logits_processor": [only_ends]}
        assert model.generation_config.eos_token_id == 2
        with watch() as findings:
            model.generate(**enc, max_length=20, eos_token_id=None, **ends)
        assert [finding.code for finding in findings] == ["DLM106"]
        assert found(lambda: model.generate(**enc, max_length=20, **ends)) == []

    def test_innocent(self, model, tokenizer):
        enc = tokenizer(PROMPTS[0], return_tensors="pt")
        width, given = enc["input_ids"].shape[1], 20
        free = {"eos_token_id": None, "do_sample": False}
        innocents = {
            "with the prompt's width": lambda: model.generate(**enc, max_length=width + 4, **free),
            "computed somewhere": lambda: model.generate(**enc, max_length=given, **free),
            "new tokens": lambda: model.generate(**enc, max_new_tokens=4, **free),
            "a start token alone": lambda: model.generate(torch.tensor([[1]]), max_length=6, **free),
            "nothing said": lambda: model.generate(**enc, do_sample=False),
        }
        for name, program in innocents.items():
            assert found(program) == [], name


class TestDoubledSpecialTokens:
    def test_bos_in_the_text(self, model):
        tokenizer = tiny_tokenizer(bos=True)

        def run():
            model.generate(**tokenizer("<bos>the question", return_tensors="pt"), **NEW)

        assert found(run) == ["DLM107"]

    def test_in_a_padded_batch_and_a_forward(self, model):
        tokenizer = tiny_tokenizer(bos=True)

        def run():
            model(**tokenizer(["<bos>the question", "yes"], padding=True, return_tensors="pt"))

        assert found(run) == ["DLM107"]

    def test_innocent(self, model):
        tokenizer = tiny_tokenizer(bos=True)

        def run():
            once = tokenizer("the question", return_tensors="pt")
            bare = tokenizer("<bos>the question", add_special_tokens=False, return_tensors="pt")
            twice = tokenizer("<bos><bos>the question", add_special_tokens=False, return_tensors="pt")
            for enc in (once, bare, twice):
                model.generate(**enc, **NEW)

        assert found(run) == []

    def test_padding_that_is_bos_is_none(self, model):
        tokenizer = tiny_tokenizer(bos=True)
        tokenizer.pad_token = tokenizer.bos_token

        def run():
            model.generate(**tokenizer(PROMPTS, padding=True, return_tensors="pt"), **NEW)

        assert found(run) == []


class TestGenerationPrompt:
    def test_ids(self, model, tokenizer):
        def run():
            enc = tokenizer.apply_chat_template(CHAT, return_dict=True, return_tensors="pt")
            model.generate(**enc, **NEW)

        with watch() as findings:
            run()
        (finding,) = findings
        assert (finding.code, finding.severity) == ("DLM108", "error")
        assert "assistant" in finding.message

    def test_text(self, model, tokenizer):
        def run():
            text = tokenizer.apply_chat_template(CHAT, tokenize=False)
            model.generate(**tokenizer(text, add_special_tokens=False, return_tensors="pt"), **NEW)

        assert found(run) == ["DLM108"]

    def test_batch(self, model, tokenizer):
        def run():
            chats = [CHAT, [{"role": "user", "content": "Is it the question?"}]]
            texts = tokenizer.apply_chat_template(chats, tokenize=False)
            enc = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
            model.generate(**enc, **NEW)

        assert found(run) == ["DLM108"]

    def test_innocent(self, model, tokenizer):
        answered = [*CHAT, {"role": "assistant", "content": "It"}]

        def tokenized(messages, **options):
            enc = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt", **options)
            model.generate(**enc, **NEW)

        def changed():
            text = tokenizer.apply_chat_template(CHAT, tokenize=False) + "answer:"
            model.generate(**tokenizer(text, return_tensors="pt"), **NEW)

        def ignored():
            tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
            tokenized(CHAT)

        innocents = {
            "opened": lambda: tokenized(CHAT, add_generation_prompt=True),
            "continued": lambda: tokenized(answered, continue_final_message=True),
            "answered": lambda: tokenized(answered),
            "a header by hand": changed,
            "a template that ignores it": ignored,
        }
        for name, program in innocents.items():
            assert found(program) == [], name


class TestForward:
    def test_positions(self, gpt2, tokenizer):
        def run():
            enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            return gpt2(**enc).logits

        with watch() as findings:
            run()
        (finding,) = findings
        assert finding.code == "DLM109"
        assert "15 padding left" in str(finding)

    def test_mask(self, model, tokenizer):
        def dropped():
            return model(tokenizer(PROMPTS, padding=True, return_tensors="pt")["input_ids"]).logits

        def ones():
            ids = tokenizer(PROMPTS, padding=True, return_tensors="pt")["input_ids"]
            return model(ids, attention_mask=torch.ones_like(ids)).logits

        assert found(dropped) == found(ones) == ["DLM110"]

    def test_a_wrapper_of_the_users_own(self, gpt2, tokenizer):
        class Scorer(torch.nn.Module):
            def __init__(self, within):
                super().__init__()
                self.within = within

            def forward(self, batch):
                return self.within(**batch).logits

        assert found(lambda: Scorer(gpt2)(tokenizer(PROMPTS, padding=True, return_tensors="pt"))) == [
            "DLM109"
        ]

    def test_innocent(self, model, gpt2, tokenizer):
        enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        tokenizer.padding_side = "right"
        right = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        single = tokenizer(PROMPTS[0], return_tensors="pt")
        positions = (enc["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        random = torch.randint(0, 300, (4, 9), generator=torch.Generator().manual_seed(0))

        def cached():
            cache = model(**enc, use_cache=True).past_key_values
            mask = torch.cat([enc["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
            model(torch.tensor([[5], [6]]), attention_mask=mask, past_key_values=cache).logits

        innocents = {
            "rotary": lambda: model(**enc).logits,
            "positions": lambda: gpt2(**enc, position_ids=positions).logits,
            "right": lambda: gpt2(**right).logits,
            "right without a mask": lambda: gpt2(right["input_ids"]).logits,
            "one row": lambda: gpt2(single["input_ids"]).logits,
            "ids of nobody": lambda: gpt2(random).logits,
            "generate": lambda: gpt2.generate(**enc, **NEW),
            "a cache": cached,
        }
        for name, program in innocents.items():
            assert found(program) == [], name

    def test_thrown_away(self, gpt2, tokenizer):
        def run():
            enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            gpt2(**enc)

        assert found(run) == []


class TestLastPosition:
    @pytest.fixture
    def right(self, tokenizer):
        tokenizer.padding_side = "right"
        return tokenizer(PROMPTS, padding=True, return_tensors="pt")

    def test_read(self, model, right):
        def logits():
            out = model(**right)
            return out.logits[:, -1].argmax(-1)

        def named():
            logits = model(**right).logits
            return logits[:, -1, :].argmax(-1)

        def hidden():
            return model.model(**right).last_hidden_state[:, -1]

        def layers():
            states = model(**right, output_hidden_states=True).hidden_states
            return states[-1][:, -1]

        for program in (logits, named, hidden, layers):
            assert found(program) == ["DLM401"], program.__name__

    def test_innocent(self, model, tokenizer, right):
        tokenizer.padding_side = "left"
        left = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        one = tokenizer(PROMPTS[:1], return_tensors="pt")

        def by_the_mask():
            logits = model(**right).logits
            return logits[torch.arange(2), right["attention_mask"].sum(1) - 1]

        def all_but_the_last():
            return model(**right).logits[:, :-1]

        def left_padded():
            return model(**left).logits[:, -1]

        def single():
            return model(**one).logits[:, -1]

        def of_something_else():
            logits = model(**right).logits
            return right["input_ids"][:, -1], logits.shape

        for program in (by_the_mask, all_but_the_last, left_padded, single, of_something_else):
            assert found(program) == [], program.__name__
