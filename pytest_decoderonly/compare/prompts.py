"""Whether rows of ids still hold their prompts: what truncation took, the generation prompt, BOS once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.compare.chats import render, rendered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_decoderonly.compare.padding import SpecialIds
    from pytest_decoderonly.compare.texts import Codec

Kind = Literal["text", "chat", "ids"]
_MIN_OVERLAP = 3  # tokens that a prompt and its row must share where more text stands around the prompt
_MIN_CHARACTERS = 8

_HEADERS = ("assistant", "model", "bot", "gpt", "response", "answer")


@dataclass(frozen=True)
class Prompt:
    """What a row must hold.

    Attributes:
        kind: What the user gave.
        core: The prompt's ids without BOS in front.
        text: Its text, rendered where it is a chat; empty for ids.
        opening: The generation prompt that it must end with, as text; empty where there is none.
        bos: The tokenizer or the template puts BOS in front.
        content: The last message of a chat, which every rendering must hold.
        closed: What the chat template writes behind a question where no generation prompt is asked for; empty
            where it needs none.
        unopened: The header of an answer that the template leaves out although it was asked for, empty where
            all is well.
        reopened: For a chat whose last answer is to be continued: what closes that answer and opens another, without
            white space and BOS; empty where nothing does.
        frame: What the chat template writes before and behind the text of a single question, without white
            space and BOS; empty where there is no template.
    """

    kind: Kind
    core: tuple[int, ...]
    text: str
    opening: str = ""
    bos: bool = False
    content: str = ""
    closed: str = ""
    unopened: str = ""
    reopened: str = ""
    frame: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class PromptProblem:
    """One thing that is wrong with a row; drawn over `ids`, where `lost` marks what the row lacks."""

    code: str
    row: int
    what: str
    effect: str
    advice: str
    ids: tuple[int, ...]
    lost: tuple[bool, ...]
    point: int


@dataclass(frozen=True)
class _Found:
    """How a prompt stands in its row: tokens that are missing, and where the prompt ends in the row."""

    front: int = 0
    middle: int = 0
    middle_at: int = 0
    back: int = 0
    end: int | None = None


def make_prompt(given: Any, kind: Kind, tokenizer: Any, options: Mapping[str, Any]) -> Prompt:
    """Turn a text, a chat or ids into what the row must hold."""
    bos = getattr(tokenizer, "bos_token_id", None)
    if kind == "ids":
        return Prompt("ids", _core(given, bos), "", bos=bos is not None and given[:1] == [bos])
    if kind == "text":
        alone, full = _ids(tokenizer, given), list(tokenizer(given)["input_ids"])
        starts = bos is not None and full[:1] == [bos]
        closed, frame = _closed(tokenizer, given, options), _frame(tokenizer, options)
        return Prompt("text", _core(alone, bos), given, bos=starts, closed=closed, frame=frame)
    last = given[-1]
    reopened = ""
    if last.get("role") == "assistant":
        text = render(tokenizer, given, options, continue_final_message=True)
        opening = unopened = ""
        bare = render(tokenizer, given, options, add_generation_prompt=False)
        again = render(tokenizer, given, options, add_generation_prompt=True)
        if bare not in (again, text) and bare.startswith(text) and again.startswith(bare):
            reopened = _squeezed(again[len(text) :], tokenizer)
    else:
        bare = render(tokenizer, given, options, add_generation_prompt=False)
        text = render(tokenizer, given, options, add_generation_prompt=True)
        opening = text[len(bare) :] if text.startswith(bare) else ""
        unopened = "" if text != bare else _missing_header(tokenizer, given, options, text)
    ids = _ids(tokenizer, text)
    full = list(tokenizer("a")["input_ids"])
    starts = bos is not None and bos in (*ids[:1], *full[:1])
    content = last.get("content") if isinstance(last.get("content"), str) else ""
    return Prompt(
        "chat",
        _core(ids, bos),
        text,
        opening,
        starts,
        content=content or "",
        unopened=unopened,
        reopened=reopened,
        frame=_frame(tokenizer, options),
    )


def audit_prompts(
    rows: Sequence[Sequence[int]],
    prompts: Sequence[Prompt],
    *,
    codec: Codec,
    special: SpecialIds,
    count_bos: bool = True,
    ends_known: bool = True,
) -> list[PromptProblem]:
    """Check that each row holds its prompt to the end, and begins with BOS once where there is one.

    Args:
        rows: The rows' real ids, without padding.
        prompts: What they must hold.
        codec: The tokenizer.
        special: BOS, EOS and padding.
        count_bos: Whether BOS can be told from padding.
        ends_known: Whether EOS can be.
    """
    problems: list[PromptProblem] = []
    for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        found = _find(row, prompt, codec, special)
        if found is None:
            other = next(
                (j for j, p in enumerate(prompts) if j != i and _whole(_find(row, p, codec, special))), None
            )
            problems.append(_elsewhere(i, row, other))
            continue
        problem = (
            _lost(i, prompt, found, codec)
            or _twice(i, row, prompt, codec)
            or _opening(i, row, prompt, found, codec=codec, special=special, ends_known=ends_known)
        )
        if problem is None and count_bos:
            problem = _bos(i, row, prompt, special, whole=not found.front)
        if problem is not None:
            problems.append(problem)
    return problems


def _whole(found: _Found | None) -> bool:
    return found is not None and not (found.front or found.middle or found.back)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _core(ids: Sequence[int], bos: int | None) -> tuple[int, ...]:
    start = 0
    while bos is not None and start < len(ids) - 1 and ids[start] == bos:
        start += 1
    return tuple(ids[start:])


def _closed(tokenizer: Any, text: str, options: Mapping[str, Any]) -> str:
    """Return what ends a question in the chat template, where a generation prompt would have to follow."""
    if not getattr(tokenizer, "chat_template", None):
        return ""
    chat = [{"role": "user", "content": text}]
    bare = rendered(tokenizer, chat, options, add_generation_prompt=False)
    ready = rendered(tokenizer, chat, options, add_generation_prompt=True)
    if bare is None or ready is None:
        return ""
    return bare.rpartition(text)[2].strip() if ready != bare and ready.startswith(bare) else ""


def _frame(tokenizer: Any, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the chat template writes around one question, generation prompt and all."""
    if not getattr(tokenizer, "chat_template", None):
        return "", ""
    question = "decoderonly-question"
    chat = [{"role": "user", "content": question}]
    text = rendered(tokenizer, chat, options, add_generation_prompt=True)
    if text is None:
        return "", ""
    before, _, after = text.partition(question)
    return _squeezed(before, tokenizer), _squeezed(after, tokenizer)


