"""DLM403."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.flow.values import Below, Ids, Length, Value, alternatives
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.boundaries import Reason, encoder_decoder, judge_count
from decoderonly_checker.rules.evidence import model_confidence, model_story, weakest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, PositionRead

_SHIFTED = frozenset({"logits", "log_probs", "token"})  # scores of the token that follows a position


class ScoreBoundaryFromASecondTokenization(Rule):
    """Reports scores of a continuation that begin at the length of a prefix tokenized alone, where that is none of the whole.

    That is so where the prefix alone gains an EOS token, or a BOS token that it does not have in the whole, lacks the header
    that the chat template writes or the tokens of images, is padded, is counted in characters, or is only the last part of what
    stands in front of the continuation.

    ## Why is this bad?

    Tokens of the continuation are left out of its log-likelihood, or tokens of the prefix are counted in. Answers of several
    choices are then compared by a sum over other tokens than theirs, and the benchmark ranks something else.

    ## What it does not report

    - Ids joined as ids: `torch.cat([prefix_ids, continuation_ids])`.
    - A prefix that the whole begins with, tokenized alike, with or without the `- 1` of scores, which are of the next token;
      where its last token may merge with the continuation's first, the finding is `possible` and hidden by default.
    - A length that is corrected for what the prefix alone gains.
    - Labels masked up to such a length, which DLM307 reports. Encoder-decoder models.

    ## Fix safety

    No fix: prefix and continuation must be tokenized apart and joined as ids, which changes the scores that were meant.
    """

    severity = Severity.WARNING
    unseen = "Where a score begins is an index into log-probabilities, which are numbers like any others."
    references = (
        Reference(
            "lingua #28: an offset that counts a BOS token too many",
            "https://github.com/facebookresearch/lingua/issues/28",
        ),
        Reference(
            "lm-evaluation-harness: the whole is tokenized, then cut",
            "https://github.com/EleutherAI/lm-evaluation-harness/blob/4e7e0d47f33bc71070c1d38394bafbb52b117163/lm_eval/api/model.py#L396",
        ),
    )
    bad = """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def encode(text):
        return tokenizer(text + tokenizer.eos_token, return_tensors="pt")["input_ids"]

    def log_likelihood(question, answer):
        ids = encode(f"{question} {answer}")
        width = encode(question).shape[1]
        with torch.no_grad():
            scores = model(ids).logits.log_softmax(dim=-1)
        return scores[0, width - 1 : -1].gather(1, ids[0, width:].unsqueeze(1)).sum().item()
    """
    good = """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")

    def log_likelihood(question, answer):
        prefix = tokenizer(question, return_tensors="pt")["input_ids"]
        continuation = tokenizer(f" {answer}{tokenizer.eos_token}", return_tensors="pt")["input_ids"]
        ids = torch.cat([prefix, continuation], dim=1)
        width = prefix.shape[1]
        with torch.no_grad():
            scores = model(ids).logits.log_softmax(dim=-1)
        return scores[0, width - 1 : -1].gather(1, ids[0, width:].unsqueeze(1)).sum().item()
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every read of a forward's scores from a count on; one finding a place."""
        best: dict[int, tuple[PositionRead, Reason]] = {}
        for read in facts.position_reads:
            reason = self.judge(read, facts)
            known = best.get(read.site.key)
            if reason is not None and (known is None or known[1].sure.rank < reason.sure.rank):
                best[read.site.key] = (read, reason)
        for read, reason in best.values():
            call = read.scores.call
            yield Finding(
                read.site,
                reason.what,
                reason.effect,
                "tokenize prefix and continuation apart and join their ids, or count a prefix that the whole surely begins with",
                reason.sure,
                Severity.WARNING,
                "scores are read from this length on",
                (*model_story(call.model), *reason.related, (call.site, "the whole is scored here")),
            )

    @staticmethod
    def judge(read: PositionRead, facts: Facts) -> Reason | None:
        """Judge one read; None where nothing is wrong with it, or nothing known."""
        count, call = _first(read), read.scores.call
        if count is None or read.scores.start is not None:
            return None
        found: list[Reason] = []
        for row in alternatives(call.ids):
            whole = row.encoding if isinstance(row, Ids) else None
            if not isinstance(row, Ids) or whole is None or encoder_decoder(whole, read.module):
                return None
            sure = model_confidence(call.model, whole, read.module)
            verdict = judge_count(count, row, facts, shift=1 if read.scores.kind in _SHIFTED else 0)
            reason = verdict.reason
            if reason is None and verdict.off == 0 and verdict.may_merge:
                reason = Reason(
                    "the prefix is tokenized alone, and its last token may merge with the first of the continuation",
                    "where it does, scoring begins one token off",
                    Confidence.POSSIBLE,
                    [],
                )
            if reason is None or sure is None:
                return None
            found.append(Reason(reason.what, reason.effect, weakest(sure, reason.sure), reason.related))
        return min(found, key=lambda reason: reason.sure.rank, default=None)


def _first(read: PositionRead) -> Value | None:
    """Return the count from which on positions are read: of a slice, or of a loop that walks from there."""
    if read.index is None:
        return read.lower if any(isinstance(one, Length) for one in alternatives(read.lower)) else None
    return read.index.count if isinstance(read.index, Below) and read.index.negated else None
