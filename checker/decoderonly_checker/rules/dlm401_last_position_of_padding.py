"""DLM401."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.masks import read_last_tokens
from decoderonly_checker.flow.scores import Logits
from decoderonly_checker.flow.values import Ids, Kind, Length, alternatives, literal
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import checkpoint_kind, model_confidence, tokenizer_kind, weakest
from decoderonly_checker.rules.padding import right_padding, surely_padded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, PositionRead
    from decoderonly_checker.flow.values import Encoding

_NAMES = {"hidden": "hidden states", "token": "scores of tokens", "log_probs": "probabilities"}
_ASKS_SIDE = late_pattern(r"(?i)left|side|padding|right_pad|mask\b\S*[\[.]")


class LastPositionOfPadding(Rule):
    """Reports the last column of logits or hidden states (`logits[:, -1]`) of a batch that is padded on the right.

    ## Why is this bad?

    In a right-padded batch the last column holds the last token of the longest row alone. In every other row it is
    padding: the next token, the reward, the class or the embedding that is read there does not follow the text, and
    changes with the other rows of the batch. Nothing fails, and one row at a time gives the right numbers.

    ## What it does not report

    - Left padding; one row that is not padded to a fixed length; padding that is not asked for.
    - An index from the mask (`logits[torch.arange(n), attention_mask.sum(1) - 1]`); ids cut to the length of their row before.
    - Reading under a condition on the padding side or the mask (`if left_padding:`).
    - Encoders, encoder-decoder models, scores of classes (`logits[:, -1]` of a classifier is its last class).

    ## Fix safety

    Unsafe: the last column becomes each row's last token, told by the mask; right for rows that are padded on the right
    alone.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "ms-swift #6573: a reranker that reads the last position of padding",
            "https://github.com/modelscope/ms-swift/pull/6573",
        ),
        Reference(
            "nanoGPT #253: logits of the last position, which is padding in shorter rows",
            "https://github.com/karpathy/nanoGPT/issues/253",
        ),
    )
    bad = """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The sky is", "Three primary colours are red, green and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**encoding).logits
    following = [tokenizer.decode(token) for token in logits[:, -1].argmax(dim=-1)]
    """
    good = """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The sky is", "Three primary colours are red, green and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**encoding).logits
    last = encoding["attention_mask"].sum(dim=1) - 1
    following = [tokenizer.decode(token) for token in logits[torch.arange(len(last)), last].argmax(dim=-1)]
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every read of a last position."""
        for read in facts.position_reads:
            if not last_position(read) or read.conditions:
                continue
            for encoding in whole_batches(read):
                right, sure = right_padding(encoding), of_positions(read, encoding)
                if right is None or sure is None:
                    continue
                if asks_first(read):
                    break
                batch = Confidence.CERTAIN if surely_padded(encoding) else Confidence.POSSIBLE
                what = _NAMES.get(read.scores.kind, "logits")
                chain = right.story(read.scores.call.model, "rows get padded on the right here")
                chain.append((read.scores.call.site, "the model is called with them here"))
                yield Finding(
                    read.site,
                    f"the last position of {what} of a right-padded batch is read",
                    "in every row but the longest it is padding: what is read there does not follow the text",
                    "pad on the left, or index with the mask: `logits[torch.arange(n), attention_mask.sum(dim=1) - 1]`",
                    weakest(sure, right.sure, batch),
                    Severity.ERROR,
                    "padding, in the shorter rows",
                    tuple(chain),
                    read_last_tokens(read, facts),
                )
                break


def last_position(read: PositionRead) -> bool:
    """Whether the last column is read: `-1`, `-1:`, `ids.shape[1] - 1`."""
    if read.index is None:
        return literal(read.lower) == -1 and read.upper is None
    return literal(read.index) == -1 or any(
        isinstance(one, Length) and one.what == "width" and one.offset == -1 and _same_batch(one, read)
        for one in alternatives(read.index)
    )


def _same_batch(width: Length, read: PositionRead) -> bool:
    """Whether a width is that of the batch whose scores are read, and not that of a row or of something else."""
    of = width.of
    if isinstance(of, Logits):
        return of.rank == "batch"
    sites = {encoding.site.key for encoding in whole_batches(read)}
    return (
        isinstance(of, Ids)
        and of.rank == "batch"
        and of.encoding is not None
        and of.encoding.site.key in sites
    )


def whole_batches(read: PositionRead) -> Iterator[Encoding]:
    """Yield the encodings that the model was called with to the end of their rows."""
    call = read.scores.call
    for value in (call.ids, call.args.get(None, "inputs_embeds")):
        for one in alternatives(value):
            if isinstance(one, Ids) and one.encoding is not None and one.part in {"", "start"}:
                yield one.encoding


def of_positions(read: PositionRead, encoding: Encoding) -> Confidence | None:
    """Return how sure it is that a decoder-only model's positions are read; None for silence."""
    model = read.scores.call.model
    sure = model_confidence(model, encoding, read.module)
    if sure is None or model.kind is Kind.DECODER:
        return sure
    known = checkpoint_kind(model.checkpoint) or tokenizer_kind(encoding.tokenizer)
    # The second axis of a classifier's logits are classes, and an encoder's hidden states can be read anywhere.
    positions = read.axes >= 3 or read.scores.kind in {"hidden", "token"}
    if known is Kind.DECODER and positions:
        return Confidence.LIKELY
    return weakest(sure, Confidence.LIKELY if read.axes >= 3 else Confidence.POSSIBLE)


def asks_first(read: PositionRead) -> bool:
    """Whether the read stands under a condition on padding."""
    tests = [node.test for node in read.site.around() if isinstance(node, cst.If | cst.IfExp)]
    return any(_ASKS_SIDE.search(read.site.code(test)) for test in tests)
