"""DLM110."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.fixes.masks import pass_mask_on
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import model_story, tokenizer_story
from decoderonly_checker.rules.forwards import counts_columns, left_padded, masked
from decoderonly_checker.rules.prompts import absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts


class ForwardWithoutAttentionMask(Rule):
    """Reports a left-padded batch that goes to a decoder-only `forward` without its `attention_mask`.

    ## Why is this bad?

    Every token sees all tokens before it, the padding too. The logits and the loss of the text behind the padding are those of a
    text that begins with a row of pad tokens, and change with the length of the longest row in the batch.

    ## What it does not report

    - Right padding: earlier tokens cannot see what is padded behind them.
    - One row; calls whose logits and loss nobody reads; encoder-decoder models.
    - A call that may hold the mask among what the code does not show.

    ## Fix safety

    Safe: the mask beside the ids is passed; to a model that counts positions over the columns, the positions too.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers #16136: padded ids without a mask, a common silent error",
            "https://github.com/huggingface/transformers/issues/16136",
        ),
        Reference(
            "transformers #24510: the warning that came of it",
            "https://github.com/huggingface/transformers/pull/24510",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    following = model(encoding["input_ids"]).logits[:, -1].argmax(dim=-1)
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
            if masked(call):
                continue
            chain = [*model_story(call.model), *tokenizer_story(encoding)]
            chain.append((encoding.site, "rows get padded on the left here, and a mask is made"))
            yield Finding(
                call.site,
                "a left-padded batch goes to `forward` without `attention_mask`"
                if absent(call.mask)
                else "a left-padded batch goes to `forward` with a mask of ones",
                "the padding is read as text: logits and loss of shorter rows depend on how much padding they got",
                'pass the encoding whole, `model(**encoding)`, or `attention_mask=encoding["attention_mask"]`',
                batch.sure,
                Severity.ERROR,
                "the mask is not passed on",
                tuple(chain),
                pass_mask_on(call, facts, counts_columns=counts_columns(call.model) is not None),
            )
