"""DLM402."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.labels import hide_padding
from decoderonly_checker.flow.values import Ids, Tri, alternatives
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import model_confidence, model_story, tokenizer_story, weakest
from decoderonly_checker.rules.labels import PADDING, covers, neighbours, touches
from decoderonly_checker.rules.padding import surely_padded
from decoderonly_checker.rules.scores import scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.fixes.proposals import Proposal
    from decoderonly_checker.flow.facts import Facts, Reduction
    from decoderonly_checker.flow.values import Encoding

_SAID = {
    "loss": "the loss of a padded batch is used as a score",
    "cross-entropy": "the cross-entropy of a padded batch is used as a score",
    "mean": "log-probabilities of a padded batch are averaged over the padding too",
    "sum": "log-probabilities of a padded batch are summed over the padding too",
}


class PaddingInTheScore(Rule):
    """Reports a perplexity or log-likelihood of a decoder-only model over a padded batch with the padding counted in.

    ## Why is this bad?

    Padding tokens have log-probabilities like any other token. A mean over all positions takes them for text: the
    shorter a row, the less of its score is about the row, and the same text scores otherwise in another batch. The
    attention mask does not cure it: it keeps tokens from looking at the padding, and not the padding out of the loss.

    ## What it does not report

    - Labels that are -100 where the padding is; `ignore_index=tokenizer.pad_token_id`.
    - Scores that are multiplied by the mask, selected by it, or cut to the length of their row.
    - One row that is not padded to a fixed length, also where a long text is scored window by window.
    - Padding that is not asked for.
    - A loss that is trained on (DLM302 looks at its labels).

    ## Fix safety

    Safe: labels of the model's own loss become -100 where the mask is 0. None for scores that are summed by hand: what
    they are divided by changes, too.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "mlx-lm #1855: perplexity that depends on the batch size",
            "https://github.com/ml-explore/mlx-lm/pull/1855",
        ),
        Reference(
            "evaluate: the mean of perplexity is weighted by the mask",
            "https://github.com/huggingface/evaluate/blob/a7dd338386a4fae9a1767e05eb9ef9479513d9e8/metrics/perplexity/perplexity.py#L186",
        ),
    )
    bad = """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    texts = ["The sky is blue.", "Three primary colours are red, green and blue, and all others are mixed from them."]
    encoding = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        loss = model(**encoding, labels=encoding["input_ids"]).loss
    perplexity = torch.exp(loss)
    """
    good = """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    texts = ["The sky is blue.", "Three primary colours are red, green and blue, and all others are mixed from them."]
    encoding = tokenizer(texts, padding=True, return_tensors="pt")
    labels = encoding["input_ids"].masked_fill(encoding["attention_mask"] == 0, -100)
    with torch.no_grad():
        loss = model(**encoding, labels=labels).loss
    perplexity = torch.exp(loss)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every number that was made of all positions of a forward."""
        for one, score in scores(facts):
            encoding = padded_labels(one, facts)
            if encoding is None or encoding not in fed(one):
                continue
            sure = model_confidence(one.call.model, encoding, one.module)
            if sure is None:
                continue
            chain = [*model_story(one.call.model), *tokenizer_story(encoding)]
            chain.append((encoding.site, "rows get padded here"))
            if one.call.site.key != one.site.key:
                chain.append((one.call.site, "the model is called with them here"))
            batch = Confidence.CERTAIN if surely_padded(encoding) else Confidence.POSSIBLE
            yield Finding(
                one.site,
                _SAID[one.how],
                "the padding of the shorter rows counts as text: the score depends on what else is in the batch",
                "set the labels of the padding to -100, or multiply by the mask and divide by its sum",
                weakest(sure, score, batch),
                Severity.ERROR,
                "padding is counted here",
                tuple(chain),
                self.fix(one, facts),
            )

    @staticmethod
    def fix(one: Reduction, facts: Facts) -> Proposal | None:
        """Propose to hide the padding of the labels that the model's own loss is taken over."""
        labels = one.labels if isinstance(one.labels, Ids) else None
        return (
            hide_padding(one.call.site, labels, facts) if labels is not None and one.how == "loss" else None
        )


def fed(one: Reduction) -> Iterator[Encoding]:
    """Yield the encodings that the model was called with, columns and all."""
    for value in (one.call.ids, one.call.args.get(None, "inputs_embeds")):
        for ids in alternatives(value):
            if isinstance(ids, Ids) and ids.encoding is not None and not ids.part:
                yield ids.encoding


def padded_labels(one: Reduction, facts: Facts) -> Encoding | None:
    """Return the encoding whose ids, padding and all, are what the scores are taken at; None where that is not shown."""
    found: list[Encoding] = []
    for labels in alternatives(one.labels):
        if (
            not isinstance(labels, Ids)
            or labels.encoding is None
            or labels.field != "input_ids"
            or labels.part
        ):
            return None
        if hidden(labels, one, facts):
            return None
        found.append(labels.encoding)
    return next((e for e in found if e.padded is Tri.YES and (e.fixed or e.batched is not Tri.NO)), None)


def hidden(labels: Ids, one: Reduction, facts: Facts) -> bool:
    """Whether the padding of labels may have been set to something that a loss leaves out."""
    if any(write.target is not None and touches(write.target, labels) for write in facts.ids_writes):
        return True
    near = neighbours(one.module)
    return any(
        # A write into labels that are not known which, near by: silence is the honest answer.
        PADDING in covers(write)
        and (write.module in near if write.target is None else touches(write.target, labels))
        for write in facts.ignore_writes
    )
