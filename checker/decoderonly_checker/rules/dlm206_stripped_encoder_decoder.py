"""DLM206."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.prompts import leave_whole
from decoderonly_checker.flow.values import Ids, Kind, Length, Str, alternatives, literal
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import checkpoint_kind, decoder_only, encodings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, GenerateCall, IdsCut
    from decoderonly_checker.flow.values import Site, Value

# Where the decoder itself was given a prompt, its output does begin with it.
_DECODER_PROMPTS = ("decoder_input_ids", "decoder_inputs_embeds", "prompt_ids", "forced_decoder_ids")


class StrippedEncoderDecoder(Rule):
    """Reports the output of an encoder-decoder `generate` that is cut at the length of the prompt.

    ## Why is this bad?

    An encoder-decoder model (T5, BART, Marian) reads the prompt in its encoder and generates the answer alone. Cutting
    `output[:, input_ids.shape[1]:]`, as a decoder-only model needs it, throws away the beginning of the answer, and all of
    it where the answer is shorter than the prompt.

    ## What it does not report

    - `generate` that is given `decoder_input_ids`: these do come back.
    - Dropping the start token, `output[:, 1:]`.
    - Code that asks the configuration whether the model `is_encoder_decoder`.

    ## Fix safety

    Safe: the cut goes, the output is left whole.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers #22084: the input's length means nothing to an encoder-decoder's output",
            "https://github.com/huggingface/transformers/issues/22084",
        ),
        Reference(
            "bumblebee #302: encoder-decoder models return no prompt",
            "https://github.com/elixir-nx/bumblebee/pull/302",
        ),
        Reference(
            "lm-evaluation-harness: cut for causal models alone",
            "https://github.com/EleutherAI/lm-evaluation-harness/blob/4e7e0d47f33bc71070c1d38394bafbb52b117163/lm_eval/models/huggingface.py#L1681",
        ),
    )
    bad = """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("google/flan-t5-small")
    model = AutoModelForSeq2SeqLM.from_pretrained("google/flan-t5-small")

    def answer(question):
        encoding = tokenizer(question, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("google/flan-t5-small")
    model = AutoModelForSeq2SeqLM.from_pretrained("google/flan-t5-small")

    def answer(question):
        encoding = tokenizer(question, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every cut of generated ids."""
        both = {cut.site.key for cut in facts.ids_cuts if decoder_only(cut.generated.call) is not None}
        for cut in facts.ids_cuts:
            finding = self.judge(cut, shared=cut.site.key in both)
            if finding is not None:
                yield finding

    def judge(self, cut: IdsCut, *, shared: bool) -> Finding | None:
        """Judge one cut; `shared` where the same line cuts a decoder-only model's output as well."""
        call = cut.generated.call
        sure = self.encoder_decoder(call)
        if sure is None or not all(self.is_prompt_length(one, call) for one in alternatives(cut.by)):
            return None
        chain: list[tuple[Site, str]] = []
        if call.model.origin is not None:
            chain.append((call.model.origin, f"encoder-decoder model made here ({call.model.class_name})"))
        chain.append((call.site, "returns the answer alone"))
        return Finding(
            cut.site,
            "the output of an encoder-decoder model is cut as if the prompt were in front",
            "the beginning of the answer is cut off, all of it where it is shorter than the prompt",
            "decode the output whole: an encoder-decoder's `generate` returns the answer alone",
            Confidence.POSSIBLE if shared else sure,
            Severity.ERROR,
            "cuts into the answer",
            tuple(chain),
            leave_whole(cut),
        )

    @staticmethod
    def encoder_decoder(call: GenerateCall) -> Confidence | None:
        """Return how sure it is that a call is of an encoder-decoder without a prompt for its decoder."""
        if call.open is not None or call.args.get(None, *_DECODER_PROMPTS) is not None:
            return None
        if "is_encoder_decoder" in call.module.text:
            return None  # the code tells the two apart, in a way that may not have been followed
        if call.model.kind is Kind.ENCODER_DECODER:
            return Confidence.CERTAIN
        known = checkpoint_kind(call.model.checkpoint) if call.model.kind is Kind.UNKNOWN else None
        return Confidence.LIKELY if known is Kind.ENCODER_DECODER else None

    @staticmethod
    def is_prompt_length(bound: Value, call: GenerateCall) -> bool:
        """Whether a bound is the length of what the encoder was given."""
        if not isinstance(bound, Length) or bound.what not in {"width", "real", "chars"}:
            return False
        own = list(encodings(call.ids)) or ([call.encoding] if call.encoding is not None else [])
        if bound.what == "chars":
            text = isinstance(bound.of, Str) or isinstance(literal(bound.of), str)
            return any(bound.of == e.text for e in own) if text else False
        if not isinstance(bound.of, Ids) or bound.of.encoding is None:
            return False
        other = bound.of.encoding
        return any(e.site.key == other.site.key or e.text == other.text for e in own)
