"""DLM109."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.fixes.masks import pass_positions
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import model_story, tokenizer_story, weakest
from decoderonly_checker.rules.forwards import counts_columns, left_padded, masked
from decoderonly_checker.rules.prompts import absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts


class ForwardWithoutPositionIds(Rule):
    """Reports a left-padded batch that goes to `forward` without `position_ids`, on a model that counts absolute positions.

    ## Why is this bad?

    Models with learned absolute positions (GPT-2, GPT-Neo, …) number the columns from 0 where they are told nothing else. In a
    left-padded row the text then begins at a later position than on its own: logits and loss differ, and more so the more
    padding there is. The attention mask does not cure it; `generate` counts from the mask, `forward` does not.

    ## What it does not report

    - Rotary, ALiBi and relative positions, where a constant shift changes nothing but rounding.
    - Models that count from the mask themselves (OPT); `generate`; right padding; one row.
    - Calls whose logits and loss nobody reads.

    ## Fix safety

    Safe: positions are counted from the mask, as `generate` does it; rows without padding keep theirs. None where a
    cache is passed.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "nnsight #673: shorter prompts of a left-padded batch mispredicted by GPT-2",
            "https://github.com/ndif-team/nnsight/pull/673",
        ),
        Reference(
            "transformers #18388: forward and `generate` differ, as `generate` counts from the mask",
            "https://github.com/huggingface/transformers/issues/18388",
        ),
        Reference(
            "trl #6800: log-probabilities of left-padded prompts without positions",
            "https://github.com/huggingface/trl/issues/6800",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    following = model(**encoding).logits[:, -1].argmax(dim=-1)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    position_ids = (encoding["attention_mask"].cumsum(dim=-1) - 1).clamp(min=0)
    following = model(**encoding, position_ids=position_ids).logits[:, -1].argmax(dim=-1)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every call of a model with a left-padded batch."""
        for batch in left_padded(facts):
            call, encoding = batch.call, batch.encoding
            if not absent(call.args.get(None, "position_ids")) or not masked(call):
                continue  # without a mask, that is what is reported
            certainty = counts_columns(call.model)
            if certainty is None:
                continue
            chain = [*model_story(call.model), *tokenizer_story(encoding)]
            chain.append((encoding.site, "rows get padded on the left here"))
            yield Finding(
                call.site,
                "a left-padded batch goes to `forward` without `position_ids`",
                "this model counts positions over the columns, padding included: shorter rows get other logits than on their own",
                "pass `position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0)`, or pad on the right",
                weakest(batch.sure, certainty),
                Severity.ERROR,
                "shorter rows begin at a later position",
                tuple(chain),
                pass_positions(call, facts),
            )
