"""DLM207."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.proposals import add_argument
from decoderonly_checker.flow.values import Const, alternatives, literal
from decoderonly_checker.knowledge.registry import is_none
from decoderonly_checker.rules.base import Finding, Reference, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Completion, Facts

_USED = frozenset({"returned", "stored", "passed", "kept", "printed"})


class EchoFromCompletionsApi(Rule):
    """Reports `echo=True` given to a text-completion API whose text is taken for the answer.

    ## Why is this bad?

    With `echo=True`, `completions.create` returns the prompt in front of the completion. The option is there to get the prompt's
    log-probabilities; where the text is used, the question is part of the answer.

    ## What it does not report

    - Scoring: `logprobs` or `max_tokens=0` given, or the log-probabilities read.
    - Text that is cut, compared or searched afterwards: the API returns the prompt as it was sent.
    - Chat completions, and `echo` in any other form than `True`.

    ## Fix safety

    Safe: `echo=False`.
    """

    severity = Severity.WARNING
    unseen = "The model runs on a server: no call of transformers is made."
    references = (
        Reference(
            "OpenAI, completions: `echo`", "https://platform.openai.com/docs/api-reference/completions/create"
        ),
        Reference(
            "vllm #1504: what a server does with `echo`", "https://github.com/vllm-project/vllm/pull/1504"
        ),
    )
    bad = """
    from openai import OpenAI

    client = OpenAI(api_key="none")

    def answer(question):
        response = client.completions.create(model="davinci-002", prompt=question, max_tokens=8, echo=True)
        return response.choices[0].text
    """
    good = """
    from openai import OpenAI

    client = OpenAI(api_key="none")

    def answer(question):
        response = client.completions.create(model="davinci-002", prompt=question, max_tokens=8)
        return response.choices[0].text
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every call with `echo`."""
        for call in facts.completions:
            finding = self.judge(call)
            if finding is not None:
                yield finding

    @staticmethod
    def judge(call: Completion) -> Finding | None:
        """Judge one call."""
        if call.scored or call.cuts or not is_none(call.args.get(None, "logprobs")):
            return None
        if literal(call.args.get(None, "max_tokens")) == 0 or call.args.open is not None:
            return None
        used = next((use for use in call.uses if use.kind in _USED), None)
        if used is None or any(use.kind in {"searched", "compared"} for use in call.uses):
            return None
        chosen = any(isinstance(v, Const) and v.default for v in alternatives(call.args.get(None, "echo")))
        return Finding(
            call.site,
            "the completion comes back with the prompt in front",
            "the question is part of what is taken for the answer",
            "leave `echo=True` out where the text is used",
            Confidence.POSSIBLE if chosen else Confidence.CERTAIN,
            Severity.WARNING,
            "`echo=True`",
            ((used.site, "the text, prompt and all, is used here"),),
            add_argument(call.site, "echo", "False"),
        )
