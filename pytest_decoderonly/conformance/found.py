"""How a check says what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_decoderonly.compare.verdict import Culprit
    from pytest_decoderonly.conformance.outcome import LayerDeviation, Number


class NotApplicable(Exception):  # noqa: N818
    """The model has nothing that this check could look at; the message is the reason."""


class CheckFailed(Exception):  # noqa: N818 - a finding about the user's model, not an error of this program
    """The model does not conform; the message is the report."""


@dataclass(frozen=True)
class Found:
    """What one item found; the fields are those of `outcome.Outcome`.

    `raised` says that the model did, so that nothing could be measured.
    """

    seen: str
    passed: bool = True
    raised: bool = False
    numbers: tuple[Number, ...] = ()
    text: str = ""
    rows: tuple[str, ...] = ()
    culprit: Culprit | None = None
    first_layer: str = ""
    profile: tuple[LayerDeviation, ...] = ()
    codes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def failed(
    headline: str,
    problems: list[str],
    *,
    codes: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Found:
    """Return a finding of a headline and a line for each problem."""
    return Found(
        (problems[0] if problems else headline).partition("\n")[0],
        passed=False,
        text="\n".join([headline, *problems, *rows]),
        codes=codes,
        rows=rows,
        notes=notes,
    )
