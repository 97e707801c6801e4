"""DLM999."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.flow.values import literal
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import decoder_only, model_story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts


class TemplateRule(Rule):
    """Reports a decoder-only `generate` that is told to keep no cache.

    ## Why is this bad?

    What it does to the result, with what was measured; not "it is inconsistent".

    ## What it does not report

    - Calls whose `use_cache` is not a literal: unknown is an honest answer.

    ## Fix safety

    No fix: what is meant is for the author to say.
    """

    severity = Severity.WARNING
    unseen = "Why the guard cannot see it; leave this out where pytest_decoderonly/runtime/checks has a file for it."
    references = (
        Reference(
            "What is said there: a thread of others who met it, a page or a line of a library",
            "https://huggingface.co/docs/transformers/kv_cache",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Name three primary colours.", return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8, use_cache=False)
    answers = tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Name three primary colours.", return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    answers = tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every `generate` call. `flow/facts.py` lists what else there is to judge."""
        for call in facts.generate_calls:
            sure = decoder_only(call)
            if sure is None or literal(call.args.get(None, "use_cache")) is not False:
                continue
            yield Finding(
                call.site,
                "`generate` is told to keep no cache",
                "every step runs the whole text again",
                "leave `use_cache=False` out",
                sure,
                Severity.WARNING,
                "no cache is kept",
                tuple(model_story(call.model)),
            )
