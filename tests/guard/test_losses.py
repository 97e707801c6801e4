"""Labels on their way into a forward: the 3xx rules and DLM402, and what looks like them."""

from __future__ import annotations

import inspect

import pytest
import torch
from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

from pytest_decoderonly.runtime import watch
from pytest_decoderonly.tiny import tiny_tokenizer

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
PAIRS = [("the question is", " yes<eos>"), ("Question: yes and no, what is the answer?", " no<eos>")]


def found(function):
    with watch() as findings:
        function()
    return [finding.code for finding in findings]


def pad(rows, value, side="right"):
    width = max(map(len, rows))
    fill = [[value] * (width - len(row)) for row in rows]
    return torch.tensor(
        [row + more if side == "right" else more + row for row, more in zip(rows, fill, strict=True)]
    )


def masked_rows(tokenizer, pairs=PAIRS):
    """Return ids and labels of rows made of prompt and answer, each tokenized by itself."""
    rows, labels = [], []
    for prompt, answer in pairs:
        first, second = tokenizer(prompt)["input_ids"], tokenizer(answer)["input_ids"]
        rows.append(first + second)
        labels.append([-100] * len(first) + second)
    return rows, labels


class TestPadding:
    def test_learned(self, model, eos_tokenizer, tokenizer):
        def copied():
            eos_tokenizer.padding_side = "right"
            batch = eos_tokenizer(PROMPTS, padding=True, return_tensors="pt")
            return model(**batch, labels=batch["input_ids"].clone())

        def left():
            batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            return model(**batch, labels=batch["input_ids"])

        def by_position():
            tokenizer.padding_side = "right"
            batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            return model(batch["input_ids"], batch["attention_mask"], labels=batch["input_ids"])

        def without_a_mask():
            tokenizer.padding_side = "right"
            batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            return model(batch["input_ids"], labels=batch["input_ids"])

        for program in (copied, left, by_position, without_a_mask):
            assert found(program) == ["DLM302"], program.__name__

    def test_in_a_score(self, model, eos_tokenizer):
        @torch.no_grad()
        def run():
            eos_tokenizer.padding_side = "right"
            batch = eos_tokenizer(PROMPTS, padding=True, return_tensors="pt")
            return model(**batch, labels=batch["input_ids"]).loss.exp()

        with watch() as findings:
            run()
        (finding,) = findings
        assert finding.code == "DLM402"
        assert "pCCCCC_!!!!" in str(finding)

    def test_innocent(self, model, eos_tokenizer):
        eos_tokenizer.padding_side = "right"
        batch = eos_tokenizer(PROMPTS, padding=True, return_tensors="pt")
        masked = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        ends = masked.clone()
        ends[0, int(batch["attention_mask"][0].sum())] = eos_tokenizer.eos_token_id
        single = eos_tokenizer(PROMPTS[0], return_tensors="pt")
        innocents = {
            "masked": lambda: model(**batch, labels=masked),
            "the first end-of-text learned": lambda: model(**batch, labels=ends),
            "one row": lambda: model(**single, labels=single["input_ids"]),
            "no labels": lambda: model(**batch),
        }
        for name, program in innocents.items():
            assert found(program) == [], name


