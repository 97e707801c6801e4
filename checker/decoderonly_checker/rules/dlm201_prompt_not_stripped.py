"""DLM201."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.prompts import cut_prompt
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import (
    always_behind_a_prompt,
    decoder_only,
    model_story,
    runs_by_place,
    weakest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Decode, Facts

USED = frozenset({"returned", "stored", "passed", "compared", "searched"})


class PromptNotStripped(Rule):
    """Reports ids from a decoder-only `generate` that are decoded whole, so that the prompt is part of the answer.

    ## Why is this bad?

    `generate` of a decoder-only model returns the prompt followed by the continuation. Text decoded from all of it repeats the
    question: users read it again, scores compare it, parsers find the examples of the prompt instead of the answer.

    ## What it does not report

    - Ids that are cut before the decode, here or in a caller; text that is cut later (that is DLM202).
    - Encoder-decoder models, whose `generate` returns the answer alone; `generate` on `inputs_embeds` alone.
    - A literal text that a base model continues for show alone: there the prompt is meant to be read, too.
    - Text that nothing uses, and text that is asked whether it begins with the prompt.
    - Text that a test states to be equal to something, or not (`assert`, `assertEqual`): it would fail if that were wrong.

    ## Fix safety

    Safe: what is decoded is cut at the width of the prompt's ids. None where an encoder-decoder goes through the same
    line, or the width is not at hand.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers, text generation: the prompt is part of the output",
            "https://huggingface.co/docs/transformers/llm_tutorial",
        ),
        Reference(
            "transformers #44650: predictions of decoder-only models without their prompts",
            "https://github.com/huggingface/transformers/pull/44650",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def answer(question):
        encoding = tokenizer(question, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def answer(question):
        encoding = tokenizer(question, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every decode of generated ids by what became of the text."""
        runs = runs_by_place(facts)
        for decode in facts.decodes:
            others = runs[decode.site.key]
            finding = None if cut_by_callers(decode, others) else self.judge(decode, others)
            if finding is not None:
                yield finding

    def judge(self, decode: Decode, runs: list[Decode]) -> Finding | None:
        """Judge one decode; `runs` are all of that place, with whatever models."""
        call = decode.generated.call
        sure = decoder_only(call)
        if sure is None or decode.cuts or not decode.uses or decode.echo_expected:
            return None
        kinds = {use.kind for use in decode.uses}
        used = next((use for use in decode.uses if use.kind in USED), None)
        kept = next((use for use in decode.uses if use.kind == "kept"), None)
        shown = next((use for use in decode.uses if use.kind == "printed"), None)
        handed = next((use for use in decode.uses if use.kind == "handed"), None)
        final = used or kept or shown or handed
        if final is None:
            return None
        error = used is not None or kept is not None or shown is None
        if handed is not None:
            # What became of it behind the call that was given the function is a guess at best.
            sure = weakest(sure, Confidence.POSSIBLE if final is handed else Confidence.LIKELY)
        if kinds <= {"searched"}:
            sure = weakest(sure, Confidence.LIKELY)
        if kinds <= {"printed"}:
            from decoderonly_checker.rules.demos import continues_a_text  # many patterns, seldom needed

            if continues_a_text(decode):
                sure = weakest(sure, Confidence.POSSIBLE)
        words = {
            "returned": "returned",
            "passed": "passed on",
            "compared": "compared",
            "searched": "searched",
            "kept": "kept",
            "printed": "shown",
            "stored": "stored",
            "handed": "returned",
        }[final.kind]
        chain = [*model_story(call.model), (call.site, "returns the prompt followed by the continuation")]
        if final.site.key != decode.site.key:
            chain.append((final.site, f"the text, prompt and all, is {words} here"))
        return Finding(
            decode.site,
            "generated ids are decoded with the prompt still in front",
            "the text begins with the prompt, so what is "
            + ("shown" if not error else words)
            + " is the question and the answer together",
            (f"decoding ignores `{decode.ignored}`: " if decode.ignored else "")
            + "cut the prompt off as tokens before the decode: `output[:, input_ids.shape[1]:]`",
            sure,
            Severity.ERROR if error else Severity.WARNING,
            "decodes prompt and continuation",
            tuple(chain),
            # What another kind of model returns has no prompt in front.
            cut_prompt(decode) if always_behind_a_prompt(runs) else None,
        )


def cut_by_callers(decode: Decode, runs: list[Decode]) -> bool:
    """Whether the runs of a decode whose callers are known cut its text, and this one shows nothing that they do not.

    A function is also run as one whose callers are not known where its callers are met later: what it returns there
    says nothing more, unless one of them takes the text whole.
    """
    cut = [run for run in runs if run.cuts]
    if decode.cuts or not cut:
        return False
    known = {(use.kind, use.site.key) for run in cut for use in run.uses}
    more = [use for use in decode.uses if (use.kind, use.site.key) not in known]
    if not more:
        return True
    bound = [run for run in runs if _called_by(run, decode)]
    return (
        bool(bound)
        and all(run.cuts for run in bound)
        and {use.kind for use in more} <= {"returned", "handed"}
    )


def _called_by(run: Decode, decode: Decode) -> bool:
    """Whether `run` is the run of `decode` with callers that are known."""
    inner = [site.key for site in decode.calls]
    outer = [site.key for site in run.calls]
    return len(outer) > len(inner) and outer[len(outer) - len(inner) :] == inner
