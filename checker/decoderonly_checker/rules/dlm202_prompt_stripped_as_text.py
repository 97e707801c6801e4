"""DLM202."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.texts import cut_before_decode
from decoderonly_checker.flow.choices import decoded_in
from decoderonly_checker.flow.facts import Decode
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import (
    always_behind_a_prompt,
    decoder_only,
    model_story,
    runs_by_place,
    weakest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from decoderonly_checker.flow.facts import Facts, TextCut

_WORDS = {
    "slice": "by its length in characters",
    "replace": "with `replace`",
    "split": "by splitting at a marker",
    "removeprefix": "with `removeprefix`",
}


class PromptStrippedAsText(Rule):
    r"""Reports a prompt that is taken off decoded text instead of off the token ids.

    ## Why is this bad?

    Decoding need not give the prompt back byte for byte: special tokens are skipped, spaces before punctuation are
    cleaned up, some characters are normalised. Then `replace` finds nothing and the prompt stays, a cut by `len(prompt)` eats the
    beginning of the answer or leaves the end of the prompt, and `split(marker)[1]` picks the wrong piece when the marker
    occurs in the user's text or in the answer.

    ## What it does not report

    - Cutting the continuation: `split("\n\n")[0]`, stop words.
    - The difference of two streamed texts; a BOS token taken off training text.
    - Text of engines that return the exact string, and of pipelines (that is DLM204).

    ## Fix safety

    Unsafe: the ids are cut before the decode and the text is left whole; the answer may lose the blank that it began
    with. None where somebody else reads the whole text.
    """

    severity = Severity.WARNING
    references = (
        Reference(
            "transformers #17117: decoding does not give the prompt back as it was",
            "https://github.com/huggingface/transformers/issues/17117",
        ),
        Reference(
            'xFinder #7: `replace(prompt, "")` finds nothing',
            "https://github.com/IAAR-Shanghai/xFinder/issues/7",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def answer(question):
        encoding = tokenizer(question, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        text = tokenizer.decode(output[0], skip_special_tokens=True)
        return text[len(question):]
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
        """Judge every cut of decoded text."""
        runs = runs_by_place(facts)
        for cut in facts.text_cuts:
            finding = self.judge(cut, runs)
            if finding is not None:
                yield finding

    def judge(self, cut: TextCut, runs: Mapping[int, Sequence[Decode]]) -> Finding | None:
        """Judge one cut; `runs` are the decodes by their places, with whatever models."""
        for text in decoded_in(cut.text):
            decode = text.decode
            if not isinstance(decode, Decode):
                continue
            call = decode.generated.call
            sure = decoder_only(call)
            if sure is None:
                continue
            return Finding(
                cut.site,
                f"the prompt is taken off decoded text {_WORDS[cut.how]}",
                "decoding need not give the prompt back byte for byte: part of the prompt may stay, or part of the answer go",
                "cut the token ids before the decode: `output[:, input_ids.shape[1]:]`",
                weakest(sure, Confidence.CERTAIN if cut.sure else Confidence.POSSIBLE),
                Severity.WARNING,
                "cuts text, not tokens",
                (
                    *model_story(call.model),
                    (call.site, "returns the prompt followed by the continuation"),
                    (decode.site, "decoded here with the prompt in front"),
                ),
                cut_before_decode(cut, decode) if always_behind_a_prompt(runs[decode.site.key]) else None,
            )
        return None
