"""What the loss is taken over: DLM301 to DLM311."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from bench import drive, evidence
from checkpoints import LIKE_GPT2

from measures.common import calls_of, shown
from pytest_decoderonly.compare.labels import Boundary, audit_labels

if TYPE_CHECKING:
    from bench import Program, Programs

PAIR = {"question": "Which city is the capital of France?\n", "answer": "Paris, on the river Seine."}
QUESTION = {"question": "Which city is the capital of France?", "answer": " Paris, with two million people."}
PAIRS = [
    {"question": "What is the capital of France?", "answer": "Paris."},
    {
        "question": "What are the three primary colours?",
        "answer": "The three primary colours are red, yellow and blue.",
    },
]
DOCUMENT = {
    "document": "The shop sells bread, milk and fruit, and it is open on every day but Sunday. " * 5,
    "question": "When is it closed?",
    "answer": "On Sunday.",
}
TEXT_ROWS = [{"text": "Paris."}, {"text": "The capital of France is Paris, on the river Seine."}]
TEXTS = [
    "Paris is the capital of France.",
    "The three primary colours are red, yellow and blue, and no others.",
]


def _codes(tokenizer: Any, rows: list[dict[str, Any]], prompt_lengths: list[int]) -> list[str | None]:
    """Return what the label audit finds in each row, by code."""
    audit = audit_labels(
        [list(row["labels"]) for row in rows],
        [list(row["input_ids"]) for row in rows],
        boundaries=[Boundary(length) for length in prompt_lengths],
        attention_mask=[list(row.get("attention_mask", [1] * len(row["input_ids"]))) for row in rows],
        pad_id=tokenizer.pad_token_id,
        eos_id=tokenizer.eos_token_id,
    )
    return [row.problem and row.problem.code for row in audit.rows]


def _learned(tokenizer: Any, row: dict[str, Any]) -> str:
    """Return the text of the labels that count."""
    text: str = tokenizer.decode([int(label) for label in row["labels"] if label != -100])
    return text


def _log_probabilities(model: Any, input_ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=input_ids).logits.log_softmax(dim=-1)


def _loss_call(program: Program, *arguments: Any) -> tuple[float, dict[str, Any]]:
    """Return the loss, and what the model was called with to get it."""
    with calls_of(program["model"], "forward") as calls:
        loss = float(program.call("loss_of", *arguments).detach())
    (call,) = calls
    return loss, call


def _train_on(program: Program, batch: dict[str, Any]) -> None:
    """Take one batch to the model, as a training step does."""
    tensors = {name: torch.as_tensor(values) for name, values in batch.items()}
    program["model"](**{name: rows if rows.dim() > 1 else rows[None] for name, rows in tensors.items()})


@drive("DLM301", "DLM307")
def _on_a_pair(program: Program) -> None:
    _train_on(program, program.call("preprocess", PAIR))


@drive("DLM304")
def _on_a_question(program: Program) -> None:
    _train_on(program, program.call("preprocess", QUESTION))


@drive("DLM303")
def _on_texts(program: Program) -> None:
    _train_on(program, program.call("collate", TEXT_ROWS))


@drive("DLM310")
def _on_pairs(program: Program) -> None:
    _train_on(program, program.call("collate", PAIRS))


@drive("DLM311")
def _on_a_document(program: Program) -> None:
    _train_on(program, program.call("preprocess", DOCUMENT))


@drive("DLM309")
def _on_the_loader(program: Program) -> None:
    for batch in program["trainer"].get_train_dataloader():
        _train_on(program, batch)


@evidence("DLM301", gpt2=LIKE_GPT2)
def prompt_in_the_loss(programs: Programs) -> tuple[str, str]:
    rows = {}
    for which, program in (("bad", programs.bad), ("good", programs.good)):
        rows[which], tokenizer = program.call("preprocess", PAIR), program["tokenizer"]
        question = len(tokenizer(PAIR["question"])["input_ids"])
        whole = tokenizer.decode(rows[which]["input_ids"])
        assert whole == PAIR["question"] + PAIR["answer"] + tokenizer.eos_token
        assert _codes(tokenizer, [rows[which]], [question]) == ["DLM301" if which == "bad" else None]
    counts = {which: sum(label != -100 for label in row["labels"]) for which, row in rows.items()}
    assert _learned(tokenizer, rows["good"]) == PAIR["answer"] + tokenizer.eos_token
    return (
        f"of the {counts['bad']} tokens that the model learns to write, {question} are the question's",
        f"{counts['good']} tokens are learned: the answer and its EOS",
    )


@evidence("DLM302", gpt2=LIKE_GPT2)
def padding_in_the_loss(programs: Programs) -> tuple[str, str]:
    losses, padding = [], []
    for program in (programs.bad, programs.good):
        loss, call = _loss_call(program, TEXTS)
        losses.append(loss)
        padding.append(int((call["labels"][call["attention_mask"] == 0] != -100).sum()))
    model, tokenizer = program["model"], program["tokenizer"]
    total, count = 0.0, 0
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        log_probabilities = _log_probabilities(model, ids)[0, :-1]
        total -= float(log_probabilities.gather(1, ids[0, 1:, None]).sum())
        count += ids.shape[1] - 1
    assert math.isclose(losses[1], total / count, rel_tol=1e-3)
    assert not math.isclose(losses[0], total / count, rel_tol=0.2)
    assert padding[0] > 0 == padding[1]
    return (
        f"{padding[0]} of {count + padding[0]} terms of the loss are padding, and the loss is {losses[0]:.2f}",
        f"the loss is {losses[1]:.2f}, as for the two texts one at a time",
    )


@evidence("DLM304", gpt2=LIKE_GPT2)
def labels_without_prompt(programs: Programs) -> tuple[str, str]:
    pair, same, counts = QUESTION, [], []
    for program in (programs.bad, programs.good):
        row, tokenizer = program.call("preprocess", pair), program["tokenizer"]
        counted = [i for i, label in enumerate(row["labels"]) if label not in (-100, tokenizer.pad_token_id)]
        same.append(sum(row["labels"][i] == row["input_ids"][i] for i in counted))
        counts.append(len(counted))
        if program["tokenizer"].decode(row["input_ids"]).startswith(pair["question"] + pair["answer"]):
            assert _codes(tokenizer, [row], [row["labels"].count(-100)]) == [None]
    assert same[0] == 0
    assert same[1] == counts[1]
    ids, labels = (programs.bad.call("preprocess", pair)[name] for name in ("input_ids", "labels"))
    reads, writes = tokenizer.decode(ids[:2]), tokenizer.decode([labels[2]])
    return (
        f"the answer is nowhere in `input_ids`: after reading {shown(reads)} the model is trained to write {shown(writes)}",
        f"all {counts[1]} labels stand where their token stands in `input_ids`, behind the question",
    )


@evidence("DLM305", gpt2=LIKE_GPT2)
def doubly_shifted_labels(programs: Programs) -> tuple[str, str]:
    bad, _ = _loss_call(programs.bad, TEXTS[1])
    good, call = _loss_call(programs.good, TEXTS[1])
    (ids,) = call["input_ids"]
    log_probabilities = _log_probabilities(programs.good["model"], ids[None])[0]
    next_one, next_but_one = (
        -float(log_probabilities[:-step].gather(1, ids[step:, None]).mean()) for step in (1, 2)
    )
    assert math.isclose(bad, next_but_one, rel_tol=1e-3)
    assert math.isclose(good, next_one, rel_tol=1e-3)
    assert bad > 2 * good
    return (
        f"the loss, {bad:.2f}, is exactly that of writing the next token but one at each position",
        f"the loss, {good:.2f}, is that of writing the next token",
    )


@evidence("DLM307", gpt2=LIKE_GPT2)
def prompt_length_from_a_second_tokenization(programs: Programs) -> tuple[str, str]:
    pair = {"question": "Which city is the capital of France?", "answer": "Paris."}
    learned = []
    for program in (programs.bad, programs.good):
        row, tokenizer = program.call("preprocess", pair), program["tokenizer"]
        assert tokenizer.decode(row["input_ids"]).endswith(f"Answer: Paris.{tokenizer.eos_token}")
        learned.append(_learned(tokenizer, row))
    assert learned == [f".{tokenizer.eos_token}", f" Paris.{tokenizer.eos_token}"]
    return (
        f"of the answer `Paris.`, the model learns to write {shown(learned[0])}",
        f"it learns to write {shown(learned[1])}",
    )


@evidence("DLM308", gpt2=LIKE_GPT2)
def wrong_ignore_index(programs: Programs) -> tuple[str, str]:
    bad, call = _loss_call(programs.bad, PAIR["question"], PAIR["answer"])
    good, _ = _loss_call(programs.good, PAIR["question"], PAIR["answer"])
    program = programs.good
    tokenizer, (ids,) = program["tokenizer"], call["input_ids"]
    width = len(tokenizer(PAIR["question"])["input_ids"])
    zeros = int((call["labels"][0, 1:] == 0).sum())
    assert zeros == width - 1
    log_probabilities = _log_probabilities(program["model"], ids[None])[0, width - 1 : -1]
    answer = -float(log_probabilities.gather(1, ids[width:, None]).mean())
    assert math.isclose(good, answer, rel_tol=1e-3)
    assert not math.isclose(bad, answer, rel_tol=0.5)
    return (
        (
            f"at {zeros} positions of the question the model is trained to write token 0, {shown(tokenizer.decode([0]))}: "
            f"the loss is {bad:.2f}"
        ),
        f"the loss is {good:.2f}, that of the answer alone",
    )


@evidence("DLM310", gpt2=LIKE_GPT2)
def misaligned_label_mask(programs: Programs) -> tuple[str, str]:
    pairs, learned = PAIRS, []
    for program, code in ((programs.bad, "DLM310"), (programs.good, None)):
        batch, tokenizer = program.call("collate", pairs), program["tokenizer"]
        rows = [{name: values[row].tolist() for name, values in batch.items()} for row in range(len(pairs))]
        widths = [len(tokenizer(f"Question: {pair['question']}\nAnswer:")["input_ids"]) for pair in pairs]
        assert _codes(tokenizer, rows, widths) == [code, None]
        learned.append(_learned(tokenizer, rows[0]))
    padding = rows[0]["attention_mask"].count(0)
    assert padding
    assert learned[1] == f" Paris.{tokenizer.eos_token}"
    assert learned[0].endswith(f"Answer:{learned[1]}")
    return (
        f"with {padding} padding tokens on the left, the model learns to write {shown(learned[0], 80)}",
        f"it learns to write {shown(learned[1])}",
    )


@evidence("DLM311", gpt2=LIKE_GPT2)
def nothing_supervised(programs: Programs) -> tuple[str, str]:
    example, losses = DOCUMENT, []
    for program, code in ((programs.bad, "DLM311"), (programs.good, None)):
        row, tokenizer = program.call("preprocess", example), program["tokenizer"]
        assert len(row["input_ids"]) == program["MAX_LENGTH"]
        left = sum(label == -100 for label in row["labels"])
        assert _codes(tokenizer, [row], [left]) == [code]
        with torch.no_grad():
            batch = {name: torch.tensor([values]) for name, values in row.items()}
            losses.append(float(program["model"](**batch).loss))
    assert math.isnan(losses[0])
    assert _learned(tokenizer, row) == f" On Sunday.{tokenizer.eos_token}"
    return (
        "a document too long by a few sentences pushes the answer out of the row: no label is left, and the loss is NaN",
        f"the document is cut, the answer {shown(_learned(tokenizer, row))} is learned, and the loss is {losses[1]:.2f}",
    )


@evidence("DLM303", gpt2=LIKE_GPT2)
def eos_masked_with_padding(programs: Programs) -> tuple[str, str]:
    rows, learned = TEXT_ROWS, []
    for program in (programs.bad, programs.good):
        batch, tokenizer = program.call("collate", rows), program["tokenizer"]
        ends = batch["attention_mask"].sum(dim=1) - 1
        last = batch["labels"][range(len(rows)), ends]
        assert (batch["input_ids"][range(len(rows)), ends] == tokenizer.eos_token_id).all()
        assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
        learned.append(int((last == tokenizer.eos_token_id).sum()))
    assert learned == [0, len(rows)]
    return (
        f"{len(rows)} rows end in EOS, and {learned[0]} of these EOS are learned",
        f"{learned[1]} of {len(rows)} EOS are learned, and padding is masked all the same",
    )


@evidence("DLM306", gpt2=LIKE_GPT2)
def collator_overwrites_labels(programs: Programs) -> tuple[str, str]:
    counts = []
    for program in (programs.bad, programs.good):
        rows = program["rows"]
        batch = program["collator"](
            [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]
        )
        masked = sum(label == -100 for row in rows for label in row["labels"])
        kept = sum(
            int((labels[: len(row["labels"])] == -100).sum())
            for labels, row in zip(batch["labels"], rows, strict=True)
        )
        counts.append((masked, kept))
    (before, left), (same, kept) = counts
    assert before == same == kept > 0 == left
    return (
        f"of the {before} prompt tokens that the rows mask, {left} are still masked in the batch",
        f"all {kept} prompt tokens are masked in the batch",
    )


@evidence("DLM309", gpt2=LIKE_GPT2)
def no_eos_in_target(programs: Programs) -> tuple[str, str]:
    learned = []
    for program in (programs.bad, programs.good):
        trainer, tokenizer = program["trainer"], program["tokenizer"]
        labels = next(iter(trainer.get_train_dataloader()))["labels"]
        assert (labels != -100).any(dim=1).all()
        learned.append((int((labels == tokenizer.eos_token_id).any(dim=1).sum()), len(labels)))
    (bad, rows), (good, _) = learned
    assert (bad, good) == (0, rows)
    return (
        f"{bad} of {rows} answers teach the model to stop",
        f"{good} of {rows} answers teach the model to stop",
    )
