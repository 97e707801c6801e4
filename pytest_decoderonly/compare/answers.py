"""Whether each answer is what `generate` put behind its prompt: where it was cut instead, and how that came."""

from __future__ import annotations

import abc
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pytest_decoderonly.compare.unlike import filled, letters_stripped, of_the_prompt, removed, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_decoderonly.compare.texts import Codec, Normal

Kind = Literal["early", "late", "end", "both", "mixed", "after-eos", "no-eos", "special", "extra", "other"]
_AROUND = 12  # tokens that are tried on both sides of a cut that was found by the length of a text
_MIN_INSIDE = 8  # characters of an answer that make it a piece of the prompt, and no coincidence
_MIN_MARKER, _MAX_MARKER = 3, 40
_VAGUE = ("tail", "late")  # causes that a column tells, of whatever length it is
_BY_CHARACTERS = (
    "the text was cut at a number of characters, and decoding gives the prompt back with other ones"
)
_LETTERS = (
    "str.lstrip takes off all letters that the prompt has, one by one: str.removeprefix takes off the prompt"
)
_BY_ROW = (
    "rows are cut at places of their own: a number of characters, or a length that is counted in another way"
)


@dataclass(frozen=True)
class Output:
    """One row that `generate` returned.

    Attributes:
        ids: The row, its prompt in front.
        width: Where the answer begins: the padded width of the prompts, 0 where the output holds no prompt.
        pads: Padding in front of the prompt.
        prompt: The prompt's row, padding included; empty where it is not known.
        length: The prompt's own tokens.
    """

    ids: tuple[int, ...]
    width: int
    pads: int = 0
    prompt: tuple[int, ...] = ()
    length: int = 0

    @property
    def answer(self) -> tuple[int, ...]:
        """What follows the prompt, with everything that ends it."""
        return self.ids[self.width :]


@dataclass(frozen=True)
class Misfit:
    """One answer that is not what its row holds behind the prompt.

    Attributes:
        answer: Which answer.
        row: Which row of the output it should be.
        kind: `early`: some of the prompt is left; `late`: the beginning is lost; `end`: the end is; `both`;
            `mixed`: it is another row's; `after-eos`, `no-eos`; `special`: special tokens that belong to it
            are; `extra`: something stands beside it that is not the prompt's; `other`: none of these.
        unit: What is counted.
        front: How many stand too much in front (positive) or are missing there (negative).
        back: How many are missing at the end.
        start: The token at which the answer begins in its row, where it begins at one.
        stop: The token behind its last, where that is known.
        shown: The text that is left or lost.
        mechanism: How it came, in words; empty where nothing tells.
        other: The row that the answer belongs to, where it is another's.
    """

    answer: int
    row: int
    kind: Kind
    unit: str = "tokens"
    front: int = 0
    back: int = 0
    start: int | None = None
    stop: int | None = None
    shown: str = ""
    mechanism: str = ""
    other: int | None = None


@dataclass(frozen=True)
class AnswerAudit:
    """All answers that do not fit, in order."""

    outputs: tuple[Output, ...]
    misfits: tuple[Misfit, ...]


def audit_answers(
    answers: Sequence[Sequence[int] | str],
    outputs: Sequence[Output],
    rows_of: Callable[[int], Sequence[int]],
    *,
    codec: Codec,
    ends: frozenset[int],
    ends_at_eos: bool = False,
    stops: Sequence[str] = (),
    fill: int | None = None,
) -> AnswerAudit:
    """Compare each answer with what its row holds behind the prompt.

    Ids must be the same but for padding and special tokens at their end; texts for special tokens, whitespace,
    case, Unicode forms, and characters of which only a part was generated.

    Args:
        answers: Ids or texts.
        outputs: What `generate` returned.
        rows_of: The rows that an answer may be: one, or all of its prompt's.
        codec: The tokenizer; answers that are texts need one.
        ends: Ids that end a row: EOS, padding, and the other special ones.
        ends_at_eos: Rows end at EOS alone: one that stopped early must hold it, and nothing counts behind it.
        stops: Texts at which an answer may end, with or without them.
        fill: The id that fills rows up behind their end.
    """
    judge_class = _Texts if any(isinstance(answer, str) for answer in answers) else _Ids
    judge = judge_class(outputs, codec, ends, stops, fill)
    misfits: list[Misfit] = []
    for i, answer in enumerate(answers):
        found = [judge.judge(i, answer, row) for row in rows_of(i)]
        if all(misfit is not None for misfit in found) and found[0] is not None:
            misfits.append(judge.mixed(i, answer, found[0], rows_of(i)) or found[0])
    if ends_at_eos:
        misfits += _ended(answers, outputs, rows_of, codec, {m.answer for m in misfits})
    explained = _explained(misfits, outputs, codec, answers)
    return AnswerAudit(tuple(outputs), tuple(sorted(explained, key=lambda m: m.answer)))


