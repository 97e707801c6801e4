"""The experiment: rounds over all ways and sizes in turn, then a second look at the answers that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.memory import free_memory, is_no_room
from pytest_decoderonly.compare.precision import device_of, dtype_name, dtype_of, undisturbed
from pytest_decoderonly.conformance.case import Case
from pytest_decoderonly.errors import one_line
from pytest_decoderonly.study.asking import Asker
from pytest_decoderonly.study.prompts import render
from pytest_decoderonly.study.result import CellResult, Study, adjust, summarise
from pytest_decoderonly.study.rounding import differences
from pytest_decoderonly.study.ways import ALONE, Cell, Plan
from pytest_decoderonly.study.words import conclude

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_decoderonly.study.asking import Answers
    from pytest_decoderonly.study.rounding import Difference
    from pytest_decoderonly.study.tasks import Task


class StudyError(Exception):
    """The model cannot be asked at all; the message is one line."""


def run_study(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    plan: Plan,
    *,
    name: str,
    tell: Callable[[int, int], None] = lambda _done, _whole: None,
) -> Study:
    """Ask a model the same questions in all ways, and compare.

    What was measured before Ctrl-C is kept, and `interrupted` set, once each prompt has been asked alone.

    Args:
        model: A causal language model with `generate`.
        tokenizer: Its tokenizer. It need have no padding token.
        tasks: The questions, in the order in which they meet in batches.
        plan: Which ways, at which sizes, how often.
        name: What the model is called.
        tell: Called with the batches done and the batches to do, as far as that is known.

    Raises:
        StudyError: There is no tokenizer or no `generate`, or prompts cannot even be asked alone.
        TaskError: A task cannot be made a prompt.
    """
    if tokenizer is None:
        raise StudyError(
            f"{name}: has no tokenizer, and questions are text; a factory returns (model, tokenizer)"
        )
    if not callable(getattr(model, "generate", None)):
        raise StudyError(f"{name}: {type(model).__name__} has no generate, so it cannot be asked")
    prompts = render(tasks, tokenizer)
    case = Case(name, model, tokenizer)
    asker = Asker(
        model,
        pad_id=case.pad_id,
        eos=getattr(tokenizer, "eos_token_id", None),
        max_new_tokens=plan.max_new_tokens,
    )
    runs = _Runs(asker, [prompt.ids for prompt in prompts.prompts], plan, tell)
    with undisturbed(model):
        interrupted = runs.rounds()
        if ALONE.key not in {cell.way.key for cell in runs.answers}:
            if interrupted:
                raise KeyboardInterrupt
            raise StudyError(f"{name}: cannot be asked one prompt at a time: {runs.errors[plan.cells[0]]}")
        why: dict[Cell, dict[int, Difference]] = {}
        if not interrupted:
            interrupted = runs.judge(why)
    alone = runs.answers[plan.cells[0]]
    right: list[bool | None] = []
    results: list[CellResult] = []
    for cell in plan.cells:
        if cell in runs.errors:
            results.append(
                CellResult(
                    cell.way.key, cell.way.name, cell.batch_size, cell.padding, error=runs.errors[cell]
                )
            )
        elif cell in runs.answers:
            answers = runs.answers[cell]
            # One by one: batch_decode of older versions cannot take rows that are empty.
            texts = [tokenizer.decode(list(row), skip_special_tokens=True) for row in answers.tokens]
            result = summarise(
                cell, answers, alone,
                tasks=tasks, prompts=prompts.prompts, texts=texts, alone_right=right, found=why.get(cell),
            )  # fmt: skip
            right = right or [answer.right for answer in result.answers]
            results.append(result)
    adjust(results)
    study = Study(
        model=_described(model, name),
        setting={**_setting(asker, plan), "questions": len(tasks), "prompts": prompts.form},
        cells=results,
        interrupted=interrupted,
    )
    return conclude(study)


class _Runs:
    """What was asked so far."""

    def __init__(
        self, asker: Asker, rows: list[tuple[int, ...]], plan: Plan, tell: Callable[[int, int], None]
    ) -> None:
        self.asker = asker
        self.rows = rows
        self.plan = plan
        self.answers: dict[Cell, Answers] = {}
        self.errors: dict[Cell, str] = {}
        self._tell = tell
        self._done = 0
        self._whole = sum(self._batches(cell) for cell in plan.cells) * plan.rounds

    def _batches(self, cell: Cell) -> int:
        return -(-len(self.rows) // cell.batch_size)

    def _step(self) -> None:
        self._done += 1
        self._tell(self._done, max(self._whole, self._done))

    def rounds(self) -> bool:
        """Run all rounds; return whether they were interrupted."""
        every = self.plan.cells
        try:
            for number in range(self.plan.rounds):
                # Prompts alone come first, as all else is held against them; the others take turns in being next.
                batched = every[1:]
                turn = number % len(batched) if batched else 0
                for cell in [every[0], *batched[turn:], *batched[:turn]]:
                    self._round(cell, first=number == 0)
                if every[0] in self.errors:
                    break
        except KeyboardInterrupt:
            return True
        return False

    def _round(self, cell: Cell, *, first: bool) -> None:
        if cell in self.errors or ALONE.key in {broken.way.key for broken in self.errors}:
            return
        try:
            if first:  # The first call at a shape allocates and, on accelerators, chooses kernels.
                self.asker.ask(self.rows, cell, tell=lambda: None, limit=cell.batch_size)
            answers = self.asker.ask(self.rows, cell, tell=self._step)
        except Exception as error:  # one way may be out of memory or not offered: the others go on
            self.errors[cell] = _line(error)
            self.answers.pop(cell, None)
        if cell in self.errors:
            # Outside of the handler: the exception holds the frames that hold the tensors.
            free_memory(self.asker.model)()
            return
        known = self.answers.setdefault(cell, answers)
        if known is not answers:
            known.seconds += answers.seconds
            pairs = zip(known.tokens, answers.tokens, strict=True)
            known.unstable |= {i for i, (before, now) in enumerate(pairs) if before != now}

    def judge(self, why: dict[Cell, dict[int, Difference]]) -> bool:
        """Find out, cell by cell, why answers differ; return whether that was interrupted."""
        alone = self.answers[self.plan.cells[0]]
        try:
            for cell, answers in self.answers.items():
                if cell.way is not ALONE:
                    why[cell] = differences(
                        self.asker, self.rows, cell, answers=answers, alone=alone, tell=self._step
                    )
        except KeyboardInterrupt:
            return True
        return False


def _line(error: Exception) -> str:
    if is_no_room(error):
        return "out of memory; a smaller --batch-size may fit"
    return one_line(error)


def _described(model: Any, name: str) -> dict[str, Any]:
    # Tied weights are one parameter under two names.
    sizes = {id(p): p.numel() for p in model.parameters()}
    return {"name": name, "class": type(model).__name__, "parameters": sum(sizes.values())}


def _setting(asker: Asker, plan: Plan) -> dict[str, Any]:
    import platform

    import torch
    import transformers

    own = getattr(asker.model, "generation_config", None)
    pad = getattr(own, "pad_token_id", None)
    device = device_of(asker.model)
    return {
        "dtype": dtype_name(dtype_of(asker.model)),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "decoding": "greedy",
        "max_new_tokens": plan.max_new_tokens,
        "rounds": plan.rounds,
        "pad_id": asker.pad_id,
        # `generate` makes a mask itself where the padding is the model's own and no end token (transformers,
        # GenerationMixin._prepare_attention_mask_for_generation).
        "mask_inferred": pad is not None and pad == asker.pad_id and pad not in asker.ends,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