class TestEndOfText:
    def test_masked_with_the_padding(self, model, eos_tokenizer):
        texts = [prompt + answer for prompt, answer in PAIRS]

        def by_hand():
            eos_tokenizer.padding_side = "right"
            batch = eos_tokenizer(texts, padding=True, return_tensors="pt")
            labels = batch["input_ids"].clone()
            labels[labels == eos_tokenizer.pad_token_id] = -100
            return model(**batch, labels=labels)

        def by_the_collator():
            collate = DataCollatorForLanguageModeling(eos_tokenizer, mlm=False)
            return model(**collate([eos_tokenizer(text) for text in texts]))

        def one_row():
            collate = DataCollatorForLanguageModeling(eos_tokenizer, mlm=False)
            return model(**collate([eos_tokenizer(texts[0])]))

        for program in (by_hand, by_the_collator, one_row):
            assert found(program) == ["DLM303"], program.__name__

    def test_innocent(self, model, tokenizer, eos_tokenizer):
        texts = [prompt + answer for prompt, answer in PAIRS]

        def own_pad():
            collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
            return model(**collate([tokenizer(text) for text in texts]))

        def by_the_mask():
            batch = eos_tokenizer(texts, padding=True, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            return model(**batch, labels=labels)

        def texts_without_an_end():
            collate = DataCollatorForLanguageModeling(eos_tokenizer, mlm=False)
            return model(**collate([eos_tokenizer(text) for text in PROMPTS]))

        for program in (own_pad, by_the_mask, texts_without_an_end):
            assert found(program) == [], program.__name__

    def test_never_learned_in_a_run(self, model, tokenizer):
        def train(pairs):
            collate = DataCollatorForSeq2Seq(tokenizer)
            for _ in range(2):
                rows, labels = masked_rows(tokenizer, pairs)
                batch = [{"input_ids": row, "labels": label} for row, label in zip(rows, labels, strict=True)]
                model(**collate(batch)).loss.backward()
            model.zero_grad()

        bare = [(prompt, answer.removesuffix("<eos>")) for prompt, answer in PAIRS]
        with watch() as findings:
            train(bare)
        (finding,) = findings
        assert (finding.code, finding.severity) == ("DLM309", "warning")
        assert "none of the 4 answers" in finding.message
        assert found(lambda: train(PAIRS)) == []
        assert found(lambda: train([bare[0], PAIRS[1]])) == []
        assert found(lambda: train([(prompt, f"{answer}<|im_end|>") for prompt, answer in bare])) == []


class TestOtherLabels:
    def test_another_text(self, model, tokenizer):
        def padded():
            options = {"padding": "max_length", "max_length": 24, "return_tensors": "pt"}
            question, answer = tokenizer("the question is it?", **options), tokenizer("yes and no", **options)
            return model(**question, labels=answer["input_ids"])

        def masked():
            question = tokenizer("the question is it, yes or no?", return_tensors="pt")
            answer = tokenizer(" no and no, no")["input_ids"]
            width = question["input_ids"].shape[1]
            assert len(answer) <= width
            return model(**question, labels=torch.tensor([answer + [-100] * (width - len(answer))]))

        for program in (padded, masked):
            assert found(program) == ["DLM304"], program.__name__

    def test_shifted(self, model, tokenizer):
        def both():
            ids = tokenizer(PROMPTS[1], return_tensors="pt")["input_ids"]
            return model(input_ids=ids[:, :-1], labels=ids[:, 1:])

        def rolled():
            ids = tokenizer(PROMPTS[1], return_tensors="pt")["input_ids"]
            labels = ids.roll(-1, dims=1)
            labels[:, -1] = -100
            return model(input_ids=ids, labels=labels)

        for program in (both, rolled):
            assert found(program) == ["DLM305"], program.__name__

    def test_other_value(self, model, tokenizer):
        def prompt():
            ids = tokenizer(PROMPTS[1], return_tensors="pt")["input_ids"]
            labels = ids.clone()
            labels[:, :5] = 0
            return model(input_ids=ids, labels=labels)

        def padding():
            tokenizer.padding_side = "right"
            batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 1)
            return model(**batch, labels=labels)

        for program in (prompt, padding):
            assert found(program) == ["DLM308"], program.__name__

    def test_nothing(self, model, tokenizer):
        def run():
            batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            labels[0] = -100
            return model(**batch, labels=labels)

        with watch() as findings:
            run()
        (finding,) = findings
        assert finding.code == "DLM311"
        assert finding.message.startswith("in 1 of 2 rows")

    def test_innocent(self, model, tokenizer):
        torch.manual_seed(0)
        ids, noise = torch.randint(5, 300, (3, 9)), torch.randint(5, 300, (3, 9))
        same = torch.full((2, 8), 7)
        ends = ids.clone()
        ends[:, -1] = 9
        one_hot = ids.clone()
        one_hot[:, :-1] = -100
        other = ids.clone()
        other[:, 3] = 9
        outside = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        outside["attention_mask"][0] = 0
        nothing = outside["input_ids"].masked_fill(outside["attention_mask"] == 0, -100)
        innocents = {
            "noise": lambda: model(ids, labels=noise),
            "copies": lambda: model(ids, labels=ids),
            "one label for ever": lambda: model(ends, labels=torch.full_like(ends, 9)),
            "one token for ever": lambda: model(same, labels=same),
            "the last token": lambda: model(ids, labels=one_hot),
            "a token replaced": lambda: model(ids, labels=other),
            "a row of padding": lambda: model(**outside, labels=nothing),
        }
        if "kwargs" in inspect.signature(type(model).forward).parameters:  # since transformers 4.48
            innocents["labels of the next tokens, by name"] = lambda: model(
                ids, shift_labels=ids.roll(-1, 1), labels=ids
            )
        for name, program in innocents.items():
            assert found(program) == [], name

    def test_a_model_that_shifts_nothing(self, model, tokenizer):
        class Own(type(model)):
            def forward(self, input_ids=None, labels=None, **options):
                logits = super().forward(input_ids=input_ids, **options).logits
                return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

        own = Own(model.config)

        def run():
            ids = tokenizer(PROMPTS[1], return_tensors="pt")["input_ids"]
            own(input_ids=ids[:, :-1], labels=ids[:, 1:])

        assert found(run) == []


