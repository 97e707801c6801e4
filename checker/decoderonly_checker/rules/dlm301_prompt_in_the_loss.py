"""DLM301."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import Hole, Kind, Ref, Str, Unknown, Value, alternatives
from decoderonly_checker.rules.base import Finding, Rule
from decoderonly_checker.rules.evidence import checkpoint_kind, tokenizer_kind, tokenizer_story
from decoderonly_checker.rules.labels import PROMPT, masked, meant_to_hide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, LabelsMade

_RESPONSE = re.compile(
    r"response|output|answer|completion|target|reply|label|chosen|solution|summary|assistant", re.IGNORECASE
)
_PROMPT = re.compile(
    r"prompt|instruct|question|input|query|context|source|user|document|article|problem|dialog", re.IGNORECASE
)


class PromptInTheLoss(Rule):
    """Reports labels that are a copy of ids made of prompt and response, with no prompt position set to -100.

    ## Why is this bad?

    The loss is then taken over the question as well: the model is trained to ask it. Where prompts are longer than answers,
    most of the gradient goes there, and the fine-tuned model repeats or continues questions.

    ## What it does not report

    - Pre-training on raw text: one field, no response.
    - Labels in which prompt positions become -100, anywhere; a `train_on_inputs` switch whose other branch masks.
    - Encoder-decoder models; SFTTrainer on a plain text column, `completion_only_loss`, `assistant_only_loss`.
    """

    severity = Severity.WARNING
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def preprocess(example):
        encoding = tokenizer(example["question"] + example["answer"] + tokenizer.eos_token)
        encoding["labels"] = encoding["input_ids"].copy()
        return encoding
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def preprocess(example):
        prompt = tokenizer(example["question"])["input_ids"]
        answer = tokenizer(example["answer"] + tokenizer.eos_token)["input_ids"]
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every copy of ids that became labels."""
        silent = {made.site.key for made in facts.labels_made if masked(facts, made, PROMPT)}
        for made in facts.labels_made:
            # A helper that is called twice (whole text, prompt alone) is masked if one of its calls is. What is hidden
            # behind another value than -100 is a mistake of its own.
            if made.site.key in silent or any(
                meant_to_hide(write, made, facts) for write in facts.ids_writes
            ):
                continue
            finding = self.judge(made, facts)
            if finding is not None:
                yield finding

    def judge(self, made: LabelsMade, facts: Facts) -> Finding | None:
        """Judge one set of labels."""
        encoding = made.labels.encoding
        if encoding is None:
            return None
        prompt, response = joined(encoding.text, facts)
        if prompt is None or response is None:
            return None
        kind = tokenizer_kind(encoding.tokenizer)
        for one in alternatives(encoding.tokenizer):
            kind = kind or checkpoint_kind(getattr(one, "checkpoint", Unknown()))
        if kind is Kind.ENCODER_DECODER or (kind is None and made.module.says_encoder_decoder):
            return None
        sure = (
            Confidence.CERTAIN if made.module.says_decoder_only or kind is Kind.DECODER else Confidence.LIKELY
        )
        return Finding(
            made.labels.origin if made.labels.copied and made.labels.origin is not None else made.site,
            "labels are a copy of prompt and response, and no prompt position is -100",
            "the loss is taken over the prompt too: the model is trained to ask the question",
            "set the labels of the prompt's positions to -100",
            sure if made.where == "dict" else Confidence.LIKELY,
            Severity.WARNING,
            "the prompt is supervised",
            (*tokenizer_story(encoding), (encoding.site, "prompt and response are tokenized together here")),
        )


def joined(text: Value, facts: Facts) -> tuple[Hole | None, Hole | None]:
    """Return the holes of a training text that hold the prompt and the response; None where there is none.

    A rendered chat holds both. Elsewhere the names of what is filled in tell, and the words in front of it ("Answer: ").
    """
    for one in texts_in(text, facts):
        named: list[tuple[Hole, str]] = []
        before = ""
        for part in flattened(one):
            if isinstance(part, str):
                before = part[-40:].strip().rpartition("\n")[2]
                continue
            if part.name == "template":
                return part, part
            named.append((part, f"{_label(part)} {before}"))
            before = ""
        response = next((hole for hole, name in reversed(named) if _RESPONSE.search(name)), None)
        prompt = next((hole for hole, name in named if hole is not response and _PROMPT.search(name)), None)
        if prompt is not None and response is not None:
            return prompt, response
    return None, None


def texts_in(text: Value, facts: Facts) -> Iterator[Str]:
    """Yield the texts that were tokenized, those of a list too."""
    for one in alternatives(text):
        if isinstance(one, Str):
            yield one
        elif isinstance(one, Ref):
            record = facts.objects.get(one.id)
            if isinstance(record, ListRec):
                for item in (record.element, *(record.items or ())):
                    yield from (v for v in alternatives(item) if isinstance(v, Str))


def flattened(text: Str, depth: int = 0) -> Iterator[str | Hole]:
    """Yield the parts of a text, with the texts in its holes taken apart."""
    for part in text.parts:
        if isinstance(part, Hole) and depth < 4:
            inner = [one for one in alternatives(part.value) if isinstance(one, Str)]
            if inner:
                yield from flattened(inner[0], depth + 1)
                continue
        yield part


def _label(hole: Hole) -> str:
    hints = [hole.name, *(getattr(one, "hint", "") for one in alternatives(hole.value))]
    return " ".join(str(h) for h in hints if h)
