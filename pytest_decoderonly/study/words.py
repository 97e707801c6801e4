"""What the numbers mean for this model, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.study.intervals import SIGNIFICANT, mcnemar
from pytest_decoderonly.study.result import Conclusion
from pytest_decoderonly.study.ways import BATCHED

if TYPE_CHECKING:
    from pytest_decoderonly.study.result import CellResult, Study


def conclude(study: Study) -> Study:
    """Add conclusions and notes to a study."""
    alone = study.cells[0]
    weak = _weak(alone)
    for way in BATCHED:
        mine = [cell for cell in study.cells if cell.way == way.key]
        if mine:
            study.conclusions.append(_conclusion(mine, study, accuracy=not weak))
    study.notes += [note for note in (weak, *_notes(study)) if note]
    return study


def _conclusion(cells: list[CellResult], study: Study, *, accuracy: bool) -> Conclusion:
    way, name = cells[0].way, cells[0].name
    ran = [cell for cell in cells if cell.error is None]
    failed = [cell for cell in cells if cell.error is not None]
    if not ran:
        return Conclusion(way, "failed", worse=False, text=f"{name}: could not be run: {failed[0].error}")
    worse = any(is_worse(cell) for cell in ran)
    if worse or any(cell.different for cell in ran):
        verdict, text = "changed", _changed(ran, accuracy=accuracy)
    elif any(cell.undecided or cell.unjudged for cell in ran):
        verdict, text = "undecided", _undecided(ran)
    else:
        verdict, text = "safe", _safe(ran, study)
    if failed:
        text += f" It could not be run in {failed[0].size}: {failed[0].error}."
    return Conclusion(way, verdict, worse=worse, text=f"{name}: {text}")


def is_worse(cell: CellResult) -> bool:
    """Whether fewer answers are right than alone, and chance is no explanation."""
    return cell.p_adjusted is not None and cell.p_adjusted < SIGNIFICANT and cell.lost > cell.gained


def _safe(cells: list[CellResult], study: Study) -> str:
    asked = sum(cell.same.total for cell in cells if cell.same)
    ties = sum(cell.rounding for cell in cells)
    padded = sum(cell.padded_rows for cell in cells)
    if not padded:
        return "the same answers as alone, but no row was padded, so that this shows nothing about padding."
    text = f"safe. All {asked} answers are those of the prompts alone"
    if ties:
        text = (
            f"safe. {asked - ties} of {asked} answers are those of the prompts alone, and {_are(ties, 'answer')} "
            "different by rounding (two candidates as good as equal)"
        )
    if cells[0].way == "left-no-mask":
        why = (
            ": `generate` makes the mask itself, as the padding token ends no text"
            if study.setting["mask_inferred"]
            else ""
        )
        return f"{text.replace('safe.', 'no harm here.', 1)}{why}."
    return f"{text}{_speed(cells)}."


def _speed(cells: list[CellResult]) -> str:
    best = max(cells, key=lambda cell: cell.speed or 0.0)
    if best.speed is None:
        return ""
    return f", at {best.speed:.1f} times the tokens per second in {best.size}"


def _changed(cells: list[CellResult], *, accuracy: bool) -> str:
    worst = max(cells, key=lambda cell: (is_worse(cell), cell.lost - cell.gained, cell.different))
    total = worst.same.total if worst.same else 0
    change = f"{worst.different} of {total} answers change beyond rounding"
    if worst.undecided or worst.unjudged:
        change += f", of {worst.undecided + worst.unjudged} that is not known"
    text = f"in {worst.size}, {change}"
    if worst.right is not None and accuracy:
        before = worst.right.count + worst.lost - worst.gained
        right = f"{worst.right.count} of {worst.right.total} are right, {before} alone"
        if is_worse(worst):
            text = f"{worst.lost} of {worst.right.total} answers lost in {worst.size}. {right}: worse beyond chance"
            text += f" ({_p(worst)}); {change}"
        else:
            text += f"; {right}, which may be chance ({_p(worst)})"
    if worst.empty_padded_rows:
        text += f"; {worst.empty_padded_rows} of {worst.padded_rows} padded rows are answered with nothing"
    return f"{text}."


def _undecided(cells: list[CellResult]) -> str:
    unjudged = sum(cell.unjudged for cell in cells)
    if unjudged:
        return f"{_are(unjudged, 'answer')} different, and the run was stopped before it was found out why."
    count = sum(cell.undecided for cell in cells)
    reason = next(a.reason for cell in cells for a in cell.answers if a.verdict == "undecided")
    return f"{_are(count, 'answer')} different; whether by rounding could not be told: {reason}."


def _weak(alone: CellResult) -> str:
    """Say where accuracy can tell nothing: there must be enough right answers for a loss to be more than chance."""
    if alone.right is None:
        return "No task has an answer to check, so that only the tokens are compared."
    if mcnemar(alone.right.count, 0) >= SIGNIFICANT:
        return (
            f"Alone, {alone.right.count} of {alone.right.total} answers are right: too few for accuracy to tell "
            "anything. Look at the tokens that are the same."
        )
    return ""


def _notes(study: Study) -> list[str]:
    notes = []
    if study.interrupted:
        notes.append("Interrupted: what had been measured by then is shown.")
    unstable = [cell for cell in study.cells if cell.unstable]
    if unstable:
        notes.append(
            f"{unstable[0].name}: {_are(unstable[0].unstable, 'answer')} not the same in every round, so that this "
            "model or device does not repeat itself; the first round is shown."
        )
    if any(c.way == "left" and c.verdict == "changed" for c in study.conclusions):
        notes.append(
            "Batches that are padded as they should be change answers: `pytest --decoderonly-checks "
            "--decoderonly-model=MODEL` looks for the cause."
        )
    return notes


def _are(count: int, noun: str) -> str:
    return f"{count} {noun} is" if count == 1 else f"{count} {noun}s are"


def _p(cell: CellResult) -> str:
    text = probability(cell.p_adjusted)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def probability(value: float | None) -> str:
    """Return a p-value as it is printed."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
