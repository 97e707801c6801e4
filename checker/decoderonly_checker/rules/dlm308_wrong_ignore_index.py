"""DLM308."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.fixes.labels import write_ignored
from decoderonly_checker.flow.labels import is_pad, name_of
from decoderonly_checker.flow.values import Ids, alternatives, literal
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import tokenizer_story
from decoderonly_checker.rules.labels import (
    decoder_labels,
    each_labels,
    meant_to_hide,
    own_loss,
    touches,
    trains,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, IdsWrite, LabelsMade
    from decoderonly_checker.flow.values import Value


class WrongIgnoreIndex(Rule):
    """Reports labels whose prompt or padding is set to something other than -100 for the model's own loss.

    ## Why is this bad?

    The loss of transformers leaves out -100 and nothing else. With 0 or the pad token in its place, the model is trained
    to answer every token of the prompt with that token; with -1 the loss fails.

    ## What it does not report

    - A loss that is told to ignore that value, `CrossEntropyLoss(ignore_index=…)`, or that is computed by hand.
    - -100 that is turned back into the pad token, to decode labels or predictions.
    - A value that is replaced by -100 afterwards; encoder-decoder models.

    ## Fix safety

    Safe: -100 in the place of the other literal.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "llama-cookbook #73: labels of -1 where -100 is meant",
            "https://github.com/meta-llama/llama-cookbook/issues/73",
        ),
        Reference(
            "PyTorch: why -100 and no other negative label",
            "https://discuss.pytorch.org/t/negative-label-in-crossentropyloss/158873",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def loss_of(question: str, answer: str):
        width = len(tokenizer(question)["input_ids"])
        batch = tokenizer(question + answer, return_tensors="pt")
        labels = batch["input_ids"].clone()
        labels[:, :width] = 0
        return model(**batch, labels=labels).loss
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def loss_of(question: str, answer: str):
        width = len(tokenizer(question)["input_ids"])
        batch = tokenizer(question + answer, return_tensors="pt")
        labels = batch["input_ids"].clone()
        labels[:, :width] = -100
        return model(**batch, labels=labels).loss
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every value that was written over labels."""
        for made in each_labels(facts):
            for write in facts.ids_writes:
                finding = self.judge(write, made, facts) if meant_to_hide(write, made, facts) else None
                if finding is not None:
                    yield finding

    @staticmethod
    def judge(write: IdsWrite, made: LabelsMade, facts: Facts) -> Finding | None:
        """Judge one write into labels."""
        encoding = made.labels.encoding
        sure = decoder_labels(made)
        if encoding is None or sure is None or not trains(made) or own_loss(made.module):
            return None
        if any(
            hides(one.selector, write.value)
            for one in facts.ignore_writes
            if one.kind not in {"slice", "tail", "span", "list", "padding"}
            and (one.target is None or touches(one.target, made.labels))
        ):
            return None
        shown = name_of(write.value) or str(literal(write.value))
        return Finding(
            write.site,
            f"labels that are to be left out are set to {shown}, which the loss does not leave out",
            "the loss ignores -100 alone: the model is trained to predict this value there",
            "set them to -100",
            sure,
            Severity.ERROR,
            "counts in the loss",
            (*tokenizer_story(encoding), (made.site, "becomes labels here")),
            write_ignored(write.site),
        )


def hides(selector: Value | None, value: Value) -> bool:
    """Whether a write of -100 may replace `value`: where labels equal it, or where that is not known."""
    for one in alternatives(selector):
        if not isinstance(one, Ids) or one.token is None:
            return not isinstance(one, Ids)
        same = literal(one.token) == literal(value) and name_of(one.token) == name_of(value)
        if same or (is_pad(one.token) and is_pad(value)):
            return True
    return selector is None


__all__ = ["WrongIgnoreIndex", "hides"]
