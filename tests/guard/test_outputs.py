"""What comes out of generate: DLM202 to DLM206, and what looks like them."""

from __future__ import annotations

import asyncio
import runpy
import threading
import unittest

import pytest
import torch
from decoderonly_checker.config import load_settings
from decoderonly_checker.runner import check_paths
from transformers import TextIteratorStreamer, TextStreamer, pipeline

from pytest_decoderonly.runtime import watch

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
READERS = """\
from transformers import pipeline

def in_a_loop(model, tokenizer):
    outputs = pipeline("text-generation", model=model, tokenizer=tokenizer)(["the question is", "yes"], max_new_tokens=4)
    texts = []
    for number, output in enumerate(outputs):
        texts.append(output[0]["generated_text"])
    return texts

def ask(pipe):
    return pipe("the question is", max_new_tokens=4)

def by_its_caller(model, tokenizer):
    return [output["generated_text"] for output in ask(pipeline("text-generation", model=model, tokenizer=tokenizer))]
"""
NEW = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}


def found(function, *args):
    with watch() as findings:
        function(*args)
    return [finding.code for finding in findings]


@pytest.fixture
def asked(model, tokenizer):
    """Return a function that asks one question: its encoding and the output."""

    def ask(prompt=PROMPTS[0], **options):
        enc = tokenizer(prompt, return_tensors="pt")
        return enc, model.generate(**enc, **(NEW | options))

    return ask


@pytest.fixture
def asked_all(model, tokenizer):
    """Return a function that asks all questions at once: the encoding and the output."""

    def ask(**options):
        enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        return enc, model.generate(**enc, **(NEW | options))

    return ask


class TestStrippedAsText:
    def test_slice(self, asked, tokenizer):
        def run():
            _, out = asked()
            text = tokenizer.decode(out[0])
            return text[len(PROMPTS[0]) :]

        with watch() as findings:
            run()
        (finding,) = findings
        assert (finding.code, finding.severity) == ("DLM202", "warning")
        assert finding.place.source == "return text[len(PROMPTS[0]) :]"
        assert [step.label for step in finding.steps][:3] == ["cut", "decoded", "generated"]

    def test_other_ways(self, asked, asked_all, tokenizer):
        prompt = PROMPTS[0]

        def replace():
            return tokenizer.decode(asked()[1][0]).replace(prompt, "").strip()

        def removeprefix():
            return tokenizer.decode(asked()[1][0], skip_special_tokens=True).strip().removeprefix(prompt)

        def split():
            return tokenizer.decode(asked()[1][0]).split("is")[1]

        def partition():
            text = tokenizer.decode(asked()[1][0])
            return text.partition(prompt)[2]

        def comprehension():
            texts = tokenizer.batch_decode(asked_all()[1], skip_special_tokens=True)
            return [text[len(prompt) :] for text, prompt in zip(texts, PROMPTS, strict=True)]

        def loop():
            answers = []
            for number, text in enumerate(tokenizer.batch_decode(asked_all()[1])):
                answers.append(text.replace(PROMPTS[number], ""))
            return answers

        def by_the_caller():
            return whole()[len(prompt) :]

        def whole():
            return tokenizer.decode(asked()[1][0])

        for program in (replace, removeprefix, split, partition, comprehension, loop, by_the_caller):
            assert found(program) == ["DLM202"], program.__name__

    def test_cut_elsewhere_than_in_front(self, asked, tokenizer):
        """The prompt is still there: that is DLM201."""

        def stop_words():
            return tokenizer.decode(asked()[1][0]).split("\n\n")[0]

        def special_tokens():
            text = tokenizer.decode(asked()[1][0]).replace("<eos>", "")
            return text.replace(tokenizer.pad_token, "")

        def the_first_letters():
            return tokenizer.decode(asked()[1][0])[:80]

        for program in (stop_words, special_tokens, the_first_letters):
            assert found(program) == ["DLM201"], program.__name__

    def test_only_printed_is_a_warning(self, asked, tokenizer):
        def run():
            _, out = asked()
            text = tokenizer.decode(out[0])
            print(f"answer: {text}")

        with watch() as findings:
            run()
        assert [(finding.code, finding.severity) for finding in findings] == [("DLM201", "warning")]

    def test_who_asks_for_the_prompt_knows_of_it(self, asked, tokenizer):
        def run():
            text = tokenizer.decode(asked()[1][0])
            assert text.startswith(PROMPTS[0])
            return text

        assert found(run) == []

    def test_a_test_that_states_the_text_knows_of_it(self, asked, tokenizer):
        cases = unittest.TestCase()

        def equal():
            one = tokenizer.decode(asked()[1][0])
            other = tokenizer.decode(asked()[1][0])
            assert one == other
            assert not other == "yes"  # noqa: SIM201

        def equal_in_a_case():
            cases.assertEqual(tokenizer.decode(asked()[1][0]), tokenizer.decode(asked()[1][0]))  # noqa: PT009

        def contained():
            text = tokenizer.decode(asked()[1][0])
            assert "question" in text

        def counted():
            return [tokenizer.decode(asked()[1][0]) == "yes"]

        for program in (equal, equal_in_a_case):
            assert found(program) == [], program.__name__
        for program in (contained, counted):
            assert set(found(program)) == {"DLM201"}, program.__name__

    def test_a_function_that_cuts_when_it_is_asked_to(self, model, tokenizer):
        def answer(*, only_new):
            enc = tokenizer(PROMPTS[0], return_tensors="pt")
            out = model.generate(**enc, **NEW, return_dict_in_generate=True)
            ids = out.sequences
            if only_new:
                ids = ids[:, enc["input_ids"].shape[1] :]
            return decoded(ids)

        def another(*, shorter):
            enc = tokenizer(PROMPTS[0], return_tensors="pt")
            out = model.generate(**enc, **NEW)
            if shorter:
                out = out[:, :3]
            return decoded(out)

        def decoded(ids):
            return tokenizer.batch_decode(ids)

        assert found(lambda: answer(only_new=False)) == found(lambda: answer(only_new=True)) == []
        assert found(lambda: another(shorter=False)) == ["DLM201"]

    def test_cut_as_tokens(self, asked, tokenizer):
        def run():
            enc, out = asked()
            text = tokenizer.decode(out[0, enc["input_ids"].shape[1] :])
            return text[len(" ") :].split("\n")[0]

        assert found(run) == []


