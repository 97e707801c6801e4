"""DLM310."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.flow.values import Const, Ids, Length, Tri, alternatives
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.boundaries import Reason, Verdict, encoder_decoder, judge_count
from decoderonly_checker.rules.evidence import tokenizer_story
from decoderonly_checker.rules.prompts import checkpoints, overridable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, LabelBoundary
    from decoderonly_checker.flow.values import Encoding, Value


class MisalignedLabelMask(Rule):
    """Reports a label mask that is counted from the wrong end of a padded row, or that is off by one.

    In a left-padded row the prompt does not begin at column 0: `labels[row, :prompt_length] = -100` covers padding first, and
    leaves as much of the prompt's end unmasked. In a right-padded row the answer does not end at the last column.
    `labels[:prompt_length - 1]` leaves the prompt's last token in the loss, `labels[:prompt_length + 1]` takes the answer's
    first one out.

    ## Why is this bad?

    The shorter a row, the more of its question is learned as if it were answer. No error, no warning, and a loss that falls.
    An answer whose first token is never learned begins at random.

    ## What it does not report

    - Right-padded rows whose prompt is counted from column 0; rows that are not padded, or padded by hand.
    - A count to which the row's padding was added, `labels[row, : pad + prompt_length]`.
    - A `- 1` or `+ 1` that special tokens account for, or that belongs to labels that are shifted by hand.
    - A padding side that is not known.

    ## Fix safety

    No fix: whether rows are to be padded on the other side or the count is to move, other code decides.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "NeMo Automodel #2314: spans of unpadded rows applied to left-padded ids",
            "https://github.com/NVIDIA-NeMo/Automodel/pull/2314",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def collate(examples):
        prompts = [f"Question: {e['question']}\\nAnswer:" for e in examples]
        texts = [f"{p} {e['answer']}{tokenizer.eos_token}" for p, e in zip(prompts, examples)]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for row, prompt in enumerate(prompts):
            labels[row, : len(tokenizer(prompt)["input_ids"])] = -100
        batch["labels"] = labels
        return batch
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def collate(examples):
        prompts = [f"Question: {e['question']}\\nAnswer:" for e in examples]
        texts = [f"{p} {e['answer']}{tokenizer.eos_token}" for p, e in zip(prompts, examples)]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        for row, prompt in enumerate(prompts):
            start = int((batch["attention_mask"][row] == 0).sum())
            labels[row, : start + len(tokenizer(prompt)["input_ids"])] = -100
        batch["labels"] = labels
        return batch
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every boundary of labels; one finding a place."""
        best: dict[int, tuple[LabelBoundary, Encoding, Reason]] = {}
        for made in facts.label_boundaries:
            row = made.labels.encoding
            if row is None or encoder_decoder(row, made.module):
                continue
            reason = self.wrong_end(made, row) or self.off_by_one(made, row, facts)
            if reason is None:
                continue
            known = best.get(made.site.key)
            if known is None or known[2].sure.rank < reason.sure.rank:
                best[made.site.key] = (made, row, reason)
        for made, row, reason in best.values():
            yield Finding(
                made.site,
                reason.what,
                reason.effect,
                "add the row's padding to the count, pad on the right, or mask before padding"
                if reason.related and reason.related[-1][1].startswith("padded")
                else "mask exactly as many labels as the prompt has tokens",
                reason.sure,
                Severity.ERROR,
                "masked up to this length",
                (*tokenizer_story(row), *reason.related),
            )

    @staticmethod
    def wrong_end(made: LabelBoundary, row: Encoding) -> Reason | None:
        """Judge a count in a padded row by the side of its padding."""
        sides = alternatives(row.padding_side)
        only = {side.value if isinstance(side, Const) else None for side in sides}
        if row.padded is not Tri.YES or row.by_hand or len(only) != 1 or made.how == "order":
            return None
        if row.joined and row.made is None:
            return None  # put together from padded rows: where their padding went is not known
        side = only.pop()
        counts = alternatives(made.count)
        lengths = [one for one in counts if isinstance(one, Length)]
        if not all(_is_part(one, row) for one in lengths):
            return None
        backwards = [one.what.startswith("-") for one in lengths]
        if all(backwards) and side == "right" and made.how == "slice":
            what = "the answer is counted from the end of a right-padded row, where the padding is"
            effect = "the mask reaches into the answer by as many tokens as the row has padding"
        elif not any(backwards) and side == "left":
            what = "the prompt is counted from column 0 of a left-padded row, where the padding is"
            effect = "as many tokens of the prompt's end stay in the loss as the row has padding"
        else:
            return None
        default = any(isinstance(one, Const) and one.default for one in sides) or overridable(row.tokenizer)
        sure = Confidence.LIKELY if default or len(lengths) < len(counts) else Confidence.CERTAIN
        origin = lengths[0].origin
        counted = [(origin, "counted here")] if origin is not None else []
        return Reason(what, effect, sure, [*counted, (row.site, f"padded on the {side} here")])

    @staticmethod
    def off_by_one(made: LabelBoundary, row: Encoding, facts: Facts) -> Reason | None:
        """Judge a count that is one more or one less than the prompt has tokens."""
        verdict = judge_count(made.count, made.labels, facts)
        if verdict.reason is not None or verdict.off not in {-1, 1} or 0 < verdict.off <= verdict.behind:
            return None
        few = verdict.off < 0
        return Reason(
            f"the label mask is one token {'shorter' if few else 'longer'} than the prompt",
            "the last token of the prompt is learned as if it were answer"
            if few
            else "the first token of the answer is never learned",
            _certainty(verdict, row),
            [*verdict.story],
        )


def _certainty(verdict: Verdict, row: Encoding) -> Confidence:
    """Return how sure an offset is wrong: special tokens of an unknown tokenizer, or a merge, may account for it."""
    if verdict.joined:
        return Confidence.CERTAIN
    entries = checkpoints(row.tokenizer)
    known = bool(entries) and all(entry is not None and entry.adds_eos is False for entry in entries)
    if not known or verdict.may_merge or row.template:
        return Confidence.POSSIBLE
    return Confidence.LIKELY


def _is_part(length: Length, row: Encoding) -> bool:
    """Whether a count is that of real tokens of other ids than the row's own."""
    of: Value = length.of
    if not isinstance(of, Ids) or of.encoding is None or length.loose or of.start is not None:
        return False
    what = length.what.removeprefix("-")
    if what == "real":
        return of.encoding != row
    return what == "width" and of.encoding.padded is Tri.NO and of.encoding != row
