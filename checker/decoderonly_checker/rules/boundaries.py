"""What the rules on boundaries share: whether a count of tokens is that of the front of a row, and why not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.flow.prefixes import Fit, Front, fit, flat
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import (
    Const,
    Encoding,
    Hole,
    Ids,
    Kind,
    Length,
    Rendered,
    Str,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.conversations import (
    EXTRA_HEADER,
    LACKS_HEADER,
    PREFIX,
    ignores_header,
    rendered_fit,
)
from decoderonly_checker.rules.evidence import is_eos_text, tokenizer_kind, weakest
from decoderonly_checker.rules.prompts import absent, checkpoints, overridable, texts, tokenizers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.values import Site
    from decoderonly_checker.rules.evidence import Chain

Parts = tuple[str | Hole, ...]
_EOS_NAME = late_pattern(r"^(?:eos|eot|end_of_(?:text|turn)|im_end|sep)(?:_?tok(?:en)?)?$", re.IGNORECASE)
_BOS = late_pattern(r"^\s*(?:<s>|<bos>|<\|begin_of_text\|>|<[|｜]begin▁of▁sentence[|｜]>)")  # noqa: RUF001
_CORRECTION = 4  # a larger number that is added stands for more than special tokens


@immutable
class Reason:
    """Why a count is not that of the front of a row."""

    what: str
    effect: str
    sure: Confidence
    related: Chain


@immutable
class Verdict:
    """What is known of a count: a reason why it is wrong, or by how many tokens it misses a true front."""

    reason: Reason | None = None
    off: int | None = None  # None where the text is not known to be a front
    may_merge: bool = False
    joined: bool = False  # the row was put together from the ids that are counted
    behind: int = 0  # so many single tokens stand between them and the rest
    story: tuple[tuple[Site, str], ...] = ()


def encoder_decoder(encoding: Encoding, module: Module) -> bool:
    """Whether a row belongs to an encoder-decoder model."""
    kind = tokenizer_kind(encoding.tokenizer)
    return kind is Kind.ENCODER_DECODER or (kind is None and module.says_encoder_decoder)


def judge_count(count: Value, row: Ids, facts: Facts, *, shift: int = 0) -> Verdict:
    """Judge a number of columns that is said to be that of a row's front.

    Args:
        count: The number, in all its alternatives.
        row: The ids that are split there.
        facts: All records.
        shift: How many columns before the end of the front the split belongs: 1 for scores, which are of the next token.
    """
    found: list[Verdict] = []
    others = False
    for one in alternatives(count):
        if not isinstance(one, Length):
            others = True
            continue
        verdict = _judge(replace(one, offset=one.offset + shift), row, facts, shift)
        if verdict is not None:
            found.append(verdict)
    reasons = [verdict.reason for verdict in found if verdict.reason is not None]
    if not found or (reasons and len(reasons) < len(found)):
        return Verdict()
    if not reasons:
        return found[0] if len(set(found)) == 1 and not others else Verdict()
    worst = min(reasons, key=lambda reason: reason.sure.rank)
    if others:
        worst = replace(worst, sure=weakest(worst.sure, Confidence.LIKELY))
    return Verdict(worst)


def _judge(length: Length, row: Ids, facts: Facts, shift: int) -> Verdict | None:
    """Judge one count; None for one that is the row's own."""
    whole = row.encoding
    if whole is None:
        return Verdict()
    here: Chain = [] if length.origin is None else [(length.origin, "counted here")]
    if length.what in {"chars", "words"}:
        return Verdict(_not_tokens(length, whole, here))
    measured = length.of
    if length.what not in {"width", "real"} or not isinstance(measured, Ids) or length.loose:
        return Verdict()
    alone = measured.encoding
    if alone is None or measured.start is not None or row.start is not None:
        return Verdict()
    if alone == whole:
        return None
    if measured.part and length.what == "width":
        return Verdict()  # some of them were picked
    if length.what == "width" and abs(sum(measured.added)) > _CORRECTION and alone.padded is not Tri.YES:
        return Verdict()
    offset = length.offset + sum(measured.added) - row.added[0]
    if whole.joined and not alone.joined:
        own = (
            alone.site.key == whole.site.key
            and relation(alone, replace(whole, template=False), facts).what == PREFIX
        )
        counted = length.what == "width" and alone.padded is not Tri.YES
        return (
            Verdict(off=offset, joined=True, behind=row.added[1], story=tuple(here))
            if own and counted
            else Verdict()
        )
    if alone.joined:
        return Verdict()
    here = [
        (alone.made or alone.site, "the prompt is tokenized alone here"),
        *here,
        (whole.made or whole.site, "the whole is tokenized here"),
    ]
    padded = _padded(length, alone, here)
    if padded is not None:
        return Verdict(padded)
    return _compare(alone, whole, offset, measured.added[1] > 0, facts, here, shift)


