"""DLM102."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.flow.values import Tri
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import decoder_only, encodings, weakest
from decoderonly_checker.rules.padding import right_padding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.diagnostics import Confidence
    from decoderonly_checker.flow.facts import Facts, GenerateCall
    from decoderonly_checker.flow.values import Encoding


class RightPaddedGeneration(Rule):
    """Reports a padded batch of prompts that goes to a decoder-only `generate` while padding is on the right.

    ## Why is this bad?

    A decoder-only model continues the last position of every row. With padding on the right that position is padding: the
    shorter prompts are continued after a gap, and often answered with an empty line. The attention mask does not cure it.

    ## What it does not report

    - One prompt (a list of one literal text is one prompt); padding that is not asked for.
    - `padding_side="left"` at the tokenizer, at the call, or at `pad()`; checkpoints whose tokenizer pads left by default.
    - Left padding built by hand; a tokenizer that comes from outside the analysed code.

    ## Fix safety

    Unsafe: `padding_side="left"` is for all that the tokenizer pads from then on, training too.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers, text generation: padding side",
            "https://huggingface.co/docs/transformers/llm_tutorial",
        ),
        Reference(
            "transformers #18388: why decoder-only models are padded on the left",
            "https://github.com/huggingface/transformers/issues/18388",
        ),
        Reference(
            "lamorel #53: batches of causal models padded as those of encoder-decoder models",
            "https://github.com/flowersteam/lamorel/issues/53",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    answers = tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    answers = tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge the encodings of every `generate` call."""
        for call in facts.generate_calls:
            sure = decoder_only(call)
            if sure is None:
                continue
            found = list(encodings(call.ids)) or ([call.encoding] if call.encoding is not None else [])
            for encoding in found:
                finding = self.judge(call, encoding, sure)
                if finding is not None:
                    yield finding
                    break

    def judge(self, call: GenerateCall, encoding: Encoding, sure: Confidence) -> Finding | None:
        """Judge one encoding that reaches a `generate` call."""
        right = right_padding(encoding)
        if right is None or encoding.batched is not Tri.YES:
            return None
        return Finding(
            call.site,
            "a batch that is padded on the right goes to `generate`",
            "shorter prompts are continued from padding, not from their last word; their text differs from a run on their own",
            'set `padding_side="left"` where the tokenizer is made',
            weakest(sure, right.sure),
            Severity.ERROR,
            "continues after the padding of the shorter rows",
            tuple(right.story(call.model, "several prompts; rows get padded here")),
            right.fix(),
        )
