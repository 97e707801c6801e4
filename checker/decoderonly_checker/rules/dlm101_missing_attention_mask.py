"""DLM101."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.masks import pass_mask
from decoderonly_checker.flow.values import (
    Const,
    Generated,
    Ids,
    Opaque,
    Str,
    Tri,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.knowledge.tensors import COUNTED
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import (
    decoder_only,
    encodings,
    has_own_pad_token,
    model_story,
    tokenizer_story,
    weakest,
)

# Names of dicts that hold sampling settings and no tensors.
_SETTINGS = late_pattern(
    r"gen(?:eration)?_?(?:kw|arg|config|param)|generat\w*_(?:kw|arg|param|config)|sampling|config|setting|model_dump|options"
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, GenerateCall
    from decoderonly_checker.flow.values import Encoding


class MissingAttentionMask(Rule):
    """Reports a decoder-only `generate` that is given token ids and no `attention_mask`.

    ## Why is this bad?

    In a padded batch the model cannot tell padding from text: rows shorter than the longest one are continued as if the
    padding had been said, and their answers differ from those they get on their own. `generate` guesses a mask only where the
    pad token differs from the EOS token, which it does not in most decoder-only set-ups (`pad_token = eos_token`). One
    unpadded prompt comes to no harm, but the call breaks silently on the day that it is given two.

    ## What it does not report

    - `generate(**encoding)`: the tokenizer's encoding holds its mask.
    - Pipelines, which pass the mask themselves; encoder-decoder models; a lone BOS token as the prompt; `inputs_embeds`.
    - A `generate` that is not known to be of a transformers model.

    ## Fix safety

    Safe: the mask beside the ids is passed, written and moved as they are. Where only the ids have a name, the encoding
    gets one, on a line of its own. No fix where the code does not show what the ids came from.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers, text generation: pass the mask, it cannot always be guessed",
            "https://huggingface.co/docs/transformers/llm_tutorial",
        ),
        Reference(
            "TransformerLens #1760: batched prompts go to `generate` without their mask",
            "https://github.com/TransformerLensOrg/TransformerLens/issues/1760",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(encoding["input_ids"], max_new_tokens=8)
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
        """Judge every `generate` call."""
        for call in facts.generate_calls:
            finding = self.judge(call, facts)
            if finding is not None:
                yield finding

    def judge(self, call: GenerateCall, facts: Facts) -> Finding | None:
        """Judge one call."""
        sure = decoder_only(call)
        if sure is None or call.ids is None:
            return None
        absent = call.mask is None or all(
            (isinstance(v, Const) and v.value is None) or (isinstance(v, Unknown) and v.hint == "absent")
            for v in alternatives(call.mask)
        )
        if not absent or (isinstance(call.ids, Unknown) and call.ids.hint == "bos"):
            return None
        if all(isinstance(v, Opaque) and v.name in COUNTED for v in alternatives(call.ids)):
            return None  # made up, as rows of one length
        if any(isinstance(v, Str) for v in alternatives(call.ids)):
            return None  # a wrapper that takes text tokenizes it itself, with its mask
        if (
            call.args.get(None, "inputs_embeds") is not None
            or call.args.get(None, "encoder_hidden_states") is not None
        ):
            return None
        known = [e for e in encodings(call.ids) if not e.template or e.tokenizer is not None]
        continued = any(isinstance(v, Generated) for v in alternatives(call.ids))
        if not known and not continued and not any(isinstance(v, Ids) for v in alternatives(call.ids)):
            # Ids of unknown making: only a model that is known to be decoder-only speaks, and not surely.
            if isinstance(call.ids, Const) or sure is not Confidence.CERTAIN:
                return None
            sure = Confidence.LIKELY
        if call.open is not None and not settings_only(call.open):
            sure = Confidence.POSSIBLE  # the mask may be among what is not known
        if call.discarded:
            sure = Confidence.POSSIBLE  # a warm-up
        several = any(e.batched is Tri.YES for e in known)
        padded = several and any(e.padded is not Tri.NO for e in known)
        chain = [*model_story(call.model)]
        if known:
            chain += tokenizer_story(known[0])
            chain.append((known[0].site, self.describe(several, padded)))
        return Finding(
            call.site,
            "`generate` gets token ids of a padded batch and no `attention_mask`"
            if padded
            else "`generate` gets token ids of several prompts and no `attention_mask`"
            if several
            else "`generate` gets token ids and no `attention_mask`",
            "`generate` guesses a mask from the pad id: right while that id is nowhere in a prompt and ends no text"
            if padded and self.guessed(call, known, facts)
            else "padding is read as text: shorter prompts are continued from it and get other answers than on their own"
            if several
            else "one unpadded prompt is unharmed; with padding, or two prompts, the answers change without an error",
            'pass the encoding whole, `generate(**encoding, …)`, or `attention_mask=encoding["attention_mask"]`',
            weakest(sure, Confidence.CERTAIN if known or continued else Confidence.LIKELY),
            Severity.ERROR if several else Severity.WARNING,
            "the mask is not passed on",
            tuple(chain),
            pass_mask(call, facts),
        )

    @staticmethod
    def guessed(call: GenerateCall, known: list[Encoding], facts: Facts) -> bool:
        """Whether `generate` is told of a pad token that is not the EOS token: then it makes a mask of it.

        See `_prepare_attention_mask_for_generation` in transformers/generation/utils.py.
        """
        told = call.args.get(None, "pad_token_id")
        return (
            told is not None
            and not any(getattr(one, "hint", "").startswith("eos_token") for one in alternatives(told))
            and all(has_own_pad_token(e.tokenizer, facts) for e in known)
        )

    @staticmethod
    def describe(several: bool, padded: bool) -> str:
        """Say what was tokenized."""
        if padded:
            return "several prompts; rows get padded here"
        return "several prompts are tokenized here" if several else "the prompt is tokenized here"


def settings_only(value: Value) -> bool:
    """Whether an unknown `**` holds generation settings by its name, and so no mask."""
    return all(
        _SETTINGS.search(getattr(one, "hint", "")) or type(one).__name__ == "Lib"
        for one in alternatives(value)
    )