def _eos(codec: Codec) -> frozenset[int]:
    eos = getattr(codec.tokenizer, "eos_token_id", None)
    return frozenset() if eos is None else frozenset({eos})


def _without_end(ids: Sequence[int], ends: frozenset[int]) -> tuple[int, ...]:
    size = len(ids)
    while size and ids[size - 1] in ends:
        size -= 1
    return tuple(ids[:size])


def unfilled(output: Output, fill: int, special: frozenset[int]) -> tuple[int, ...]:
    """Return a row without the run of `fill` behind a special token that ended it."""
    size = len(output.ids)
    while size > output.width and output.ids[size - 1] == fill:
        size -= 1
    return output.ids[:size] if size > output.width and output.ids[size - 1] in special else output.ids


def _to_first(output: Output, stops: frozenset[int]) -> tuple[int, ...]:
    """Return the answer up to its first EOS. An output without a prompt may begin with one: the start token."""
    begin = int(output.width == 0)
    ids = output.answer
    return ids[: next((i for i in range(begin, len(ids)) if ids[i] in stops), len(ids))]


class _Judge(abc.ABC):
    def __init__(
        self,
        outputs: Sequence[Output],
        codec: Codec,
        ends: frozenset[int],
        stops: Sequence[str] = (),
        fill: int | None = None,
    ) -> None:
        self.outputs = outputs
        self.codec = codec
        self.ends = ends
        # Where an answer may stop: without a tokenizer, at any id that ends a row.
        self.stops = _eos(codec) or ends
        self.stop_texts = tuple(stops)
        self.fill = fill

    def stopped(self, row: int) -> set[str]:
        """Return the texts, normalised, that an answer may have because it ends at a stop."""
        if not self.stop_texts:
            return set()
        found = set()
        for skip in (True, False):
            text = self.codec.decode(self.outputs[row].answer, skip=skip)
            places = [(text.find(stop), len(stop)) for stop in self.stop_texts if stop in text]
            first = min(places)[0] if places else 0
            ends = [end for at, size in places if at == first for end in (at, at + size)]
            found |= {self.codec.normal(text[:end]).text for end in ends}
        return found

    @abc.abstractmethod
    def judge(self, number: int, answer: Sequence[int] | str, row: int) -> Misfit | None:
        """Say what is wrong with an answer as the row's; None where nothing is."""

    def mixed(
        self, number: int, answer: Sequence[int] | str, found: Misfit, own: Sequence[int]
    ) -> Misfit | None:
        """Say whose answer it is, where it is exactly another row's."""
        if not len(answer):
            return None
        for row in range(len(self.outputs)):
            if row not in own and self.judge(number, answer, row) is None:
                return Misfit(number, found.row, "mixed", other=row)
        return None


