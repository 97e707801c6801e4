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