def _not_tokens(length: Length, whole: Encoding, here: Chain) -> Reason | None:
    """Judge a number of characters or words."""
    if length.what == "words":
        sure = Confidence.LIKELY
    elif isinstance(length.of, Str | Const):
        sure = Confidence.CERTAIN
    else:
        # A name that tells nothing is a text where it was tokenized as one.
        mine = length.of
        parts = [part for text in texts(whole) for part in flat(text)]
        named = isinstance(mine, Unknown) and bool(mine.hint)
        if not named or not any(isinstance(part, Hole) and part.value == mine for part in parts):
            return None
        sure = Confidence.LIKELY
    unit = "words" if length.what == "words" else "characters"
    return Reason(
        f"the prompt's length is counted in {unit}, and the row is split there in tokens",
        "a token is mostly several characters: the boundary lies far behind the prompt's end"
        if unit == "characters"
        else "a word is mostly several tokens: the boundary lies before the prompt's end",
        sure,
        [*here, (whole.site, "the whole is tokenized here")],
    )


def _padded(length: Length, alone: Encoding, here: Chain) -> Reason | None:
    """Judge the width of ids that were padded."""
    if length.what != "width" or alone.padded is not Tri.YES:
        return None
    return Reason(
        "the prompt's length is the width that it was padded to",
        "the count includes the padding: the boundary lies within the answer, or behind it",
        Confidence.LIKELY if alone.by_hand else Confidence.CERTAIN,
        here,
    )


def _compare(  # noqa: PLR0917
    alone: Encoding, whole: Encoding, offset: int, appended: bool, facts: Facts, here: Chain, shift: int
) -> Verdict:
    """Compare the text that was tokenized alone with that of the whole."""
    told = relation(alone, whole, facts)
    sure = Confidence.LIKELY if overridable(alone.tokenizer) else Confidence.CERTAIN
    if told.what == "later":
        return Verdict(
            Reason(
                "the prompt's length is that of a part of it: the whole begins with something else",
                "the boundary lies before the end of the prompt, by what stands in front of that part",
                weakest(sure, told.sure),
                here,
            )
        )
    if told.what == "other":
        return Verdict(
            Reason(
                "the prompt that is tokenized alone is not what the whole begins with",
                "the boundary lies elsewhere than the prompt's end",
                weakest(sure, told.sure),
                here,
            )
        )
    if told.what == LACKS_HEADER:
        known = ignores_header(alone) is False
        return Verdict(
            Reason(
                "the prompt is rendered without the header of the answer, which the whole has",
                "the header's tokens count as part of the answer",
                sure if known else Confidence.LIKELY,
                here,
            )
            if 0 <= offset <= shift
            else None
        )
    if told.what == EXTRA_HEADER:
        return Verdict(
            Reason(
                "the prompt is rendered with the header of the answer, which the whole lacks",
                "the boundary lies as many tokens too far as the header has: the first ones of the answer are lost",
                Confidence.LIKELY,
                here,
            )
            if 0 <= offset <= shift
            else None
        )
    if told.what not in {PREFIX, "eos", "bos"}:
        return Verdict()
    if _has_media(whole) and absent(alone.media) and abs(offset) <= _CORRECTION:
        maybe = any(absent(one) or _optional(one) for one in alternatives(whole.media))
        return Verdict(
            Reason(
                "the prompt's length lacks the image tokens that the whole is expanded to",
                "the boundary lies before the end of the prompt, by the number of image tokens",
                Confidence.POSSIBLE if maybe else Confidence.LIKELY,
                here,
            )
        )
    return _special(
        alone,
        whole,
        offset + (told.what == "eos"),
        appended or told.what == "eos",
        told,
        facts,
        here,
    )


