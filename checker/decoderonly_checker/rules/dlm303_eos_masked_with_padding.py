"""DLM303."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.masks import compare_mask
from decoderonly_checker.flow.values import Ids, Tokenizer, Tri, alternatives
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import tokenizer_story, weakest
from decoderonly_checker.rules.labels import scores_around, without_gradient
from decoderonly_checker.rules.training_texts import Ending, adds_eos, ending, joined, training_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, IgnoreWrite
    from decoderonly_checker.flow.values import Encoding, Site

_PAD = late_pattern(r"pad", re.IGNORECASE)


class EosMaskedWithPadding(Rule):
    """Reports labels that are set to -100 wherever they equal the pad token, while the pad token is the EOS token.

    `DataCollatorForLanguageModeling(mlm=False)` does this to all labels that it makes; hand-written collators do it with
    `labels[labels == tokenizer.pad_token_id] = -100`.

    ## Why is this bad?

    The comparison cannot tell padding from the EOS that ends an answer: both are -100, and no EOS is ever a target. The
    model is never taught to stop. Its answers run on until the length limit, mostly into a next question of its own.

    ## What it does not report

    - Labels masked by the attention mask or by the length of the row: only padding is hit.
    - A pad token of its own, from the checkpoint or added.
    - Packed rows, which have no padding; encoder-decoder models.
    - Raw text of one field with a tokenizer that adds no EOS: whether one stands in it is not seen (`possible`).

    ## Fix safety

    Safe: the comparison with the pad token becomes one of the mask beside the ids. None for a collator of the library:
    a pad token of its own needs new embeddings, which is the author's to decide.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers #23530: the collator masks every EOS where it is the pad token",
            "https://github.com/huggingface/transformers/issues/23530",
        ),
        Reference("trl #976: models that never stop", "https://github.com/huggingface/trl/issues/976"),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def collate(rows: list[dict]):
        texts = [row["text"] + tokenizer.eos_token for row in rows]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].clone()
        labels[labels == tokenizer.pad_token_id] = -100
        batch["labels"] = labels
        return batch
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def collate(rows: list[dict]):
        texts = [row["text"] + tokenizer.eos_token for row in rows]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].clone()
        labels[batch["attention_mask"] == 0] = -100
        batch["labels"] = labels
        return batch
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every write of -100 that a comparison of ids with the pad token selects."""
        for write in facts.ignore_writes:
            for selector in alternatives(write.selector):
                if isinstance(selector, Ids) and selector.token is not None:
                    finding = self.judge(write, selector, facts)
                    if finding is not None:
                        yield finding

    def judge(self, write: IgnoreWrite, selector: Ids, facts: Facts) -> Finding | None:
        """Judge one write."""
        # A collator of the library compares inside: all that is seen of it is its construction.
        by_collator = selector.origin is not None and selector.origin == write.site
        if scores_around(write.site) if by_collator else not _speaks_of_padding(selector):
            return None
        same = [getattr(one, "hint", "").startswith("eos_token") for one in alternatives(selector.token)]
        if not any(same):
            return None
        # Where the pad token is EOS only if the checkpoint brings none, that is not known.
        sure = Confidence.CERTAIN if all(same) else Confidence.POSSIBLE
        encoding = selector.encoding or (write.target.encoding if write.target is not None else None)
        kind = training_kind(encoding.tokenizer if encoding is not None else None, write.module)
        if kind is None:
            return None
        if without_gradient(write.site):
            sure = Confidence.POSSIBLE  # labels of a score, which trains nothing
        known = ending(encoding.text, facts) if encoding is not None else Ending.UNKNOWN
        if known is Ending.UNKNOWN and encoding is not None and _raw(encoding, facts):
            sure = Confidence.POSSIBLE  # raw text of one field: whether an EOS stands in it, nobody sees
        if known is Ending.RESPONSE and write.site.key in {run.site.key for run in facts.training_runs}:
            sure = (
                Confidence.POSSIBLE
            )  # the trainer's own collator: whether the trainer appends an EOS first, its version says
        return Finding(
            write.site,
            "this collator sets every label that is the pad token to -100, and the pad token is the EOS token"
            if by_collator
            else "labels are set to -100 wherever they are the pad token, which is the EOS token",
            "the EOS that ends an answer is masked like padding: the model is never taught to stop"
            if known is not Ending.RESPONSE
            else "no EOS is ever a target, also once the texts end with one: the model is never taught to stop",
            "give the tokenizer a pad token of its own"
            if by_collator
            else "mask by the attention mask, `labels[attention_mask == 0] = -100`, or use a pad token of its own",
            weakest(sure, kind, Confidence.CERTAIN if known is Ending.EOS else Confidence.LIKELY),
            Severity.ERROR,
            "real EOS tokens are masked as well",
            tuple(self.story(encoding, selector)),
            None
            if by_collator or selector.origin is None
            else compare_mask(selector.origin, replace(selector, field="input_ids"), facts),
        )

    @staticmethod
    def story(encoding: Encoding | None, selector: Ids) -> Iterator[tuple[Site, str]]:
        """Yield where the tokenizer was made, its pad token set, and the text tokenized."""
        if encoding is not None:
            yield from tokenizer_story(encoding)
        for one in alternatives(selector.token):
            made = encoding is not None and any(
                isinstance(t, Tokenizer) and t.origin == one.origin for t in alternatives(encoding.tokenizer)
            )
            if one.origin is not None and not made and getattr(one, "hint", "").startswith("eos_token"):
                yield one.origin, "the pad token is the EOS token from here on"
        if encoding is not None:
            yield encoding.made or encoding.site, "the training text is tokenized here"


def _raw(encoding: Encoding, facts: Facts) -> bool:
    """Whether a text is one field of a dataset, that nothing was joined to and whose tokenizer is not known to add EOS."""
    return (
        not encoding.template
        and joined(encoding.text, facts)[0] is None
        and adds_eos(encoding.tokenizer, facts) is not Tri.YES
    )


def _speaks_of_padding(selector: Ids) -> bool:
    """Whether a comparison is written with the pad token, by name, and not with the EOS token itself."""
    if selector.origin is None:
        return False
    return _PAD.search(selector.origin.code()) is not None
