"""What of a rendered chat the model writes itself: the assistant's turns, by the template's own word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_SENTINEL_USER, _SENTINEL_ANSWER = "kobura", "tilome"


class ChatError(ValueError):
    """A conversation that the template does not render in a way that tells turns apart."""


class RowDiffersError(ChatError):
    """A row of tokens that is not the rendered conversation."""


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text; `spans` are (start, end) in characters of what is to be supervised.

    `marked` says that the template's generation markers gave them.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    marked: bool


def template_of(tokenizer: Any) -> str | None:
    """Return the tokenizer's (default) chat template, None where it has none."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else None


def render(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, prompt: bool = False) -> str:
    """Return a conversation as text, with the generation prompt where `prompt`."""
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))


def read_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> RenderedChat:
    """Render a conversation and find the assistant's turns, each with its terminator.

    With `{% generation %}` markers they are what the markers enclose. Without, a turn begins where the
    conversation before it, rendered with the generation prompt, ends, and it ends before the white space that
    the template writes behind its terminator.

    Raises:
        ChatError: The template cannot render it, or an answer is not to be found in the text.
    """
    template = template_of(tokenizer)
    if template is None:
        raise ChatError("the tokenizer has no chat template")
    try:
        text = render(tokenizer, messages)
        if _MARKER.search(template):
            spans = _marked(tokenizer, template, messages, text)
            if spans is not None:
                return RenderedChat(text, spans, marked=True)
        return RenderedChat(text, _by_prefixes(tokenizer, messages, text), marked=False)
    except ChatError:
        raise
    except Exception as error:  # templates raise what they like
        raise ChatError(
            f"the chat template refuses the conversation: {' '.join(str(error).split())}"
        ) from error


def _marked(
    tokenizer: Any, template: str, messages: Sequence[Mapping[str, Any]], text: str
) -> tuple[tuple[int, int], ...] | None:
    """Ask the renderer for the characters between the markers.

    Not for the token mask: in some versions of transformers it runs on to the row's end where a span ends at
    token 0 or was truncated.
    """
    try:
        from transformers.utils.chat_template_utils import render_jinja_template
    except ImportError:
        return None
    rendered, spans = render_jinja_template(
        conversations=[list(messages)],
        chat_template=template,
        return_assistant_tokens_mask=True,
        add_generation_prompt=False,
        **getattr(tokenizer, "special_tokens_map", {}),
    )
    if rendered[0] != text:
        return None
    return tuple((int(start), int(end)) for start, end in spans[0])


def _by_prefixes(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], text: str
) -> tuple[tuple[int, int], ...]:
    spans: list[tuple[int, int]] = []
    position = 0
    for i, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        content = message.get("content")
        start = -1
        before = render(tokenizer, messages[:i], prompt=True)
        if text.startswith(before):
            start = len(before)
        elif isinstance(content, str) and content.strip():
            # The generation prompt opens something (<think>) that a finished turn does not have.
            start = text.find(content.strip(), position)
        if start < 0:
            raise ChatError(f"message {i}: its place in the rendered conversation cannot be told")
        upto = render(tokenizer, messages[: i + 1])
        end = len(upto) if text.startswith(upto) else -1
        if end < 0 and isinstance(content, str) and content.strip() in text[start:]:
            end = text.index(content.strip(), start) + len(content.strip())
            end += len(_ender(tokenizer, text[end:]))
        if end < start:
            raise ChatError(f"message {i}: its end in the rendered conversation cannot be told")
        body = text[start:end]
        spans.append((start, start + len(body.rstrip()) if body.strip() else end))
        position = end
    if not spans:
        raise ChatError("the conversation has no assistant message")
    return tuple(spans)


def _ender(tokenizer: Any, rest: str) -> str:
    """Return the special token that `rest` begins with, white space before it included."""
    bare = rest.lstrip()
    gap = len(rest) - len(bare)
    for token in sorted(_special_texts(tokenizer), key=len, reverse=True):
        if bare.startswith(token):
            return rest[: gap + len(token)]
    return ""


