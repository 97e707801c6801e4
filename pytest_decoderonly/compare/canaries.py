"""Examples whose words occur nowhere else: what becomes of them in a pipeline can be read off its output."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.compare.texts import decoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Role = Literal["system", "user", "assistant", "tool"]

_CONSONANTS, _VOWELS = "bdfgjklmnprtvz", "aeiou"
_TRIES = 4000


@dataclass(frozen=True)
class CanaryTurn:
    """One message. `words` are its words in order; `text` joins them by spaces and ends in a mark.

    With `call` the assistant calls a tool, and the text is the argument.
    """

    role: Role
    words: tuple[str, ...]
    mark: str
    call: bool = False

    @property
    def text(self) -> str:
        """The message's content."""
        return " ".join(self.words) + self.mark


@dataclass(frozen=True)
class Canary:
    """One example, in whatever form a pipeline reads. Its words occur in no other canary."""

    number: int
    turns: tuple[CanaryTurn, ...]
    rejected: CanaryTurn | None = None

    @property
    def parts(self) -> tuple[CanaryTurn, ...]:
        """The turns, and behind them the rejected answer, where there is one."""
        return self.turns if self.rejected is None else (*self.turns, self.rejected)

    @property
    def prompt(self) -> str:
        """The only user message, after the system message where there is one.

        Raises:
            ValueError: The canary has several turns.
        """
        self._single("prompt")
        return "\n".join(turn.text for turn in self.turns[:-1])

    @property
    def response(self) -> str:
        """The last assistant message."""
        return self.turns[-1].text

    def prompt_completion(self) -> dict[str, str]:
        """Return `{"prompt": ..., "completion": ...}` as text.

        The completion begins with a space, as a completion that goes on in a line does.
        """
        return {"prompt": self.prompt, "completion": " " + self.response}

    def messages(self) -> list[dict[str, Any]]:
        """Return all turns as `[{"role": ..., "content": ...}, ...]`; a call of a tool in `tool_calls`."""
        return [_message(turn, i) for i, turn in enumerate(self.turns)]

    def prompt_messages(self) -> dict[str, list[dict[str, Any]]]:
        """Return `{"prompt": messages, "completion": messages}`; the completion is the last answer alone."""
        messages = self.messages()
        return {"prompt": messages[:-1], "completion": messages[-1:]}

    def preference(self) -> dict[str, str]:
        """Return `{"prompt", "chosen", "rejected"}` as text, the answers beginning with a space.

        Raises:
            ValueError: The canary has no rejected answer (`canaries(..., rejected=True)` gives it one).
        """
        answers = {"chosen": self.response, "rejected": self._rejected("preference").text}
        return {"prompt": self.prompt, **{name: " " + text for name, text in answers.items()}}

    def preference_messages(self) -> dict[str, list[dict[str, Any]]]:
        """Return `{"prompt", "chosen", "rejected"}`, each a list of messages.

        Raises:
            ValueError: The canary has no rejected answer (`canaries(..., rejected=True)` gives it one).
        """
        rejected = _message(self._rejected("preference_messages"), len(self.turns))
        messages = self.messages()
        return {"prompt": messages[:-1], "chosen": messages[-1:], "rejected": [rejected]}

    def text(self, template: str = "{prompt}\n{response}") -> str:
        """Return `template` with `{prompt}` and `{response}` filled in.

        Raises:
            ValueError: The template lacks one of the two.
        """
        if "{prompt}" not in template or "{response}" not in template:
            raise ValueError(f"template: must hold {{prompt}} and {{response}}, got {template!r}"[:200])
        return template.replace("{prompt}", self.prompt).replace("{response}", self.response)

    def alpaca(self) -> dict[str, str]:
        """Return `{"instruction", "input", "output"}`; the prompt's words are shared among the first two."""
        self._single("alpaca")
        words = [word for turn in self.turns[:-1] for word in turn.words]
        half = (len(words) + 1) // 2
        return {
            "instruction": " ".join(words[:half]) + ".",
            "input": " ".join(words[half:]) + "?",
            "output": self.response,
        }

    def sharegpt(self) -> dict[str, list[dict[str, str]]]:
        """Return `{"conversations": [{"from": "human", "value": ...}, ...]}`.

        Raises:
            ValueError: The canary calls a tool.
        """
        self._no_tools("sharegpt")
        names = {"system": "system", "user": "human", "assistant": "gpt"}
        return {"conversations": [{"from": names[turn.role], "value": turn.text} for turn in self.turns]}

    def _rejected(self, what: str) -> CanaryTurn:
        if self.rejected is None:
            raise ValueError(
                f"{what}: canary {self.number} has no rejected answer; make canaries with rejected=True"
            )
        return self.rejected

    def _no_tools(self, what: str) -> None:
        if any(turn.call for turn in self.turns):
            raise ValueError(
                f"{what}: canary {self.number} calls a tool; use messages() or prompt_messages()"
            )

    def _single(self, what: str) -> None:
        self._no_tools(what)
        if sum(turn.role == "user" for turn in self.turns) > 1:
            raise ValueError(
                f"{what}: canary {self.number} has several turns; use messages(), prompt_messages() or sharegpt()"
            )


