"""What the study found: plain data, ready for JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.verdict import Verdict
from pytest_decoderonly.study.intervals import holm, mcnemar, wilson
from pytest_decoderonly.study.ways import ALONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.study.asking import Answers
    from pytest_decoderonly.study.prompts import Prompt
    from pytest_decoderonly.study.rounding import Difference
    from pytest_decoderonly.study.tasks import Task
    from pytest_decoderonly.study.ways import Cell

VERSION = 1  # of the JSON document; grows when a key changes its meaning or goes


@dataclass(frozen=True)
class Share:
    """How many of how many, with Wilson's 95 % interval of the share."""

    count: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, total: int) -> Share | None:
        """Return the share, None where there is nothing to count."""
        return cls(count, total, *wilson(count, total)) if total else None


@dataclass(frozen=True)
class Answer:
    """One answer: `right` is None where the task has no answer to check, `verdict` says how it compares.

    `verdict` is `equal` (the tokens that the prompt gets alone), `rounding`, `different` or `undecided`, or None where
    a run was stopped before that was found out. `deviation` and `step` belong to the first token that differs.
    """

    id: str
    question: str
    answer: str
    right: bool | None
    verdict: str | None
    padding: int
    step: int | None = None
    deviation: float | None = None
    reason: str = ""


@dataclass
class CellResult:
    """One way at one size. All counts are of the first round; `seconds` holds one time a round.

    `lost` counts questions that are answered rightly alone and wrongly here, `gained` the reverse; `p` is the exact
    McNemar test of the two, `p_adjusted` the same after Holm's correction for all ways and sizes of the study. `speed` is the
    median over the rounds of tokens per second here over tokens per second alone. `error` is None, or why the cell
    could not be run (then there are no counts).
    """

    way: str
    name: str
    batch_size: int
    padding: int
    error: str | None = None
    right: Share | None = None
    same: Share | None = None
    rounding: int = 0
    different: int = 0
    undecided: int = 0
    unjudged: int = 0
    lost: int = 0
    gained: int = 0
    p: float | None = None
    p_adjusted: float | None = None
    padded_rows: int = 0
    padding_columns: int = 0
    empty_padded_rows: int = 0
    unstable: int = 0
    tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    tokens_per_second: float | None = None
    speed: float | None = None
    answers: list[Answer] = field(default_factory=list)

    @property
    def alone(self) -> bool:
        """Whether this is what the others are held against."""
        return self.way == ALONE.key

    @property
    def size(self) -> str:
        """The sizes in words."""
        more = f" and {self.padding} more columns" if self.padding else ""
        return f"batches of {self.batch_size}{more}"


@dataclass(frozen=True)
class Conclusion:
    """What one way does to this model, in words.

    `verdict` is `safe` (no answer changes beyond rounding), `changed`, `undecided` or `failed`; `worse` whether
    fewer answers are right, beyond chance, at one size at least.
    """

    way: str
    verdict: str
    worse: bool
    text: str


@dataclass
class Study:
    """The whole: the model, how it was asked, what came out, and what that means."""

    model: dict[str, Any]
    setting: dict[str, Any]
    cells: list[CellResult]
    conclusions: list[Conclusion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the document that docs/reference/study.md describes."""
        return {"version": VERSION, **asdict(self)}


def summarise(
    cell: Cell,
    answers: Answers,
    alone: Answers,
    *,
    tasks: Sequence[Task],
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    alone_right: Sequence[bool | None],
    found: dict[int, Difference] | None,
) -> CellResult:
    """Count what one cell gave.

    Args:
        cell: The way and the sizes.
        answers: What it gave.
        alone: What each prompt gives alone.
        tasks: The questions, in the order in which they were put.
        prompts: Their prompts.
        texts: The generated ids as text.
        alone_right: Whether each prompt is answered rightly alone; empty where this is that cell.
        found: Why answers differ; None where that was not found out.
    """
    said = [prompt.answer(text) for prompt, text in zip(prompts, texts, strict=True)]
    right = [task.is_right(text) if task.checkable else None for task, text in zip(tasks, said, strict=True)]
    result = CellResult(cell.way.key, cell.way.name, cell.batch_size, cell.padding)
    checked = [value for value in right if value is not None]
    result.right = Share.of(sum(checked), len(checked))
    pairs = list(zip(right, alone_right or right, strict=True))
    result.lost = sum(own is True and mine is False for mine, own in pairs)
    result.gained = sum(own is False and mine is True for mine, own in pairs)
    if checked and cell.way is not ALONE:
        result.p = mcnemar(result.lost, result.gained)
    for i, task in enumerate(tasks):
        why = (found or {}).get(i)
        equal = answers.tokens[i] == alone.tokens[i]
        verdict = "equal" if equal else None if why is None else _VERDICTS[why.verdict]
        result.answers.append(
            Answer(
                task.id, task.text, said[i], right[i], verdict, answers.padding[i],
                why.step if why else None, why.deviation if why else None, why.reason if why else "",
            )
        )  # fmt: skip
    verdicts = [answer.verdict for answer in result.answers]
    result.same = Share.of(verdicts.count("equal"), len(tasks))
    result.rounding, result.different = verdicts.count("rounding"), verdicts.count("different")
    result.undecided, result.unjudged = verdicts.count("undecided"), verdicts.count(None)
    result.padded_rows = sum(padding > 0 for padding in answers.padding)
    result.padding_columns = sum(answers.padding)
    result.empty_padded_rows = sum(
        not text and padding > 0 for text, padding in zip(said, answers.padding, strict=True)
    )
    result.unstable = len(answers.unstable)
    result.tokens = sum(map(len, answers.tokens))
    result.seconds = list(answers.seconds)
    result.tokens_per_second = result.tokens / statistics.median(result.seconds)
    # Round by round, so that a slow minute of the machine slows both sides of a ratio.
    own = sum(map(len, alone.tokens))
    ratios = [
        (result.tokens / mine) / (own / base)
        for mine, base in zip(result.seconds, alone.seconds, strict=False)
        if own
    ]
    result.speed = statistics.median(ratios) if ratios else None
    return result


def adjust(results: Sequence[CellResult]) -> None:
    """Set `p_adjusted`: with many ways and sizes, one of them is unlucky by chance alone."""
    tested = [result for result in results if result.p is not None]
    for result, value in zip(tested, holm([result.p or 0.0 for result in tested]), strict=True):
        result.p_adjusted = value


_VERDICTS = {
    Verdict.EQUAL: "rounding",
    Verdict.ROUNDING: "rounding",
    Verdict.DIFFERENT: "different",
    Verdict.BY_DESIGN: "different",
    Verdict.UNDECIDED: "undecided",
}
