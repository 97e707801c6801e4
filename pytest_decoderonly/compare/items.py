"""What a scorer is given: rows of ids, texts, or pairs of prompt and continuation; how one token is changed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pytest_decoderonly.compare.arrays import as_counts, as_rows

Kind = Literal["ids", "text"]


class Items:
    """The rows, as the scorer takes them, with what is known of their tokens.

    Args:
        rows: A list of rows: token ids (list, array, tensor), texts, or (prompt, continuation) pairs of either.
        prompt_lengths: Prompt tokens of each row of ids, where rows are no pairs.

    Raises:
        TypeError: Something else, or a mixture.
        ValueError: Fewer than two rows, or an empty one.
    """

    def __init__(self, rows: Any, prompt_lengths: Any = None) -> None:
        if isinstance(rows, (str, bytes)) or not isinstance(rows, Sequence):
            raise TypeError(
                "rows: must be a list of rows (ids, texts, or pairs of prompt and continuation), got "
                f"{type(rows).__name__}"
            )
        self.rows = list(rows)
        if len(self.rows) < 2:
            raise ValueError(f"rows: needs at least two, got {len(self.rows)}")
        forms = {_form(row, i) for i, row in enumerate(self.rows)}
        if len(forms) > 1:
            raise TypeError("rows: must all be of one form (ids, texts, pairs of ids, pairs of texts)")
        self.kind, self.paired = forms.pop()
        if prompt_lengths is not None and (self.kind != "ids" or self.paired):
            raise TypeError(
                "prompt_lengths: goes with rows of ids only; pairs say themselves where the prompt ends"
            )
        self.tokens: list[list[int]] | None = None
        self.prompts: list[int] | None = None
        if self.kind == "ids":
            parts = [
                [_ids(part, i) for part in (row if self.paired else (row,))]
                for i, row in enumerate(self.rows)
            ]
            self.tokens = [[token for part in row for token in part] for row in parts]
            if self.paired:
                self.prompts = [len(row[0]) for row in parts]
            elif prompt_lengths is not None:
                self.prompts = as_counts(prompt_lengths, "prompt_lengths", len(self.rows))
        for i, row in enumerate(self.rows):
            if not (self.tokens[i] if self.tokens is not None else "".join(row)):
                raise ValueError(f"rows: row {i} is empty")
        self._pool = sorted({token for row in self.tokens or () for token in row})

    def __len__(self) -> int:
        return len(self.rows)

    def length(self, i: int) -> int:
        """Tokens of a row of ids, characters of a text: only good for comparing rows."""
        return len(self.tokens[i]) if self.tokens is not None else len("".join(self.rows[i]))

    def with_other_end(self, i: int, seed: int = 0) -> Any:
        """The row with its last token (the last letter of a text) changed."""
        if self.tokens is None:
            return self._with_text(i, lambda text: _other_letter(text, len(text.rstrip()) - 1, seed))
        return self.with_token(i, len(self.tokens[i]) - 1, seed)

    def with_token(self, i: int, place: int, seed: int = 0) -> Any:
        """The row of ids with another token at one place."""
        assert self.tokens is not None  # noqa: S101 - rows of ids only
        tokens = list(self.tokens[i])
        others = [token for token in self._pool if token != tokens[place]] or [tokens[place] + 1]
        tokens[place] = random.Random(seed).choice(others)  # noqa: S311 - test data
        return self._rebuilt(i, tokens)

    def stranger(self, i: int) -> Any:
        """A row of the same form and length with other content."""
        draw = random.Random(11 + i)  # noqa: S311 - test data
        if self.tokens is None:
            return self._with_text(
                i,
                lambda text: "".join(
                    draw.choice("abdefgh") if c.isalpha() and c.isascii() else c for c in text
                ),
            )
        return self._rebuilt(i, [draw.choice(self._pool) for _ in self.tokens[i]])

    def _with_text(self, i: int, change: Any) -> Any:
        row = self.rows[i]
        if not self.paired:
            return change(row)
        return type(row)((row[0], change(row[1])))

    def _rebuilt(self, i: int, tokens: list[int]) -> Any:
        row = self.rows[i]
        if not self.paired:
            return _like(row, tokens)
        border = len(_ids(row[0], i))
        return type(row)((_like(row[0], tokens[:border]), _like(row[1], tokens[border:])))


def _form(row: Any, i: int) -> tuple[Kind, bool]:
    if isinstance(row, str):
        return "text", False
    if isinstance(row, (tuple, list)) and len(row) == 2:
        if all(isinstance(part, str) for part in row):
            return "text", True
        if all(isinstance(part, (Sequence, np.ndarray)) or getattr(part, "shape", ()) != () for part in row):
            return "ids", True
    _ids(row, i)
    return "ids", False


def _ids(row: Any, i: int) -> list[int]:
    if hasattr(row, "tolist"):
        row = row.tolist()
    if isinstance(row, Sequence) and len(row) == 0:
        return []
    try:
        return as_rows([row], "rows")[0]
    except (TypeError, ValueError):
        raise TypeError(
            f"rows: row {i} must be token ids, a text, or a pair of prompt and continuation, got {row!r}"[
                :200
            ]
        ) from None


def _like(original: Any, tokens: list[int]) -> Any:
    if isinstance(original, np.ndarray):
        return np.array(tokens, dtype=original.dtype)
    if hasattr(original, "new_tensor"):
        return original.new_tensor(tokens)
    return type(original)(tokens) if isinstance(original, (list, tuple)) else tokens


def _other_letter(text: str, at: int, seed: int) -> str:
    if at < 0:
        return text + "q"
    letters = [letter for letter in "qzkxjw" if letter != text[at].lower()]
    return text[:at] + letters[seed % len(letters)] + text[at + 1 :]


def as_values(output: Any, rows: int) -> list[np.ndarray]:
    """Return what a scorer gave as one vector a row: a number, or one number a token.

    Raises:
        TypeError: It is none of both.
    """
    square = getattr(output, "ndim", 0) == 2
    plain = output.tolist() if hasattr(output, "tolist") else output
    if isinstance(plain, (int, float)):
        if rows > 1:
            raise TypeError(
                f'score: returned one number for {rows} rows; give reduction="token" or "row" for a score of all rows'
            )
        plain = [plain]
    if isinstance(plain, (str, bytes)) or not isinstance(plain, Sequence):
        raise TypeError(
            f"score: must return a number (or one a token) for each row, got {type(output).__name__}"
        )
    values = []
    for i, item in enumerate(plain):
        item = item.tolist() if hasattr(item, "tolist") else item  # noqa: PLW2901 - the plain form of the same
        try:
            vector = np.atleast_1d(np.asarray(item, dtype=np.float64))
        except (TypeError, ValueError):
            raise TypeError(f"score: entry {i} must be a number or numbers, got {item!r}"[:200]) from None
        if vector.ndim != 1:
            raise TypeError(
                f"score: entry {i} must be a number or one number a token, got shape {vector.shape}"
            )
        values.append(_stripped(vector) if square and vector.size > 1 else vector)
    return values


def total(values: np.ndarray) -> float:
    """The score of a row: the sum of what it has for its tokens; not a number where there are none."""
    return float(values.sum()) if values.size else math.nan


def _stripped(vector: np.ndarray) -> np.ndarray:
    """In a rectangle of token scores, zeros at the ends stand for padding."""
    on = np.flatnonzero(vector != 0)
    return vector[on[0] : on[-1] + 1] if on.size else vector[:0]


def as_number(output: Any) -> float:
    """Return the one number that a scorer of all rows gave.

    Raises:
        TypeError: It gave something else.
    """
    plain = output.tolist() if hasattr(output, "tolist") else output
    if isinstance(plain, list) and len(plain) == 1:
        plain = plain[0]
    if isinstance(plain, (int, float)):
        return float(plain)
    raise TypeError(
        f"score: must return one number for all rows, where reduction is given, got {type(output).__name__}"
    )
