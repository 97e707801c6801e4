"""Tasks as prompts: in the model's chat template, behind worked examples, or as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare import chats
from pytest_decoderonly.errors import one_line
from pytest_decoderonly.study.tasks import TaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.study.tasks import Task

INSTRUCTION = "You answer in one short sentence."
# Models that think aloud would not come to their answer; templates without that switch pass it over.
_TEMPLATE = {"add_generation_prompt": True, "enable_thinking": False}

# None of these is among the questions. They show a model without a chat template what an answer looks like.
_EXAMPLES = (
    ("What is the capital of Italy?", "Rome."),
    ("Which month comes after April?", "May."),
    ("Tom has a red bicycle and a green scooter. What colour is the scooter?", "Green."),
)
_SHOTS = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in _EXAMPLES)


@dataclass(frozen=True)
class Prompt:
    """One prompt: its ids, unpadded, and whether the answer ends with its first line."""

    ids: tuple[int, ...]
    one_line: bool = False

    def answer(self, text: str) -> str:
        """Return the answer in what was generated: behind worked examples, models go on with a next question."""
        return text.strip().partition("\n")[0].strip() if self.one_line else text.strip()


@dataclass(frozen=True)
class Prompts:
    """All prompts, and in words what was made of the tasks."""

    prompts: tuple[Prompt, ...]
    form: str


def render(tasks: Sequence[Task], tokenizer: Any) -> Prompts:
    """Return the prompts of `tasks`.

    Raises:
        TaskError: A task needs a chat template that the tokenizer lacks or that refuses it, or gives no tokens.
    """
    template = getattr(tokenizer, "chat_template", None) is not None
    forms: list[str] = []
    found: list[Prompt] = []
    for task in tasks:
        if task.prompt is not None:
            form, text, whole = "as they are", task.prompt, False
        elif task.messages is not None:
            form, text, whole = (
                "in the chat template",
                _conversation(task, tokenizer, template=template),
                True,
            )
        elif template:
            form, text, whole = "in the chat template", _chat(task, tokenizer), True
        else:
            form, text, whole = (
                f"behind {len(_EXAMPLES)} worked examples",
                f"{_SHOTS}Question: {task.text}\nAnswer:",
                False,
            )
        # A template has written the special tokens already.
        ids = tokenizer(text, add_special_tokens=not whole)["input_ids"]
        if not ids:
            raise TaskError(f"task {task.id}: the tokenizer makes no tokens of it")
        forms.append(form)
        found.append(Prompt(tuple(ids), one_line="worked" in form))
    return Prompts(tuple(found), " or ".join(dict.fromkeys(forms)))


def _conversation(task: Task, tokenizer: Any, *, template: bool) -> str:
    if not template:
        raise TaskError(
            f'task {task.id}: has "messages", and the tokenizer has no chat template; give "question" or "prompt"'
        )
    messages = [{"role": role, "content": content} for role, content in task.messages or ()]
    return _rendered(task, tokenizer, messages)


def _chat(task: Task, tokenizer: Any) -> str:
    """Put the instruction where the template takes it: some know no system role, some leave it out in silence."""
    question = {"role": "user", "content": task.text}
    with_system = [{"role": "system", "content": INSTRUCTION}, question]
    text = chats.rendered(tokenizer, with_system, _TEMPLATE)
    if text is not None and INSTRUCTION in text:
        return text
    return _rendered(task, tokenizer, [{"role": "user", "content": f"{INSTRUCTION}\n{task.text}"}])


def _rendered(task: Task, tokenizer: Any, messages: list[dict[str, str]]) -> str:
    try:
        return chats.render(tokenizer, messages, _TEMPLATE)
    except Exception as error:  # templates raise what they like
        raise TaskError(f"task {task.id}: the chat template refuses it: {one_line(error)}") from error