def _squeezed(text: str, tokenizer: Any) -> str:
    """The text without white space and BOS, which templates and tokenizers put in and take out."""
    bos = getattr(tokenizer, "bos_token", None)
    return "".join((text.replace(str(bos), "") if bos else text).split())


def _missing_header(tokenizer: Any, chat: Any, options: Mapping[str, Any], text: str) -> str:
    """Return what the template writes in front of an answer, where asking for it changed nothing.

    Templates that need none ([INST] ... [/INST]) begin the answer where the question ends.
    """
    answer = "decoderonly-answer"
    whole = rendered(tokenizer, [*chat, {"role": "assistant", "content": answer}], options)
    if whole is None or not whole.startswith(text) or answer not in whole:
        return ""
    header = whole[len(text) : whole.index(answer)]
    return header if any(word in header.casefold() for word in _HEADERS) else ""


def _find(row: Sequence[int], prompt: Prompt, codec: Codec, special: SpecialIds) -> _Found | None:
    """Say how the prompt stands in the row; None where it does not."""
    core, ids = prompt.core, tuple(row)
    if not core:
        return _Found(end=len(ids))
    body = _core(ids, special.bos)
    size = len(core)
    for start in range(len(ids) - size + 1):
        if ids[start : start + size] == core:
            return _Found(end=start + size)
    overlap = _overlap(core, body)
    return overlap or _find_text(body, prompt, codec)


def _overlap(core: tuple[int, ...], body: tuple[int, ...]) -> _Found | None:
    size, length = len(core), len(body)
    if body == core[:length]:
        return _Found(back=size - length, end=None)
    if body == core[size - length :] and length < size:
        return _Found(front=size - length, end=length)
    inside = next((s for s in range(1, size - length) if core[s : s + length] == body), None)
    if inside is not None and length >= _MIN_OVERLAP:
        return _Found(front=inside, back=size - length - inside)
    head = next((n for n in range(min(size, length)) if core[n] != body[n]), min(size, length))
    tail = next((n for n in range(min(size, length)) if core[-1 - n] != body[-1 - n]), min(size, length))
    if head and tail and length < size and head + tail >= length:
        return _Found(middle=size - length, middle_at=min(head, length), end=length)
    for k in range(min(size, length) - 1, _MIN_OVERLAP - 1, -1):
        if body[length - k :] == core[:k]:
            return _Found(back=size - k)
        if body[:k] == core[size - k :]:
            return _Found(front=size - k, end=k)
    return None