def _special(  # noqa: PLR0917
    alone: Encoding,
    whole: Encoding,
    offset: int,
    gains: bool,
    told: Relation,
    facts: Facts,
    here: Chain,
) -> Verdict:
    """Judge the special tokens that either call adds."""
    mine, theirs = adds_special(alone), adds_special(whole)
    if mine is None or theirs is None:
        return Verdict()
    if mine and sets(alone.tokenizer, "add_eos_token", "adds_eos", facts):
        offset, gains = offset + 1, True
    bos = sets(alone.tokenizer, "add_bos_token", "adds_bos", facts)
    more = -1 if told.what == "bos" else 0  # BOS tokens of the prompt alone that the whole lacks
    if mine != theirs:
        if bos is None and more:
            return Verdict()
        if bos is None:
            sentence = "the prompt and the whole are tokenized with different `add_special_tokens`"
            effect = "where the tokenizer adds a BOS token, the boundary is off by one"
            return Verdict(Reason(sentence, effect, Confidence.POSSIBLE, here))
        more += int(bos) * (1 if mine else -1)
    offset += more
    if offset == 0 or (offset < 0 and not more):
        return Verdict(off=offset, may_merge=told.may_merge, story=tuple(here))
    if gains and offset > 0:
        return Verdict(
            Reason(
                "the prompt that is tokenized alone gains an EOS token, which the whole has only at its end",
                "its length is one too many: the first token of the answer counts as prompt",
                weakest(told.sure, Confidence.CERTAIN),
                here,
            )
        )
    if more:
        extra = "gains" if more > 0 else "lacks"
        side = (
            "first token of the answer counts as prompt"
            if more > 0
            else "last token of the prompt counts as answer"
        )
        return Verdict(
            Reason(
                f"the prompt that is tokenized alone {extra} the BOS token, unlike the whole",
                f"its length is off by one: the {side}",
                Confidence.LIKELY if overridable(alone.tokenizer) else Confidence.CERTAIN,
                here,
            )
        )
    return Verdict(off=offset, may_merge=told.may_merge, story=tuple(here))


def adds_special(encoding: Encoding) -> bool | None:
    """Whether a call adds special tokens to its text; None where that is not known."""
    if encoding.template:
        return False
    given = encoding.special_tokens
    if absent(given):
        return True
    value = literal(given)
    return value if isinstance(value, bool) else None


def sets(tokenizer: Value, option: str, fact: str, facts: Facts) -> bool | None:
    """Whether a tokenizer adds a token: by an option that was set on it, or by its checkpoint's habits."""
    for one in tokenizers(tokenizer):
        record = facts.objects.get(one.id)
        chosen = record.attrs.get(option) if isinstance(record, ObjRec) else None
        value = literal(chosen)
        if isinstance(value, bool):
            return value
        if chosen is not None:
            return None
    told = {getattr(known, fact) if known is not None else None for known in checkpoints(tokenizer)}
    return told.pop() if len(told) == 1 else None


def _has_media(encoding: Encoding) -> bool:
    """Whether a call is given images beside its text."""
    return not absent(encoding.media) and getattr(encoding.media, "hint", "") != "**"


def _optional(value: Value) -> bool:
    """Whether a value is a parameter that may be left out."""
    node = value.origin.node if value.origin is not None else None
    default = node.default if isinstance(node, cst.Param) else None
    return isinstance(default, cst.Name) and default.value == "None"


@immutable
class Relation:
    """How a text stands to a longer one, in all their alternatives."""

    what: str  # "prefix", "eos", "later", "other", "lacks", "extra", "bos", ""
    sure: Confidence = Confidence.CERTAIN
    may_merge: bool = False


