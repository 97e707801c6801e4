"""What the rules on hand-made labels share: what a write masks, whose labels it masks, and which loss reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.flow.contexts import no_gradients
from decoderonly_checker.flow.labels import IGNORE_INDEX, is_other, is_pad, name_of
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import Ids, Kind, Length, Model, Ref, Tri, Unknown, alternatives, literal
from decoderonly_checker.knowledge.labels import is_rest
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.evidence import checkpoint_kind, tokenizer_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, IdsWrite, IgnoreWrite, LabelsMade
    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.values import Site, Value

PROMPT, PADDING = "prompt", "padding"
_SCORES = late_pattern(r"\b(?:no_grad|inference_mode)\b")
_LEARNS = late_pattern(r"\bbackward\(|Trainer\(|\.train\(\)|training_step|optimizer")
_EVERYTHING = frozenset({PROMPT, PADDING})
_MEDIA = late_pattern(r"image|img|video|audio|vision|speech|boi|eoi", re.IGNORECASE)
# Names that only code has which takes the loss itself, and says what it leaves out.
_OWN_LOSS = frozenset(
    [
        *("cross_entropy", "CrossEntropyLoss", "NLLLoss", "nll_loss", "ignore_index", "loss_mask"),
        *("log_softmax", "logsumexp", "LabelSmoother", "fused_linear_cross_entropy", "CrossEntropyLayer"),
    ]
)
# Collators that make the labels anew, and objects that train on other labels than those of the rows.
_REMAKES = frozenset(
    [
        *("DataCollatorForLanguageModeling", "DataCollatorForCompletionOnlyLM", "train_on_responses_only"),
        *("DataCollatorForWholeWordMask", "DataCollatorForPermutationLanguageModeling"),
    ]
)
_TRAINS = late_pattern(r"Trainer\s*[()]|\.backward\(|\btraining_step\b|\bAccelerator\s*\(")
# What takes the labels of the rows as they are; some versions of TRL's trainers make them anew.
_KEEPS_LABELS = late_pattern(r"\b(?:Seq2Seq)?Trainer\s*[()]|\.backward\(|\btraining_step\b")
_TRL = late_pattern(r"\b(?:SFT|DPO|ORPO|KTO|PPO|GRPO|CPO|Reward)Trainer\s*[()]")


def covers(write: IgnoreWrite) -> frozenset[str]:
    """Return what a write of -100 may cover: the prompt, the padding, or both where that is not known."""
    if write.kind in {"padding", "collator"}:
        return frozenset({PADDING})
    if write.kind == "tail":
        return frozenset({PADDING})  # a row's end: where its length was taken
    chosen = alternatives(write.selector)
    if write.kind in {"slice", "list"}:
        if write.kind == "list" and is_rest(write.selector):
            return frozenset({PADDING})
        return frozenset({PROMPT}) if chosen and all(map(_is_count, chosen)) else _EVERYTHING
    if write.kind != "mask" or not chosen:
        return _EVERYTHING
    return frozenset().union(*map(_mask_covers, chosen))


def _is_count(value: Value) -> bool:
    """Whether a value is a count of the tokens of something that is not padded."""
    if not isinstance(value, Length) or value.what != "width":
        return False
    ids = value.of
    return isinstance(ids, Ids) and ids.encoding is not None and ids.encoding.padded is Tri.NO


def _mask_covers(mask: Value) -> frozenset[str]:
    if not isinstance(mask, Ids):
        return _EVERYTHING
    if mask.field in {"comparison", "mask-by-comparison"}:
        if _of_media(mask):
            return frozenset()
        plain = mask.compared in {"input_ids", "masked labels", "attention_mask", "mixed"}
        return frozenset({PADDING}) if plain else _EVERYTHING
    return frozenset({PADDING}) if mask.field in {"attention_mask", "special_tokens_mask"} else _EVERYTHING


def _of_media(mask: Ids) -> bool:
    """Whether a comparison finds the placeholders of images or sound, by the names in it."""
    names = " ".join(name_of(one) for one in alternatives(mask.token))
    if mask.origin is not None:
        names += " " + mask.origin.code()
    return _MEDIA.search(names) is not None and "pad_token" not in names


def touches(target: Ids, labels: Ids) -> bool:
    """Whether a write into `target` may be seen in `labels`: one buffer, or one that the other was made from."""
    return target.id == labels.id or target.id in labels.lineage or labels.id in target.lineage


def masked(facts: Facts, made: LabelsMade, what: str) -> bool:
    """Whether any write of -100 may cover `what` (the prompt or the padding) of these labels.

    A write into labels that are not known which counts where it may meet these: in the same module for the prompt, in every
    module that imports join to it for the padding, which collators and losses mask.
    """
    near = {made.module} if what == PROMPT else neighbours(made.module)
    return any(
        what in covers(write)
        for write in facts.ignore_writes
        if (write.module in near if write.target is None else touches(write.target, made.labels))
    )


def neighbours(module: Module) -> frozenset[Module]:
    """Return a module with all that imports join it to."""
    return frozenset(module.neighbours)


def names_near(module: Module) -> frozenset[str]:
    """Return the identifiers of a module and of all that imports join it to."""
    return frozenset().union(*(one.names for one in neighbours(module)))


def own_loss(module: Module) -> bool:
    """Whether code near takes the loss by hand, or has the labels made anew: what a row's labels hold may not matter."""
    if names_near(module) & (_OWN_LOSS | _REMAKES):
        return True
    text = [one.text for one in neighbours(module)]
    return any(map(_TRL.search, text)) and not any(map(_KEEPS_LABELS.search, text))