def _find_text(body: tuple[int, ...], prompt: Prompt, codec: Codec) -> _Found | None:
    """Compare texts: tokens at the borders of a prompt may merge with what stands around it."""
    if not prompt.text:
        return None
    mine = codec.normal(codec.decode(body, skip=False)).text
    wanted = codec.normal(prompt.text)
    if prompt.content and wanted.text not in mine:
        # Rendered in another way (tools, a date, another system message): the last message tells.
        last, opening = codec.normal(prompt.content), codec.normal(prompt.opening).text
        at = mine.rfind(last.text)
        if at >= 0:
            if opening and opening not in mine[at + len(last.text) :]:
                return _Found(back=len(_ids(codec.tokenizer, prompt.opening)))
            return _Found(end=len(body))
    if wanted.text in mine:
        return _Found(end=len(body))
    size = len(wanted.text)
    for k in range(min(size, len(mine)), _MIN_CHARACTERS - 1, -1):
        if mine.endswith(wanted.text[:k]):
            rest = prompt.text[wanted.places[k] :] if k < size else ""
            return _Found(back=len(_ids(codec.tokenizer, rest)))
        if mine.startswith(wanted.text[size - k :]):
            return _Found(
                front=len(_ids(codec.tokenizer, prompt.text[: wanted.places[size - k]])), end=len(body)
            )
    return None


def _lost(row: int, prompt: Prompt, found: _Found, codec: Codec) -> PromptProblem | None:
    core, size = prompt.core, len(prompt.core)
    marks = [False] * size
    for i in range(min(found.front, size)):
        marks[i] = True
    for i in range(max(0, size - found.back), size):
        marks[i] = True
    for i in range(found.middle_at, min(size, found.middle_at + found.middle)):
        marks[i] = True
    if found.back:
        opening = len(_ids(codec.tokenizer, prompt.opening)) if prompt.opening else 0
        parts = [f"the last {found.back} of the prompt's {size} tokens are lost"]
        if found.front:
            parts.append(f"the first {found.front} too")
        if opening and found.back == opening:
            return PromptProblem(
                "DLM108",
                row,
                f"the generation prompt ({opening} tokens) is missing at the end",
                "the model goes on as the user, or begins the answer with a header of its own",
                "pass add_generation_prompt=True to apply_chat_template",
                core,
                tuple(marks),
                size - found.back,
            )
        if opening:
            parts.append(
                "the generation prompt among them"
                if found.back > opening
                else "some of the generation prompt"
            )
        return PromptProblem(
            "DLM105",
            row,
            ", ".join(parts),
            "the end of the question is what the model must answer, and it does not see it",
            'set tokenizer.truncation_side = "left", raise max_length, or shorten the context inside the prompt',
            core,
            tuple(marks),
            max(0, size - found.back),
        )
    if found.middle:
        return PromptProblem(
            "",
            row,
            f"{found.middle} of the prompt's {size} tokens are lost in the middle",
            "the model does not see that part of the context",
            "raise max_length, or shorten the context where it can be spared",
            core,
            tuple(marks),
            found.middle_at,
        )
    if found.front:
        return PromptProblem(
            "",
            row,
            f"the first {found.front} of the prompt's {size} tokens are lost",
            "the system message or the beginning of the context is missing",
            "raise max_length, or shorten the context inside the prompt",
            core,
            tuple(marks),
            found.front - 1,
        )
    return None


def _twice(row: int, ids: Sequence[int], prompt: Prompt, codec: Codec) -> PromptProblem | None:
    """Notice what stands twice: a rendering within another one, the prompt, its generation prompt."""
    wanted = _squeezed(prompt.text, codec.tokenizer)
    if not wanted:
        return None
    text = _squeezed(codec.decode(ids, skip=False), codec.tokenizer)
    (before, after), opening = prompt.frame, _squeezed(prompt.opening, codec.tokenizer)
    times = 1 if prompt.kind == "chat" else 2
    at, code = 0, ""
    if before and after and before * times + wanted + after * times in text:
        code = "DLM107"
        what = "the chat template was applied twice: a rendered chat is the question of another one"
        effect = "the model reads markers of turns where the question should be"
        do = "render once: give messages to apply_chat_template, never text that is already rendered"
    elif opening and text.endswith(wanted + opening):
        at, what = len(ids) - 1, "the generation prompt stands twice at the end"
        effect = "the model reads an empty turn of its own before the one that it must write"
        do = "write it once: add_generation_prompt=True, or a header of your own"
    elif prompt.reopened and text.endswith(wanted + prompt.reopened):
        at, code = len(ids) - 1, "DLM108"
        what = "the answer that the chat ends with is closed, and another one is opened"
        effect = "the model does not continue that answer: it begins a new one, or repeats it"
        do = "pass continue_final_message=True instead of add_generation_prompt=True"
    elif text == wanted * 2 and len(wanted) >= _MIN_CHARACTERS:
        at, what = len(ids) // 2, "the prompt stands twice in the row"
        effect = "the model reads the question again where it should answer"
        do = "join the prompt with its context, or generated ids with their prompt, once"
    else:
        return None
    return PromptProblem(code, row, what, effect, do, tuple(ids), (False,) * len(ids), at)


