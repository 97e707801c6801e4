"""From what a score reads to what is wrong with it: the mechanism, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.padding import WHOLE_ROW, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_decoderonly.compare.reading import Call

_READ_AT_END = (
    "read at the last real token: the last column with left padding, attention_mask.sum(-1) - 1 with right"
)


@dataclass
class Reads:
    """A row as the model got it, and which of its states the score follows.

    Positions in `alone` and `batched` count from the row's first own token; what is below 0 or from `length` on
    is not the row's. `ids` is the pass alone, own tokens from column `start`. Before the user's first token stand
    `offset` own ones (BOS), behind the last `tail` (EOS); `cut` are left out of the input, `lost` are truncated.
    `batch` says where the row stands in the batch: call, row, column of the first own token. `others` are the rows
    whose states move this row's score; `owner` is the row whose score follows this row's states. A score `selects` that
    rests on some of the tokens, by how likely they are (the least likely one).
    """

    row: int
    ids: tuple[int, ...]
    mask: tuple[int, ...] | None
    start: int
    length: int
    offset: int | None
    cut: int = 0
    prompt: int | None = None
    batch: tuple[int, int, int] | None = None
    alone: set[int] = field(default_factory=set)
    batched: set[int] = field(default_factory=set)
    probed: set[int] = field(default_factory=set)
    copies: int = 1
    tail: int = 0
    predicts: bool = False
    spanning: bool = False
    rests: bool = True
    owner: int | None = None
    others: tuple[int, ...] = ()
    lost: int = 0
    selects: bool = False
    behind_is_padding: bool = False

    @classmethod
    def of(cls, row: int, call: Call, given: Sequence[int] | None, pad_id: int | None) -> Reads:
        """Tell the own tokens of a row that was scored alone: what the mask shows, or all but padding."""
        ids, mask = call.ids[0], call.mask[0] if call.mask is not None else None
        first, end = 0, len(ids)
        if mask is not None and any(mask):
            first, end = mask.index(1), len(mask) - mask[::-1].index(1)
        at, cut, tail = None, 0, 0
        if given is not None:
            # Scorers may leave the last token out of the input: nothing is predicted from it.
            for cut in (0, 1):
                at = _find(ids, given[: len(given) - cut])
                if at is not None:
                    break
        lost = 0
        if at is None and given is not None:
            # A limit on the length may have taken the end.
            lost = next(
                (n for n in range(2, len(given) - 1) if _find(ids, given[: len(given) - n]) is not None), 0
            )
        if at is not None and given is not None:
            seen = end if mask is not None and any(mask) else 0  # an EOS that the scorer puts behind
            first, end = min(first, at), max(seen, at + len(given) - cut)
            tail = end - (at + len(given) - cut)
        elif mask is None and pad_id is not None:
            while end - first > 1 and ids[end - 1] == pad_id:
                end -= 1
            while end - first > 1 and ids[first] == pad_id:
                first += 1
        masked = mask is not None and end < len(ids) and not mask[end]
        return cls(
            row,
            ids,
            mask,
            first,
            end - first,
            None if at is None else at - first,
            cut,
            copies=len(call.ids),
            tail=tail,
            lost=lost,
            behind_is_padding=masked or (end < len(ids) and ids[end] == pad_id),
        )

    @property
    def own(self) -> tuple[int, ...]:
        """The row's own tokens, BOS included."""
        return self.ids[self.start : self.start + self.length]

    def here(self, column: int) -> frozenset[tuple[int, int, int]]:
        """A column of the pass alone, in each copy of the row."""
        return frozenset((0, at, column) for at in range(self.copies))

    @property
    def doubled(self) -> int | None:
        """The id that stands right before the user's first token and is that token, too."""
        if not self.offset or self.own[self.offset - 1] != self.own[self.offset]:
            return None
        return self.own[self.offset]

    def find(self, calls: Sequence[Call], taken: set[tuple[int, int]]) -> bool:
        """Find the row in the batch; of several places, the one that the mask agrees with."""
        best: tuple[int, int, int] | None = None
        for number, call in enumerate(calls):
            for at, ids in enumerate(call.ids):
                if (number, at) in taken:
                    continue
                for start in range(len(ids) - self.length, -1, -1):
                    if ids[start : start + self.length] != self.own:
                        continue
                    here = (number, at, start)
                    if call.mask is None or all(call.mask[at][start : start + self.length]):
                        others = [*ids[:start], *ids[start + self.length :]]
                        # Padding is one id: a longer row that holds this one is another row.
                        if len(set(others)) <= 1 + (self.start > 0):
                            taken.add((number, at))
                            self.batch = here
                            return True
                    best = best or here
        if best is None:
            return False
        taken.add(best[:2])
        self.batch = best
        return True

    def probes(self, limit: int) -> list[int]:
        """Which own positions are looked at: all, or the ends, the border and some between."""
        if self.length <= limit:
            chosen = list(range(self.length))
        else:
            border = (self.offset or 0) + (self.prompt or 0)
            step = max(1, self.length // 8)
            wanted = {*range(6), *range(self.length - 8, self.length), *range(border - 4, border + 4)}
            wanted |= set(range(0, self.length, step))
            chosen = sorted(place for place in wanted if 0 <= place < self.length)
        self.probed = set(chosen)
        return chosen

    def drawn_alone(self) -> tuple[tuple[int, ...], str]:
        """The ids of the pass alone, and a sign for each."""
        return self.ids, self._signs(len(self.ids), self.start, self.alone, self.alone)

    def drawn(self, calls: Sequence[Call]) -> tuple[tuple[int, ...], str]:
        """The ids of the row in the batch, and a sign for each."""
        assert self.batch is not None  # noqa: S101 - asked for rows of the batch only
        call, at, start = self.batch
        ids = calls[call].ids[at]
        return ids, self._signs(len(ids), start, self.batched, self.alone)

    def _signs(self, width: int, start: int, read: set[int], right: set[int]) -> str:
        expected = self.expected()
        right = right if expected is None else expected
        signs = []
        for column in range(width):
            place = column - start
            own = 0 <= place < self.length
            if place in read:
                behind = place == self.length - 1 and self.predicts and self.behind_is_padding
                signs.append("R" if place in right and own and not behind else "!")
            elif own and place in right:
                signs.append("?")
            elif not own:
                signs.append("_")
            else:
                prompt = self.prompt is not None and place < (self.offset or 0) + self.prompt
                signs.append("p" if prompt else ".")
        return "".join(signs)

    def expected(self) -> set[int] | None:
        """The positions that predict the continuation, None where the prompt's end is not known."""
        if self.prompt is None or self.offset is None:
            return None
        begin = self.offset + self.prompt
        if self.spanning:
            begin -= 1  # the token that merges prompt and continuation
        return {place for place in range(begin - 1, self.length - self.tail - 1 + self.cut) if place >= 0}

    @property
    def pooled(self) -> bool:
        """Whether the score is read at one position, as rewards and classes are."""
        return len(self.alone) == 1


def first_tokens(rows: Iterable[Reads]) -> bool:
    """Whether of each continuation the first token is scored, and nothing else."""
    found = [reads for reads in rows if reads.expected()]
    longest = max((len(reads.expected() or ()) for reads in found), default=0)
    return longest > 2 and all(reads.alone == {min(reads.expected() or {-1})} for reads in found)


def first_token_fault(reads: Reads) -> Problem | None:
    """Say that the rest of a continuation is not scored; nothing of one that has no rest."""
    wanted = sorted(reads.expected() or ())
    if len(wanted) < 2:
        return None
    return Problem(
        "DLM403",
        reads.row,
        reads.start + wanted[1] + 1,
        f"only the first of {len(wanted)} continuation tokens is counted",
        "continuations that begin alike get the same score",
        "sum over every token of the continuation; where the first alone is meant, give continuations of one token",
    )


def _find(ids: Sequence[int], part: Sequence[int]) -> int | None:
    wanted = tuple(part)
    for start in range(len(ids) - len(wanted), -1, -1):
        if wanted and tuple(ids[start : start + len(wanted)]) == wanted:
            return start
    return None


def _hole(reads: Reads) -> int | None:
    """The first own token that is masked though tokens behind it are not."""
    if reads.mask is None:
        return None
    mask = reads.mask[reads.start : reads.start + reads.length]
    if 0 not in mask or 1 not in mask[mask.index(0) :]:
        return None
    return mask.index(0) if mask.index(0) > 0 else None


def _special_inside(reads: Reads, bos_id: int | None, eos_id: int | None, given: int) -> int | None:
    """A BOS or EOS between prompt and continuation that the user's row does not hold."""
    border = reads.expected() and (reads.offset or 0) + (reads.prompt or 0)
    if given or not border:
        return None
    near = [place for place in (border - 1, border) if 0 < place < reads.length - 1]
    return next((place for place in near if reads.own[place] in (bos_id, eos_id)), None)


def given_fault(
    reads: Reads,
    *,
    bos_id: int | None,
    eos_id: int | None,
    pad_id: int | None = None,
    given: int = 0,
    doubled: bool = False,
) -> Problem | None:
    """What is wrong with what the model is given: a hidden token, a lost end, BOS twice, EOS for BOS.

    `given` says how many BOS and EOS the user's own row holds.
    """
    front = reads.own[: reads.offset] if reads.offset is not None else reads.own[:1]
    twice = len(reads.own) > 1 and reads.own[0] == reads.own[1] == bos_id and bos_id is not None
    if twice or (doubled and reads.doubled is not None):
        return Problem(
            "DLM107",
            reads.row,
            reads.start,
            f"BOS (id {reads.own[0]}) stands twice at the start",
            "every token is scored behind a beginning that the model has never seen",
            "tokenize rendered templates with add_special_tokens=False, or take BOS out of the template",
        )
    hidden = [place for place in reads.alone if place == -1]
    if hidden and reads.mask is not None and not reads.mask[reads.start - 1]:
        return Problem(
            "DLM104",
            reads.row,
            reads.start - 1,
            f"the token before the row's first (id {reads.ids[reads.start - 1]}) is scored from, but masked",
            "the first token is predicted from a position that attention does not see",
            "set the attention mask to 1 for the start token",
        )
    inside = _special_inside(reads, bos_id, eos_id, given)
    if inside is not None:
        name = "BOS" if reads.own[inside] == bos_id else "EOS"
        return Problem(
            "DLM107" if name == "BOS" else "",
            reads.row,
            reads.start + inside,
            f"{name} (id {reads.own[inside]}) stands between prompt and continuation, where the text has none",
            "what comes behind it is scored as the beginning of another text",
            "tokenize prompt and continuation together, or the continuation with add_special_tokens=False",
        )
    hole = _hole(reads)
    if hole is not None and reads.own[hole] in (eos_id, pad_id):
        same = " and EOS" if reads.own[hole] == eos_id else ""
        return Problem(
            "DLM104",
            reads.row,
            reads.start + hole,
            f"a token of the text (id {reads.own[hole]}) is masked, for it has the id of padding{same}",
            "the model does not see where a turn or a document ends, and the token is not counted",
            "take the attention_mask that the tokenizer returned, not ids != pad_token_id",
        )
    if reads.lost:
        return Problem(
            "",
            reads.row,
            reads.start + reads.length - 1,
            f"the model gets the row without its last {reads.lost} tokens",
            "a part of the continuation does not count"
            if reads.prompt is not None
            else "a part does not count",
            "truncate prompts on the left (truncation_side), never the continuation",
        )
    start_is_eos = bool(front) and front[0] == eos_id and (reads.offset is None or reads.offset > 0)
    if start_is_eos and bos_id is not None and eos_id is not None and bos_id != eos_id:
        return Problem(
            "",
            reads.row,
            reads.start,
            f"the row starts with EOS (id {eos_id}); the tokenizer's BOS is {bos_id}",
            "the first tokens are scored behind a beginning that the model has never seen",
            "take BOS as the token before the first one, and EOS only where there is no BOS",
        )
    return None


def solo_fault(reads: Reads, *, pad_id: int | None, eos_id: int | None, paired: bool) -> Problem | None:
    """What is wrong with the positions that are read of a row alone."""
    if not reads.alone or reads.selects:
        return None
    last = reads.length - 1
    if reads.pooled:
        (place,) = reads.alone
        one_token = reads.expected() is not None and len(reads.expected() or ()) == 1
        if place in (last, *(reads.expected() or ())) and (place == last or one_token):
            return None
        if place >= reads.length - 1 or reads.length <= 2:
            return None
        # The likelihood of the last token alone, as of the letter of an answer, is read one before it.
        if reads.rests and (place == reads.length - 2 or reads.offset is None):
            return None
        behind = reads.ids[reads.start + place + 1]
        why = ""
        if behind == pad_id or (reads.own.count(behind) > 1 and behind == reads.own[-1]):
            why = f": the next token (id {behind}) is taken for padding"
        if paired and not why:
            return _border(reads)
        return Problem(
            "DLM401",
            reads.row,
            reads.start + place,
            f"the score is read at token {place} of {reads.length}, not at the last one{why}",
            "what comes after it has no influence on the score",
            "find the last token by the attention mask or the row's length, not by comparing ids with the padding id",
        )
    if reads.predicts and last in reads.alone and reads.behind_is_padding:
        more = len([place for place in reads.alone if place > last])
        return Problem(
            "DLM402",
            reads.row,
            reads.start + last,
            f"the log-probabilities of {more + 1} padding tokens behind the last token are added"
            if more
            else "the log-probability of the padding behind the last token is added",
            "the score counts a token that is not the row's",
            "the logits at position t predict token t + 1: take logits[:, :-1] with ids[:, 1:] and its mask",
        )
    # To leave the EOS out is a choice.
    ends = reads.own[-1] == eos_id and eos_id is not None
    if paired and reads.expected() is not None:
        return _border(reads, but_last=ends)
    if (
        not ends
        and reads.offset is not None
        and reads.length - reads.tail - 2 + reads.cut not in reads.alone
        and last not in reads.alone
        and reads.length > 2
    ):
        return Problem(
            "DLM403",
            reads.row,
            reads.start + last,
            "the last token is not counted",
            "its log-probability is missing from the score",
            "the logits at position t predict token t + 1: take logits[:, :-1] with ids[:, 1:]",
        )
    return None


def _border(reads: Reads, *, but_last: bool = False) -> Problem | None:
    """Hold the positions read against those that predict the continuation."""
    expected = reads.expected() or set()
    looked = expected & reads.probed if reads.probed else expected
    missing, extra = sorted(looked - reads.alone), sorted(reads.alone - expected)
    extra = [
        place for place in extra if place >= 0 and not max(expected, default=0) < place < reads.length - 1
    ]
    if reads.spanning:
        missing = [place for place in missing if place != min(expected, default=0)]  # it counts as either
    if not extra and (not missing or (but_last and missing == [reads.length - 2])):
        return None
    begin, end = min(expected, default=0), max(expected, default=0)
    total = len(expected)
    advice = "the position before the first token predicts it: start at prompt tokens - 1, BOS counted on both sides"
    if extra and extra[0] < begin:
        count = len([place for place in extra if place < begin])
        shift = "; the last is missing" if missing and missing[-1] == end else ""
        return Problem(
            "DLM403",
            reads.row,
            reads.start + extra[0],
            f"{count} prompt token{'s are' if count > 1 else ' is'} counted into the score of the continuation{shift}",
            "the score depends on how likely the prompt is",
            advice if count <= 2 else "sum the log-probabilities of the continuation's tokens only",
        )
    if missing and missing[0] == begin + reads.spanning:
        begin = missing[0]
        count = len([m for n, m in enumerate(missing) if m == begin + n])
        tail = f", and {len(extra)} position{'s' * (len(extra) > 1)} behind its last" if extra else ""
        return Problem(
            "DLM403",
            reads.row,
            reads.start + begin + 1,
            f"the first {count} of {total} continuation tokens {'are' if count > 1 else 'is'} not counted{tail}",
            "the score begins too late: an offset counts a token (BOS, say) that the log-probabilities do not have",
            advice,
        )
    if missing:
        return Problem(
            "DLM403",
            reads.row,
            reads.start + missing[0] + 1,
            f"{len(missing)} of {total} continuation tokens {'are' if len(missing) > 1 else 'is'} not counted",
            "a part of the continuation does not count",
            "sum over every token of the continuation, its last one too",
        )
    return Problem(
        "DLM403",
        reads.row,
        reads.start + extra[0],
        "the position behind the last token is counted",
        "a log-probability of no token of the row is added",
        "the logits at position t predict token t + 1: take logits[:, :-1] with ids[:, 1:]",
    )


def order_fault(reads: Reads, *, carried: bool = False) -> Problem | None:
    """Whether the row's own states move another row's score, or other rows' states this row's.

    `carried`: each row's score follows those before it, and none behind it.
    """
    if len(reads.others) == 1 and reads.owner is None and not reads.batched:
        return Problem(
            "",
            reads.row,
            WHOLE_ROW,
            f"the score is read from row {reads.others[0]}, not from the row itself",
            "scores belong to other rows than they seem to",
            "take rows and their lengths in one order: sort both, and give the scores back in the order of the rows",
        )
    if reads.others and reads.owner is None:
        rows = "rows" if len(reads.others) > 1 else "row"
        names = " and ".join(
            [", ".join(map(str, reads.others[:-1]))] * (len(reads.others) > 1) + [str(reads.others[-1])]
        )
        return Problem(
            "",
            reads.row,
            WHOLE_ROW,
            f"the score follows what the model computed for {rows} {names}"
            + (f", which stand{'s' * (len(reads.others) == 1)} before it" if carried else ""),
            "what a row scores depends on its neighbours",
            "begin each row's sum at zero: a total is carried from row to row"
            if carried
            else "do not normalise over the batch, and index each row's own positions",
        )
    if reads.owner is None or reads.batched or reads.batch is None:
        return None
    return Problem(
        "",
        reads.row,
        WHOLE_ROW,
        f"the row's text moves score {reads.owner}, not its own",
        "scores belong to other rows than they seem to",
        "give the scores back in the order of the rows: undo the sorting, or the interleaving of processes",
    )


def batch_fault(reads: Reads, call: Call, borders: Mapping[int, int] | None = None) -> Problem | None:
    """What is wrong with the positions that are read in the batch, against those read alone.

    `borders`: where the continuations of the rows begin, counted from their first own tokens.
    """
    assert reads.batch is not None  # noqa: S101 - rows of the batch only
    if reads.batched == reads.alone:
        return None
    _, at, start = reads.batch
    width = len(call.ids[at])
    left, right = start, width - start - reads.length
    side = "left" if left else "right"
    pads = sorted(place for place in reads.batched if not 0 <= place < reads.length)
    extra, missing = sorted(reads.batched - reads.alone), sorted(reads.alone - reads.batched)
    if reads.pooled and missing:
        (place,) = reads.alone
        if not extra:
            return None
        got = extra[0]
        if pads:
            where = f"column {start + got} of {width}, which is padding"
        else:
            where = f"token {got} of {reads.length}, not at token {place}"
        return Problem(
            "DLM401",
            reads.row,
            start + got,
            f"in the batch the score is read at {where} ({left + right} padding on the {side})",
            "rows with padding get the score of another position",
            _READ_AT_END,
        )
    inside = {place for place in reads.batched if 0 <= place < reads.length - 1}
    for row, border in (borders or {}).items():
        if row != reads.row and (extra or missing) and inside == set(range(border - 1, reads.length - 1)):
            return Problem(
                "DLM403",
                reads.row,
                start + min(border, reads.length - 1),
                f"the continuation is taken from token {border} on, where that of row {row} begins",
                "tokens of the prompt are scored, or tokens of the continuation are not",
                "take where the continuation begins from each row's own prompt",
            )
    if extra == [-1] and not missing and left:
        return Problem(
            "DLM402",
            reads.row,
            start - 1,
            "the row's first token is scored from the padding in front of it",
            "the score of a padded row has one term more than that of the row alone",
            "count a token only where the one before it is real, too: attention_mask[:, 1:] * attention_mask[:, :-1]",
        )
    if extra and missing:
        return Problem(
            "DLM402",
            reads.row,
            start + extra[0],
            f"the positions counted are {abs(extra[0] - min(reads.alone))} off: {len(missing)} of the row's own are "
            f"left out, {len(pads)} are padding (its padding is on the {side})",
            "padded rows are scored on padding instead of on their text",
            "take the positions from the attention mask, not from the row's length",
        )
    if extra:
        count = len(extra)
        what = (
            f"{count} padding position{'s are' if count > 1 else ' is'} counted into the score"
            if pads
            else "the log-probability of the padding behind the last token is added"
        )
        return Problem(
            "DLM402",
            reads.row,
            start + extra[0],
            what,
            "the score depends on what the row is batched with",
            "multiply the log-probabilities by the attention mask of the tokens predicted, attention_mask[:, 1:]",
        )
    return Problem(
        "DLM402",
        reads.row,
        start + missing[0],
        f"in the batch {len(missing)} of the row's own positions are not counted",
        "the score depends on what the row is batched with",
        "take the positions from the attention mask, not from the row's length",
    )


def label_fault(reads: Reads, place: int, moves: Mapping[int, tuple[int, float]]) -> Problem | None:
    """Which token's likelihood is taken at a position; None where it is the next one's, or nothing can be told."""
    step = max(moves, key=lambda key: moves[key][1])
    token, move = moves[step]
    nearest = moves[1]
    if step == 1 or token == nearest[0] or move < 3 * nearest[1]:
        return None
    words = {-1: "the token before", 0: "the token at the same position", 2: "the token after the next"}
    return Problem(
        "DLM403",
        reads.row,
        reads.start + place,
        f"the logits of position {place} are scored with {words[step]} (id {token}), not with the next (id {nearest[0]})",
        "every log-probability is that of another token",
        "the logits at position t predict token t + 1: take logits[:, :-1] with ids[:, 1:]",
    )