class _Ids(_Judge):
    def judge(self, number: int, answer: Sequence[int] | str, row: int) -> Misfit | None:
        output = self.outputs[row]
        given = tuple(answer) if not isinstance(answer, str) else ()
        mine, whole = _without_end(given, self.ends), _without_end(output.ids, self.ends)
        right = whole[output.width :]
        if mine == right or mine == _without_end(_to_first(output, self.stops), self.ends):
            return None
        stopped = self.stopped(row)
        if stopped and self.codec.normal(self.codec.decode(mine, skip=False)).text in stopped:
            return None
        padding = next((i for i, token in enumerate(mine) if token != mine[0]), 0)
        if mine[padding:] == right and padding and mine[0] in self.ends:
            return None  # answers that were padded on the left again
        start = len(whole) - len(mine)
        if mine and start >= 0 and whole[start:] == mine:
            return self._at(number, row, start, start + len(mine), 0)
        if right[: len(mine)] == mine:
            found = self._at(number, row, output.width, output.width + len(mine), len(right) - len(mine))
            uncarried = not mine and output.width == 0 and len(output.prompt) >= len(output.ids)
            return replace(found, mechanism=_uncarried(len(output.prompt))) if uncarried else found
        places = [p for p in range(len(whole) - len(mine) + 1) if whole[p : p + len(mine)] == mine]
        if places:
            start = min(places, key=lambda p: abs(p - output.width))
            stop = start + len(mine)
            return self._at(number, row, start, stop, max(0, len(whole) - max(stop, output.width)))
        own = output.answer if given[: len(output.answer)] == output.answer else right
        filling = filled(given, own)
        if filling:
            rest = len(given) - len(own)
            return Misfit(number, row, "extra", back=rest, stop=len(output.ids), mechanism=filling)
        same = next((j for j, (a, b) in enumerate(zip(mine, right, strict=False)) if a != b), len(right))
        return Misfit(number, row, "other", start=output.width, stop=output.width + same, front=0, back=same)

    def _at(self, number: int, row: int, start: int, stop: int, back: int) -> Misfit:
        output = self.outputs[row]
        front = output.width - start
        kind: Kind = "early" if front > 0 else "late" if front < 0 else "end"
        if back and front:
            kind = "both"
        return Misfit(number, row, kind, "tokens", front, back, start, stop)


