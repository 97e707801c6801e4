"""DLM307."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.boundaries import Reason, encoder_decoder, judge_count
from decoderonly_checker.rules.evidence import tokenizer_story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, LabelBoundary
    from decoderonly_checker.flow.values import Encoding


class PromptLengthFromASecondTokenization(Rule):
    """Reports labels that are masked up to the length of the prompt tokenized alone, where that is no prefix of the whole.

    That is so where the prompt alone gains an EOS token or a BOS token that it does not have in the whole, lacks the
    answer's header that the chat template writes, lacks the image tokens that a processor puts in, is padded, is counted in
    characters, or is only a part of what the whole begins with.

    ## Why is this bad?

    The boundary between prompt and answer lies elsewhere than the mask says: the first tokens of the answer are never
    learned, or the end of the prompt is learned as if it were answer. Nothing fails, and the loss looks as it should.

    ## What it does not report

    - Ids joined as ids: `prompt_ids + answer_ids`, with the labels `[-100] * len(prompt_ids) + answer_ids`.
    - A length that is corrected for what the prompt alone gains, `len(prompt_ids) - 1`.
    - A prompt that the whole begins with, tokenized alike; where its last token may merge with the answer's first, the
      finding is `possible` and hidden by default.
    - Tokenizers that add no special tokens, where only `add_special_tokens` differs. Character offsets.
    - Encoder-decoder models.

    ## Fix safety

    No fix: prompt and answer must be tokenized apart and joined as ids, which changes the tokens of every row.
    """

    severity = Severity.WARNING
    references = (
        Reference(
            "trl #598: a marker is tokenized otherwise when it stands alone",
            "https://github.com/huggingface/trl/issues/598",
        ),
        Reference(
            "FastChat #2389: each turn tokenized again gains a token",
            "https://github.com/lm-sys/FastChat/issues/2389",
        ),
        Reference(
            "lm-evaluation-harness: the whole is tokenized, then cut",
            "https://github.com/EleutherAI/lm-evaluation-harness/blob/4e7e0d47f33bc71070c1d38394bafbb52b117163/lm_eval/api/model.py#L396",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def tokenize(text):
        return tokenizer(text + tokenizer.eos_token)["input_ids"]

    def preprocess(example):
        prompt = f"Question: {example['question']}\\nAnswer:"
        ids = tokenize(f"{prompt} {example['answer']}")
        width = len(tokenize(prompt))
        return {"input_ids": ids, "labels": [-100] * width + ids[width:]}
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def preprocess(example):
        prompt = tokenizer(f"Question: {example['question']}\\nAnswer:")["input_ids"]
        answer = tokenizer(f" {example['answer']}{tokenizer.eos_token}")["input_ids"]
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every boundary of labels; one finding a place."""
        best: dict[int, tuple[LabelBoundary, Encoding, Reason]] = {}
        for made in facts.label_boundaries:
            whole = made.labels.encoding
            if whole is None or encoder_decoder(whole, made.module):
                continue
            verdict = judge_count(made.count, made.labels, facts)
            reason = verdict.reason
            if reason is None and verdict.off == 0 and verdict.may_merge:
                reason = Reason(
                    "the prompt is tokenized alone, and its last token may merge with the first of the answer",
                    "where it does, the boundary is off by one",
                    Confidence.POSSIBLE,
                    [(whole.made or whole.site, "the whole is tokenized here")],
                )
            if reason is None:
                continue
            known = best.get(made.site.key)
            if known is None or known[2].sure.rank < reason.sure.rank:
                best[made.site.key] = (made, whole, reason)
        for made, whole, reason in best.values():
            yield Finding(
                made.site,
                reason.what,
                reason.effect,
                "tokenize prompt and answer apart and join their ids, or count a prompt that the whole surely begins with",
                reason.sure,
                Severity.WARNING,
                "masked up to this length",
                (*tokenizer_story(whole), *reason.related),
            )
