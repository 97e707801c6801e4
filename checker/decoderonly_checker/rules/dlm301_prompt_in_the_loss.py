"""DLM301."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.boundaries import hide_prompt
from decoderonly_checker.flow.values import Tri
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.collations import masked_at
from decoderonly_checker.rules.evidence import tokenizer_story
from decoderonly_checker.rules.labels import (
    PROMPT,
    Once,
    masked,
    meant_to_hide,
    place,
    scores_only,
)
from decoderonly_checker.rules.training_texts import (
    adds_eos,
    joined,
    says_prompt,
    says_response,
    training_kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.fixes.proposals import Proposal
    from decoderonly_checker.flow.facts import Facts, LabelsMade
    from decoderonly_checker.flow.values import Encoding


class PromptInTheLoss(Rule):
    """Reports labels that are a copy of ids made of prompt and response, with no prompt position set to -100.

    ## Why is this bad?

    The loss is then taken over the question as well: the model is trained to ask it. Where prompts are longer than answers,
    most of the gradient goes there, and the fine-tuned model repeats or continues questions.

    ## What it does not report

    - Pre-training on raw text: one field, no response.
    - Labels in which prompt positions become -100, anywhere; a `train_on_inputs` switch whose other branch masks.
    - Encoder-decoder models; SFTTrainer on a plain text column, `completion_only_loss`, `assistant_only_loss`.

    ## Fix safety

    Unsafe: labels begin behind as many tokens as the prompt has alone; its last token may merge with the answer's
    first. Made where prompt and response are joined with `+` and one row is copied; elsewhere only the author knows
    where the prompt ends.
    """

    severity = Severity.WARNING
    unseen = "Question and answer are one text before they are tokenized: the batch does not show where the prompt ends."
    references = (
        Reference(
            "open-r1 #517: labels the same as the ids, the instruction unmasked",
            "https://github.com/huggingface/open-r1/issues/517",
        ),
        Reference(
            "Transformers-Tutorials #456: only padding is masked in two tutorials",
            "https://github.com/NielsRogge/Transformers-Tutorials/issues/456",
        ),
        Reference(
            "trl, SFTTrainer: training on completions only", "https://huggingface.co/docs/trl/sft_trainer"
        ),
    )
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
        # A collator that drops masked labels puts the prompt into the loss too: DLM306 says so.
        silent |= {
            c.collator.origin.key
            for c in facts.collations
            if c.collator.origin is not None and masked_at(c, facts)
        }
        remade = {
            (made.labels.encoding.made or made.labels.encoding.site).key
            for made in facts.labels_made
            if made.where == "collator" and made.labels.encoding is not None
        }
        runs = Counter(run.module for run in facts.training_runs)
        all_remade = {
            made.module for made in facts.labels_made if made.where == "collator" and runs[made.module] <= 1
        }
        trainers = {run.site.key for run in facts.training_runs}
        once = Once()
        for made in facts.labels_made:
            encoding = made.labels.encoding
            if encoding is not None and (encoding.made or encoding.site).key in trainers:
                continue  # a text column that the trainer itself tokenizes is learned whole by choice
            if (
                encoding is not None
                and made.where != "collator"
                and (encoding.made or encoding.site).key in remade
            ):
                continue  # a collator makes them anew: that is where they are learned from
            if made.where == "dict" and made.module in all_remade:
                continue  # rows that do not reach the one trainer there is
            if scores_only(made):
                continue  # nothing is trained on them
            # A helper that is called twice (whole text, prompt alone) is masked if one of its calls is. What is hidden
            # behind another value than -100 is a mistake of its own.
            if made.site.key in silent or any(
                meant_to_hide(write, made, facts) for write in facts.ids_writes
            ):
                continue
            finding = self.judge(made, facts)
            if finding is not None and once.fresh(made.labels):
                yield finding

    def judge(self, made: LabelsMade, facts: Facts) -> Finding | None:
        """Judge one set of labels."""
        encoding = made.labels.encoding
        if encoding is None:
            return None
        prompt, response = joined(encoding.text, facts)
        if prompt is None or response is None:
            return None
        sure = training_kind(encoding.tokenizer, made.module)
        if sure is None:
            return None
        return Finding(
            place(made),
            "labels are a copy of prompt and response, and no prompt position is -100",
            "the loss is taken over the prompt too: the model is trained to ask the question",
            "set the labels of the prompt's positions to -100",
            sure if made.where == "dict" else Confidence.LIKELY,
            Severity.WARNING,
            "the prompt is supervised",
            (
                *tokenizer_story(encoding),
                (encoding.made or encoding.site, "prompt and response are tokenized together here"),
            ),
            self.fix(made, encoding, facts),
        )

    @staticmethod
    def fix(made: LabelsMade, encoding: Encoding, facts: Facts) -> Proposal | None:
        """Propose to hide the prompt of one row; a tokenizer that ends it with EOS would count one too many."""
        if encoding.batched is not Tri.NO or encoding.padded is not Tri.NO or encoding.template:
            return None
        if adds_eos(encoding.tokenizer, facts) is not Tri.NO:
            return None
        return hide_prompt(place(made), encoding.made or encoding.site, says_prompt, says_response)
