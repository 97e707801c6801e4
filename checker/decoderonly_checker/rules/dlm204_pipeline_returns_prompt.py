"""DLM204."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.proposals import add_argument
from decoderonly_checker.flow.values import Const, Unknown, alternatives
from decoderonly_checker.rules.base import Finding, Reference, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, PipelineCall

_KEPT = frozenset({"returned", "stored", "kept"})


class PipelineReturnsPrompt(Rule):
    """Reports `generated_text` of a text-generation pipeline that still begins with the prompt.

    ## Why is this bad?

    A `"text-generation"` pipeline returns prompt and continuation unless `return_full_text=False` is given, to the pipeline
    or to the call. Where the text is taken for the answer, the question is part of it.

    ## What it does not report

    - `return_full_text` written out, at the pipeline or at the call: false leaves the prompt out, true asks for it.
    - Chat input, whose answer is read with `[-1]["content"]`.

    ## Fix safety

    Safe: `return_full_text=False` in the call.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers, pipelines: `return_full_text` of text generation",
            "https://huggingface.co/docs/transformers/main_classes/pipelines",
        ),
        Reference(
            "txtai #459: the prompt taken out of a pipeline's text",
            "https://github.com/neuml/txtai/issues/459",
        ),
    )
    bad = """
    from transformers import pipeline

    generator = pipeline("text-generation", model="gpt2")

    def answer(question):
        return generator(question, max_new_tokens=8)[0]["generated_text"]
    """
    good = """
    from transformers import pipeline

    generator = pipeline("text-generation", model="gpt2", return_full_text=False)

    def answer(question):
        return generator(question, max_new_tokens=8)[0]["generated_text"]
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every read of a pipeline's text, and every pipeline that a library reads."""
        for call in facts.pipeline_calls:
            finding = self.judge(call)
            if finding is not None:
                yield finding
        for handed in facts.pipelines_handed_on:
            record = facts.objects.get(handed.pipeline.id)
            attrs = getattr(record, "attrs", {})
            if "return_full_text" in attrs or "#open" in attrs or handed.pipeline.origin is None:
                continue
            yield Finding(
                handed.pipeline.origin,
                "this text-generation pipeline returns the prompt with the answer",
                f"`{handed.to.rpartition('.')[2]}` takes `generated_text`, question and all, for the answer",
                "give `return_full_text=False` to the pipeline",
                Confidence.LIKELY,
                Severity.ERROR,
                "`return_full_text` is not set",
                ((handed.site, "its output is read by a library here"),),
                add_argument(handed.pipeline.origin, "return_full_text", "False"),
            )

    def judge(self, call: PipelineCall) -> Finding | None:
        """Judge one call by what is read from it."""
        if call.chat or not call.reads:
            return None
        given = alternatives(call.return_full_text)
        if any(not isinstance(v, Const) or isinstance(v.value, bool) for v in given):
            return None  # left out, or asked for
        uses = {use.kind for use in call.uses} - {"stated"}
        if not uses and not call.cuts:
            return None
        # A copy that is cut does not help who keeps the whole.
        mild = not uses & _KEPT if call.cuts else uses <= {"printed"}
        sure = Confidence.CERTAIN
        if (isinstance(call.inputs, Unknown) and not call.inputs.hint) or "handed" in uses:
            sure = Confidence.LIKELY
        if uses == {"handed"} and not call.cuts:
            sure = Confidence.POSSIBLE
        chain = []
        if call.pipeline.origin is not None:
            chain.append(
                (call.pipeline.origin, "text-generation pipeline made here without `return_full_text=False`")
            )
        if call.site.key != call.reads[0].key:
            chain.append((call.site, "called here"))
        return Finding(
            call.reads[0],
            "`generated_text` begins with the prompt",
            "cutting it off as text fails where the prompt does not come back byte for byte"
            if mild and call.cuts
            else "the question is part of what is taken for the answer",
            "give `return_full_text=False` to the pipeline or to the call",
            sure,
            Severity.WARNING if mild else Severity.ERROR,
            "prompt and continuation",
            tuple(chain),
            # What is cut as text would be cut twice.
            None if call.cuts else add_argument(call.site, "return_full_text", "False"),
        )
