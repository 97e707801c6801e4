"""What one item of the conformance suite found, as plain data.

An `Outcome` knows nothing of pytest, torch or a format. It travels from a worker of pytest-xdist to the controller as
the attribute `decoderonly_outcome` of the item's report (a dict, see `Outcome.as_dict`), and reports are made from
lists of it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.compare.verdict import Culprit

if TYPE_CHECKING:
    from collections.abc import Mapping

Verdict = Literal["passed", "failed", "not applicable", "error"]

VERDICTS: tuple[Verdict, ...] = ("passed", "failed", "not applicable", "error")
ATTRIBUTE = "decoderonly_outcome"


@dataclass(frozen=True)
class Number:
    """How far two runs are apart, in one relation or with one thing changed.

    Attributes:
        relation: What was held against each other, such as `batch-vs-solo` or `static cache`.
        verdict: `equal`, `equal up to rounding`, `different`, `different by design`, `undecided` or
            `not applicable`.
        float32: Greatest difference of logits in float32, divided by their standard deviation; NaN where a logit is
            not finite, None where it was not run in float32.
        native: The same in the dtype that the model runs in; None where it was not run in that dtype.
        dtype: The name of that dtype, such as `bfloat16`.
        limit: Where rounding ends for this comparison, in units of `float32`.
        reason: The grounds of the verdict, in one sentence; may be empty.
    """

    relation: str
    verdict: str
    float32: float | None
    native: float | None
    dtype: str
    limit: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class LayerDeviation:
    """How far the activations of two runs are apart after one layer, in units of their standard deviation.

    A profile begins with the embeddings and goes through the layers in order, for one row, at the call and in the row
    where the runs part. NaN where an activation is not finite.
    """

    name: str
    deviation: float


@dataclass(frozen=True)
class Outcome:
    """What one item found.

    Attributes:
        model: What the model is called in ids, such as `SmolLM2-135M-Instruct`.
        spec: How it was asked for, such as `gguf:model.gguf,dtype=bfloat16`.
        check: The check's name, such as `left-padding`.
        item: The item's id, as it may be given to pytest again.
        parameters: What this item varies, in the order in which its id shows it, such as
            `{"batch": 4, "length": 33, "dtype": "bfloat16", "attention": "sdpa"}`. All values are text or whole numbers.
        protects_from: What goes wrong in a program where this check would fail; one sentence or two.
        verdict: `passed`, `failed`, `not applicable` (by what the model itself declares), or `error` (the model could
            not be loaded or run).
        seen: One line: what was measured, why it is not applicable, or what failed.
        seconds: Wall time of the item. Items that share a measurement are cheap but for the first.
        device: The device's name, such as `cpu` or `cuda:0 (NVIDIA H100 80GB HBM3)`.
        dtype: The dtype that the model ran in.
        numbers: What was measured.
        text: The report that the terminal shows; empty unless failed or error.
        rows: The drawn rows of that report, and their legend, line by line.
        culprit: What is to blame, where that can be told.
        first_layer: Where the activations part first: module, row, position; empty where it was not looked for.
        profile: The layers' deviations, empty where they were not looked for.
        codes: Codes of the catalogue that the finding belongs to, such as `DLM103`.
        notes: What a reader must know to judge it, such as a batch that was halved for want of memory.
    """

    model: str
    spec: str
    check: str
    item: str
    verdict: Verdict
    seen: str = ""
    parameters: Mapping[str, str | int] = dataclasses.field(default_factory=dict)
    protects_from: str = ""
    seconds: float = 0.0
    device: str = ""
    dtype: str = ""
    numbers: tuple[Number, ...] = ()
    text: str = ""
    rows: tuple[str, ...] = ()
    culprit: Culprit | None = None
    first_layer: str = ""
    profile: tuple[LayerDeviation, ...] = ()
    codes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as what JSON can hold.

        Tuples become lists. JSON has no NaN and no infinity: these become the texts `nan`, `inf` and `-inf`.
        """
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """Return the outcome that `as_dict` made `data` of.

        Raises:
            KeyError: A field without a default is missing.
            TypeError: `data` has a field that an outcome has not.
            ValueError: The verdict is none of `VERDICTS`.
        """
        if data["verdict"] not in VERDICTS:
            raise ValueError(f"verdict: expected one of {', '.join(VERDICTS)}, got {data['verdict']!r}")
        found = dict(data)
        found["numbers"] = tuple(
            Number(**{**number, **{key: _number(number[key]) for key in ("float32", "native")}})
            for number in data.get("numbers", ())
        )
        found["profile"] = tuple(
            LayerDeviation(layer["name"], float(layer["deviation"])) for layer in data.get("profile", ())
        )
        culprit = data.get("culprit")
        found["culprit"] = None if culprit is None else Culprit(**culprit)
        for name in ("rows", "codes", "notes"):
            found[name] = tuple(data.get(name, ()))
        return cls(**found)


def outcome_of(report: object) -> Outcome | None:
    """Return what the item behind one of pytest's reports found, None for reports of anything else.

    An item has one outcome; it comes with the report of its call, or of its setup where that failed.
    """
    data = getattr(report, ATTRIBUTE, None)
    return None if data is None else Outcome.from_dict(data)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)
