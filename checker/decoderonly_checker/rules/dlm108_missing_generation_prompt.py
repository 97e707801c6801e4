"""DLM108."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.proposals import add_argument
from decoderonly_checker.flow.values import Const, Hole, Ref, Rendered, Str, Value, alternatives, literal
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import model_story, tokenizer_story, weakest
from decoderonly_checker.rules.prompts import absent, checkpoints, overridable, pipeline_texts, prompts, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.values import Encoding
    from decoderonly_checker.rules.evidence import Chain


class MissingGenerationPrompt(Rule):
    """Reports a chat prompt for `generate` that is rendered without `add_generation_prompt=True`.

    ## Why is this bad?

    Without it the prompt ends after the user's turn. The model must first write the header of the next turn itself: it may
    continue the user's question, answer as the wrong role, or put the header's text into the answer.

    ## What it does not report

    - `continue_final_message=True`, and conversations that end with an assistant turn.
    - Training data, and anything else that does not reach `generate`; engines other than transformers.
    - Templates that ignore it (Llama 2, Mistral); a header that the program itself adds to the rendered text.

    ## Fix safety

    Safe: `add_generation_prompt=True`.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "helm #3698: without it the model goes on writing as the user",
            "https://github.com/stanford-crfm/helm/issues/3698",
        ),
        Reference(
            "transformers #26573: why the argument was added",
            "https://github.com/huggingface/transformers/pull/26573",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2.5-0.5B-Instruct")
    model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen2.5-0.5B-Instruct")

    def answer(question):
        messages = [{"role": "user", "content": question}]
        encoding = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2.5-0.5B-Instruct")
    model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen2.5-0.5B-Instruct")

    def answer(question):
        messages = [{"role": "user", "content": question}]
        encoding = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge the templates behind every prompt."""
        for prompt in prompts(facts):
            encoding = prompt.encoding
            rendered = [encoding] if encoding.template else self.last(texts(encoding))
            end = (prompt.call.site, "the prompt is continued here")
            chain = [*model_story(prompt.call.model), *tokenizer_story(encoding), end]
            for one in rendered:
                yield from self.report(one, prompt.sure, chain)
        for call in facts.pipeline_calls:
            end = (call.site, "the prompt is continued by the pipeline here")
            for one in self.last(pipeline_texts(facts, call)):
                yield from self.report(one, Confidence.CERTAIN, [end])

    @staticmethod
    def last(rows: Iterable[tuple[str | Hole, ...]]) -> Iterator[Encoding]:
        """Yield the renderings that texts end with; whatever follows one may be the header, written by hand."""
        for parts in rows:
            told = [part for part in parts if not isinstance(part, str) or part.strip()]
            if told and isinstance(told[-1], Rendered) and told[-1].encoding is not None:
                yield told[-1].encoding

    def judge(self, rendering: Encoding) -> Confidence | None:
        """Return how sure it is that a rendering lacks the header of the answer; None where it does not."""
        if rendering.begun:
            return None
        sure = Confidence.CERTAIN
        for one in alternatives(rendering.generation_prompt):
            if absent(one):
                continue
            if not isinstance(one, Const) or one.value is not False:
                return None
            if one.default:
                sure = Confidence.POSSIBLE  # callers that are not known may ask for it
        if rendering.chat_template is not None:
            source = literal(rendering.chat_template)
            if not (isinstance(source, str) and "{" in source):
                sure = Confidence.POSSIBLE
            elif "add_generation_prompt" not in source:
                return None
            return sure
        entries = checkpoints(rendering.tokenizer)
        if any(known is not None and known.template_ignores_generation_prompt for known in entries):
            return None
        # An entry that tells of its template says so where that ignores the argument.
        told = bool(entries) and all(
            known is not None and known.template_writes_bos is not None for known in entries
        )
        whole = any(isinstance(one, Ref) for one in alternatives(_messages(rendering)))
        certain = told and whole and not overridable(rendering.tokenizer)
        return sure if certain else weakest(sure, Confidence.LIKELY)

    def report(self, rendering: Encoding, sure: Confidence, chain: Chain) -> Iterator[Finding]:
        """Describe one rendering that lacks its header."""
        found = self.judge(rendering)
        if found is None:
            return
        yield Finding(
            rendering.site,
            "a chat prompt for `generate` is rendered without `add_generation_prompt=True`",
            "the prompt ends after the user's turn: the model continues it, or writes the assistant's header first",
            "pass `add_generation_prompt=True`",
            weakest(sure, found),
            Severity.ERROR,
            "the assistant's header is missing at the end",
            tuple(chain),
            add_argument(rendering.site, "add_generation_prompt", "True"),
        )


def _messages(rendering: Encoding) -> Value:
    """Return the conversation that a template was given."""
    text = rendering.text
    if isinstance(text, Str) and len(text.parts) == 1:
        part = text.parts[0]
        return part.value if isinstance(part, Hole) else text
    return text
