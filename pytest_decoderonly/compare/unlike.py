"""What an answer is that is no piece of its row: more than the model said, or the row with something taken out."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 400  # characters that are compared
_ALIKE = 0.6  # of a text's characters that stand in the prompt in the same order


@dataclass(frozen=True)
class Extra:
    """What stands in an answer beside the row's own, `front` or behind it, and how it came where that shows."""

    front: bool
    shown: str
    mechanism: str = ""


def of_the_prompt(shown: str, prompt: str) -> bool:
    """Whether a text is most likely a piece of the prompt, in another spelling or with its markup."""
    if not shown or not prompt:
        return False
    shown = shown[-_MOST:]
    blocks = SequenceMatcher(None, shown, prompt[-4 * len(shown) :], autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size > 1) >= _ALIKE * len(shown)


def repeated(mine: str, right: str) -> str:
    """Say that the answer, or its end, stands twice; empty where it does not. Both are normal texts."""
    rest = mine[len(right) :] if mine.startswith(right) else mine[: -len(right)]
    if not rest or not right:
        return ""
    if set(mine.split(right)) == {""}:
        return (
            f"the answer stands {len(mine) // len(right)} times: it was put together from pieces that overlap"
        )
    if mine.startswith(right) and len(rest) > 1 and right.endswith(rest):
        return "its end stands twice: it was put together from pieces that overlap"
    return ""


def removed(mine: str, right: str, prompt: str) -> str:
    """Say that the prompt was taken out inside the answer, too; empty where it was not. All are normal texts."""
    if prompt and prompt in right and right.replace(prompt, "") == mine:
        return "the prompt was removed wherever it stands, also where the model repeats it"
    return ""


def letters_stripped(answers: Sequence[str], rows: Sequence[tuple[str, str]]) -> bool:
    """Whether all answers are what `str.lstrip` leaves of a row, given its prompt.

    Args:
        answers: Texts as they are.
        rows: For each, the texts of its prompt and of what was generated.
    """
    stripped = [(prompt + right).lstrip(prompt) for prompt, right in rows]
    return stripped == list(answers) and any(
        text != right for text, (_, right) in zip(answers, rows, strict=True)
    )


def filled(ids: Sequence[int], right: Sequence[int]) -> str:
    """Say that an answer goes on with a run of one id behind its end; empty where it does not."""
    rest = list(ids[len(right) :])
    if not rest or list(ids[: len(right)]) != list(right) or len(set(rest)) > 1:
        return ""
    return (
        f"{len(rest)} times id {rest[0]} behind its end: rows were filled up with an id that is not the padding id "
        "(pad_index, fill value)"
    )
