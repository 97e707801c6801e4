"""DLM106."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.proposals import rename_argument
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import Const, Kind, Lib, Model, Unknown, Value, alternatives, literal
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import checkpoint_kind, decoder_only, model_story, weakest
from decoderonly_checker.rules.prompts import absent, pipeline_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from decoderonly_checker.flow.facts import Facts, GenerateCall, PipelineCall
    from decoderonly_checker.rules.evidence import Chain

# Limits that are the model's own: prompt and answer must share them.
_CONTEXT = late_pattern(
    r"model_max_len|max_position|n_positions|n_ctx|context|max_seq_len|block_size", re.IGNORECASE
)
# Names of a `**` that holds tensors, not settings.
_INPUTS = late_pattern(r"input|batch|enc|prompt|features|tokens|tokenized", re.IGNORECASE)


class MaxLengthCountsPrompt(Rule):
    """Reports `max_length` without `max_new_tokens` where a decoder-only model generates.

    ## Why is this bad?

    `max_length` limits prompt and answer together. The longer the question, the shorter the answer may be; a prompt
    of that length is answered with one token or none. Which answers were cut short cannot be seen in them.

    ## What it does not report

    - `max_length` computed from the prompt, `input_ids.shape[1] + n`, or equal to the model's context.
    - A function's own `max_length` that is passed on as `max_new_tokens`.
    - Encoder-decoder models, whose `max_length` counts the answer alone; `inputs_embeds` alone; a lone BOS token.

    ## Fix safety

    Unsafe: `max_length=` becomes `max_new_tokens=` with the same number, which now counts something else.
    """

    severity = Severity.WARNING
    references = (
        Reference(
            "transformers, text generation: output length",
            "https://huggingface.co/docs/transformers/llm_tutorial",
        ),
        Reference(
            "Yi #46: `max_length` is the prompt and the new tokens together",
            "https://github.com/01-ai/Yi/issues/46",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def answer(question):
        encoding = tokenizer(question, return_tensors="pt")
        output = model.generate(**encoding, max_length=64)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def answer(question):
        encoding = tokenizer(question, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=64)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every `generate` and every call of a text-generation pipeline."""
        for call in facts.generate_calls:
            sure = self.generates(call)
            if sure is not None:
                limit = call.settings.get("max_length")
                found = self.judge(call.settings, sure)
                if found is not None and limit is not None:
                    yield self.report(call, limit, found, "`generate`", model_story(call.model))
        for pipe in facts.pipeline_calls:
            settings = self.settings(facts, pipe)
            limit = settings.get("max_length")
            found = self.judge(settings, Confidence.CERTAIN)
            if found is not None and limit is not None:
                origin = pipe.pipeline.origin
                chain = [] if origin is None else [(origin, "text-generation pipeline made here")]
                yield self.report(pipe, limit, found, "a text-generation pipeline", chain)

    def generates(self, call: GenerateCall) -> Confidence | None:
        """Return how sure it is that a call continues a prompt whose length counts; None where it does not."""
        sure = decoder_only(call)
        if sure is None or (isinstance(call.ids, Unknown) and call.ids.hint == "bos"):
            return None
        if call.discarded:
            return Confidence.POSSIBLE  # a warm-up
        if call.ids is None and call.encoding is None:
            if call.open is None or call.args.get(None, "inputs_embeds") is not None:
                return None
            if not any(_INPUTS.search(getattr(one, "hint", "")) for one in alternatives(call.open)):
                return weakest(sure, Confidence.POSSIBLE)
            return weakest(sure, Confidence.LIKELY)
        if call.open is not None:
            # Entries of an unknown `**`: tensors, or settings with `max_new_tokens` among them.
            tensors = all(_INPUTS.search(getattr(one, "hint", "")) for one in alternatives(call.open))
            return weakest(sure, Confidence.LIKELY if tensors else Confidence.POSSIBLE)
        return sure

    @staticmethod
    def settings(facts: Facts, call: PipelineCall) -> Mapping[str, Value]:
        """Return the settings that a pipeline call runs with."""
        found = pipeline_settings(facts, call)
        models = [m for m in alternatives(found.get("model")) if isinstance(m, Model)]
        if any(m.kind in (Kind.ENCODER_DECODER, Kind.OTHER) for m in models) or (
            checkpoint_kind(found.get("model", Unknown())) is Kind.ENCODER_DECODER
        ):
            return {}
        for source in (found.get("generation_config"), call.args.keywords.get("generation_config")):
            for one in alternatives(source):
                config = facts.objects.get(one.id) if isinstance(one, Lib) else None
                if isinstance(config, ObjRec):
                    found.update(config.attrs)
        found.update((k, v) for k, v in call.args.keywords.items() if not absent(v))
        if call.args.open is not None:
            found["#open"] = call.args.open
        return found

    @staticmethod
    def judge(settings: Mapping[str, Value], sure: Confidence) -> Confidence | None:
        """Return how sure it is that `max_length` alone is in force; None where it is not."""
        limit = settings.get("max_length")
        if limit is None or absent(limit) or not absent(settings.get("max_new_tokens")):
            return None
        if "#open" in settings:
            sure = weakest(sure, Confidence.POSSIBLE)
        for one in alternatives(limit):
            if isinstance(one, Const):
                if isinstance(one.value, bool) or not isinstance(one.value, int | float | None):
                    return None
            elif isinstance(one, Unknown) and one.hint:
                if one.hint == "absent":
                    continue
                # What a caller passes may well have been computed from the prompt.
                handed_in = one.origin is not None and isinstance(one.origin.node, cst.Param)
                whole = _CONTEXT.search(one.hint) is not None
                sure = weakest(sure, Confidence.POSSIBLE if handed_in or whole else Confidence.LIKELY)
            else:
                return None  # computed, in most cases from the prompt's width
        return sure

    @staticmethod
    def report(
        call: GenerateCall | PipelineCall, limit: Value, sure: Confidence, what: str, chain: Chain
    ) -> Finding:
        """Describe one call."""
        number = literal(limit)
        # A number that another file gives to a settings object need not be the one that is in force here.
        here = limit.origin is None or limit.origin.source is call.site.source
        length = f"`max_length={number}`" if isinstance(number, int) and here else "`max_length`"
        story = list(chain)
        if limit.origin is not None and limit.origin.key != call.site.key:
            story.append((limit.origin, "the limit comes from here"))
        return Finding(
            call.site,
            f"{what} is limited by {length}, which counts the prompt too",
            "the longer the prompt, the shorter the answer; a prompt of that length gets next to none",
            "limit the answer alone with `max_new_tokens`",
            sure,
            Severity.WARNING,
            "prompt and answer share this limit",
            tuple(story),
            rename_argument(call.site, "max_length", "max_new_tokens"),
        )