class TestPromptMasks:
    def test_from_column_0(self, model, tokenizer):
        def run():
            texts = [prompt + answer for prompt, answer in PAIRS]
            batch = tokenizer(texts, padding=True, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            for row, (prompt, _) in enumerate(PAIRS):
                labels[row, : len(tokenizer(prompt)["input_ids"])] = -100
            return model(**batch, labels=labels)

        long_prompt = PAIRS[1][0] + " yes and no"
        pairs = [(PAIRS[1][0], PAIRS[1][1]), (long_prompt, " no<eos>")]

        def right():
            texts = [prompt + answer for prompt, answer in pairs]
            batch = tokenizer(texts, padding=True, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            for row, (prompt, _) in enumerate(pairs):
                start = int((batch["attention_mask"][row] == 0).sum())
                labels[row, : start + len(tokenizer(prompt)["input_ids"])] = -100
            return model(**batch, labels=labels)

        def wrong():
            texts = [prompt + answer for prompt, answer in pairs]
            batch = tokenizer(texts, padding=True, return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            for row, (prompt, _) in enumerate(pairs):
                labels[row, : len(tokenizer(prompt)["input_ids"])] = -100
            return model(**batch, labels=labels)

        assert found(right) == []
        with watch() as findings:
            wrong()
        (finding,) = findings
        assert finding.code == "DLM310"
        assert "masked from column 0" in finding.message
        assert found(run) in ([], ["DLM310"])  # its short prompt ends within the padding

    def test_length_with_an_end(self, model):
        tokenizer = tiny_tokenizer(eos=True)

        def run():
            batch = tokenizer("the question is no", return_tensors="pt")
            labels = batch["input_ids"].clone()
            labels[:, : len(tokenizer("the question is")["input_ids"])] = -100
            return model(**batch, labels=labels)

        with watch() as findings:
            run()
        assert [(finding.code, finding.severity) for finding in findings] == [("DLM307", "warning")]

    def test_joined_and_learned_whole(self, model, tokenizer):
        def joined():
            rows, _ = masked_rows(tokenizer, [("is the question", " no<eos>")])
            ids = torch.tensor(rows)
            return model(ids, labels=ids)

        with watch() as findings:
            joined()
        assert [(finding.code, finding.severity) for finding in findings] == [("DLM301", "warning")]
        assert "' the'" in str(findings[0])

    def test_innocent(self, model, tokenizer):
        rows, labels = masked_rows(tokenizer)

        def masked():
            return model(pad(rows, 0), attention_mask=pad(rows, 0) != 0, labels=pad(labels, -100))

        def masked_left():
            ids = pad(rows, 0, "left")
            return model(ids, attention_mask=ids != 0, labels=pad(labels, -100, "left"))

        def documents():
            first, second = (
                tokenizer("yes and no<eos>")["input_ids"],
                tokenizer("the answer<eos>")["input_ids"],
            )
            ids = torch.tensor([first + second])
            return model(ids, labels=ids)

        def texts():
            batch = tokenizer([prompt + answer for prompt, answer in PAIRS][:1], return_tensors="pt")
            return model(**batch, labels=batch["input_ids"])

        for program in (masked, masked_left, documents, texts):
            assert found(program) == [], program.__name__


class TestCollator:
    def test_overwritten(self, tokenizer):
        rows, labels = masked_rows(tokenizer, PAIRS[:1])

        def run():
            collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
            return collate([{"input_ids": rows[0], "labels": labels[0]}])

        with watch() as findings:
            run()
        (finding,) = findings
        assert finding.code == "DLM306"
        assert finding.place.source.startswith("collate = DataCollatorForLanguageModeling(")

    def test_innocent(self, tokenizer):
        rows, labels = masked_rows(tokenizer, PAIRS[:1])
        plain = DataCollatorForLanguageModeling(tokenizer, mlm=False)
        innocents = {
            "another collator": lambda: DataCollatorForSeq2Seq(tokenizer)(
                [{"input_ids": rows[0], "labels": labels[0]}]
            ),
            "unmasked": lambda: plain([{"input_ids": rows[0], "labels": rows[0]}]),
            "no labels": lambda: plain([{"input_ids": rows[0]}, {"input_ids": rows[0][:2]}]),
            "ids alone": lambda: plain(rows),
        }
        for name, program in innocents.items():
            assert found(program) == [], name


def test_trainer(model, eos_tokenizer, tmp_path):
    """The whole way: rows of a dataset, the library's collator, the Trainer's loop; the user's line is train()."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from pytest_decoderonly.tiny import tiny_decoder

    rows = Dataset.from_list([{"text": prompt + answer} for prompt, answer in PAIRS])
    with watch() as findings:
        rows = rows.map(lambda row: eos_tokenizer(row["text"]), remove_columns=["text"])
        arguments = TrainingArguments(
            str(tmp_path), max_steps=2, report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True
        )
        trainer = Trainer(
            tiny_decoder("llama"),
            arguments,
            data_collator=DataCollatorForLanguageModeling(eos_tokenizer, mlm=False),
            train_dataset=rows,
        )
        trainer.train()
    (finding,) = findings
    assert (finding.code, finding.count) == ("DLM303", 2)
    assert finding.place.source == "trainer.train()"


@pytest.mark.parametrize("completion_only", [True, False])
def test_trl_is_left_alone(tmp_path, completion_only):
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    from pytest_decoderonly.tiny import tiny_decoder

    tokenizer = tiny_tokenizer(padding_side="right")
    rows = datasets.Dataset.from_list(
        [{"prompt": prompt, "completion": answer.removesuffix("<eos>")} for prompt, answer in PAIRS]
    )
    with watch() as findings:
        config = trl.SFTConfig(
            str(tmp_path),
            max_steps=1,
            report_to="none",
            save_strategy="no",
            bf16=False,
            use_cpu=True,
            disable_tqdm=True,
            completion_only_loss=completion_only,
        )
        trl.SFTTrainer(
            tiny_decoder("llama"), args=config, train_dataset=rows, processing_class=tokenizer
        ).train()
    assert [finding.code for finding in findings] == []
