"""DLM205."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.proposals import add_argument
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import Lib, alternatives, literal
from decoderonly_checker.knowledge.pipelines import STREAMERS, TASK
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import decoder_only, model_story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.values import Site, Value


class StreamerEchoesPrompt(Rule):
    """Reports a text streamer without `skip_prompt` that a decoder-only `generate` writes into.

    ## Why is this bad?

    `generate` hands a streamer the prompt first and each new token after it. Unless it is told to skip the prompt, a
    `TextStreamer` prints the question before the answer, and a `TextIteratorStreamer` yields it as if the model had said it:
    it is shown to the user, stored in the history, and sent to the model again in the next turn.

    ## What it does not report

    - `skip_prompt` given in any form, `skip_prompt=False` included: that is a decision.
    - Streamed text that is searched or cut afterwards.
    - Encoder-decoder models, whose streamers get the answer alone; `generate` on `inputs_embeds` alone.

    ## Fix safety

    Safe: `skip_prompt=True`.
    """

    severity = Severity.WARNING
    references = (
        Reference(
            "transformers, streamers: `skip_prompt`",
            "https://huggingface.co/docs/transformers/internal/generation_utils",
        ),
        Reference(
            "trl #2193: a chat that prints the prompt in the answer",
            "https://github.com/huggingface/trl/pull/2193",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Name three primary colours.", return_tensors="pt")
    model.generate(**encoding, max_new_tokens=8, streamer=TextStreamer(tokenizer))
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Name three primary colours.", return_tensors="pt")
    model.generate(**encoding, max_new_tokens=8, streamer=TextStreamer(tokenizer, skip_prompt=True))
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every streamer that a model or a pipeline writes into."""
        for call in facts.generate_calls:
            sure = decoder_only(call)
            if sure is None or (call.ids is None and call.args.get(None, "inputs_embeds") is not None):
                continue
            finding = self.judge(
                call.args.get(None, "streamer"),
                sure,
                (*model_story(call.model), (call.site, "writes the prompt and then the answer into it")),
                facts,
            )
            if finding is not None:
                yield finding
        for run in facts.pipeline_calls:
            record = facts.objects.get(run.pipeline.id)
            made_with = record.attrs.get("streamer") if isinstance(record, ObjRec) else None
            if literal(run.pipeline.task) != TASK:
                continue
            finding = self.judge(
                run.args.get(None, "streamer") or made_with,
                Confidence.CERTAIN,
                ((run.site, "writes the prompt and then the answer into it"),),
                facts,
            )
            if finding is not None:
                yield finding

    def judge(
        self,
        streamer: Value | None,
        sure: Confidence,
        chain: tuple[tuple[Site, str], ...],
        facts: Facts,
    ) -> Finding | None:
        """Judge what is given as `streamer`."""
        given = [v for v in alternatives(streamer) if isinstance(v, Lib) and v.name in STREAMERS]
        for one in given:
            record = facts.objects.get(one.id)
            if one.origin is None or not isinstance(record, ObjRec):
                continue
            if {"skip_prompt", "#open"} & set(record.attrs) or self.handled(one, facts):
                continue
            return Finding(
                one.origin,
                "this streamer gives out the prompt as well",
                "the question is printed before the answer"
                if one.name == "TextStreamer"
                else "the first text that it yields is the question, as if the model had said it",
                f"`{one.name}(tokenizer, skip_prompt=True)`",
                sure,
                Severity.WARNING,
                "`skip_prompt` is not set",
                chain,
                add_argument(one.origin, "skip_prompt", "True"),
            )
        return None

    @staticmethod
    def handled(streamer: Lib, facts: Facts) -> bool:
        """Whether the streamed text is cut, or looked through for where the answer begins."""
        return any(
            stream.cuts or any(use.kind in {"searched", "compared"} for use in stream.uses)
            for stream in facts.streams
            if stream.streamer == streamer.id
        )