def canaries(
    tokenizer: Any,
    rows: int = 4,
    turns: int = 1,
    system: bool = False,
    *,
    tools: bool = False,
    rejected: bool = False,
    seed: int = 0,
) -> list[Canary]:
    """Make examples of unequal length whose words occur nowhere else, and which `tokenizer` gives back.

    The global random state is neither read nor changed.

    Args:
        tokenizer: The tokenizer (or processor) of the pipeline: only words that come back from it are used.
        rows: How many examples.
        turns: Pairs of question and answer in each.
        system: Whether each begins with a system message (of words of its own).
        tools: Whether the assistant calls a tool before each answer: the call (a function `look_up` with the
            argument `query`) is the assistant's to write, the tool's result is not.
        rejected: Whether each has a rejected answer, too, for preference data.
        seed: Other words.

    Raises:
        TypeError: `tokenizer` cannot tokenize and decode.
        ValueError: `rows` or `turns` is less than one, or no words come back from the tokenizer.
    """
    for name, value in (("rows", rows), ("turns", turns)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: must be a whole number from 1 on, got {value!r}")
    reader = Reader(tokenizer)
    words = _words(reader, seed)
    made = []
    for row in range(rows):
        parts: list[CanaryTurn] = []
        if system:
            parts.append(_turn("system", words, 2, "."))
        for turn in range(turns):
            # Unequal lengths make a batch that needs padding.
            parts.append(_turn("user", words, 2 + (2 * row + turn) % 5, "?"))
            if tools:
                parts.append(_turn("assistant", words, 2, "", call=True))
                parts.append(_turn("tool", words, 2 + (row + turn) % 3, "."))
            parts.append(_turn("assistant", words, 2 + (row + 2 * turn) % 4, "."))
        other = _turn("assistant", words, 2 + (row + 1) % 4, ".") if rejected else None
        made.append(Canary(row, tuple(parts), other))
    return made


def _turn(role: Role, words: Iterator[str], count: int, mark: str, *, call: bool = False) -> CanaryTurn:
    return CanaryTurn(role, tuple(next(words) for _ in range(count)), mark, call)


def _message(turn: CanaryTurn, number: int) -> dict[str, Any]:
    if turn.role == "tool":
        return {"role": "tool", "name": "look_up", "tool_call_id": _call_id(number - 1), "content": turn.text}
    if not turn.call:
        return {"role": turn.role, "content": turn.text}
    call = {"name": "look_up", "arguments": {"query": turn.text}}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": _call_id(number), "type": "function", "function": call}],
    }


def _call_id(number: int) -> str:
    return f"call{number:05}"  # nine letters and digits, as Mistral's templates ask for


def _words(reader: Reader, seed: int) -> Iterator[str]:
    """Yield words that survive the tokenizer and are no part of each other or of what templates write."""
    template = getattr(reader.tokenizer, "chat_template", None)
    taken = str(template or "").lower() + " ".join(reader.special_texts()).lower()
    used: list[str] = []
    for word in _candidates(reader, seed):
        if word in taken or any(word in other or other in word for other in used):
            continue
        if all(
            word in reader.squeezed(before + word + after) for before in ("", " ", "\n") for after in ".?"
        ):
            used.append(word)
            yield word
    raise ValueError(
        f"tokenizer: gives back only {len(used)} of the words that canaries are made of "
        "(too small a vocabulary, or unknown tokens); ask for fewer rows or turns"
    )


def _candidates(reader: Reader, seed: int) -> Iterator[str]:
    draw = random.Random(seed)  # noqa: S311 - words, not secrets
    for _ in range(_TRIES):
        syllables = draw.choice((3, 4))
        yield "".join(draw.choice(_CONSONANTS) + draw.choice(_VOWELS) for _ in range(syllables))
    # A vocabulary of whole words spells nothing new: its own rarer words must do.
    vocabulary: dict[str, int] = getattr(reader.tokenizer, "get_vocab", dict)()
    own = sorted({re.sub("[Ġ▁]", "", str(token)) for token in vocabulary})
    yield from (word for word in own if len(word) > 2 and word.isascii() and word.isalpha())


class Reader:
    """A tokenizer, as far as it is needed here: ids of a text, and the text of each id without its spaces."""

    def __init__(self, tokenizer: Any) -> None:
        """Take a tokenizer, or a processor that holds one.

        Raises:
            TypeError: It cannot tokenize and decode.
        """
        inner = getattr(tokenizer, "tokenizer", None)
        found = inner if hasattr(inner, "decode") and callable(inner) else tokenizer
        if not callable(found) or not hasattr(found, "decode"):
            raise TypeError(f"tokenizer: must be callable and have decode(), got {type(tokenizer).__name__}")
        self.tokenizer: Any = found
        self._pieces: dict[int, str] = {}
        self.eos = _one_id(getattr(found, "eos_token_id", None))
        self.bos = _one_id(getattr(found, "bos_token_id", None))
        self.pad = _one_id(getattr(found, "pad_token_id", None))
        added = getattr(found, "added_tokens_decoder", None)
        named = getattr(found, "all_special_ids", None) or ()
        self.special = frozenset(int(i) for i in (*named, *(added if isinstance(added, dict) else ())))

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens where the tokenizer lets one ask for that."""
        try:
            found = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        except TypeError:
            found = self.tokenizer(text)["input_ids"]
        return [int(i) for i in found]

    def piece(self, token: int) -> str:
        """Return the text of one id without white space; ids that cannot be decoded have none."""
        if token not in self._pieces:
            text = decoded(self.tokenizer, [token])
            self._pieces[token] = "".join((text or "").split()).removeprefix("##")
        return self._pieces[token]

    def squeezed(self, text: str) -> str:
        """Return what comes back of a text, id by id, without white space."""
        return "".join(self.piece(token) for token in self.ids(text))

    def special_texts(self) -> Sequence[str]:
        """Return the texts of the special tokens."""
        return [self.piece(token) for token in sorted(self.special)]


def _one_id(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None