class _Texts(_Judge):
    def judge(self, number: int, answer: Sequence[int] | str, row: int) -> Misfit | None:
        output = self.outputs[row]
        text = answer if isinstance(answer, str) else ""
        rights = [
            self.codec.decode(ids, skip=skip)
            for ids in dict.fromkeys((output.answer, _to_first(output, self.stops)))
            for skip in (True, False)
        ]
        if text.strip() in {right.strip() for right in rights}:
            return None
        mine = self.codec.normal(text)
        normals = [self.codec.normal(right) for right in rights]
        if any(mine.text == right.text for right in normals) or mine.text in self.stopped(row):
            return None
        special = self._without_special(number, row, mine, normals)
        if special is not None:
            return special
        return (
            self._token_cut(number, row, text, mine)
            or self._shortened(number, row, mine, normals[0], rights[0])
            or self._text_cut(number, row, text, mine)
            or self._unlike(number, row, text, rights[0])
        )

    def _without_special(
        self, number: int, row: int, mine: Normal, rights: Sequence[Normal]
    ) -> Misfit | None:
        """Notice that all is there but the special tokens that belong to the answer."""
        signs = self.codec.kept_signs
        plain = str.maketrans(dict.fromkeys(signs, ""))
        if mine.text.translate(plain) not in {right.text.translate(plain) for right in rights}:
            return None
        lost = {
            token: max(right.text.count(sign) for right in rights) - mine.text.count(sign)
            for token, sign in zip(self.codec.kept, signs, strict=True)
        }
        missing = [token for token, count in lost.items() if count > 0]
        if not missing:
            return None
        return Misfit(number, row, "special", "characters", back=len(missing), shown=" ".join(missing))

    def _token_cut(self, number: int, row: int, text: str, mine: Normal) -> Misfit | None:
        """Find the token from which on the row's text is the answer's; the likeliest one of several."""
        output = self.outputs[row]
        if not mine.text:
            return None
        # Decoding leaves padding out, so that any cut inside it gives the same text as one behind it.
        first = (output.pads, output.length, *([len(output.prompt)] if output.width == 0 else ()))
        for start in (*first, *self._near(output.ids, len(mine.text))):
            if start == output.width or not 0 <= start < len(output.ids):
                continue
            if self._text_from(output.ids, start) == mine.text:
                stop = len(_without_end(output.ids, self.ends))
                begins = start - min(start, self._padding(text)) if start == output.pads else start
                front = output.width - begins
                kind: Kind = "early" if front > 0 else "late"
                found = Misfit(number, row, kind, "tokens", front, 0, begins, max(begins, stop))
                if front > 0:
                    return found
                prompt, lost = output.ids[: output.width], output.ids[output.width : begins]
                return replace(found, mechanism=_split_at(self.codec.decode(lost), self.codec.decode(prompt)))
        return None

    def _padding(self, text: str) -> int:
        """How many padding tokens a text begins with, where it was decoded with them."""
        pad = getattr(self.codec.tokenizer, "pad_token", None)
        return (len(text) - len(re.sub(rf"^(?:\s*{re.escape(pad)})+", "", text))) // len(pad) if pad else 0

    def _text_from(self, ids: Sequence[int], start: int) -> str:
        return self.codec.normal(self.codec.decode(ids[start:])).text

    def _near(self, ids: Sequence[int], size: int) -> range:
        """Positions from which on the text has about `size` characters: it gets shorter from token to token."""
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high) // 2
            if len(self._text_from(ids, middle)) > size:
                low = middle + 1
            else:
                high = middle
        return range(max(0, low - _AROUND), min(len(ids), low + _AROUND))

    def _shortened(self, number: int, row: int, mine: Normal, right: Normal, text: str) -> Misfit | None:
        if not right.text.startswith(mine.text):
            return None
        _, end = right.origin(0, len(mine.text)) if mine.text else (0, 0)
        lost = text[end:]
        output = self.outputs[row]
        if not mine.text and output.width == 0 and len(output.prompt) >= len(output.ids):
            mechanism = _uncarried(len(output.prompt))
        elif not mine.text:
            mechanism = "nothing is left of it"
        else:
            mechanism = _split_at(lost, self.codec.decode(output.ids[: output.width]), at_start=True)
        return Misfit(number, row, "end", "characters", 0, len(lost), None, None, lost, mechanism)

    def _text_cut(self, number: int, row: int, text: str, mine: Normal) -> Misfit | None:
        """Find the answer in the text of the whole row, at a place between tokens or with its end lost."""
        output = self.outputs[row]
        if not mine.text:
            return None
        right = self.codec.decode(output.answer)
        answer = self.codec.normal(right)
        prompt = self.codec.decode(output.ids[: output.width])
        before = self.codec.normal(prompt)
        whole = before.text + answer.text
        at = whole.rfind(mine.text)
        edge = len(before.text)
        starts = []
        while at >= 0:
            if at + len(mine.text) > edge or len(mine.text) >= _MIN_INSIDE:
                starts.append(at)
            at = whole.rfind(mine.text, 0, at + len(mine.text) - 1)
        if not starts:
            return self._in_front(number, row, text, mine, answer)
        # An answer that ends where the row does explains itself; else the occurrence nearest to the right place.
        at = next(
            (s for s in starts if s + len(mine.text) == len(whole)), min(starts, key=lambda s: abs(s - edge))
        )
        stop = at + len(mine.text)
        lost_end = right[answer.origin(0, stop - edge)[1] :] if stop > edge else right
        back = len(lost_end) if stop < len(whole) else 0
        if at < edge:
            shown = prompt[before.origin(at, at)[0] :]
            kind: Kind = "both" if back else "early"
            return Misfit(number, row, kind, "characters", len(shown), back, None, None, shown)
        shown = right[: answer.origin(at - edge, at - edge)[0]]
        mechanism = _split_at(shown, prompt)
        if back:
            mechanism = mechanism or _split_at(lost_end, prompt, at_start=True)
            return Misfit(number, row, "both", "characters", -len(shown), back, None, None, shown, mechanism)
        return Misfit(number, row, "late", "characters", -len(shown), 0, None, None, shown, mechanism)

    def _in_front(self, number: int, row: int, text: str, mine: Normal, answer: Normal) -> Misfit | None:
        """Something that is not the row's own text stands before the answer, or behind it."""
        if not answer.text:
            return None
        size = len(mine.text) - len(answer.text)
        mechanism = repeated(mine.text, answer.text)
        if mine.text.endswith(answer.text):
            shown = text[: mine.origin(size, len(mine.text))[0]]
            prompt = self.codec.decode(self.outputs[row].ids[: self.outputs[row].width])
            if not mechanism and of_the_prompt(shown, prompt):
                return Misfit(number, row, "early", "characters", len(shown), 0, None, None, shown)
            return Misfit(number, row, "extra", "characters", len(shown), shown=shown, mechanism=mechanism)
        if mine.text.startswith(answer.text):
            shown = text[mine.origin(len(answer.text), len(mine.text))[0] :]
            sign = self.codec.decode([self.fill], skip=False).strip() if self.fill is not None else ""
            if sign and not shown.replace(sign, "").strip():
                mechanism = f"rows that have ended are filled with id {self.fill}, which is the ordinary token {sign!r}"
            return Misfit(
                number, row, "extra", "characters", back=len(shown), shown=shown, mechanism=mechanism
            )
        return None

    def _unlike(self, number: int, row: int, text: str, right: str) -> Misfit:
        mine, answer = self.codec.normal(text), self.codec.normal(right)
        same = next(
            (i for i, (a, b) in enumerate(zip(mine.text, answer.text, strict=False)) if a != b),
            min(len(mine.text), len(answer.text)),
        )
        begins = answer.origin(same, same)[0]
        prompt = self.codec.normal(self.codec.decode(self.outputs[row].ids[: self.outputs[row].width]))
        mechanism = removed(mine.text, answer.text, prompt.text)
        return Misfit(number, row, "other", "characters", 0, begins, mechanism=mechanism)