def relation(alone: Encoding, whole: Encoding, facts: Facts) -> Relation:
    """Compare what two calls tokenized: each text of the whole with the one that suits it best."""
    if alone.text == whole.text and alone.template == whole.template and not alone.template:
        return Relation("")
    mine, theirs = _rows(alone), _rows(whole)
    if not mine or not theirs:
        return Relation("")
    best = [max((_one(a, b, facts) for a in mine), key=_RANK.index) for b in theirs]
    found = set(best)
    if len(found) == 1:
        what = best[0]
        if what.startswith(PREFIX):
            return Relation(PREFIX, may_merge=what != PREFIX)
        return Relation(what)
    prefixes = {one for one in found if one.startswith(PREFIX)}
    if prefixes == found:
        return Relation(PREFIX, may_merge=True)
    if found - prefixes == {"later"} and len(mine) == 1:
        # What stands in front may be empty: a few-shot prompt before its first example.
        return Relation("later", Confidence.LIKELY)
    return Relation("")


# From what explains a text best to what says most surely that it is another.
_RANK = ["other", "later", LACKS_HEADER, EXTRA_HEADER, "eos", "bos", "", "prefix, may merge", PREFIX]


def _rows(encoding: Encoding) -> list[Parts]:
    if encoding.template:
        found = [part for row in texts(encoding) for part in row if isinstance(part, Hole)]
        return [(Rendered(part.value, "template", encoding),) for part in found[:1]]
    rows = [tuple(flat(parts)) for parts in texts(encoding)]
    return [row for row in dict.fromkeys(rows) if row]


def _one(alone: Parts, whole: Parts, facts: Facts) -> str:
    """Compare one text with one longer text."""
    first, other = alone[0], whole[0]
    if isinstance(first, Rendered) and isinstance(other, Rendered):
        if any(_telling(part) for part in alone[1:]):
            return _texts(alone, whole)
        return rendered_fit(first, other, any(_telling(part) for part in whole[1:]), facts) or ""
    return _texts(alone, whole)


def _texts(alone: Parts, whole: Parts) -> str:
    """Compare two texts, and where the whole begins with a BOS token of its own, what follows that."""
    found = _plain(fit(alone, whole))
    if found.startswith(PREFIX) or not _is_bos(whole[0]) or _is_bos(alone[0]):
        return found
    rest = whole[1:]
    if isinstance(whole[0], str):
        rest = (_BOS.sub("", whole[0], count=1), *rest)
    return "bos" if _plain(fit(alone, rest)).startswith(PREFIX) else found


def _plain(found: Fit) -> str:
    rest = [part for part in found.rest if _telling(part)]
    if len(rest) == 1 and _is_eos(rest[0]) and not any(_is_eos(part) for part in found.longer_rest[:1]):
        return "eos"
    if found.front is Front.PREFIX:
        following = found.longer_rest[:1]
        safe = not following or (isinstance(following[0], str) and following[0][:1].isspace())
        return PREFIX if safe else "prefix, may merge"
    if found.front is Front.LATER:
        return "later"
    return "other" if found.front is Front.OTHER else ""


def _telling(part: str | Hole) -> bool:
    return not isinstance(part, str) or bool(part.strip())


def _is_bos(part: str | Hole) -> bool:
    if isinstance(part, str):
        return _BOS.match(part) is not None
    return any(getattr(one, "hint", "") == "bos_token" for one in alternatives(part.value))


def _is_eos(part: str | Hole) -> bool:
    if isinstance(part, str):
        return is_eos_text(part)
    return any(_EOS_NAME.match(getattr(one, "hint", "")) for one in alternatives(part.value))


def strongest(verdicts: Iterable[Reason]) -> Reason | None:
    """Return the surest of several reasons."""
    return max(verdicts, key=lambda reason: reason.sure.rank, default=None)


__all__ = ["Reason", "Verdict", "encoder_decoder", "judge_count", "strongest"]
