"""How many questions the bot gets right."""

from __future__ import annotations

from dataclasses import dataclass

from support_bot.answering import SupportBot


@dataclass(frozen=True)
class Case:
    """A question and a word that a right answer holds."""

    question: str
    expected: str


CASES = (
    Case("How many days does delivery take?", "4"),
    Case("I bought a kettle last week and I do not like its colour. Within how many days can I return it?", "30"),
    Case("How long is the warranty?", "2"),
    Case("How can I pay for my order?", "card"),
)


@dataclass(frozen=True)
class Report:
    """Answers beside what was expected of them."""

    cases: tuple[Case, ...]
    answers: tuple[str, ...]

    @property
    def right(self) -> int:
        """How many answers hold the expected word."""
        return sum(case.expected in answer for case, answer in zip(self.cases, self.answers, strict=True))

    def __str__(self) -> str:
        lines = [f"{self.right} of {len(self.cases)} right"]
        lines += [f"  {case.question} -> {answer!r}" for case, answer in zip(self.cases, self.answers, strict=True)]
        return "\n".join(lines)


def evaluate(bot: SupportBot, cases: tuple[Case, ...] = CASES) -> Report:
    """Ask all questions at once and keep the answers."""
    return Report(cases, tuple(bot.answer_all([case.question for case in cases])))
