"""What measurements share: what a model does with one prompt on its own, and how text is shown."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def alone(model: Any, tokenizer: Any, prompt: str, new_tokens: int = 8) -> str:
    """Return the reference: what the model writes after one prompt that nothing was done to."""
    encoding = tokenizer(prompt, return_tensors="pt")
    assert bool(encoding["attention_mask"].all())
    output = model.generate(**encoding, max_new_tokens=new_tokens, do_sample=False)
    text: str = tokenizer.decode(output[0, encoding["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


def next_token(model: Any, tokenizer: Any, prompt: str) -> int:
    """Return the most probable token after one prompt on its own."""
    encoding = tokenizer(prompt, return_tensors="pt")
    return int(model(**encoding).logits[0, -1].argmax())


@contextlib.contextmanager
def calls_of(model: Any, method: str = "generate") -> Iterator[list[dict[str, Any]]]:
    """Record what goes into a model inside a program's function, and what comes out; nothing is changed."""
    calls: list[dict[str, Any]] = []
    real = getattr(model, method)

    def recorded(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        calls.append({**options, "given": arguments[0] if arguments else None, "result": result})
        return result

    setattr(model, method, recorded)
    try:
        yield calls
    finally:
        delattr(model, method)


def shown(text: str, limit: int = 60) -> str:
    """Write a text as Markdown code on one line."""
    line = text.replace("\n", "\\n")
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return f"`{line}`" if line.strip() else "nothing" if not line else "spaces alone"
