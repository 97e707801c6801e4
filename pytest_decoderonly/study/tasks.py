"""Questions with answers that a program can check: the built-in ones, and the user's own from a JSONL file."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Written before the first run and kept as they were, right or wrong. Lengths differ on purpose: a batch of
# equally long prompts needs no padding and shows nothing.
BUILT_IN = Path(__file__).with_name("questions.jsonl")

_FORMS = ("question", "messages", "prompt")
_KEYS = (*_FORMS, "answers", "pattern", "id")
_ONE_OF = '"question", "messages" or "prompt"'


class TaskError(Exception):
    """A file of tasks cannot be used; the message is one line that names the file and, where there is one, the line."""


@dataclass(frozen=True)
class Task:
    """One question.

    Attributes:
        id: What names it in results.
        question: A question in words, put into the model's chat template or behind worked examples; else None.
        messages: A conversation for the chat template, as (role, content); else None.
        prompt: A text that goes to the model as it is; else None.
        answers: Words of which one must stand in a right answer, whatever the case of their letters.
        pattern: A regular expression that a right answer matches somewhere.
    """

    id: str
    question: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    prompt: str | None = None
    answers: tuple[str, ...] = ()
    pattern: str | None = None

    @property
    def checkable(self) -> bool:
        """Whether an answer can be called right or wrong."""
        return bool(self.answers) or self.pattern is not None

    @property
    def text(self) -> str:
        """What is asked, for people who read the results."""
        if self.messages is not None:
            return self.messages[-1][1]
        return self.question if self.question is not None else self.prompt or ""

    def is_right(self, answer: str) -> bool:
        """Whether one of the accepted answers stands in `answer` as a word, or the pattern is found there."""
        if self.pattern is not None and re.search(self.pattern, answer):
            return True
        return any(
            re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) for word in self.answers
        )


def read_tasks(path: Path) -> list[Task]:
    """Read tasks from a JSONL file: one object a line; empty lines are passed over.

    Raises:
        TaskError: The file cannot be read, a line is no task, or there is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror or error}") from None
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    # Split as bytes: JSON text may hold line separators that only `str.splitlines` takes for ends of lines.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            task = _task(line, number)
        except _LineError as error:
            raise TaskError(f"{path}:{number}: {error}") from None
        if task.id in lines:
            raise TaskError(f"{path}:{number}: id {_shown(task.id)} is that of line {lines[task.id]}, too")
        lines[task.id] = number
        tasks.append(task)
    if not tasks:
        raise TaskError(f"{path}: holds no tasks; expected one JSON object a line")
    return tasks


def choose(tasks: list[Task], limit: int | None, seed: int | None) -> list[Task]:
    """Return the first `limit` tasks, after shuffling with `seed` where one is given."""
    chosen = list(tasks)
    if seed is not None:
        random.Random(seed).shuffle(chosen)  # noqa: S311 - an order, no secret
    return chosen[:limit]


class _LineError(Exception):
    pass


def _task(line: bytes, number: int) -> Task:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _LineError(f"is not UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise _LineError(f"is not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise _LineError("is not JSON that can be read: nested too deeply") from None
    if not isinstance(value, dict):
        raise _LineError(f'expected an object such as {{"question": …, "answers": […]}}, got {_kind(value)}')
    for key in value:
        if key not in _KEYS:
            raise _LineError(f"unknown key {_shown(key)}{_nearest(key)}; keys are {', '.join(_KEYS)}")
    forms = [key for key in _FORMS if key in value]
    if len(forms) != 1:
        found = " and ".join(f'"{key}"' for key in forms) or "none of them"
        raise _LineError(f"expected one of {_ONE_OF}, got {found}")
    form = forms[0]
    return Task(
        id=_id(value, number),
        question=_text(value, "question") if form == "question" else None,
        messages=_messages(value["messages"]) if form == "messages" else None,
        prompt=_text(value, "prompt") if form == "prompt" else None,
        answers=_answers(value),
        pattern=_pattern(value),
    )


def _id(value: dict[str, Any], number: int) -> str:
    given = value.get("id", number)
    if isinstance(given, bool) or not isinstance(given, (str, int)) or given == "":
        raise _LineError(f'"id" must be a text or an integer, got {_kind(given)}')
    return str(given)


def _text(value: dict[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str) or not text.strip():
        raise _LineError(f'"{key}" must be a text that is not empty, got {_kind(text)}')
    return text


def _messages(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise _LineError(f'"messages" must be a list of messages, got {_kind(value)}')
    found: list[tuple[str, str]] = []
    for place, message in enumerate(value, 1):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise _LineError(f'message {place} of "messages" must be an object with "role" and "content"')
        role, content = message["role"], message["content"]
        if not isinstance(role, str) or not isinstance(content, str):
            raise _LineError(f'"role" and "content" of message {place} of "messages" must be texts')
        found.append((role, content))
    if found[-1][0] == "assistant":
        raise _LineError('the last of "messages" is the assistant\'s: nothing is left to be answered')
    return tuple(found)


def _answers(value: dict[str, Any]) -> tuple[str, ...]:
    given = value.get("answers", [])
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise _LineError(
            f'"answers" must be a text or a list of texts that are not empty, got {_kind(given)}'
        )
    if "answers" in value and not words:
        raise _LineError('"answers" is empty; leave it out where no answer can be checked')
    return tuple(word.strip() for word in words)


def _pattern(value: dict[str, Any]) -> str | None:
    pattern = value.get("pattern")
    if pattern is None:
        return None
    if not isinstance(pattern, str) or not pattern:
        raise _LineError(f'"pattern" must be a regular expression, got {_kind(pattern)}')
    try:
        re.compile(pattern)
    except re.error as error:
        raise _LineError(f'"pattern" is no regular expression: {error}') from None
    return pattern


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "a truth value", type(None): "null"}
    return (
        _shown(value)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
        else names[type(value)]
    )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def _nearest(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key, _KEYS, 1)
    return f' (did you mean "{near[0]}"?)' if near else ""
