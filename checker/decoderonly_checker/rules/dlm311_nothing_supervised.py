"""DLM311 nothing-supervised."""

from __future__ import annotations

from typing import ClassVar

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.rules.base import Reference, RuntimeRule


class NothingSupervised(RuntimeRule):
    """Reports rows that reach the loss with every label -100.

    How long a row gets, and whether a response marker is found in it, shows when the code runs and not in its
    text. `assert_labels_mask_prompt` sees it, on the rows that your own preprocessing makes.

    ## Why is this bad?

    The row trains nothing. A question longer than the limit pushes its answer out of the row, or a marker that the
    chat template writes otherwise is never found, and everything counts as prompt. Where a whole batch is so, the
    loss is a division by zero: NaN, and with it the weights after the next step.

    ## What it does not report

    Rows that are dropped before the loss, and padding rows that a collator adds on purpose.

    ## Fix safety

    No fix: it is seen at run time only, and the row's text is what is wrong.
    """

    severity: ClassVar[Severity] = Severity.ERROR
    references = (
        Reference(
            "trl #6668: truncation takes the whole completion",
            "https://github.com/huggingface/trl/issues/6668",
        ),
        Reference("UniVR #13: a NaN loss for long prompts", "https://github.com/bytedance/UniVR/issues/13"),
    )
    bad: ClassVar[str] = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    MAX_LENGTH = 64
    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def preprocess(example):
        prompt = tokenizer(f"{example['document']}\\nQuestion: {example['question']}\\nAnswer:")["input_ids"]
        answer = tokenizer(f" {example['answer']}{tokenizer.eos_token}")["input_ids"]
        input_ids, labels = prompt + answer, [-100] * len(prompt) + answer
        return {"input_ids": input_ids[:MAX_LENGTH], "labels": labels[:MAX_LENGTH]}
    """

    good: ClassVar[str] = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    MAX_LENGTH = 64
    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def preprocess(example):
        question = tokenizer(f"\\nQuestion: {example['question']}\\nAnswer:")["input_ids"]
        answer = tokenizer(f" {example['answer']}{tokenizer.eos_token}")["input_ids"]
        document = tokenizer(example["document"])["input_ids"]
        prompt = document[: MAX_LENGTH - len(question) - len(answer)] + question
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
    """