class TestWrongCut:
    def test_own_length_of_a_padded_row(self, asked_all, tokenizer):
        def rows():
            enc, out = asked_all()
            return [
                tokenizer.decode(row[n:]) for row, n in zip(out, enc["attention_mask"].sum(1), strict=True)
            ]

        def lists():
            enc, out = asked_all()
            lengths = enc["attention_mask"].sum(1).tolist()
            return tokenizer.batch_decode([row[n:] for row, n in zip(out.tolist(), lengths, strict=True)])

        def copies():
            enc, out = asked_all()
            return tokenizer.decode(out.clone()[0, int(enc["attention_mask"][0].sum()) :].cpu())

        for program in (rows, lists, copies):
            assert found(program) == ["DLM203"], program.__name__

    def test_characters(self, asked, tokenizer):
        def run():
            _, out = asked(max_new_tokens=16)
            return tokenizer.decode(out[0][len(PROMPTS[0]) :])

        def nothing_left():
            _, out = asked()
            return tokenizer.decode(out[0, len(PROMPTS[0]) :])

        for program in (run, nothing_left):
            with watch() as findings:
                program()
            (finding,) = findings
            assert finding.code == "DLM203"
            assert f"has {len(PROMPTS[0])} characters" in str(finding)

    def test_fixed_tail_after_an_early_end(self, asked, tokenizer):
        stop = lambda ids, _, **__: torch.full((len(ids),), ids.shape[1] > 23)  # noqa: E731

        def run():
            _, out = asked(PROMPTS[1], max_new_tokens=8, stopping_criteria=[stop])
            assert out.shape[1] == 24
            return tokenizer.decode(out[0, -8:])

        assert found(run) == ["DLM203"]

    def test_width_of_an_earlier_batch(self, asked, tokenizer):
        def run():
            first, out = asked(PROMPTS[0])
            width = first["input_ids"].shape[1]
            tokenizer.decode(out[0, width:])
            _, out = asked(PROMPTS[1])
            return tokenizer.decode(out[0, width:])

        assert found(run) == ["DLM203"]

    def test_innocent(self, asked, asked_all, tokenizer):
        def padded_width():
            enc, out = asked_all()
            width = enc["input_ids"].shape[1]
            tokenizer.batch_decode(out[:, width:])
            tokenizer.batch_decode([row[width:] for row in out.tolist()])
            tokenizer.decode(out.numpy()[0, width:])

        def last_tokens():
            _, out = asked(max_new_tokens=16)
            for size in range(1, 16):
                tokenizer.decode(out[0, -size:])

        def windows():
            _, out = asked(PROMPTS[1])
            for start in range(3, 20):
                tokenizer.decode(out[0, start : start + 2])

        def dropped_padding():
            enc, out = asked_all()
            left = int((enc["attention_mask"][0] == 0).sum())
            return tokenizer.decode(out[0, enc["input_ids"].shape[1] :]), left

        def latest_turn():
            first, _ = asked("the question is yes and no")
            enc, out = asked("the question is yes and no the answer")
            assert (
                enc["input_ids"][0, : first["input_ids"].shape[1]].tolist() == first["input_ids"][0].tolist()
            )
            tokenizer.decode(out[0, first["input_ids"].shape[1] :])

        def own_rows():
            enc, out = asked_all()
            rows = [
                row[int((mask == 0).sum()) :] for row, mask in zip(out, enc["attention_mask"], strict=True)
            ]
            lengths = enc["attention_mask"].sum(1)
            return [tokenizer.decode(row[n:]) for row, n in zip(rows, lengths, strict=True)]

        for program in (padded_width, last_tokens, windows, dropped_padding, latest_turn, own_rows):
            assert found(program) == [], program.__name__


