"""Each mistake is caught on real models; its innocent twin is left alone."""

# ruff: noqa: ARG005 - every entry of a table of calls takes the same arguments

from __future__ import annotations

import inspect
import threading
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
import transformers
from transformers import LogitsProcessor

from pytest_decoderonly.runtime import watch

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
DECODE_TAKES_BATCHES = int(transformers.__version__.split(".")[0]) >= 5
NEW = {"max_new_tokens": 4, "do_sample": False}


def batch(tokenizer, side="left", prompts=PROMPTS):
    tokenizer.padding_side = side
    return tokenizer(prompts, padding=True, return_tensors="pt")


class Always(LogitsProcessor):
    """Makes a model say one token for ever."""

    def __init__(self, token):
        self.token = token

    def __call__(self, _, scores):
        forced = torch.full_like(scores, float("-inf"))
        forced[:, self.token] = 0.0
        return forced


class TestMissingMask:
    def test_padded_batch(self, model, tokenizer):
        with watch() as findings:
            enc = batch(tokenizer)
            model.generate(enc["input_ids"], **NEW)
        (finding,) = findings
        text = str(finding)
        assert (finding.code, finding.severity) == ("DLM101", "error")
        assert "ids of 2 prompts with padding and no attention_mask" in text
        assert "called        " in text
        assert "model.generate(enc" in text
        assert "ids built     " in text
        assert "15 padding tokens on the left" in text
        assert "guesses a mask from the pad id 0" in text
        assert text.splitlines()[-1].startswith("SUMMARY: DLM101 ")
        assert text.splitlines()[-1].endswith("in TestMissingMask.test_padded_batch")

    def test_padding_that_is_end_of_text_cannot_be_guessed(self, model, eos_tokenizer):
        with watch() as findings:
            enc = batch(eos_tokenizer)
            model.generate(input_ids=enc["input_ids"], pad_token_id=eos_tokenizer.pad_token_id, **NEW)
        assert [finding.code for finding in findings] == ["DLM101"]
        assert "15 padding tokens are read as text" in findings[0].effect
        assert "= EOS (2)" in str(findings[0])

    def test_batch_of_one_length_from_text(self, model, tokenizer):
        with watch() as findings:
            enc = batch(tokenizer, prompts=["the answer", "the answer"])
            model.generate(enc["input_ids"], **NEW)
        assert [(finding.code, finding.severity) for finding in findings] == [("DLM101", "error")]
        assert "one length here" in findings[0].effect

    def test_batch_of_one_length_that_no_tokenizer_made_is_left_alone(self, model, codes):
        assert codes(lambda: model.generate(torch.tensor([[5, 6, 7], [8, 9, 10]]), **NEW)) == []

    def test_padding_that_no_tokenizer_made(self, model, codes):
        assert codes(lambda: model.generate(torch.tensor([[0, 0, 7], [8, 9, 10]]), **NEW)) == ["DLM101"]

    def test_mask_dropped_on_purpose_by_none(self, model, tokenizer, codes):
        enc = batch(tokenizer)
        assert codes(lambda: model.generate(input_ids=enc["input_ids"], attention_mask=None, **NEW)) == [
            "DLM101"
        ]

    def test_positional_config(self, model, tokenizer, codes):
        from transformers import GenerationConfig

        enc = batch(tokenizer)
        assert codes(lambda: model.generate(enc["input_ids"], GenerationConfig(max_new_tokens=2))) == [
            "DLM101"
        ]

    def test_thread_is_seen(self, model, tokenizer):
        enc = None
        with watch() as findings:
            enc = batch(tokenizer)
            thread = threading.Thread(target=model.generate, kwargs={"input_ids": enc["input_ids"], **NEW})
            thread.start()
            thread.join()
        (finding,) = findings
        assert finding.code == "DLM101"
        assert (
            "in batch" in finding.where
        )  # no frame of the thread is ours: the line that built the ids stands in
        assert "a thread that runs no code of yours" in str(finding)

    def test_innocent(self, model, tokenizer, codes):
        enc = batch(tokenizer)
        single = tokenizer(PROMPTS[0], return_tensors="pt")
        embeds = model.get_input_embeddings()(single["input_ids"])
        innocents = {
            "whole encoding": lambda: model.generate(**enc, **NEW),
            "mask by hand": lambda: model.generate(enc.input_ids, attention_mask=enc.attention_mask, **NEW),
            "single prompt": lambda: model.generate(single["input_ids"], **NEW),
            "start token alone": lambda: model.generate(torch.tensor([[1], [1]]), **NEW),
            "no ids": lambda: model.generate(**NEW),
            "embeddings alone": lambda: model.generate(inputs_embeds=embeds, **NEW),
            "partial": lambda: partial(model.generate, **NEW)(**enc),
        }
        assert {name: codes(call) for name, call in innocents.items()} == {name: [] for name in innocents}

    def test_encoder_decoder_is_silent(self, t5, tokenizer, codes):
        enc = batch(tokenizer, "right")

        def run():
            out = t5.generate(enc["input_ids"], **NEW)
            tokenizer.batch_decode(out)
            tokenizer.batch_decode(t5.generate(**enc, **NEW))

        assert codes(run) == []

    def test_a_forward_without_masks_cannot_be_given_one(self, model):
        """xLSTM has none; its `generate` does not run in this version, so its class is asked."""
        if not hasattr(transformers, "xLSTMForCausalLM"):
            pytest.skip("xLSTM came with transformers 4.50")
        xLSTMForCausalLM = transformers.xLSTMForCausalLM  # noqa: N806

        from pytest_decoderonly.runtime.reading import takes_mask

        assert "attention_mask" not in inspect.signature(xLSTMForCausalLM.forward).parameters
        assert not takes_mask(object.__new__(xLSTMForCausalLM))
        assert takes_mask(model)