def _opening(
    row: int,
    ids: Sequence[int],
    prompt: Prompt,
    found: _Found,
    *,
    codec: Codec,
    special: SpecialIds,
    ends_known: bool,
) -> PromptProblem | None:
    if prompt.unopened:
        return PromptProblem(
            "DLM108",
            row,
            f"the chat template leaves out the generation prompt {prompt.unopened.strip()!r}, also with "
            "add_generation_prompt=True",
            "the model goes on as the user, or begins the answer with a header of its own",
            "add {% if add_generation_prompt %} with that header to the chat template",
            tuple(ids),
            (False,) * len(ids),
            len(ids) - 1,
        )
    rest = tuple(ids[found.end :]) if found.end is not None else ()
    if prompt.closed and rest and codec.decode(rest, skip=False).strip() == prompt.closed:
        return PromptProblem(
            "DLM108",
            row,
            "the row is a rendered chat without its generation prompt",
            "the model goes on as the user, or begins the answer with a header of its own",
            "pass add_generation_prompt=True to apply_chat_template",
            tuple(ids),
            (False,) * len(ids),
            len(ids) - 1,
        )
    chat = prompt.kind == "chat"
    if (chat or (prompt.kind == "text" and ends_known)) and rest and special.eos and set(rest) <= special.eos:
        return PromptProblem(
            "DLM107",
            row,
            f"EOS follows the {'generation ' if chat else ''}prompt",
            "the model reads that the text is over, where it should begin to answer",
            "tokenize rendered text with add_special_tokens=False"
            if chat
            else "make the tokenizer without add_eos_token, or tokenize with add_special_tokens=False",
            tuple(ids),
            (False,) * len(ids),
            found.end or 0,
        )
    return None


def _bos(
    row: int, ids: Sequence[int], prompt: Prompt, special: SpecialIds, *, whole: bool
) -> PromptProblem | None:
    bos = special.bos
    if bos is None:
        return None
    lead = next((n for n, token in enumerate(ids) if token != bos), len(ids))
    marks = (False,) * len(ids)
    if lead > 1:
        return PromptProblem(
            "DLM107",
            row,
            f"the row begins with {lead} BOS tokens",
            "the model saw one BOS in training; two change what it says",
            "tokenize text that a chat template rendered with add_special_tokens=False, or render with "
            "tokenize=True",
            tuple(ids),
            marks,
            1,
        )
    again = [i for i in range(max(lead, 1), len(ids)) if ids[i] == bos]
    if special.eos is not None and bos not in special.eos and len(again) > prompt.core.count(bos):
        return PromptProblem(
            "DLM107",
            row,
            f"BOS stands a second time, at position {again[0]}",
            "the model reads it as the beginning of another text",
            "tokenize the parts behind the first with add_special_tokens=False before they are joined",
            tuple(ids),
            marks,
            again[0],
        )
    if lead == 0 and prompt.bos and whole and prompt.core[:1] != (bos,):
        return PromptProblem(
            "",
            row,
            "BOS is missing in front, where the tokenizer or the template adds one",
            "the model saw BOS before every text in training; without it the first tokens attend to nothing",
            "keep add_special_tokens on for plain text; put bos_token into a chat template that lacks it",
            tuple(ids),
            marks,
            0,
        )
    return None


def _elsewhere(row: int, ids: Sequence[int], other: int | None) -> PromptProblem:
    what = "the row does not hold its prompt" + (f", but prompt {other}" if other is not None else "")
    return PromptProblem(
        "",
        row,
        what,
        "the model answers another question",
        "give prompts in the order of the rows"
        if other is not None
        else "give the prompts that the rows were made of",
        tuple(ids),
        (False,) * len(ids),
        0,
    )
