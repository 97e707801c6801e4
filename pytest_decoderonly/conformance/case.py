"""What a check gets, and how it says what it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_decoderonly.compare.verdict import BatteryResult, Relation

TEXT = (
    "Question: a batch of prompts is padded on the left, and every row must be answered as if it were alone. "
    "The quick brown fox jumps over the lazy dog, then rests; 12 + 30 = 42, and 7 times 6 is the same. "
    "Write the answer in one short sentence, and name the river that flows through the city of Paris."
)
# Short, across a block of 16, and one over a block of 32: a batch of width 33.
LENGTHS = (6, 19, 33)
PROMPTS = (
    "Hello, my name is",
    "Question: what is the capital of France? Answer in one word. Answer:",
    "The three primary colours are red, yellow and",
)


class CheckFailed(Exception):  # noqa: N818 - a finding about the user's model, not an error of this program
    """The model does not conform; the message is the report."""


class NotApplicable(Exception):  # noqa: N818
    """The model has nothing that this check could look at; the message is the reason."""


@dataclass
class Case:
    """One loaded model.

    The battery is run once and read by several checks, so that each can name the culprit of all.
    """

    name: str
    model: Any
    tokenizer: Any
    _battery: list[BatteryResult] = field(default_factory=list)
    _drawn: bool = False

    @property
    def pad_id(self) -> int:
        """The id that pads: the tokenizer's, else the configuration's, else EOS, else 0."""
        config = getattr(self.model, "config", None)
        for source, name in (
            (self.tokenizer, "pad_token_id"),
            (config, "pad_token_id"),
            (self.tokenizer, "eos_token_id"),
            (config, "eos_token_id"),
        ):
            value = getattr(source, name, None)
            if isinstance(value, int) and value >= 0:
                return value
        return 0

    def rows(self, lengths: Iterable[int] = LENGTHS) -> list[list[int]]:
        """Return prompts of given lengths: pieces of a text, or ordinary ids without a tokenizer."""
        if self.tokenizer is not None:
            ids = list(self.tokenizer(TEXT)["input_ids"])
            while len(ids) < max(lengths):
                ids += ids
            head = ids[:1] if ids[0] == getattr(self.tokenizer, "bos_token_id", None) else []
            body = ids[len(head) :]
            return [[*head, *body[7 * i : 7 * i + n - len(head)]] for i, n in enumerate(lengths)]
        from pytest_decoderonly.compare.drive import ordinary_ids

        known = ordinary_ids(self.model, [])
        if len(known) < 2:
            raise NotApplicable(
                "no tokenizer, and the size of the vocabulary is unknown: no prompts can be made"
            )
        return [[known[(5 * i + j) % len(known)] for j in range(n)] for i, n in enumerate(lengths)]

    def battery(self) -> BatteryResult:
        """Return the battery's result, run on first use."""
        if not self._battery:
            from pytest_decoderonly.compare.battery import run_battery

            self._battery.append(run_battery(self.model, self.rows(), pad_id=self.pad_id))
        return self._battery[0]

    def judge(self, relations: Iterable[Relation]) -> str:
        """Read some relations off the battery.

        Returns:
            One line of numbers.

        Raises:
            CheckFailed: One of them does not hold or could not be decided.
            NotApplicable: None of them applies.
        """
        from pytest_decoderonly.assertions.report import number, render
        from pytest_decoderonly.compare.verdict import Verdict, worst

        result = self.battery()
        mine = [r for r in result.relations if r.relation in set(relations)]
        if any(not r.verdict.clean and r.verdict is not Verdict.BY_DESIGN and r.applicable for r in mine):
            # Checks that read one battery fail for one reason: it is drawn once.
            relations_only = self._drawn
            self._drawn = True
            raise CheckFailed(render(result, model=self.name, tokenizer=self.tokenizer, brief=relations_only))
        if not any(r.applicable for r in mine):
            raise NotApplicable("; ".join(r.reason for r in mine))
        return ", ".join(f"{r.relation} {number(worst(r.decisive))}" for r in mine)
