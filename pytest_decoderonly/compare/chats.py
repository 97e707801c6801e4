"""What of a rendered chat the model writes itself: the assistant's turns, by the template's own word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.texts import with_offsets
from pytest_decoderonly.errors import message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MARKER = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_SENTINEL_USER, _SENTINEL_ANSWER = "kobura", "tilome"
Span = tuple[int, int]


class ChatError(ValueError):
    """A conversation that the template does not render in a way that tells turns apart."""


class RowDiffersError(ChatError):
    """A row of tokens that is not the rendered conversation."""


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as text; `spans` are (start, end) in characters of what is to be supervised.

    `free` are those of what may be or not: white space behind a terminator, and what the template itself puts
    between the generation prompt and an answer. `marked` says that the template's generation markers gave them.
    """

    text: str
    spans: tuple[Span, ...]
    marked: bool
    free: tuple[Span, ...] = ()


def template_of(tokenizer: Any) -> str | None:
    """Return the tokenizer's (default) chat template, None where it has none."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else None


def marks(tokenizer: Any) -> bool:
    """Say whether the chat template marks what the assistant writes."""
    return bool(_MARKER.search(template_of(tokenizer) or ""))


def render(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any] | None = None,
    **more: bool,
) -> str:
    """Return a conversation as text; `options` and `more`, which wins, go to `apply_chat_template`."""
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **{**(options or {}), **more}))


def rendered(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any] | None = None,
    **more: bool,
) -> str | None:
    """Return the same, of a conversation that was made up; None where the template refuses it."""
    try:
        return render(tokenizer, messages, options, **more)
    except Exception:  # templates raise what they like: jinja2's errors, TypeError, KeyError, their own
        return None


def read_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> RenderedChat:
    """Render a conversation and find the assistant's turns, each with its terminator.

    With `{% generation %}` markers they are what the markers enclose. Without, a turn begins where the
    conversation before it, rendered with the generation prompt, ends, and it ends before the white space that
    the template writes behind its terminator. A conversation without an answer has no spans.

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
                return RenderedChat(text, spans, marked=True, free=_around_ends(tokenizer, text, spans))
        spans, leads = _by_prefixes(tokenizer, messages, text)
        return RenderedChat(text, spans, marked=False, free=(*leads, *_around_ends(tokenizer, text, spans)))
    except ChatError:
        raise
    except Exception as error:  # templates raise what they like
        raise ChatError(f"the chat template refuses the conversation: {message_of(error)}") from error


def _marked(
    tokenizer: Any, template: str, messages: Sequence[Mapping[str, Any]], text: str
) -> tuple[Span, ...] | None:
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
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Return where turns stand, and what of them the template alone wrote: an empty block of thoughts, a second EOS."""
    spans: list[Span] = []
    leads: list[Span] = []
    for i, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        content = _place_of(tokenizer, messages, i, text) or _place_of_call(tokenizer, messages, i, text)
        before = render(tokenizer, messages[:i], add_generation_prompt=True)
        if text.startswith(before):
            start = len(before)
            if content is not None and start < content[0] and not _says_more(message):
                leads.append((start, content[0]))
        elif content is not None:
            # The generation prompt opens something (<think>) that a finished turn does not have.
            start = content[0] + len(text[content[0] :]) - len(text[content[0] :].lstrip())
            leads.append((content[0], start))
        else:
            raise ChatError(f"message {i}: its place in the rendered conversation cannot be told")
        upto = render(tokenizer, messages[: i + 1])
        if text.startswith(upto):
            end = len(upto)
        elif content is not None:
            end = content[1] + len(_ender(tokenizer, text[content[1] :]))
        else:
            end = -1
        if end < start:
            raise ChatError(f"message {i}: its end in the rendered conversation cannot be told")
        body = text[start:end]
        spans.append((start, start + len(body.rstrip()) if body.strip() else end))
        ender = _ender(tokenizer, text[content[1] :]) if content is not None else ""
        if content is not None and ender and content[1] + len(ender) < spans[-1][1]:
            leads.append((content[1] + len(ender), spans[-1][1]))
    return tuple(spans), tuple(span for span in leads if span[0] < span[1])


def _place_of(tokenizer: Any, messages: Sequence[Mapping[str, Any]], number: int, text: str) -> Span | None:
    """Return where a message's content stands in the text, also where the template changed it (dropped thoughts).

    It is where the text differs from that of the same conversation with another content.
    """
    content = messages[number].get("content")
    if not isinstance(content, str) or not content.strip():
        return None
    return _difference(
        tokenizer, messages, number, text, lambda message, other: {**message, "content": other}
    )


def _difference(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    number: int,
    text: str,
    change: Callable[[Mapping[str, Any], str], Mapping[str, Any]],
) -> Span | None:
    """Return where the text differs from those that a change of one message gives; None where nothing of it shows."""
    start, end = len(text), 0
    for other in (
        _SENTINEL_USER,
        _SENTINEL_ANSWER,
    ):  # one of them begins and ends otherwise than what is there
        changed = [*messages[:number], change(messages[number], other), *messages[number + 1 :]]
        found = render(tokenizer, changed)
        if other not in found:
            return None
        shared, behind = _shared(text, found), _shared(text[::-1], found[::-1])
        start, end = min(start, shared), max(end, len(text) - behind)
    return (start, end) if start < end else None


def _place_of_call(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], number: int, text: str
) -> Span | None:
    """Return where a message without content that calls tools stands: its arguments, up to a terminator's end."""
    if not messages[number].get("tool_calls"):
        return None
    place = _difference(tokenizer, messages, number, text, _other_arguments)
    begins = {
        _shared(
            text,
            render(
                tokenizer,
                [*messages[:number], {**messages[number], "content": other}, *messages[number + 1 :]],
            ),
        )
        for other in (_SENTINEL_USER, _SENTINEL_ANSWER)
    }
    enders = [
        _ender(tokenizer, text[answer[1] :])
        for i in range(len(messages))
        if messages[i].get("role") == "assistant"
        and (answer := _place_of(tokenizer, messages, i, text)) is not None
    ]
    ender = next((ender.strip() for ender in enders if ender.strip()), "")
    if place is None or not ender or ender not in text[place[1] :]:
        return None
    return min(begins | {place[0]}), text.index(ender, place[1])