class TestPipeline:
    @pytest.fixture
    def pipe(self, model, tokenizer):
        def make(**options):
            return pipeline("text-generation", model=model, tokenizer=tokenizer, **options)

        return make

    def test_full_text_is_read(self, pipe):
        def one():
            return pipe()(PROMPTS[0], max_new_tokens=4)[0]["generated_text"]

        def many():
            return [row[0]["generated_text"] for row in pipe()(PROMPTS, max_new_tokens=4)]

        def read_by_the_caller():
            return ask()[0]["generated_text"]

        def ask():
            return pipe()(PROMPTS[0], max_new_tokens=4)

        for program in (one, many, read_by_the_caller):
            assert found(program) == ["DLM204"], program.__name__

    def test_cut_or_printed_is_a_warning(self, pipe):
        def cut():
            text = pipe()(PROMPTS[0], max_new_tokens=4)[0]["generated_text"]
            return text[len(PROMPTS[0]) :]

        def shown():
            print(pipe()(PROMPTS[0], max_new_tokens=4)[0]["generated_text"])

        for program in (cut, shown):
            with watch() as findings:
                program()
            assert [(finding.code, finding.severity) for finding in findings] == [("DLM204", "warning")]
            assert ("cutting it off" in findings[0].effect) == (program is cut)

    def test_innocent(self, pipe):
        def at_the_pipeline():
            return pipe(return_full_text=False)(PROMPTS[0], max_new_tokens=4)[0]["generated_text"]

        def at_the_call():
            return pipe()(PROMPTS[0], max_new_tokens=4, return_full_text=False)[0]["generated_text"]

        def asked_for():
            return pipe()(PROMPTS[0], max_new_tokens=4, return_full_text=True)[0]["generated_text"]

        def not_read():
            return len(pipe()(PROMPTS[0], max_new_tokens=4))

        def chat():
            messages = [{"role": "user", "content": "Is it?"}]
            return pipe()(messages, max_new_tokens=4)[0]["generated_text"][-1]["content"]

        for program in (at_the_pipeline, at_the_call, asked_for, not_read, chat):
            assert found(program) == [], program.__name__

    @pytest.mark.parametrize("name", ["in_a_loop", "by_its_caller"])
    def test_it_stands_where_the_text_is_read_as_for_the_checker(self, model, tokenizer, tmp_path, name):
        """A comment silences it there, and where the pipeline is called."""
        calls, reads = {"in_a_loop": (4, 7), "by_its_caller": (11, 14)}[name]
        lines = READERS.splitlines()
        for silenced, expected in ((None, [("DLM204", reads)]), (reads, []), (calls, [])):
            text = [
                line + "  # decoderonly: ignore[DLM204] shown" * (number == silenced)
                for number, line in enumerate(lines, 1)
            ]
            path = tmp_path / f"readers{silenced}.py"
            path.write_text("\n".join(text) + "\n", encoding="utf-8")
            program = runpy.run_path(str(path))
            with watch() as findings:
                program[name](model, tokenizer)
            assert [(finding.code, finding.place.line) for finding in findings] == expected, silenced
        path = tmp_path / "readersNone.py"
        checked = check_paths([path], load_settings(tmp_path)).diagnostics
        assert reads in [diagnostic.place.line for diagnostic in checked if diagnostic.code == "DLM204"]
        assert calls not in [diagnostic.place.line for diagnostic in checked]


