"""DLM306."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.collators import keep_labels
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import Lib, Tri
from decoderonly_checker.knowledge.collators import LANGUAGE_MODELLING, rebuilds_labels
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.collations import masked_at
from decoderonly_checker.rules.evidence import weakest
from decoderonly_checker.rules.training_texts import training_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.fixes.proposals import Proposal
    from decoderonly_checker.flow.facts import Collation, Facts
    from decoderonly_checker.flow.values import Site, Value


class CollatorOverwritesLabels(Rule):
    """Reports labels that hold -100 and go through `DataCollatorForLanguageModeling(mlm=False)`.

    ## Why is this bad?

    That collator makes the labels anew: a copy of `input_ids` in which only pad tokens are -100. The prompt that was masked
    before is in the loss again, and nothing tells so where the rows of a batch have one length: padded to a maximum, or one row
    a batch. Rows of unequal lengths it cannot put together, and raises.

    ## What it does not report

    - Labels that are a plain copy of `input_ids`, or in which padding alone is -100: the collator makes the same.
    - `DataCollatorForSeq2Seq`, `DataCollatorForTokenClassification` and `default_data_collator`, which keep the labels, and
      trl's own collators: `DataCollatorForCompletionOnlyLM` masks the prompt itself.

    ## Fix safety

    Unsafe: `DataCollatorForSeq2Seq` keeps the labels, and whatever else the rows hold. None where rows may be padded
    before they are collated: labels that are kept would hold their padding.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers #26357: the collator ignores labels of -100",
            "https://github.com/huggingface/transformers/issues/26357",
        ),
        Reference(
            "text-generation-webui #4031: the option to train on answers alone has no effect",
            "https://github.com/oobabooga/textgen/issues/4031",
        ),
    )
    bad = """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    model.resize_token_embeddings(len(tokenizer))

    def preprocess(row: dict):
        prompt = tokenizer(row["question"])["input_ids"]
        answer = tokenizer(row["answer"] + tokenizer.eos_token)["input_ids"]
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}

    rows = Dataset.from_list([{"question": "2 + 2 =", "answer": " 4"}, {"question": "1 + 2 =", "answer": " 3"}])
    rows = rows.map(preprocess, remove_columns=rows.column_names)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    trainer = Trainer(
        model, TrainingArguments("out", max_steps=2, report_to="none"), data_collator=collator, train_dataset=rows
    )
    """
    good = """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    model.resize_token_embeddings(len(tokenizer))

    def preprocess(row: dict):
        prompt = tokenizer(row["question"])["input_ids"]
        answer = tokenizer(row["answer"] + tokenizer.eos_token)["input_ids"]
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}

    rows = Dataset.from_list([{"question": "2 + 2 =", "answer": " 4"}, {"question": "1 + 2 =", "answer": " 3"}])
    rows = rows.map(preprocess, remove_columns=rows.column_names)
    collator = DataCollatorForSeq2Seq(tokenizer)
    trainer = Trainer(
        model, TrainingArguments("out", max_steps=2, report_to="none"), data_collator=collator, train_dataset=rows
    )
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every collator that rows with masked labels go through."""
        for made in facts.collations:
            if not made.sure or not _rebuilds(made.collator, facts):
                continue
            written = masked_at(made, facts)
            if written is not None and made.collator.origin is not None:
                fix = None if _pads(made, facts) else keep_labels(made.collator.origin)
                finding = self.report(
                    made, made.collator.origin, written, _tokenizer(made.collator, facts), fix
                )
                if finding is not None:
                    yield finding

    @staticmethod
    def report(
        made: Collation, place: Site, written: Site, tokenizer: Value | None, fix: Proposal | None
    ) -> Finding | None:
        """Describe one collator."""
        sure = training_kind(tokenizer, made.module)
        if sure is None:
            return None
        return Finding(
            place,
            f"`{LANGUAGE_MODELLING}` makes the labels anew from `input_ids`: those of the rows, which hold -100, are dropped",
            "the prompt that was masked is in the loss again",
            "use a collator that keeps labels and pads them with -100: `DataCollatorForSeq2Seq(tokenizer)`",
            weakest(sure, Confidence.CERTAIN),
            Severity.ERROR,
            "overwrites the labels of the rows",
            (
                (written, "-100 is put into the labels here"),
                (made.site, "the rows go through the collator here"),
            ),
            fix,
        )


def _pads(made: Collation, facts: Facts) -> bool:
    """Whether rows may be padded before they are collated: labels that are kept would hold their padding."""
    return any(
        call.encoding.padded is not Tri.NO for call in facts.tokenizer_calls if call.module is made.module
    )


def _rebuilds(collator: Value, facts: Facts) -> bool:
    """Whether a collator surely makes the labels anew and masks no prompt itself."""
    record = facts.objects.get(collator.id) if isinstance(collator, Lib) else None
    return isinstance(collator, Lib) and rebuilds_labels(collator, record)


def _tokenizer(collator: Value, facts: Facts) -> Value | None:
    """Return the tokenizer that a collator was given."""
    record = facts.objects.get(collator.id) if isinstance(collator, Lib) else None
    return record.attrs.get("tokenizer") if isinstance(record, ObjRec) else None