def _other_arguments(message: Mapping[str, Any], other: str) -> Mapping[str, Any]:
    calls = []
    for call in message["tool_calls"]:
        function = call.get("function", call)
        arguments = function.get("arguments")
        changed = dict.fromkeys(arguments, other) if isinstance(arguments, dict) else other
        new = {**function, "arguments": changed}
        calls.append({**call, "function": new} if "function" in call else new)
    return {**message, "tool_calls": calls}


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _says_more(message: Mapping[str, Any]) -> bool:
    """Whether a message holds more that is written before its content: thoughts."""
    return any(bool(value) for key, value in message.items() if key not in ("role", "content", "tool_calls"))


def _around_ends(tokenizer: Any, text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the white space behind each terminator, or the terminator itself where the next turn begins with it.

    Trainers differ in whether they supervise this white space; nobody who generates gets there.
    """
    found = []
    special = tuple(_special_texts(tokenizer))
    for start, end in spans:
        inside = start + len(text[start:end].rstrip())
        behind = inside + len(text[inside:]) - len(text[inside:].lstrip())
        if not text[start:inside].endswith(special):
            behind = end + len(_ender(tokenizer, text[end:]))
        found.append((inside, behind))
    return tuple(span for span in found if span[0] < span[1])


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


def written(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what the assistant writes in each turn, as far as it can be told; () where it cannot."""
    if template_of(tokenizer) is None:
        return ()
    try:
        chat = read_chat(tokenizer, messages)
    except ChatError:
        return ()
    ends = dict(chat.free)
    return tuple(chat.text[start : max(end, ends.get(end, end))] for start, end in chat.spans)


def tokenized(tokenizer: Any, chat: RenderedChat) -> tuple[list[int], list[str]]:
    """Return the ids of a rendered chat, and for each `in`, `out` or `both` (it spans a border).

    Raises:
        ChatError: The tokenizer is no fast one, and the turns are not tokenized as parts of the whole.
    """
    found = with_offsets(tokenizer, chat.text)
    if found is None:
        return _by_lengths(tokenizer, chat)
    ids, offsets = found
    places = []
    for start, end in offsets:
        inside, free = (
            sum(max(0, min(end, e) - max(start, s)) for s, e in part) for part in (chat.spans, chat.free)
        )
        whole = end > start and inside == end - start
        places.append("both" if free or (inside and not whole) else "in" if whole else "out")
    return ids, places


def _by_lengths(tokenizer: Any, chat: RenderedChat) -> tuple[list[int], list[str]]:
    ids = [int(i) for i in tokenizer(chat.text, add_special_tokens=False)["input_ids"]]
    places = ["out"] * len(ids)
    for name, spans in (("in", chat.spans), ("both", chat.free)):
        for start, end in spans:
            borders = []
            for character in (start, end):
                part = [
                    int(i) for i in tokenizer(chat.text[:character], add_special_tokens=False)["input_ids"]
                ]
                if ids[: len(part)] != part:
                    raise ChatError("the turns are not tokenized alone as in the whole; use a fast tokenizer")
                borders.append(len(part))
            places[borders[0] : borders[1]] = [name] * (borders[1] - borders[0])
    return ids, places


def header_of(tokenizer: Any) -> tuple[str, str]:
    """Return the generation prompt, and what generation markers put before an answer; "" where unknown."""
    if template_of(tokenizer) is None:
        return "", ""
    question = [{"role": "user", "content": _SENTINEL_USER}]
    without, with_it = (
        rendered(tokenizer, question),
        rendered(tokenizer, question, add_generation_prompt=True),
    )
    if without is None or with_it is None:
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


def places_in_row(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], row: Sequence[int], *, last: bool = False
) -> list[str]:
    """Return for each real token of a row whether the assistant writes it: `in`, `out` or `both`.

    With `last`, whether it is its last turn.

    The row is the rendered conversation, which may be cut at either end, begin with a BOS that the tokenizer
    adds, or end with an EOS that the template does not write.

    Raises:
        RowDiffersError: The row is no such thing; the message says where the two part.
        ChatError: The template cannot render the conversation.
    """
    chat = read_chat(tokenizer, messages)
    if last and len(chat.spans) > 1:
        border = chat.spans[-1][0]
        free = tuple(span for span in chat.free if span[1] > border)
        chat = RenderedChat(chat.text, chat.spans[-1:], chat.marked, free)
    ids, places = tokenized(tokenizer, chat)
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
