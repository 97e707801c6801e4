"""DLM304."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.rules.apart import tokenized_apart
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import tokenizer_story
from decoderonly_checker.rules.labels import Once, decoder_labels, each_labels, own_loss, place, trains

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts


class LabelsWithoutPrompt(Rule):
    """Reports encoder-decoder style labels for a decoder-only model: `input_ids` from the prompt, `labels` from the response.

    ## Why is this bad?

    A decoder-only model has no second input. Its label at each position is the token that stands there, so labels and ids
    are one sequence, prompt and response. With the response alone as labels, position by position, the model is trained to
    answer the i-th token of the question with the i-th token of the answer, and never sees the answer that it is to continue.
    Where both are padded to one length, nothing fails.

    ## What it does not report

    - Encoder-decoder models, for which this is the right form.
    - Prompt and response that are joined later: as lists, by a collator of the project, or by a model of its own.
    - A loss that is computed by hand.

    ## Fix safety

    No fix: prompt and response must be joined into one sequence, which changes what the rows are.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers #12259: GPT-2 given inputs and targets of their own",
            "https://github.com/huggingface/transformers/issues/12259",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def preprocess(example):
        encoding = tokenizer(example["question"], padding="max_length", max_length=32)
        answer = tokenizer(example["answer"], padding="max_length", max_length=32)
        encoding["labels"] = answer["input_ids"]
        return encoding

    def train(dataset):
        Trainer(model=model, train_dataset=dataset.map(preprocess)).train()
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def preprocess(example):
        question = tokenizer(example["question"])["input_ids"]
        answer = tokenizer(example["answer"] + tokenizer.eos_token)["input_ids"]
        return {"input_ids": question + answer, "labels": [-100] * len(question) + answer}

    def train(dataset):
        Trainer(model=model, train_dataset=dataset.map(preprocess)).train()
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every set of labels beside its ids."""
        once = Once()
        for made in each_labels(facts):
            inputs = tokenized_apart(made, facts)
            sure = decoder_labels(made) if inputs is not None else None
            labels = made.labels.encoding
            if inputs is None or labels is None or sure is None:
                continue
            if not trains(made) or own_loss(made.module) or not once.fresh(made.labels):
                continue
            yield Finding(
                place(made),
                "the labels are the response alone, beside the ids of the prompt alone",
                "a decoder-only model learns to predict, at each place of the prompt, whatever the response has there",
                "join prompt and response into one sequence, and set the labels of the prompt's positions to -100",
                sure,
                Severity.ERROR,
                "tokenized apart from the `input_ids`",
                (
                    *tokenizer_story(labels),
                    (inputs.site, "the prompt is tokenized here"),
                    (labels.site, "the response is tokenized here"),
                ),
            )