def _split_at(lost: str, prompt: str, *, at_start: bool = False) -> str:
    """Name the text at which an answer was split: where it was cut, and in the prompt as well."""
    where = "begins" if at_start else "ends"
    if at_start and lost.startswith("\n"):
        return "the lost part begins with a line break: only the first line was kept"
    text = lost.strip()
    for size in range(min(len(text), _MAX_MARKER), _MIN_MARKER - 1, -1):
        piece = text[:size] if at_start else text[-size:]
        # A word that prompt and answer share says nothing; markers are longer, or have signs in them.
        if piece in prompt and (not piece.isalnum() or size >= 2 * _MIN_MARKER) and piece.strip() == piece:
            return f"the lost part {where} with {piece!r}, which stands in the prompt too: the text was split at it"
    return ""


def _uncarried(size: int) -> str:
    return f"the output holds no prompt, and was cut at the prompt's width {size} all the same"


def _ended(
    answers: Sequence[Sequence[int] | str],
    outputs: Sequence[Output],
    rows_of: Callable[[int], Sequence[int]],
    codec: Codec,
    known: set[int],
) -> list[Misfit]:
    """Rows that stopped early without EOS, and answers that go on behind it."""
    eos = _eos(codec)
    pad = getattr(codec.tokenizer, "pad_token_id", None)
    found: list[Misfit] = []
    for i, answer in enumerate(answers):
        row = rows_of(i)[0]
        output = outputs[row]
        if i in known or not eos:
            continue
        first = next((j for j, token in enumerate(output.answer) if token in eos), None)
        if first is None:
            body = _without_end(output.answer, frozenset({pad}) if pad is not None else frozenset())
            if len(body) < len(output.answer):
                start = output.width + len(body)
                found.append(Misfit(i, row, "no-eos", start=start, stop=start))
            continue
        rest = [t for t in output.answer[first + 1 :] if t not in codec.special_ids]
        if not rest:
            continue
        if isinstance(answer, str):
            kept = codec.normal(answer).text != codec.normal(codec.decode(output.answer[:first])).text
        else:
            kept = len(_without_end(answer, codec.special_ids)) > first + 1
        if kept:
            at = output.width + first + 1
            found.append(Misfit(i, row, "after-eos", back=len(rest), start=at, stop=len(output.ids)))
    return found


