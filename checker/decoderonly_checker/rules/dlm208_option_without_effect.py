"""DLM208."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.fixes.prompts import cut_instead
from decoderonly_checker.fixes.proposals import leave_out_argument
from decoderonly_checker.flow.values import literal
from decoderonly_checker.knowledge.registry import is_none
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import (
    always_behind_a_prompt,
    decoder_only,
    model_story,
    runs_by_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts

_OWNER = {
    "skip_prompt": "`skip_prompt` is an option of text streamers",
    "return_full_text": "`return_full_text` is an option of pipelines",
}


class OptionWithoutEffect(Rule):
    """Reports an option that should leave the prompt out, given to a call that does not know it.

    ## Why is this bad?

    `skip_prompt` belongs to text streamers and `return_full_text` to pipelines. `decode` and `batch_decode` take any keyword and
    ignore these, so that the text still begins with the prompt although the code says otherwise; `generate` ignores
    `return_full_text` or refuses it, depending on the version.

    ## What it does not report

    - Ids that are cut before the decode: there the option is superfluous and harmless.
    - `skip_prompt=False` and `return_full_text=True`, which ask for what happens anyway.
    - Encoder-decoder models, which return no prompt.

    ## Fix safety

    Safe: the option goes, and what is decoded is cut at the width of the prompt's ids instead.
    """

    severity = Severity.ERROR
    unseen = "An option that is ignored leaves no trace at run time; what comes of it is reported as DLM201."
    references = (
        Reference(
            "huggingface_hub #2135: `generate` does not know `return_full_text`",
            "https://github.com/huggingface/huggingface_hub/issues/2135",
        ),
        Reference(
            "transformers, pipelines: `return_full_text` of text generation",
            "https://huggingface.co/docs/transformers/main_classes/pipelines",
        ),
        Reference(
            "transformers, streamers: `skip_prompt`",
            "https://huggingface.co/docs/transformers/internal/generation_utils",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Name three primary colours.", return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    answers = tokenizer.batch_decode(output, skip_prompt=True, skip_special_tokens=True)
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
        """Judge every decode and every `generate` that is given such an option."""
        runs = runs_by_place(facts)
        for decode in facts.decodes:
            call = decode.generated.call
            sure = decoder_only(call)
            if not decode.ignored or sure is None:
                continue
            yield Finding(
                decode.site,
                f"`{decode.ignored}` has no effect here: the prompt stays in the text",
                f"{_OWNER[decode.ignored]}; decoding ignores it",
                "cut the prompt off as tokens before the decode: `output[:, input_ids.shape[1]:]`",
                sure,
                Severity.ERROR,
                "ignored by decoding",
                (*model_story(call.model), (call.site, "returns the prompt followed by the continuation")),
                cut_instead(decode) if always_behind_a_prompt(runs[decode.site.key]) else None,
            )
        for call in facts.generate_calls:
            sure = decoder_only(call)
            given = call.args.get(None, "return_full_text")
            if sure is None or is_none(given) or literal(given) is True:
                continue
            yield Finding(
                call.site,
                "`return_full_text` has no effect here: the prompt stays in the output",
                f"{_OWNER['return_full_text']}; `generate` ignores it or, in newer versions, refuses it",
                "leave it out and cut the prompt off as tokens: `output[:, input_ids.shape[1]:]`",
                sure,
                Severity.ERROR,
                "not an option of `generate`",
                tuple(model_story(call.model)),
                leave_out_argument(call.site, "return_full_text"),
            )
