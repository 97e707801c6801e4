"""Laws of DLM401 and DLM402: what the checker says of an expression is what torch does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_paths
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

MODEL = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
tokenizer.pad_token = tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained("gpt2")

@torch.no_grad()
def run(texts: list[str]):
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    logits = model(**batch).logits
"""
WIDTH = 5

positions = st.one_of(
    st.sampled_from(["-1", "-1:"]), st.sampled_from([":", "0", "1", ":-1", "1:", "-2", "2:4", "::1"])
)
rows = st.sampled_from([":", "0", "1:", ":1", "torch.arange(2)"])
words = st.sampled_from([":", "3", "-1", ":-1"])
subscripts = st.one_of(
    st.builds("{}, {}".format, rows, positions),
    st.builds("{}, {}, {}".format, rows, positions, words),
    st.builds("..., {}, {}".format, positions, words),
    st.builds("{}, ...".format, rows),
    rows.filter(lambda row: row != "torch.arange(2)"),
)

laws = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def found(program: str, folder: Path) -> set[str]:
    """Return the codes that are reported in a program."""
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    result = check_paths([path], Settings())
    assert not result.errors
    return {d.code for d in result.diagnostics}


@laws
@given(subscript=subscripts)
def test_the_last_position_is_reported_where_nothing_else_is_read(subscript: str, tmp_path: Path) -> None:
    # The number of each entry is its position, so that what is read tells where it was read.
    numbered = torch.arange(WIDTH).view(1, WIDTH, 1).expand(2, WIDTH, 4)
    read = eval(f"numbered[{subscript}]", {"numbered": numbered, "torch": torch})  # noqa: S307 - our own text
    only_last = set(read.flatten().tolist()) == {WIDTH - 1}
    program = f"{MODEL}    return logits[{subscript}]\n"
    assert found(program, tmp_path) == ({"DLM401"} if only_last else set())


NEUTRAL = [
    "scores.float()",
    "scores.detach()",
    "scores / 2",
    "-scores",
    "scores * 0.5",
    "scores.contiguous()",
    "torch.abs(scores)",
]
MASKING = [
    "scores * mask[:, 1:]",
    "mask[:, 1:] * scores",
    "scores.masked_fill(mask[:, 1:] == 0, 0.0)",
    "torch.where(mask[:, 1:] == 1, scores, torch.zeros_like(scores))",
    "scores.mul(mask[:, 1:])",
]


@laws
@given(
    steps=st.lists(st.sampled_from(NEUTRAL + MASKING), max_size=4),
    end=st.sampled_from(["scores.sum(dim=1)", "scores.sum(-1)", "torch.sum(scores, dim=1)", "scores.sum()"]),
)
def test_a_sum_is_reported_where_the_padding_changes_it(steps: list[str], end: str, tmp_path: Path) -> None:
    chain = [f"scores = {step}" for step in steps]
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    results = []
    for padding in (0.0, 7.0):
        scores = torch.full((2, 4), 2.0)
        scores[mask[:, 1:] == 0] = padding
        names = {"scores": scores, "mask": mask, "torch": torch}
        exec("\n".join([*chain, f"result = {end}"]), names)  # noqa: S102 - our own text
        results.append(names["result"])
    body = "".join(f"    {line}\n" for line in chain)
    program = (
        f"{MODEL}    scores = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:].unsqueeze(-1)).squeeze(-1)\n"
        f"{body}    return {end}\n"
    )
    changed = not torch.equal(*results)
    assert found(program, tmp_path) == ({"DLM402"} if changed else set())


LABELS = [
    ("ids.clone()", True),
    ("ids.masked_fill(mask == 0, -100)", False),
    ("torch.where(mask == 1, ids, -100)", False),
    ("torch.where(mask.bool(), ids, torch.full_like(ids, -100))", False),
    ("ids", True),
]


@laws
@given(labels=st.sampled_from(LABELS), how=st.sampled_from(["output.loss", 'output["loss"]', "output[0]"]))
def test_a_loss_is_reported_where_its_labels_keep_the_padding(
    labels: tuple[str, bool], how: str, tmp_path: Path
) -> None:
    made, keeps = labels
    ids, mask = torch.tensor([[5, 6, 7], [5, 9, 9]]), torch.tensor([[1, 1, 1], [1, 0, 0]])
    real = eval(made, {"ids": ids, "mask": mask, "torch": torch})  # noqa: S307 - our own text
    assert bool((real[mask == 0] != -100).any()) is keeps
    program = f"{MODEL}    labels = {made}\n    output = model(**batch, labels=labels)\n    return torch.exp({how}).item()\n"
    assert found(program, tmp_path) == ({"DLM402"} if keeps else set())
