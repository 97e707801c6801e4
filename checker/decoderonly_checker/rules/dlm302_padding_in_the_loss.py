"""DLM302."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.labels import hide_padding
from decoderonly_checker.rules.apart import tokenized_apart
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import tokenizer_story
from decoderonly_checker.rules.labels import (
    PADDING,
    Once,
    decoder_labels,
    each_labels,
    masked,
    meant_to_hide,
    own_loss,
    place,
    trains,
)
from decoderonly_checker.rules.padding import surely_padded
from decoderonly_checker.rules.scores import scoring_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, LabelsMade


class PaddingInTheLoss(Rule):
    """Reports labels for a decoder-only model that keep the padding's ids.

    ## Why is this bad?

    Nothing but -100 is left out of the loss: neither the pad token nor the attention mask. Where rows are padded, most of the
    loss may then be taken over padding. It falls fast and says nothing, and the model learns to answer with pad tokens,
    or to go on with the EOS token forever where that is the pad token.

    ## What it does not report

    - Labels whose padding becomes -100, by a comparison, by the attention mask or by row length, also in a collator of another
      module; rows that were copied before they were padded.
    - A loss that is computed by hand, or told to ignore the pad token; `DataCollatorForLanguageModeling`, which
      makes the labels anew.
    - Encoder-decoder models, and code that does not show which model is trained.

    ## Fix safety

    Safe: labels become -100 where the mask beside the ids is 0. PyTorch's tensors only.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers #32832: the loss leaves out -100, and padding only where it is -100",
            "https://github.com/huggingface/transformers/issues/32832",
        ),
        Reference("Yi #110: no ignore index for padding", "https://github.com/01-ai/Yi/issues/110"),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def loss_of(texts: list[str]):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].clone()
        return model(**batch, labels=labels).loss
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def loss_of(texts: list[str]):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].clone()
        labels[batch["attention_mask"] == 0] = -100
        return model(**batch, labels=labels).loss
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every set of labels made of padded ids."""
        # A helper that is called twice is masked if one of its calls is.
        silent = {made.site.key for made in facts.labels_made if masked(facts, made, PADDING)}
        silent |= scoring_calls(facts)  # DLM402
        once = Once()
        for made in each_labels(facts):
            if made.site.key in silent or tokenized_apart(made, facts) is not None:
                continue
            # What is hidden behind another value than -100 is that mistake, and not this one.
            hidden = any(meant_to_hide(write, made, facts) for write in facts.ids_writes)
            finding = self.judge(made, facts) if not hidden else None
            if finding is not None and once.fresh(made.labels):
                yield finding

    def judge(self, made: LabelsMade, facts: Facts) -> Finding | None:
        """Judge one set of labels."""
        encoding = made.labels.encoding
        if encoding is None or not surely_padded(encoding):
            return None
        sure = decoder_labels(made)
        if sure is None or not trains(made) or own_loss(made.module):
            return None
        return Finding(
            place(made),
            "labels keep the ids of the padding",
            "the loss is taken over the padding too: neither the pad token nor the attention mask leaves it out",
            "set the labels to -100 where the attention mask is 0",
            sure if not encoding.by_hand else min(sure, Confidence.LIKELY, key=lambda c: c.rank),
            Severity.ERROR,
            "the padding is supervised",
            (*tokenizer_story(encoding), (encoding.site, "padded here")),
            hide_padding(place(made), made.labels, facts),
        )
