"""DLM305."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.fixes.labels import unshift
from decoderonly_checker.flow.values import Ids, alternatives
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import tokenizer_story
from decoderonly_checker.rules.labels import (
    decoder_labels,
    each_labels,
    family,
    held,
    own_loss,
    place,
    touches,
    trains,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, LabelsMade
    from decoderonly_checker.flow.values import Site


class DoublyShiftedLabels(Rule):
    """Reports labels that are shifted by hand and handed to a model that shifts them itself.

    ## Why is this bad?

    A transformers model with `labels` compares the logits of each position with the label of the next one. Where label
    i is token i + 1 already, it is trained to skip a token: what it writes is every other word.

    ## What it does not report

    - A loss that is computed by hand from the logits: there the shift belongs.
    - Ids and labels that are cut alike, a first token dropped from both, and ids whose cut is not known.
    - Encoder-decoder models, whose decoder inputs are shifted; models that are not of transformers.

    ## Fix safety

    Safe: ids and labels are handed over unsliced. None where something of another width stands beside them.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "llama-cookbook #156: the model shifts the labels itself",
            "https://github.com/meta-llama/llama-cookbook/issues/156",
        ),
        Reference(
            "transformers #37830: a model trained on the token after the next",
            "https://github.com/huggingface/transformers/pull/37830",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def loss_of(text: str):
        tokens = tokenizer(text, return_tensors="pt")["input_ids"]
        return model(input_ids=tokens[:, :-1], labels=tokens[:, 1:]).loss
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def loss_of(text: str):
        tokens = tokenizer(text, return_tensors="pt")["input_ids"]
        return model(input_ids=tokens, labels=tokens).loss
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every set of labels beside its ids."""
        for made in each_labels(facts):
            site = shifted_at(made, facts)
            sure = decoder_labels(made) if site is not None else None
            encoding = made.labels.encoding
            if site is None or sure is None or encoding is None or not trains(made) or own_loss(made.module):
                continue
            yield Finding(
                site,
                "labels are shifted by one, and the model shifts them once more",
                "each position is trained to predict the token after the next",
                "hand over the labels as they are, `labels=input_ids`, or compute the loss from the logits by hand",
                sure,
                Severity.ERROR,
                "shifted here",
                (*tokenizer_story(encoding), (made.site, "becomes labels of a model that shifts them here")),
                unshift(made),
            )


def shifted_at(made: LabelsMade, facts: Facts) -> Site | None:
    """Return where labels were made that are one token ahead of the ids beside them; None where they are not."""
    labels = made.labels
    inputs = list(held(made.inputs, facts))
    if not inputs or not all(ids.field == "input_ids" and _related(labels, ids) for ids in inputs):
        return None
    if all(_ahead(labels, ids) for ids in inputs):
        return place(made)
    for write in facts.ids_writes:
        moved = [one for one in alternatives(write.value) if isinstance(one, Ids)]
        if moved and write.kind in {"slice", "tail", "span"} and touches(write.target, labels):
            aligned = all(ids.offset == labels.offset for ids in inputs)
            own = not any(write.target.id in family(ids) for ids in inputs)
            if aligned and own and all(_related(one, labels) and _ahead(one, write.target) for one in moved):
                return write.site
    return None


def _related(labels: Ids, ids: Ids) -> bool:
    """Whether labels and ids were made from one buffer."""
    return bool(family(labels) & family(ids))


def _ahead(labels: Ids, ids: Ids) -> bool:
    """Whether the first label is the token behind the first of the ids."""
    (base, count), (other, behind) = labels.offset, ids.offset
    return base == other and "?" not in base and count - behind == 1


__all__ = ["DoublyShiftedLabels", "shifted_at"]
