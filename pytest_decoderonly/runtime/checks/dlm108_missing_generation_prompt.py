"""DLM108: a chat went to `generate` without the header that opens the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.checks.base import GuardCheck, generate_steps
from pytest_decoderonly.runtime.report import Step, call_text, plural, printable, shorten

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.events import GenerateCall
    from pytest_decoderonly.runtime.report import Finding

_ASKING = frozenset({"user", "tool", "system", "human"})


class Check(GuardCheck):
    """Reports rows that are a rendered chat, as the template made it, whose last message asks and which nothing opens.

    The tokenizer's template must have a header to add; a text that was changed after rendering is not judged.
    """

    def on_generate(self, call: GenerateCall) -> Finding | None:
        """Judge by the template call that made the rows."""
        closed = []
        for number, origin in enumerate(call.origins):
            chat = origin[0].rendered.get(origin[1]) if origin is not None else None
            if origin is None or chat is None or chat.opens_answer or chat.continues:
                continue
            if chat.last_role in _ASKING:
                closed.append((number, origin[0], chat))
        if not closed:
            return None
        number, made, chat = closed[0]
        header = _header(made.tokenizer())
        real = call.text_of(made.real(call.origins[number][1]))  # type: ignore[index]
        if not header or real.rstrip().endswith(header.rstrip()):
            return None
        end = shorten(printable(real), 56)
        return self.finding(
            "error",
            f"generate() got {plural(len(closed), 'chat')} without the generation prompt {header!r}",
            chat.place or call.place,
            steps=[*generate_steps(call)[:1], Step("rendered", chat.place, call_text(chat.place))],
            rows=[(f"row {number}", f"|{end}|<- {header!r} is missing")],
            effect="the model writes the header itself, or goes on in the user's turn",
            help="apply_chat_template(messages, add_generation_prompt=True, ...)",
        )


def _header(tokenizer: object) -> str:
    from pytest_decoderonly.compare.chats import header_of

    return header_of(tokenizer)[0] if tokenizer is not None else ""
