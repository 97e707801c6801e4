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
