"""Scores read from logits: DLM401 to DLM403."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from bench import evidence
from checkpoints import LIKE_GPT2

from measures.common import next_token, shown

if TYPE_CHECKING:
    from bench import Programs


@evidence("DLM401", gpt2=LIKE_GPT2)
def last_position_of_padding(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad, programs.good
    model, tokenizer, prompts = good["model"], good["tokenizer"], good["prompts"]
    reference = [tokenizer.decode([next_token(model, tokenizer, prompt)]) for prompt in prompts]
    assert good["following"] == reference
    assert bad["following"][0] != reference[0]
    assert bad["following"][1] == reference[1]
    padding = int((bad["encoding"]["attention_mask"][0] == 0).sum())
    return (
        (
            f"after {shown(prompts[0])} with {padding} padding tokens behind it, {shown(bad['following'][0])} is read as "
            f"the most probable next token"
        ),
        f"it is {shown(reference[0])}, as it is for the prompt alone; the longest prompt gets its own token either way",
    )


@evidence("DLM402", gpt2=LIKE_GPT2)
def padding_in_the_score(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad, programs.good
    model, tokenizer = good["model"], good["tokenizer"]
    total, count = 0.0, 0
    for text in good["texts"]:
        alone = tokenizer(text, return_tensors="pt")
        predicted = alone["input_ids"].shape[1] - 1
        with torch.no_grad():
            total += float(model(**alone, labels=alone["input_ids"]).loss) * predicted
        count += predicted
    reference = math.exp(total / count)
    assert math.isclose(float(good["perplexity"]), reference, rel_tol=0.02)
    assert not math.isclose(float(bad["perplexity"]), reference, rel_tol=0.3)
    padding = int((bad["encoding"]["attention_mask"] == 0).sum())
    return (
        f"{padding} padding tokens make the perplexity of two sentences {float(bad['perplexity']):.1f}",
        f"it is {float(good['perplexity']):.1f}, as for the sentences one at a time",
    )


@evidence("DLM403", gpt2=LIKE_GPT2)
def score_boundary_from_a_second_tokenization(programs: Programs) -> tuple[str, str]:
    question, answers = "The capital of France is", ("Paris", "London", "Rome", "Berlin")
    best, scored = [], []
    for program in (programs.bad, programs.good):
        scores = {answer: program.call("log_likelihood", question, answer) for answer in answers}
        best.append(max(scores, key=scores.__getitem__))
        scored.append(scores["Paris"])
    model, tokenizer = program["model"], program["tokenizer"]
    (token,) = tokenizer(" Paris")["input_ids"]
    with torch.no_grad():
        ids = torch.tensor([[*tokenizer(question)["input_ids"], token]])
        word, end = (
            model(ids).logits[0, -2:].log_softmax(dim=-1)[(0, 1), (token, tokenizer.eos_token_id)].tolist()
        )
    assert math.isclose(scored[0], end, abs_tol=1e-3)
    assert math.isclose(scored[1], word + end, abs_tol=1e-3)
    assert best[0] != "Paris" == best[1]
    return (
        (
            f"the score of {shown(question + ' Paris')} is that of the EOS alone, and {shown(best[0])} wins among "
            f"{len(answers)} capitals"
        ),
        f"word and EOS are scored, and {shown(best[1])} wins",
    )
