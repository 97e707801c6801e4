"""What the loss is taken over: DLM301 to DLM311."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import evidence
from checkpoints import LIKE_GPT2

if TYPE_CHECKING:
    from bench import Programs

EXAMPLE = {"question": "Which city is the capital of France?\n", "answer": "Paris, on the river Seine."}


@evidence("DLM301", gpt2=LIKE_GPT2)
def prompt_in_the_loss(programs: Programs) -> tuple[str, str]:
    trained = []
    for program in (programs.bad, programs.good):
        row, tokenizer = program.call("preprocess", EXAMPLE), program["tokenizer"]
        supervised = [label for label in row["labels"] if label != -100]
        assert (
            tokenizer.decode(row["input_ids"])
            == EXAMPLE["question"] + EXAMPLE["answer"] + tokenizer.eos_token
        )
        trained.append((tokenizer.decode(supervised), len(supervised)))
    (bad, everything), (good, answer) = trained
    assert bad == EXAMPLE["question"] + good
    assert good == EXAMPLE["answer"] + programs.good["tokenizer"].eos_token
    return (
        f"of the {everything} tokens that the model learns to write, {everything - answer} are the question's",
        f"{answer} tokens are learned: the answer and its EOS",
    )


@evidence("DLM303", gpt2=LIKE_GPT2)
def eos_masked_with_padding(programs: Programs) -> tuple[str, str]:
    rows = [{"text": "Paris."}, {"text": "The capital of France is Paris, on the river Seine."}]
    learned = []
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
