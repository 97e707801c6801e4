"""How a training row is put together, whatever of it is supervised: whose answer follows whom, ends, beginnings."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_decoderonly.compare.canaries import Canary, Reader
    from pytest_decoderonly.compare.passages import Expectation, Passage, SupervisedRow

Finding = tuple[str, int, str, str, str]  # code, position, what, effect, advice
_OTHER_IDS = "the model is trained on ids that it does not see when it is used"


def crossed_or_told_twice(row: SupervisedRow) -> Finding | None:
    """An answer must follow its own question, and once; examples of a packed row do not follow each other."""
    before: Passage | None = None
    times_by: dict[tuple[int, int], int] = {}
    for passage in row.passages:
        times_by[passage.canary, passage.turn] = times_by.get((passage.canary, passage.turn), 0) + 1
        if (
            passage.role == "assistant"
            and before is not None
            and before.role != "assistant"
            and before.canary != passage.canary
            and not any(before.start < place <= passage.start for place in row.begins)
        ):
            return (
                "DLM310",
                passage.start,
                f"the answer of canary {passage.canary} stands behind the prompt of canary {before.canary}",
                "the model is trained to answer another question",
                "look where prompts and completions are put together: one of the two was reordered",
            )
        asked_again = before is not None and before.role == "user" == passage.role and _again(before, passage)
        if asked_again and any(row.supervised[passage.start : passage.end]):
            return (
                "DLM310",
                passage.start,
                f"the question of canary {passage.canary} stands twice before its answer, and is to be learned",
                "the model is trained to repeat the question",
                "the text that was joined with the prompt holds it already",
            )
        before = passage
    for passage in row.passages:
        times, asked = (
            times_by[passage.canary, passage.turn],
            times_by.get((passage.canary, passage.turn - 1)),
        )
        if passage.role == "assistant" and asked is not None and times > asked:
            second = [p for p in row.passages if (p.canary, p.turn) == (passage.canary, passage.turn)]
            if not any(_again(a, b) for a, b in pairwise(second)):
                continue  # the parts of an answer that was split
            return (
                "DLM310",
                second[1].start,
                f"the answer of canary {passage.canary} is {times} times in the row",
                "the model is trained to say it again",
                "the text that was joined with the answer holds it already",
            )
    return None


def _again(one: Passage, other: Passage) -> bool:
    return (one.canary, one.turn) == (other.canary, other.turn) and bool(set(one.words) & set(other.words))


def twice_ended(
    row: SupervisedRow, reader: Reader, ended_by: Sequence[tuple[Passage, int]]
) -> Finding | None:
    """The same terminator twice, and both are learned."""
    for passage, position in ended_by:
        following = _next(row, position + 1)
        if (
            following is not None
            and row.ids[following] == row.ids[position]
            and row.supervised[following]
            and row.owners[following] == "template"
        ):
            return (
                "DLM107",
                following,
                (
                    f"the answer of canary {passage.canary} ends in "
                    f"{reader.piece(row.ids[position])} twice, and both are supervised"
                ),
                "the model is trained to write another token after it has ended",
                "the template ends the turn already: do not append EOS once more",
            )
    return None


def ended_though_cut(
    row: SupervisedRow, reader: Reader, answers: Sequence[Passage], openers: frozenset[int]
) -> Finding | None:
    """A terminator behind an answer that lacks its end."""
    for passage in answers:
        following = None if passage.ended else _next(row, passage.end)
        if following is None or not row.supervised[following] or row.owners[following] != "template":
            continue
        token = row.ids[following]
        if token not in reader.special or token in openers or token in (reader.bos, reader.pad):
            continue
        return (
            "DLM310",
            following,
            (
                f"the answer of canary {passage.canary} was cut behind {passage.found} of {passage.total} words, and "
                f"{reader.piece(token)} was put behind what is left"
            ),
            "the model learns to stop in the middle of an answer",
            "end answers before they are truncated, not after; or drop rows that are too long",
        )
    return None


def spelled(row: SupervisedRow, reader: Reader, answers: Sequence[Passage]) -> Finding | None:
    """The text of EOS that the tokenizer took for ordinary text."""
    if reader.eos is None:
        return None
    wanted = reader.piece(reader.eos)
    for passage in answers:
        text = ""
        for token in row.ids[passage.end :]:
            if token in reader.special or not wanted.startswith(text):
                break
            text += reader.piece(token)
        if wanted and text.startswith(wanted):
            return (
                "DLM309",
                passage.end,
                (
                    f"{wanted} behind the answer of canary {passage.canary} is spelled in ordinary tokens, "
                    f"not the one with id {reader.eos}"
                ),
                "the model never learns to stop, and writes the letters of the token",
                "append eos_token_id to the ids instead of eos_token to the text",
            )
    return None


def twice_headed(row: SupervisedRow, reader: Reader, expect: Expectation) -> Finding | None:
    """The generation prompt twice before an answer."""
    if not expect.header:
        return None
    for before, answer in pairwise(row.passages):
        if answer.role != "assistant" or before.role == "assistant" or answer.canary != before.canary:
            continue
        places = range(before.end, answer.start)
        text = "".join(reader.piece(row.ids[i]) for i in places)
        # Side by side: some templates open a message for thoughts and another for the answer.
        if 2 * expect.header not in text:
            continue
        begin = text.index(2 * expect.header) + len(expect.header)
        position = next(
            i
            for i in places
            if len("".join(reader.piece(row.ids[j]) for j in range(before.end, i + 1))) > begin
        )
        return (
            "DLM107",
            position,
            f"the generation prompt stands twice before the answer of canary {answer.canary}",
            _OTHER_IDS,
            (
                "render the prompt with add_generation_prompt=True, and behind it the answer without its header; or "
                "prompt and answer as one conversation"
            ),
        )
    return None


def bos(row: SupervisedRow, reader: Reader, expect: Expectation) -> Finding | None:
    """BOS twice, between question and answer, or missing where it was asked for."""
    token = reader.bos
    if token is None or token in (reader.eos, reader.pad) or token not in reader.special:
        return None
    advice = (
        "let one call put the BOS in front: tokenize prompt and answer together, with "
        "add_special_tokens=False where the text has its special tokens already"
    )
    real = [i for i, owner in enumerate(row.owners) if owner != "padding"]
    first = next(iter(row.passages))
    if expect.bos and first.turn == 0 and first.whole and real and row.ids[real[0]] != token:
        return "DLM107", real[0], f"the row does not begin with {reader.piece(token)}", _OTHER_IDS, advice
    for a, b in pairwise(real):
        if row.ids[a] == row.ids[b] == token:
            return "DLM107", b, "two BOS tokens stand side by side", _OTHER_IDS, advice
    for before, second in pairwise(row.passages):
        # Between two pairs of question and answer some templates write one.
        if before.canary == second.canary and second.role == "assistant" and before.role != "assistant":
            for i in range(before.end, second.start):
                if row.ids[i] == token:
                    what = "a BOS stands between the question and its answer"
                    return "DLM107", i, what, _OTHER_IDS, advice
    return None


def borders(row: SupervisedRow) -> Finding | None:
    """Positions of a packed row that begin again elsewhere than where its examples do."""
    if not row.begins:
        return None  # the row is one text, by its own word
    advice = "restart position_ids at 0 with the first token of each example, and nowhere else"
    # What is too long may be split: then the part before is as long as any.
    sizes = {b: b - a for a, b in pairwise([0, *row.begins, len(row.ids)])}
    by_length = {place for place, size in sizes.items() if size == max(sizes.values())}
    for number, after in enumerate(row.passages):
        before = row.passages[max(0, number - 1)]
        same = before.canary == after.canary and after.turn >= before.turn
        start = before.start if same else after.start
        inside = [place for place in row.begins if start < place < after.end and place not in by_length]
        if inside:
            return (
                "DLM310",
                inside[0],
                f"position_ids begin again in the midst of canary {after.canary}",
                "an answer is learned without all of its question",
                advice,
            )
        between = [place for place in row.begins if before.start < place <= after.start]
        if before.canary != after.canary and not between:
            return (
                "DLM310",
                after.start,
                f"position_ids go on from canary {before.canary} to canary {after.canary}, but begin again elsewhere",
                "tokens of one example count as the continuation of another",
                advice,
            )
    return None


def lost_words(
    rows: Sequence[SupervisedRow], canaries: Mapping[int, Canary], reader: Reader
) -> dict[int, str]:
    """Return for each canary what of it is in no row, though truncation cannot have taken it; {} unless all lack it.

    Truncation takes beginnings and ends of rows. What is missing in the midst of every canary, or the whole
    system message or prompt of every one, was dropped on the way: a field that is not read, a message that the
    template does not write.
    """
    found: dict[int, set[tuple[int, int]]] = {}
    for row in rows:
        for passage in row.passages:
            found.setdefault(passage.canary, set()).update((passage.turn, word) for word in passage.words)
    if len(found) < 2:
        return {}
    examples = [
        "".join(reader.piece(token) for token in row.ids[a:b]).lower()
        for row in rows
        for a, b in pairwise([0, *row.begins, len(row.ids)])
    ]
    lost: dict[int, str] = {}
    for number, there in found.items():
        parts = canaries[number].turns
        inside = sorted(place for place in there if place[0] < len(parts))
        missing = [
            (turn, word)
            for turn, part in enumerate(parts)
            for word in range(len(part.words))
            if (turn, word) not in there and not _split(part.words[word], examples)
        ]
        inner = [place for place in missing if inside and inside[0] < place < inside[-1]]
        what = inner
        if not what and inside and inside[0][1] == 0 and inside[0][0] > 0:
            alone = parts[inside[0][0]].role == "assistant" or parts[inside[0][0] - 1].role == "system"
            what = [place for place in missing if place < inside[0] and alone]
        if not what:
            return {}
        turn = what[0][0]
        texts = [parts[turn].words[word] for place, word in what if place == turn]
        name = "call of a tool" if parts[turn].call else f"{parts[turn].role} message"
        whole = len(texts) == len(parts[turn].words)
        lost[number] = (
            f"the {name}" if whole else f"{len(texts)} of {len(parts[turn].words)} words of the {name}"
        ) + f" ({' '.join(texts[:4])}{' ...' if len(texts) > 4 else ''})"
    return lost


def _split(word: str, examples: Sequence[str]) -> bool:
    """Whether a border between rows may run through a word."""
    return any(
        text.endswith(word[:k]) or text.startswith(word[k:]) for text in examples for k in range(1, len(word))
    )


def _next(row: SupervisedRow, start: int) -> int | None:
    """Return the next position of the same example that is no white space."""
    found = next((i for i in range(start, len(row.ids)) if row.owners[i] != "space"), None)
    return None if found is None or any(start <= place <= found for place in row.begins) else found
