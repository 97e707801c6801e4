"""DLM309."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.texts import end_text
from decoderonly_checker.flow.values import Tri
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import encodings, pad_tokens, tokenizer_story, weakest
from decoderonly_checker.rules.labels import (
    PADDING,
    each_labels,
    masked,
    place,
    scores_only,
    trains,
)
from decoderonly_checker.rules.training_texts import Ending, adds_eos, ending, joined, training_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.fixes.proposals import Proposal
    from decoderonly_checker.flow.facts import Facts, LabelsMade
    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.values import Encoding

_EOS = late_pattern(r"eos|eot_id|</s>|endoftext|im_end|end_of_(?:text|turn)|\[SEP\]|sep_token", re.IGNORECASE)
# What speaks of EOS and appends none: the pad token set to it, and what `generate` is told.
_ELSEWHERE = late_pattern(
    r"#[^\n]*|pad_token(?:_id)?(?:['\"]\])?\s*=\s*[\w.]*eos_token(?:_id)?|eos_token_id\s*=\s*[\w.]+"
    r"|['\"]pad_token['\"]\s*:\s*[\w.]*eos_token|pad_token(?:_id)?\s*==\s*[\w.]*eos_token(?:_id)?"
)


class NoEosInTarget(Rule):
    """Reports a training text that is joined from a prompt and a response and ends without EOS, which nothing adds.

    ## Why is this bad?

    The tokenizers of most decoder-only models (GPT-2, Llama, Qwen) add no EOS of their own. If the text has none either, the
    model is never shown that an answer ends: fine-tuned so, it goes on until the length limit, often with a next question.

    ## What it does not report

    - Texts that end in EOS, in a marker of the project's own (`### End`) or as a chat template ends them.
    - An EOS added to the ids, a tokenizer that adds one (`add_eos_token=True`), packing that puts one between texts.
    - Raw text without a response; padding that is EOS and stays in the labels.
    - SFTTrainer of trl 0.17 and after, which appends EOS itself.

    ## Fix safety

    Unsafe: the EOS token is appended to the text; code that is not seen may append it, too. None where it is the pad
    token.
    """

    severity = Severity.WARNING
    references = (
        Reference(
            "stanford_alpaca #126: no EOS in the training data",
            "https://github.com/tatsu-lab/stanford_alpaca/issues/126",
        ),
        Reference(
            "trl #734: fine-tuned models that generate to the limit",
            "https://github.com/huggingface/trl/issues/734",
        ),
    )
    bad = """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    model.resize_token_embeddings(len(tokenizer))

    def preprocess(row: dict):
        prompt = tokenizer(row["question"])["input_ids"]
        answer = tokenizer(row["answer"])["input_ids"]
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}

    rows = Dataset.from_list([{"question": "2 + 2 =", "answer": " 4"}, {"question": "1 + 2 =", "answer": " 3"}])
    trainer = Trainer(
        model,
        TrainingArguments("out", max_steps=2, report_to="none"),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        train_dataset=rows.map(preprocess, remove_columns=rows.column_names),
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
    trainer = Trainer(
        model,
        TrainingArguments("out", max_steps=2, report_to="none"),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        train_dataset=rows.map(preprocess, remove_columns=rows.column_names),
    )
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge the text behind every set of labels."""
        for made in each_labels(facts):
            finding = self.judge(made, facts)
            if finding is not None:
                yield finding

    def judge(self, made: LabelsMade, facts: Facts) -> Finding | None:
        """Judge one set of labels."""
        encoding = made.labels.encoding
        if encoding is None or encoding.template or made.labels.added[1] or scores_only(made):
            return None
        by_trainer = [
            run for run in facts.training_runs if run.site.key == (encoding.made or encoding.site).key
        ]
        if any(run.appends_eos is not Tri.NO for run in by_trainer):
            return None
        # Where the prompt's labels are a list of -100, the ids beside the labels hold both.
        rows = [encoding, *encodings(made.inputs)]
        found = [joined(row.text, facts) for row in rows if not row.template]
        if not any(prompt is not None and prompt is not response for prompt, response in found):
            return None
        if ending(encoding.text, facts) is not Ending.RESPONSE:
            return None
        sure = training_kind(encoding.tokenizer, made.module)
        adds = adds_eos(encoding.tokenizer, facts)
        if sure is None or adds is Tri.YES or self.padding_is_learned(made, encoding, facts):
            return None
        thought_of = any(speaks_of_eos(module) for module in {made.module, *_modules(made, facts)})
        if adds is Tri.MAYBE or thought_of or not (trains(made) and reached(made)):
            # What is not seen on its way to the loss may get its EOS on that way.
            sure = Confidence.POSSIBLE
        return Finding(
            place(made),
            "the training text ends with the response, and no EOS is added to it",
            "the model is never shown that an answer ends: it generates on until the length limit",
            "append the EOS token to the text, `text + tokenizer.eos_token`, or its id to the ids",
            weakest(sure, Confidence.CERTAIN),
            Severity.WARNING,
            "no EOS among these labels",
            (
                *tokenizer_story(encoding),
                (encoding.made or encoding.site, "tokenized here; this tokenizer adds no EOS"),
            ),
            self.fix(encoding, facts),
        )

    @staticmethod
    def fix(encoding: Encoding, facts: Facts) -> Proposal | None:
        """Propose to append the EOS token, where nothing would mask it like padding."""
        if encoding.batched is not Tri.NO or any(
            getattr(one, "hint", "").startswith("eos_token") for one in pad_tokens(encoding.tokenizer, facts)
        ):
            return None
        return end_text(encoding.made or encoding.site)

    @staticmethod
    def padding_is_learned(made: LabelsMade, encoding: Encoding, facts: Facts) -> bool:
        """Whether padding that is the EOS token stays in the labels: then EOS is learned, behind the shorter texts."""
        if encoding.padded is Tri.NO or masked(facts, made, PADDING):
            return False
        return any(
            getattr(one, "hint", "").startswith("eos_token") for one in pad_tokens(encoding.tokenizer, facts)
        )


def reached(made: LabelsMade) -> bool:
    """Whether the code shows who runs what makes the labels: a dataset's `map`, a loader, a trainer, a caller."""
    inside = any(isinstance(node, cst.FunctionDef | cst.Lambda) for node in made.site.around())
    return bool(made.calls) or not inside


def speaks_of_eos(module: Module) -> bool:
    """Whether a module names an end token other than as the pad token or for `generate`: it may append one."""
    return _EOS.search(_ELSEWHERE.sub("", module.text)) is not None


def _modules(made: LabelsMade, facts: Facts) -> set[Module]:
    """Return the modules in which the rows of these labels were tokenized or collated."""
    paths = {site.source.path for site in (made.site, *made.calls)}
    if made.labels.encoding is not None:
        paths.add(made.labels.encoding.site.source.path)
    return {call.module for call in facts.tokenizer_calls if call.site.source.path in paths}