def _explained(
    misfits: list[Misfit], outputs: Sequence[Output], codec: Codec, answers: Sequence[Sequence[int] | str]
) -> list[Misfit]:
    """Name the rule of cutting that all rows with a wrong cut obey; else each row's own, where it has one."""
    cuts = [m for m in misfits if m.start is not None and m.front and not m.mechanism]
    # A text does not tell where inside the padding it was cut: the other rows may.
    told = {m.start for m in cuts if m.start is not None and m.start > outputs[m.row].pads}
    column = told.pop() if len(told) == 1 else None
    seen = [
        replace(m, start=column) if column is not None and column <= outputs[m.row].pads else m for m in cuts
    ]
    causes = [_causes(m, outputs, codec) for m in seen]
    shared = [name for name in causes[0] if all(name in cause for cause in causes)] if causes else []
    alike = len({m.start for m in seen}) == 1 and len(cuts) == len(answers)
    found = {}
    for misfit, cause in zip(cuts, causes, strict=True):
        name = shared[0] if shared else next(iter(cause), "")
        mechanism, unit = cause.get(name, ""), misfit.unit
        if name in _VAGUE and not alike and isinstance(answers[misfit.answer], str):
            # A column would cut all rows alike; what counts characters is right where decoding changes none.
            mechanism = _BY_CHARACTERS if len(misfits) < len(answers) else _BY_ROW
            if (
                len(misfits) < len(answers)
                and (misfit.start or 0) >= outputs[misfit.row].pads
                and not misfit.back
            ):
                unit = "characters"
        found[misfit.answer] = (mechanism, unit)
    letters = _by_letters(answers, outputs, codec)
    named = []
    for misfit in misfits:
        mechanism, unit = found.get(misfit.answer, (misfit.mechanism, misfit.unit))
        front = misfit.front
        if letters and misfit.kind == "late":
            mechanism, unit = _LETTERS, "characters"
        if unit != misfit.unit:
            low, high = sorted((misfit.start or 0, outputs[misfit.row].width))
            size = len(codec.decode(outputs[misfit.row].ids[low:high]))
            front = size if front > 0 else -size
        named.append(replace(misfit, mechanism=mechanism, unit=unit, front=front))
    return named


def _by_letters(answers: Sequence[Sequence[int] | str], outputs: Sequence[Output], codec: Codec) -> bool:
    """Whether all answers are what is left of their rows by `str.lstrip`."""
    texts = [answer for answer in answers if isinstance(answer, str)]
    if not texts or len(texts) != len(outputs):
        return False
    rows = [(codec.decode(out.ids[: out.width]), codec.decode(out.answer)) for out in outputs]
    return letters_stripped(texts, rows)


def _causes(misfit: Misfit, outputs: Sequence[Output], codec: Codec) -> dict[str, str]:
    """Return the ways in which a cut at this place comes about, the likeliest first."""
    output, start = outputs[misfit.row], misfit.start
    causes: dict[str, str] = {}
    width = output.width
    if start is None:
        return causes
    if width == 0:
        size = len(output.prompt)
        if size and start == size:
            causes["no prompt"] = _uncarried(size)
        return causes
    whole = start <= output.pads
    if start in (0, output.pads):
        causes["uncut"] = "nothing was cut off"
    if start == output.length or (whole and output.length <= output.pads):
        causes["own length"] = (
            f"cut at the row's own length {output.length} without its padding, in rows padded to {width}"
        )
    if start == 2 * width:
        causes["twice"] = f"cut twice: at {width}, and at {width} again"
    if codec.tokenizer is not None and start in _characters(output, codec):
        causes["characters"] = (
            f"cut at {start}: the prompt's length in characters, used as a number of tokens"
        )
    for row, other in enumerate(outputs):
        if other.length == start:
            causes[f"length {row}"] = (
                f"cut at {start}, the length of the prompt of row {row} without its padding"
            )
    if abs(misfit.front) == 1:
        causes["one"] = "cut one token too " + ("early" if misfit.front > 0 else "late")
    if misfit.front > 0:
        causes["tail"] = (
            f"cut at {start}: the last {len(output.ids) - start} tokens of the row, or another batch's width"
        )
    else:
        causes["late"] = f"cut at {start}: a length counted before truncation or with other special tokens"
    return causes


def _characters(output: Output, codec: Codec) -> set[int]:
    prompt = output.ids[output.pads : output.width]
    return {len(codec.decode(prompt)), len(codec.decode(prompt, skip=False))}