def _special_texts(tokenizer: Any) -> set[str]:
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    named = getattr(tokenizer, "all_special_tokens", None) or ()
    return {text for text in (*map(str, named), *map(str, added.values())) if text}


def tokenized(tokenizer: Any, chat: RenderedChat) -> tuple[list[int], list[str]]:
    """Return the ids of a rendered chat, and for each `in`, `out` or `both` (it spans a border).

    Raises:
        ChatError: The tokenizer is no fast one, and the turns are not tokenized as parts of the whole.
    """
    try:
        encoded = tokenizer(chat.text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = list(encoded["input_ids"]), list(encoded["offset_mapping"])
    except (NotImplementedError, TypeError, KeyError):
        return _by_lengths(tokenizer, chat)
    places = []
    for start, end in offsets:
        inside = sum(max(0, min(end, e) - max(start, s)) for s, e in chat.spans)
        places.append("in" if end > start and inside == end - start else "both" if inside else "out")
    return [int(i) for i in ids], places


def _by_lengths(tokenizer: Any, chat: RenderedChat) -> tuple[list[int], list[str]]:
    ids = [int(i) for i in tokenizer(chat.text, add_special_tokens=False)["input_ids"]]
    places = ["out"] * len(ids)
    for start, end in chat.spans:
        borders = []
        for character in (start, end):
            part = [int(i) for i in tokenizer(chat.text[:character], add_special_tokens=False)["input_ids"]]
            if ids[: len(part)] != part:
                raise ChatError("the turns are not tokenized alone as in the whole; use a fast tokenizer")
            borders.append(len(part))
        places[borders[0] : borders[1]] = ["in"] * (borders[1] - borders[0])
    return ids, places


def header_of(tokenizer: Any) -> tuple[str, str]:
    """Return the generation prompt, and what generation markers put before an answer; "" where unknown."""
    if template_of(tokenizer) is None:
        return "", ""
    question = [{"role": "user", "content": _SENTINEL_USER}]
    try:
        without, with_it = render(tokenizer, question), render(tokenizer, question, prompt=True)
    except Exception:
        return "", ""
    header = with_it[len(without) :] if with_it.startswith(without) else ""
    lead = ""
    try:
        chat = read_chat(tokenizer, [*question, {"role": "assistant", "content": _SENTINEL_ANSWER}])
    except ChatError:
        return header, ""
    if chat.marked and chat.spans and _SENTINEL_ANSWER in chat.text:
        lead = chat.text[chat.spans[0][0] : chat.text.index(_SENTINEL_ANSWER)]
    return header, lead


def places_in_row(tokenizer: Any, messages: Sequence[Mapping[str, Any]], row: Sequence[int]) -> list[str]:
    """Return for each real token of a row whether the assistant writes it: `in`, `out` or `both`.

    The row is the rendered conversation, which may be cut at either end, begin with a BOS that the tokenizer
    adds, or end with an EOS that the template does not write.

    Raises:
        RowDiffersError: The row is no such thing; the message says where the two part.
        ChatError: The template cannot render the conversation.
    """
    ids, places = tokenized(tokenizer, read_chat(tokenizer, messages))
    row = list(row)
    special = set(getattr(tokenizer, "all_special_ids", ()) or ())
    lead = 1 if row and ids and row[0] != ids[0] and row[0] in special else 0
    body = row[lead:]
    if body == ids[: len(body)]:
        return ["out"] * lead + places[: len(body)]
    if body[: len(ids)] == ids and set(body[len(ids) :]) <= special:
        # An EOS behind the terminator is a second way to stop; it may be learned or not.
        return ["out"] * lead + places + ["both"] * (len(body) - len(ids))
    for start in range(1, len(ids)):
        if body == ids[start : start + len(body)]:
            return ["out"] * lead + places[start : start + len(body)]
    same = next(
        (i for i, (a, b) in enumerate(zip(body, ids, strict=False)) if a != b), min(len(body), len(ids))
    )
    raise RowDiffersError(
        f"input_ids are not what the tokenizer's chat template makes of the messages: {same} of its {len(ids)} "
        "tokens agree, then they part"
    )
