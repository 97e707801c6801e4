"""What a check gets: one loaded model, and the measurements that several checks read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.memory import HALVED
from pytest_decoderonly.conformance.found import Found, NotApplicable
from pytest_decoderonly.conformance.outcome import LayerDeviation, Number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_decoderonly.changes import Change
    from pytest_decoderonly.compare.verdict import (
        BatteryResult,
        ChangeResult,
        Culprit,
        Relation,
        RelationResult,
        RowError,
    )

TEXT = (
    "Question: a batch of prompts is padded on the left, and every row must be answered as if it were alone. "
    "The quick brown fox jumps over the lazy dog, then rests; 12 + 30 = 42, and 7 times 6 is the same. "
    "Write the answer in one short sentence, and name the river that flows through the city of Paris."
)
# Short, across a block of 16, and one over a block of 32: a batch of width 33.
LENGTHS = (6, 19, 33)
# What the shortest row is padded to: around a vector of 8 and blocks of 32 and 64, where kernels have failed.
WIDTHS = (7, 8, 9, 31, 32, 33, 34, 63, 64, 65, 66)
# Two rows are enough where one thing is changed.
PAIR = (6, 19)
# Eight rows, also of lengths next to a border.
WIDE = (9, 31, 64, 65, 17, 40, 12, 66)
_RAISED = " raised "
PROMPTS = (
    "Hello, my name is",
    "Question: what is the capital of France? Answer in one word. Answer:",
    "The three primary colours are red, yellow and",
)


@dataclass
class Case:
    """One loaded model.

    Batteries are run once and read by several checks, so that each can name the culprit of all.
    """

    name: str
    model: Any
    tokenizer: Any
    _batteries: dict[str, BatteryResult] = field(default_factory=dict)
    _drawn: set[str] = field(default_factory=set)

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
        lengths = tuple(lengths)
        if self.tokenizer is not None:
            ids = list(self.tokenizer(TEXT)["input_ids"])
            while len(ids) < max(lengths) + 7 * len(lengths):
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
        """Return the battery's result on three rows, run on first use."""
        return self._battery("small", self._reached(LENGTHS), widths=None)

    def wide_battery(self) -> BatteryResult:
        """Return the result on eight rows, without the relations that a batch has no part in."""
        from pytest_decoderonly.compare.verdict import Relation

        batch = (
            Relation.PAD_CONTENT,
            Relation.NEIGHBOUR_CONTENT,
            Relation.ROW_ORDER,
            Relation.BATCH_VS_SOLO,
            Relation.CACHED_VS_FULL,
        )
        return self._battery("wide", self._reached(WIDE), widths=(), relations=batch, solo_rows=len(WIDE))

    def long_battery(self, length: int) -> BatteryResult:
        """Return the result on a short row and one of `length` tokens: cached against full."""
        from pytest_decoderonly.compare.verdict import Relation

        lengths = (LENGTHS[0], length)
        if self._reached(lengths) != lengths:
            raise NotApplicable(f"the model has positions for {self._reach} tokens only")
        return self._battery(f"long {length}", lengths, widths=(), relations=(Relation.CACHED_VS_FULL,))

    @property
    def _reach(self) -> int | None:
        from pytest_decoderonly.compare.shapes import reach_of

        return reach_of(self.model)

    def _reached(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths that the model's positions can hold, with room for the cached steps."""
        reach = self._reach
        return lengths if reach is None else tuple(min(length, max(2, reach - 8)) for length in lengths)

    def _battery(self, key: str, lengths: tuple[int, ...], **how: Any) -> BatteryResult:
        if key not in self._batteries:
            from pytest_decoderonly.compare.battery import run_battery

            self._batteries[key] = run_battery(self.model, self.rows(lengths), pad_id=self.pad_id, **how)
        return self._batteries[key]

    def read(
        self,
        relation: Relation,
        mine: Callable[[RowError], bool] = lambda _: True,
        *,
        result: BatteryResult | None = None,
        otherwise: str = "no run of this shape",
    ) -> Found:
        """Read one relation off a battery, or those of its runs that a check is about.

        Args:
            relation: Which one.
            mine: Whether a run belongs to the check.
            result: The battery; the small one by default.
            otherwise: Why there may be no such run.

        Raises:
            NotApplicable: The relation does not apply, or differs by design, or cannot be judged for what the
                weights are, or no run belongs to the check.
        """
        from pytest_decoderonly.compare.verdict import Verdict

        battery = self.battery() if result is None else result
        judged = battery.of(relation)
        if judged is None or not judged.applicable:
            raise NotApplicable("" if judged is None else judged.reason)
        chosen = [error for error in judged.decisive if mine(error)]
        # A run that could not be made has no errors to choose from: it is everybody's.
        if not chosen and judged.decisive:
            halved = [note for note in battery.notes if note.startswith(HALVED)]
            raise NotApplicable(halved[-1] if halved else otherwise)
        wrong = [error for error in chosen if not error.worst <= judged.limit]
        number = _of_relation(judged, mine, battery.dtype)
        if judged.verdict.clean or (chosen and not wrong):
            return Found(_line(number), numbers=(number,), notes=battery.notes)
        self._refuse_unjudged(judged.verdict, judged.reason)
        culprit = battery.culprit
        if judged.verdict is Verdict.BY_DESIGN and culprit is not None:
            raise NotApplicable(_design(culprit))
        return self._failed(battery, number)

    def read_beyond_window(self, relation: Relation, size: Callable[[RowError], int]) -> Found:
        """Read a relation off the runs that are longer than the model's sliding window, by what `size` says of each.

        Raises:
            NotApplicable: As `read`; also where there is no window, or none that a run is longer than.
        """
        from pytest_decoderonly.compare.shapes import window_of

        window = window_of(self.model)
        if window is None:
            raise NotApplicable("the model has no sliding window")
        return self.read(
            relation,
            lambda error: size(error) > window,
            otherwise=f"the sliding window of {window} is longer than any row that is run",
        )

    def _refuse_unjudged(self, verdict: object, reason: str) -> None:
        """Say so where the weights have no copy in float32, so that rounding cannot be told from a bug."""
        from pytest_decoderonly.compare.precision import why_not_castable
        from pytest_decoderonly.compare.verdict import Verdict

        if verdict is Verdict.UNDECIDED and why_not_castable(self.model):
            raise NotApplicable(f"rounding cannot be told from a fault: {reason}")

    def culprit(self) -> Culprit | None:
        """Return what the small battery accuses, None where it is clean."""
        return self.battery().culprit

    def refuse_by_design(self) -> None:
        """Say so where the model's own definition is what left padding fails by.

        Raises:
            NotApplicable: It is.
        """
        culprit = self.culprit()
        if culprit is not None and culprit.by_design:
            raise NotApplicable(_design(culprit))

    def _failed(self, battery: BatteryResult, number: Number) -> Found:
        from pytest_decoderonly.assertions.report import render

        # Checks that read one battery fail for one reason: it is drawn once.
        key = next(name for name, result in self._batteries.items() if result is battery)
        brief = key in self._drawn
        self._drawn.add(key)
        text = render(battery, model=self.name, tokenizer=self.tokenizer, brief=brief)
        return _different(battery, number, text)

    def with_change(
        self, change: Change, lengths: tuple[int, ...] = PAIR, *, steps: int | None = None
    ) -> Found:
        """Run a model with one thing changed and say what came of it.

        Raises:
            NotApplicable: The model has no such thing, or what differs does so by design, or it cannot be judged for
                what the weights are.
        """
        from pytest_decoderonly.assertions.report import render_change
        from pytest_decoderonly.compare.variants import default_steps, run_change
        from pytest_decoderonly.compare.verdict import Verdict

        rows = self.rows(self._reached(lengths))
        count = default_steps(self.model, rows, change) if steps is None else steps
        result = run_change(self.model, rows, change, pad_id=self.pad_id, steps=count)
        number = _of_change(result)
        if result.verdict.clean:
            return Found(_line(number), numbers=(number,), notes=result.notes)
        if not result.applicable:
            raise NotApplicable(result.reason)
        halved = [note for note in result.notes if note.startswith(HALVED)]
        raised = _RAISED in result.reason
        if result.verdict is Verdict.UNDECIDED and halved and not raised:
            raise NotApplicable(f"{halved[-1]}; {result.reason}")
        self._refuse_unjudged(result.verdict, result.reason)
        if result.verdict is Verdict.BY_DESIGN and result.culprit is not None:
            raise NotApplicable(_design(result.culprit))
        return _different(result, number, render_change(result, model=self.name))


def _different(result: BatteryResult | ChangeResult, number: Number, text: str) -> Found:
    from pytest_decoderonly.assertions.report import drawn_rows, first_parting

    return Found(
        _line(number),
        passed=False,
        raised=_RAISED in number.reason and number.verdict == "undecided",
        numbers=(number,),
        text=text,
        rows=tuple(drawn_rows(result)),
        culprit=result.culprit,
        first_layer=first_parting(result),
        profile=_profile(result),
        notes=result.notes,
    )


def _of_relation(judged: RelationResult, mine: Callable[[RowError], bool], dtype: str) -> Number:
    """The numbers of those of a relation's runs that a check is about."""
    work = [error for error in judged.work if mine(error)]
    single = [error for error in judged.single if mine(error)]
    number = Number(str(judged.relation), str(judged.verdict), None, None, dtype, judged.limit, judged.reason)
    return _measured(number, work, single)


def _of_change(result: ChangeResult) -> Number:
    number = Number(result.change, str(result.verdict), None, None, result.dtype, result.limit, result.reason)
    return _measured(number, result.work, result.single)


def _measured(number: Number, work: Sequence[RowError], single: Sequence[RowError]) -> Number:
    from pytest_decoderonly.compare.verdict import worst

    native, wide = worst(tuple(work)), worst(tuple(single))
    # A model in float32 is run in it once.
    return replace(
        number, native=native, float32=native if wide is None and number.dtype == "float32" else wide
    )


def _line(number: Number) -> str:
    from pytest_decoderonly.assertions.report import number as shown

    parts = [f"float32 {shown(number.float32)}"]
    if number.dtype != "float32" and number.native is not None:
        parts.append(f"{number.dtype} {shown(number.native)}")
    if number.float32 is None and number.native is None:
        parts = [number.reason]
    return f"{number.relation}: {number.verdict} ({', '.join(parts)})"


def _design(culprit: Culprit) -> str:
    return f"{culprit.name}, by design: {culprit.sentence}"


def _profile(result: BatteryResult | ChangeResult) -> tuple[LayerDeviation, ...]:
    layer = result.layer
    return () if layer is None else tuple(LayerDeviation(name, value) for name, value in layer.profile)
