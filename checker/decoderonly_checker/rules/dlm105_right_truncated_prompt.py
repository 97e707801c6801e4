"""DLM105."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.proposals import Proposal, add_argument
from decoderonly_checker.flow.values import Const, Unknown, Value, alternatives
from decoderonly_checker.knowledge.tokenizers import SLICED
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import model_story, tokenizer_story, weakest
from decoderonly_checker.rules.prompts import Prompt, absent, prompts, tokenizers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.values import Encoding, Site

_CUTS = frozenset({SLICED, True, "longest_first", "only_first", "only_second"})
# Limits that are the tokenizer's own: the code asks for no length.
_OWN_LIMIT = late_pattern(r"model_max_len|max_position|n_positions")


class RightTruncatedPrompt(Rule):
    """Reports prompts for a decoder-only `generate` that are truncated at the right.

    ## Why is this bad?

    Truncation cuts the end of a long prompt by default, and that is where the question, the closing marker and the assistant's
    header stand. What is left is the beginning of the context, and the model continues that instead of answering.

    ## What it does not report

    - Training data, and anything else that does not reach `generate`; encoder-decoder models.
    - `truncation=True` without a `max_length`, or with the tokenizer's own limit; `max_length` without truncation.
    - `truncation_side="left"` at the tokenizer or at the call; a slice that keeps the end, `ids[:, -n:]`.
    - A slice that takes the start of a text on purpose, `ids[:, :32]`.

    ## Fix safety

    Unsafe: `truncation_side="left"` is for all that the tokenizer truncates.
    """

    severity = Severity.WARNING
    references = (
        Reference(
            "vllm #12050: prompts of generative tasks are truncated on the left",
            "https://github.com/vllm-project/vllm/pull/12050",
        ),
        Reference(
            "vllm #3144: what right truncation does to a prompt",
            "https://github.com/vllm-project/vllm/pull/3144",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def answer(document, question):
        prompt = f"{document}\\n\\nQuestion: {question}\\nAnswer:"
        encoding = tokenizer(prompt, truncation=True, max_length=512, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", truncation_side="left")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def answer(document, question):
        prompt = f"{document}\\n\\nQuestion: {question}\\nAnswer:"
        encoding = tokenizer(prompt, truncation=True, max_length=512, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every encoding that reaches a `generate`."""
        # What one collator truncates for training and prediction is training data first.
        reached = [prompt for prompt in prompts(facts) if not prompt.call.by_trainer]
        # Where one of the tokenizers cuts at the left, the author knows, and which one serves is an option.
        knowing = {prompt.encoding.site for prompt in reached if _cuts_left(prompt.encoding)}
        for prompt in reached:
            sure = self.judge(prompt.encoding)
            if sure is not None:
                spared = prompt.encoding.site in knowing or prompt.call.discarded
                optional = Confidence.POSSIBLE if spared else Confidence.CERTAIN
                yield self.report(prompt, weakest(sure, prompt.sure, optional))

    def judge(self, encoding: Encoding) -> Confidence | None:
        """Return how sure it is that an encoding loses the end of its text; None where it does not."""
        if absent(encoding.truncation) or absent(encoding.max_length):
            return None
        if _sliced(encoding) is not None:
            return Confidence.LIKELY
        made = tokenizers(encoding.tokenizer)
        if not made or _own_limit(encoding.max_length):
            return None
        sure = Confidence.CERTAIN
        for one in alternatives(encoding.truncation):
            if isinstance(one, Const) and one.value not in _CUTS:
                return None
            if not isinstance(one, Const) or one.default:
                sure = Confidence.LIKELY if isinstance(one, Const) else Confidence.POSSIBLE
        if any(isinstance(one, Const) and one.value is None for one in alternatives(encoding.max_length)):
            sure = Confidence.POSSIBLE  # by default nothing is cut
        if encoding.truncation_side is None:
            # The library's default is right; whoever hands the tokenizer in may have set another.
            if any(tokenizer.outside or tokenizer.named for tokenizer in made):
                sure = Confidence.POSSIBLE
        elif any(
            not (isinstance(s, Const) and s.value == "right") for s in alternatives(encoding.truncation_side)
        ):
            return None
        elif any(isinstance(s, Const) and s.default for s in alternatives(encoding.truncation_side)):
            sure = weakest(
                sure, Confidence.LIKELY
            )  # a setting: who runs the program may choose the other side
        return sure

    def report(self, prompt: Prompt, sure: Confidence) -> Finding:
        """Describe one truncated prompt."""
        encoding, call = prompt.encoding, prompt.call
        chain = [*model_story(call.model), *tokenizer_story(encoding)]
        side = encoding.truncation_side
        by_hand = _sliced(encoding)
        if by_hand is None and side is not None and side.origin is not None:
            chain.append((side.origin, '`truncation_side` is "right" here'))
        chain.append((call.site, "the prompt, without its end, is continued here"))
        return Finding(
            by_hand or encoding.made or encoding.site,
            "a prompt for `generate` is truncated at its end",
            "in a long prompt the question and the answer's cue are what is cut off; the model continues the context instead",
            'set `truncation_side="left"` where the tokenizer is made, or shorten the context and not the prompt',
            sure,
            Severity.WARNING,
            "cuts the end of long prompts",
            tuple(chain),
            self.fix(encoding),
        )

    @staticmethod
    def fix(encoding: Encoding) -> Proposal | None:
        """Propose to truncate at the left; others who use the tokenizer are affected."""
        made = [one for one in tokenizers(encoding.tokenizer) if not (one.named or one.outside)]
        if _sliced(encoding) is not None or len(made) != 1:
            return None
        side = encoding.truncation_side
        if (
            side is not None
            and side.origin is not None
            and side.origin.key != getattr(made[0].origin, "key", None)
        ):
            return None  # set elsewhere
        return add_argument(made[0].origin, "truncation_side", '"left"', safe=False)


def _sliced(encoding: Encoding) -> Site | None:
    """Return where ids were sliced by hand."""
    cut = encoding.truncation
    return cut.origin if isinstance(cut, Const) and cut.value == SLICED else None


def _cuts_left(encoding: Encoding) -> bool:
    return any(isinstance(s, Const) and s.value == "left" for s in alternatives(encoding.truncation_side))


def _own_limit(value: Value | None) -> bool:
    return any(isinstance(one, Unknown) and _OWN_LIMIT.search(one.hint) for one in alternatives(value))
