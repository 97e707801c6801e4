"""Put prompts to a model in one way, as its users do: padded rows into `generate`, and nothing else."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.drive import Batch, Force, Trace, wide
from pytest_decoderonly.compare.precision import device_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from pytest_decoderonly.compare.drive import Row
    from pytest_decoderonly.study.ways import Cell, Way


@dataclass
class Answers:
    """What one cell gave: for each prompt the generated ids up to and with the end token, and its padding.

    `seconds` holds one time a round; `unstable` the prompts that got other ids in a later round.
    """

    tokens: list[tuple[int, ...]] = field(default_factory=list)
    padding: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    unstable: set[int] = field(default_factory=set)


class Asker:
    """Holds a model and the settings under which it is asked: greedy, and nothing that reads the prompt."""

    def __init__(self, model: Any, *, pad_id: int, eos: int | None, max_new_tokens: int) -> None:
        self.model = model
        self.pad_id = pad_id
        self.device = device_of(model)
        self.config = _greedy(model, eos)
        self.max_new_tokens = max_new_tokens
        given = self.config.eos_token_id
        self.ends = frozenset(given if isinstance(given, (list, tuple)) else [] if given is None else [given])

    def ask(
        self, rows: Sequence[Row], cell: Cell, *, tell: Callable[[], None], limit: int | None = None
    ) -> Answers:
        """Put all prompts in the order given; `tell` is called after each batch.

        Args:
            rows: The prompts' ids, unpadded.
            cell: The way and the sizes.
            tell: Called when a batch is through.
            limit: Stop after this many prompts and two tokens: a warm-up.

        Raises:
            RuntimeError: `generate` returned something other than prompt plus continuation.
        """
        import torch

        answers = Answers()
        self._wait()
        started = time.perf_counter()
        for start in range(0, min(len(rows), limit or len(rows)), cell.batch_size):
            batch = rows[start : start + cell.batch_size]
            ids, mask = self.tensors(batch, cell)
            output = self._generate(ids, mask, cell.way, 2 if limit else self.max_new_tokens)
            width = ids.shape[1]
            if output.shape[0] != len(batch) or not torch.equal(output[:, :width], ids):
                raise RuntimeError("generate did not return the prompts first")
            answers.tokens += [_until_end(row, self.ends) for row in output[:, width:].tolist()]
            answers.padding += [width - len(row) for row in batch]
            tell()
        self._wait()
        answers.seconds.append(time.perf_counter() - started)
        return answers

    def tensors(self, rows: Sequence[Row], cell: Cell) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask, padded as the cell says, each of shape (rows, width)."""
        import torch

        width = max(map(len, rows)) + cell.padding
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            place = slice(width - len(row), None) if cell.way.side == "left" else slice(0, len(row))
            ids[i, place] = torch.tensor(row)
            mask[i, place] = 1
        return ids.to(self.device), mask.to(self.device)

    def replay(self, rows: Sequence[Row], cell: Cell, forced: Sequence[Row]) -> tuple[Trace, Batch]:
        """Ask again with the answers given, and return the logits behind each of their tokens.

        Args:
            rows: The prompts of one batch.
            cell: The way and the sizes.
            forced: For each prompt, the tokens that are generated, one or more, whatever the model would choose.
        """
        import torch

        steps = max(map(len, forced))
        ids, mask = self.tensors(rows, cell)
        even = torch.tensor([[*row, *row[-1:] * (steps - len(row))] for row in forced], device=self.device)
        output = self._generate(
            ids,
            mask,
            cell.way,
            steps,
            logits_processor=[Force(even, ids.shape[1])],
            output_logits=True,
            return_dict_in_generate=True,
        )
        logits = wide(torch.stack(list(output.logits), dim=1))  # (rows, steps, vocabulary)
        trace = Trace()
        for i, row in enumerate(forced):
            trace.prefill.append(logits[i, :1])
            trace.steps.append(logits[i, 1 : len(row)])
        fills = tuple((self.pad_id,) * (ids.shape[1] - len(row)) for row in rows)
        return trace, Batch(tuple(rows), fills, tuple(forced))

    def _generate(self, ids: torch.Tensor, mask: torch.Tensor, way: Way, steps: int, **settings: Any) -> Any:
        told = {"attention_mask": mask} if way.mask else {}
        config = copy.deepcopy(self.config)
        config.max_new_tokens = steps
        return self.model.generate(input_ids=ids, **told, generation_config=config, **settings)

    def _wait(self) -> None:
        """Kernels of an accelerator are only queued: a clock that is read before they are done tells nothing."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def _greedy(model: Any, eos: int | None) -> Any:
    """The model's own settings of `generate`, without sampling, and without those that count or punish tokens.

    A penalty on tokens that the prompt holds would read the padding as well, and so hide what padding does by itself.
    """
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None)
    config = copy.deepcopy(own) if own is not None else GenerationConfig()
    changes: dict[str, Any] = {
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "min_length": 0,
        "max_length": None,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "min_p": None,
        "typical_p": None,
        "use_cache": True,
    }
    for name, value in changes.items():
        setattr(config, name, value)
    if config.eos_token_id is None:
        config.eos_token_id = eos
    return config


def _until_end(ids: list[int], ends: frozenset[int]) -> tuple[int, ...]:
    """Cut generated ids behind their first end token: what follows is padding of the batch."""
    stop = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
    return tuple(ids[:stop])