class TestRightPadding:
    def test_with_mask(self, model, tokenizer):
        tokenizer.padding_side = "right"
        with watch() as findings:
            enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            model.generate(**enc, **NEW)
        (finding,) = findings
        text = str(finding)
        assert finding.code == "DLM102"
        assert "1 row of 2 padded on the right (by its attention mask)" in text
        assert 'padding_side="right"' in text
        assert "row 0" in text
        assert "15 padding right" in text

    def test_without_mask_both_codes(self, model, tokenizer, codes):
        enc = batch(tokenizer, "right")
        assert codes(lambda: model.generate(enc["input_ids"], **NEW)) == ["DLM101", "DLM102"]

    def test_one_row_padded_to_a_width(self, model, tokenizer, codes):
        tokenizer.padding_side = "right"
        enc = tokenizer(PROMPTS[0], padding="max_length", max_length=20, return_tensors="pt")
        assert codes(lambda: model.generate(**enc, **NEW)) == ["DLM102"]

    def test_padding_by_hand_told_by_the_pad_id(self, model, codes):
        rows = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
        assert codes(lambda: model.generate(rows, **NEW)) == ["DLM101", "DLM102"]

    def test_end_of_text_as_padding_by_hand(self, model, codes):
        rows = torch.tensor([[5, 6, 7, 8], [9, 10, 2, 2]])
        assert codes(lambda: model.generate(rows, pad_token_id=2, **NEW)) == ["DLM101", "DLM102"]

    def test_one_pad_id_by_hand_proves_nothing(self, model):
        with watch() as findings:
            model.generate(torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]]), **NEW)
        assert findings == []

    def test_a_mask_with_holes_is_no_padding(self, model, codes):
        rows = torch.tensor([[5, 6, 7, 8, 9], [9, 10, 11, 12, 13]])
        mask = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 0, 1, 0]])
        assert codes(lambda: model.generate(rows, attention_mask=mask, **NEW)) == []

    def test_boolean_mask(self, model, tokenizer, codes):
        enc = batch(tokenizer, "right")
        mask = enc["attention_mask"].bool()
        assert codes(lambda: model.generate(enc["input_ids"], attention_mask=mask, **NEW)) == ["DLM102"]

    def test_innocent(self, model, eos_tokenizer, codes):
        left = batch(eos_tokenizer)
        ends = eos_tokenizer(["the answer<eos>", "the answer is<eos>"], padding=True, return_tensors="pt")
        one_ends = torch.tensor([[5, 6, 7, 2], [8, 9, 10, 11]])
        innocents = {
            "left": lambda: model.generate(**left, **NEW),
            "prompt that ends in end-of-text": lambda: model.generate(**ends, **NEW),
            "end-of-text without a mask, one row": lambda: model.generate(
                torch.tensor([[5, 6, 2]]), pad_token_id=2, **NEW
            ),
            "end-of-text in one row": lambda: model.generate(
                one_ends, attention_mask=torch.ones_like(one_ends), pad_token_id=2, **NEW
            ),
        }
        assert {name: codes(call) for name, call in innocents.items()} == {name: [] for name in innocents}