class TestStreamer:
    def test_echo(self, model, tokenizer, capsys):
        def run():
            enc = tokenizer(PROMPTS[0], return_tensors="pt")
            model.generate(**enc, streamer=TextStreamer(tokenizer), **NEW)

        with watch() as findings:
            run()
        assert [(finding.code, finding.severity) for finding in findings] == [("DLM205", "warning")]
        assert "[the question is]" in str(findings[0])
        assert capsys.readouterr().out.startswith("the question is")

    def test_iterator_and_thread(self, model, tokenizer):
        def run():
            streamer = TextIteratorStreamer(tokenizer)
            enc = tokenizer(PROMPTS[0], return_tensors="pt")
            thread = threading.Thread(target=model.generate, kwargs={**enc, **NEW, "streamer": streamer})
            thread.start()
            text = "".join(streamer)
            thread.join()
            return text

        with watch() as findings:
            run()
        (finding,) = findings
        assert finding.code == "DLM205"
        assert finding.place.source == "streamer = TextIteratorStreamer(tokenizer)"

    def test_innocent(self, model, tokenizer, capsys):
        class Own(TextStreamer):
            def put(self, value):
                pass

        enc = tokenizer(PROMPTS[0], return_tensors="pt")

        def with_streamer(streamer):
            model.generate(**enc, streamer=streamer, **NEW)

        innocents = {
            "skips": lambda: with_streamer(TextStreamer(tokenizer, skip_prompt=True)),
            "written out": lambda: with_streamer(TextStreamer(tokenizer, skip_prompt=False)),
            "by position": lambda: with_streamer(TextStreamer(tokenizer, False)),
            "own": lambda: with_streamer(Own(tokenizer)),
        }
        for name, program in innocents.items():
            assert found(program) == [], name
        capsys.readouterr()


class TestEncoderDecoder:
    def test_cut_at_the_prompt(self, t5, tokenizer):
        def batch():
            enc = tokenizer(["the yes", "yes no"], padding=True, return_tensors="pt")
            out = t5.generate(**enc, max_new_tokens=12, min_new_tokens=8)
            return tokenizer.batch_decode(out[:, enc["input_ids"].shape[1] :])

        def nothing_left():
            enc = tokenizer(PROMPTS[1], return_tensors="pt")
            out = t5.generate(**enc, max_new_tokens=4)
            return tokenizer.decode(out[0, enc["input_ids"].shape[1] :])

        def a_list():
            enc = tokenizer("the yes", return_tensors="pt")
            out = t5.generate(**enc, max_new_tokens=12, min_new_tokens=8).tolist()
            return tokenizer.decode(out[0][enc["input_ids"].shape[1] :])

        for program in (batch, nothing_left, a_list):
            assert found(program) == ["DLM206"], program.__name__

    def test_innocent(self, t5, tokenizer):
        def run():
            enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            out = t5.generate(**enc, max_new_tokens=12)
            tokenizer.batch_decode(out)
            tokenizer.batch_decode(out[:, 1:])
            tokenizer.decode(out[0, -1])

        assert found(run) == []


def test_asyncio(model, tokenizer):
    async def ask():
        enc = tokenizer(PROMPTS[0], return_tensors="pt")
        out = await asyncio.to_thread(model.generate, **enc, **NEW)
        return tokenizer.decode(out[0])

    assert found(lambda: asyncio.run(ask())) == ["DLM201"]


def test_a_class_that_overrides_generate(model, tokenizer):
    class Bot(type(model)):
        def generate(self, *args, **kwargs):
            return super().generate(*args, **kwargs)

    bot = Bot(model.config).eval()

    def run():
        out = bot.generate(tokenizer(PROMPTS, padding=True, return_tensors="pt")["input_ids"], **NEW)
        return tokenizer.batch_decode(out)

    assert sorted(found(run)) == ["DLM101", "DLM201"]


def test_peft(model, tokenizer):
    peft = pytest.importorskip("peft")
    from pytest_decoderonly.tiny import tiny_decoder

    wrapped = peft.get_peft_model(tiny_decoder("gpt2"), peft.LoraConfig(task_type="CAUSAL_LM"))

    def run():
        enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        logits = wrapped(**enc).logits
        return tokenizer.batch_decode(wrapped.generate(**enc, **NEW)), logits

    assert sorted(found(run)) == ["DLM109", "DLM201"]


def test_compiled(model, tokenizer):
    from pytest_decoderonly.tiny import tiny_decoder

    plain = tiny_decoder("gpt2")
    enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    expected = plain(**enc).logits
    with watch() as findings:
        compiled = torch.compile(plain, backend="eager", fullgraph=True)
        inside = compiled(**enc).logits
    outside = compiled(**enc).logits
    assert findings == []  # traced code does not see the guard
    torch.testing.assert_close(inside, expected)
    torch.testing.assert_close(outside, expected)
