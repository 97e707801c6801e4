"""DLM103."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.texts import set_pad_token
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import Const, Tokenizer, alternatives
from decoderonly_checker.knowledge.tokenizers import PAD_CHECKED, SET_UP
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import weakest
from decoderonly_checker.rules.prompts import absent, checkpoints, overridable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.fixes.proposals import Proposal
    from decoderonly_checker.flow.facts import Facts, TokenizerCall

_PADS = frozenset({True, "longest", "max_length"})
_SETTERS = ("pad_token", "pad_token_id", "_pad_token", "_pad_token_id")


class MissingPadToken(Rule):
    """Reports padding that is asked of a tokenizer without a pad token.

    ## Why is this bad?

    Many checkpoints of decoder-only models (GPT-2, Llama, Mistral) were trained without padding and ship no pad token. Their
    tokenizers raise an error at the first padded batch, which may be long after the start: in the last evaluation, or for
    the first request that comes in twos.

    ## What it does not report

    - Checkpoints that the table does not know, or knows to ship a pad token.
    - A pad token that is set anywhere, by any branch: an attribute, `add_special_tokens`, an argument of `from_pretrained`.

    ## Fix safety

    Unsafe: the EOS token becomes the pad token, where the tokenizer is made. None in code that trains: whatever masks
    padding there by its id would mask EOS.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers #3859: GPT-2 has no pad token",
            "https://github.com/huggingface/transformers/issues/3859",
        ),
        Reference("trl #466: the same error in an example", "https://github.com/huggingface/trl/issues/466"),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
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
        """Judge every tokenizer call."""
        for call in facts.tokenizer_calls:
            sure = self.asked(call)
            if sure is not None and self.without(facts, call.tokenizer):
                # What masks the pad token in labels would mask EOS: training wants one of its own.
                trains = facts.training_runs or facts.labels_made or facts.ignore_writes or facts.comparisons
                yield self.report(call, sure, None if trains else set_pad_token(call.tokenizer.origin))

    @staticmethod
    def asked(call: TokenizerCall) -> Confidence | None:
        """Return how sure it is that a call asks for padding; None where it does not."""
        padding = call.args.get(None, "padding")
        if padding is None:
            merges = call.encoding.made is not None and not absent(call.args.get(0, "encoded_inputs"))
            return Confidence.CERTAIN if merges else None  # `pad()` pads unless it is told not to
        sure = Confidence.CERTAIN
        for one in alternatives(padding):
            if not isinstance(one, Const) or one.value not in _PADS:
                return None
            if one.default:
                sure = Confidence.LIKELY
        return sure

    @staticmethod
    def without(facts: Facts, tokenizer: Tokenizer) -> bool:
        """Whether a tokenizer surely has no pad token, at any time."""
        record = facts.objects.get(tokenizer.id)
        attrs = record.attrs if isinstance(record, ObjRec) else {}
        if not attrs.keys().isdisjoint((SET_UP, PAD_CHECKED)) or any(
            name in attrs and not absent(attrs[name]) for name in _SETTERS
        ):
            return False
        known = checkpoints(tokenizer)
        return bool(known) and all(one is not None and one.ships_pad_token is False for one in known)

    @staticmethod
    def report(call: TokenizerCall, sure: Confidence, fix: Proposal | None) -> Finding:
        """Describe one call."""
        if overridable(call.tokenizer):
            sure = weakest(sure, Confidence.LIKELY)
        origin = call.tokenizer.origin
        made = "tokenizer made here; its checkpoint ships no pad token, and none is set"
        return Finding(
            call.site,
            "padding is asked of a tokenizer that has no pad token",
            "the call raises an error as soon as it runs: there is nothing to pad with",
            "set one where the tokenizer is made: `tokenizer.pad_token = tokenizer.eos_token`, for training one of its own",
            sure,
            Severity.ERROR,
            "nothing to pad with",
            () if origin is None else ((origin, made),),
            fix,
        )