def trains(made: LabelsMade) -> bool:
    """Whether the code shows that a model is trained on these labels."""
    if made.where == "forward":
        return not without_gradient(made.site)
    return any(_TRAINS.search(one.text) for one in neighbours(made.module))


def without_gradient(site: Site) -> bool:
    """Whether code runs under `no_grad` or `inference_mode`: it scores, and trains nothing."""
    for node in site.around():
        if isinstance(node, cst.With) and any(no_gradients(item.item) for item in node.items):
            return True
        if isinstance(node, cst.FunctionDef) and any(no_gradients(one.decorator) for one in node.decorators):
            return True
    return False


def scores_around(site: Site) -> bool:
    """Whether the function around a place takes losses without gradients, and trains nothing."""
    functions = [node for node in site.around() if isinstance(node, cst.FunctionDef)]
    if not functions:
        return False
    code = site.code(functions[-1])
    return _SCORES.search(code) is not None and _LEARNS.search(code) is None


def scores_only(made: LabelsMade) -> bool:
    """Whether these labels are for a loss that is read and not trained on."""
    return (made.where == "forward" and without_gradient(made.site)) or (
        made.where == "collator" and scores_around(made.site)
    )


def decoder_labels(made: LabelsMade) -> Confidence | None:
    """Return how sure it is that labels are for a decoder-only model; None for silence."""
    near = neighbours(made.module)
    kind = None if made.model is None else made.model.kind
    if kind in (None, Kind.UNKNOWN) and made.labels.encoding is not None:
        tokenizer = made.labels.encoding.tokenizer
        kind = tokenizer_kind(tokenizer)
        for one in alternatives(tokenizer):
            kind = kind or checkpoint_kind(getattr(one, "checkpoint", Unknown()))
    if kind in (Kind.ENCODER_DECODER, Kind.OTHER):
        return None
    if kind is Kind.DECODER:
        named = isinstance(made.model, Model) and made.model.named
        return Confidence.LIKELY if named else Confidence.CERTAIN
    if any(one.says_encoder_decoder for one in near) or not any(one.says_decoder_only for one in near):
        return None
    return Confidence.LIKELY


def each_labels(facts: Facts) -> Iterator[LabelsMade]:
    """Yield the labels that were made, those of one buffer once: where they were put beside their ids, if they were."""
    in_rows = {made.labels.id for made in facts.labels_made if made.where == "dict"}
    for made in facts.labels_made:
        if made.where == "dict" or made.labels.id not in in_rows:
            yield made


class Once:
    """Tells labels that were judged before under another name: a dataset's, a loader's or a collator's copy of them."""

    def __init__(self) -> None:
        self._reported: set[int] = set()

    def fresh(self, labels: Ids) -> bool:
        """Whether nothing that these labels were made from was reported; from now on they are."""
        known = bool(family(labels) & self._reported)
        self._reported.add(labels.id)
        return not known


def place(made: LabelsMade) -> Site:
    """Return the statement that makes the labels: the copy, or where plain ids become labels."""
    origin = made.labels.origin
    labels = made.labels
    beside = [one for one in alternatives(made.inputs) if isinstance(one, Ids)]
    if any(one.id == labels.id and one.offset == labels.offset for one in beside):
        return made.site  # what the inputs were made by did not make them labels
    own = labels.copied or labels.field == "masked labels" or labels.offset != ("", 0)
    return origin if own and origin is not None else made.site


def held(value: Value | None, facts: Facts, depth: int = 0) -> Iterator[Ids]:
    """Yield the ids that a value holds, also those in lists of rows or of tokens."""
    for one in alternatives(value):
        if isinstance(one, Ids):
            yield one
        elif isinstance(one, Ref) and depth < 3:
            record = facts.objects.get(one.id)
            if isinstance(record, ListRec):
                yield from held(record.element, facts, depth + 1)


def family(ids: Ids) -> frozenset[int]:
    """Return the numbers of a buffer and of all that it was made from."""
    return ids.lineage | {ids.id}


def meant_to_hide(write: IdsWrite, made: LabelsMade, facts: Facts) -> bool:
    """Whether a write into labels, and not into the ids beside them, covers their prompt or their padding."""
    if not is_other(write.value) or write.target.id not in family(made.labels):
        return False
    if any(write.target.id in family(ids) for ids in held(made.inputs, facts)):
        return False
    if write.kind in {"slice", "tail", "list"}:
        return write.selector is not None
    return write.kind == "mask" and any(map(_of_padding, alternatives(write.selector)))


def _of_padding(mask: Value) -> bool:
    """Whether a mask is a comparison that finds padding; not one that finds -100."""
    if not isinstance(mask, Ids) or mask.field not in {"comparison", "mask-by-comparison"}:
        return isinstance(mask, Ids) and mask.field == "attention_mask"
    if literal(mask.token) == IGNORE_INDEX:
        return False
    return mask.compared == "attention_mask" or is_pad(mask.token)