class TestPromptNotStripped:
    @pytest.fixture
    def generated(self, model, tokenizer):
        """Return a function that generates under the current guard: encoding and output."""

        def run(**kwargs):
            enc = batch(tokenizer)
            return enc, model.generate(**enc, **NEW, **kwargs)

        return run

    WHOLE: ClassVar = {
        "batch": lambda tok, out: tok.batch_decode(out, skip_special_tokens=True),
        "decode takes batches": lambda tok, out: tok.decode(out),
        "row": lambda tok, out: tok.decode(out[0]),
        "keyword": lambda tok, out: tok.decode(token_ids=out[1]),
        "list": lambda tok, out: tok.batch_decode(out.tolist()),
        "list of a row": lambda tok, out: tok.decode(out[0].tolist()),
        "numpy": lambda tok, out: tok.decode(np.asarray(out[0])),
        "clone on the CPU": lambda tok, out: tok.decode(out.clone().cpu()[1]),
        "iteration": lambda tok, out: [tok.decode(row) for row in out],
        "map": lambda tok, out: list(map(tok.decode, out)),
        "slice of rows": lambda tok, out: tok.batch_decode(out[:1]),
        "last token cut": lambda tok, out: tok.batch_decode(out[:, :-1]),
        "list of rows": lambda tok, out: tok.batch_decode(list(out)),
        "padding filtered": lambda tok, out: tok.decode(
            [i for i in out[0].tolist() if i != tok.pad_token_id]
        ),
        "padding behind": lambda tok, out: tok.decode([*out[0].tolist(), 0, 0]),
    }

    @pytest.mark.parametrize("name", WHOLE)
    def test_whole(self, tokenizer, generated, name):
        if name == "decode takes batches" and not DECODE_TAKES_BATCHES:
            pytest.skip("decode takes batches from transformers 5.0 on")

        def run():
            _, out = generated()
            self.WHOLE[name](tokenizer, out)

        with watch() as findings:
            run()
        (finding,) = findings
        assert finding.code == "DLM201"
        labels = [step.label for step in finding.steps]
        assert labels == ["decoded", "generated", "tokenized", "tokenizer"]
        assert finding.steps[1].place.function.endswith("generated.run")
        assert finding.steps[2].place.function == "batch"

    def test_sequences(self, tokenizer, generated):
        with watch() as findings:
            _, out = generated(return_dict_in_generate=True, output_scores=True)
            tokenizer.batch_decode(out.sequences)
        assert [finding.code for finding in findings] == ["DLM201"]

    def test_several_sequences_per_prompt(self, model, tokenizer):
        with watch() as findings:
            enc = batch(tokenizer)
            out = model.generate(**enc, max_new_tokens=3, num_beams=2, num_return_sequences=2)
            tokenizer.batch_decode(out)
        assert [finding.code for finding in findings] == ["DLM201"]
        assert "4 rows" in findings[0].message

    def test_report_draws_the_prompt(self, tokenizer, generated):
        with watch() as findings:
            enc, out = generated()
            for row in out:
                tokenizer.decode(row)
        text = str(findings[0])
        width = enc["input_ids"].shape[1]
        assert "the question is]" in text
        assert f"[{width} prompt tokens] + 4 new" in text
        assert f"output[:, {width}:]" in text
        assert findings[0].count == 2
        assert "2 times at this place" in text

    CUT: ClassVar = {
        "cut": lambda tok, enc, out: tok.batch_decode(out[:, enc["input_ids"].shape[1] :]),
        "cut lists": lambda tok, enc, out: tok.batch_decode(
            [r[enc["input_ids"].shape[1] :] for r in out.tolist()]
        ),
        "the prompt itself": lambda tok, enc, out: tok.batch_decode(enc["input_ids"]),
        "the prompt taken from the output": lambda tok, enc, out: tok.batch_decode(
            out[:, : enc["input_ids"].shape[1]]
        ),
        "the prompt overwritten": lambda tok, enc, out: tok.batch_decode(
            torch.cat([torch.zeros_like(enc["input_ids"]), out[:, enc["input_ids"].shape[1] :]], dim=1)
        ),
        "another text that begins alike": lambda tok, enc, out: tok.decode(
            tok(PROMPTS[1] + " the the the")["input_ids"]
        ),
        "a single token": lambda tok, enc, out: tok.decode(out[0, -1]),
        "an int": lambda tok, enc, out: tok.decode(5),
        "nothing": lambda tok, enc, out: tok.decode([]),
    }

    @pytest.mark.parametrize("name", CUT)
    def test_innocent(self, tokenizer, generated, codes, name):
        def run():
            self.CUT[name](tokenizer, *generated())

        assert codes(run) == []

    def test_text_tokenized_again(self, model, tokenizer, codes):
        """Teacher-forced ids that equal an output are the text's own."""

        def run():
            enc = tokenizer("yes yes", return_tensors="pt")
            (letter,) = tokenizer("q")["input_ids"]
            out = model.generate(**enc, logits_processor=[Always(letter)], **NEW)
            text = tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(out[0]))
            again = tokenizer(text)["input_ids"]
            assert again == out[0].tolist(), (
                "the text must survive the round trip for this test to mean anything"
            )
            tokenizer.decode(again)

        assert codes(run) == []

    def test_prompt_of_the_next_turn(self, model, tokenizer, codes):
        def run():
            first = model.generate(**tokenizer("yes yes", return_tensors="pt"), **NEW)
            turn = first.clone()
            model.generate(turn, attention_mask=torch.ones_like(turn), **NEW)
            tokenizer.decode(turn[0])

        assert codes(run) == []

    def test_continuation_that_repeats_its_prompt(self, model, tokenizer, codes):
        """A loop such as 7 -> 7 7 7 7: the cut answer begins with the prompt, and is no prompt for that."""

        def run():
            ids = torch.tensor([[7, 7]])
            out = model.generate(ids, logits_processor=[Always(7)], **NEW)
            assert out.tolist() == [[7] * 6]
            tokenizer.decode(out[0, 2:])
            tokenizer.decode(out[0, 2:].tolist())
            tokenizer.decode(out.clone()[0, 2:])

        assert codes(run) == []

    def test_loop_decoded_whole_is_found(self, model, tokenizer, codes):
        assert codes(
            lambda: tokenizer.decode(
                model.generate(torch.tensor([[7, 7]]), logits_processor=[Always(7)], **NEW)[0].tolist()
            )
        ) == ["DLM201"]

    def test_start_token_alone_has_no_prompt(self, model, tokenizer, codes):
        assert codes(lambda: tokenizer.batch_decode(model.generate(torch.tensor([[1]]), **NEW))) == []

    def test_embeddings_alone_return_no_prompt(self, model, tokenizer, codes):
        def run():
            enc = tokenizer(PROMPTS[0], return_tensors="pt")
            embeds = model.get_input_embeddings()(enc["input_ids"])
            tokenizer.batch_decode(
                model.generate(inputs_embeds=embeds, attention_mask=enc["attention_mask"], **NEW)
            )

        assert codes(run) == []

    def test_streamer_and_pipeline_are_not_the_users_decode(self, model, tokenizer, codes):
        from transformers import TextStreamer, pipeline

        def run():
            enc = tokenizer(PROMPTS[0], return_tensors="pt")
            model.generate(**enc, **NEW)
            model.generate(**enc, streamer=TextStreamer(tokenizer, skip_prompt=True), **NEW)
            pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
            pipe(PROMPTS[0], return_full_text=False, max_new_tokens=4)

        assert codes(run) == []

    def test_over_and_over_memory_stays_bounded(self, model):
        from pytest_decoderonly.runtime import provenance
        from pytest_decoderonly.runtime.watcher import recorder

        with watch():
            for length in range(1, 5):
                ids = torch.arange(5, 5 + length)[None]
                out = model.generate(ids, max_new_tokens=1)
            log = recorder()._log
            event = log._generated[-1]
            for _ in range(2 * provenance._GENERATED_CALLS):
                log.add_generated(
                    provenance.Generated(
                        event.place,
                        event.model,
                        event.width,
                        event.prompts,
                        event.outputs,
                        event.left,
                        None,
                        event.tail,
                    )
                )
            assert len(log._generated) == provenance._GENERATED_CALLS
            known = sum(len(matches) for table in log._prompts.values() for matches in table.values())
            assert known == provenance._GENERATED_CALLS
            assert log._bytes == sum(entry.size for entry in (*log._generated, *log._encoded))
        assert out is not None


class TestSuppression:
    def test_comment_at_the_line(self, model, tokenizer, codes):
        enc = batch(tokenizer)

        def run():
            model.generate(enc["input_ids"], **NEW)  # decoderonly: ignore[DLM101] equal on purpose
            model.generate(enc["input_ids"], **NEW)  # noqa: DLM101
            model.generate(
                enc["input_ids"],
                **NEW,
            )  # decoderonly: ignore[DLM101]

        assert codes(run) == []

    def test_comment_for_another_code_does_not_silence(self, model, tokenizer, codes):
        enc = batch(tokenizer)
        assert codes(lambda: model.generate(enc["input_ids"], **NEW)) == [
            "DLM101"
        ]  # decoderonly: ignore[DLM201]
