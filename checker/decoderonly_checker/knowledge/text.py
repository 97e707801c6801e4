"""Strings: what their methods do to a text, and where a prompt is taken off decoded text."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.access import Slice
from decoderonly_checker.flow.choices import concat, decoded_in, text_of
from decoderonly_checker.flow.facts import Completion, Decode, PipelineCall, Stream, TextCut
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.templates import filled, replaced
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Const,
    DecodedText,
    Hole,
    Ids,
    Length,
    Lib,
    Pieces,
    Ref,
    Rendered,
    Site,
    Str,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import GenerateCall
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.flow.values import Encoding
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_MARKER = late_pattern(
    r"#{2,}|assistant|response|answer|\[/INST\]|<\|.*\|>|bot|output|completion|model\n|gpt|ai\s*:|summary|reply|<start_of_turn>|:\s*$",
    re.IGNORECASE,
)
_THINKING = late_pattern(r"</think(?:ing)?>|</reason|final_answer|```|\\boxed|</?s>|<\|end", re.IGNORECASE)
_BOS = late_pattern(r"<s>|<bos>|<\|begin_of_text\|>|<[|｜]begin▁of▁sentence[|｜]>")  # noqa: RUF001
_FOUND = frozenset({"match", "group", "groups"})  # hints of what a pattern found in a text
_UNCHANGED = frozenset(
    {
        "strip",
        "lstrip",
        "rstrip",
        "lower",
        "upper",
        "capitalize",
        "title",
        "casefold",
        "expandtabs",
        "encode",
        "decode",
        "translate",
        "removesuffix",
        "center",
        "ljust",
        "rjust",
        "zfill",
        "swapcase",
        "__str__",
    }
)


def carries(value: Value) -> bool:
    """Whether decoded text stands in `value`."""
    return next(decoded_in(value), None) is not None


def holes_of(value: Value) -> set[Value | str]:
    """Return what the holes of a text hold, to tell whether two texts share their contents."""
    found: set[Value | str] = set()
    for alt in alternatives(value):
        for part in text_of(alt):
            if isinstance(part, Hole):
                found.add(part.value)
                hint = getattr(part.value, "hint", "") or part.name
                if hint:
                    found.add(hint)
            elif len(part) > 40:
                found.add(part)
    found.discard(UNKNOWN)
    return found


def prompts_of(interp: Interpreter, decode: Decode | PipelineCall | Stream | Completion) -> list[Value]:
    """Return the texts that were given to the model behind a decoded text."""
    if isinstance(decode, PipelineCall):
        return texts_in(interp, decode.inputs) if decode.inputs is not None else []
    if isinstance(decode, Completion):
        prompt = decode.args.get(None, "prompt")
        return texts_in(interp, prompt) if prompt is not None else []
    calls = streamed_calls(interp, decode.streamer) if isinstance(decode, Stream) else [decode.generated.call]
    found: list[Encoding] = []
    for call in calls:
        given = [v.encoding for v in alternatives(call.ids) if isinstance(v, Ids) and v.encoding is not None]
        found += given or ([call.encoding] if call.encoding is not None else [])
    return [text for encoding in found for text in texts_in(interp, encoding.text)]


def streamed_calls(interp: Interpreter, streamer: int) -> list[GenerateCall]:
    """Return the `generate` calls that write into a streamer."""
    return [
        call
        for call in interp.facts.generate_calls
        if any(isinstance(v, Lib) and v.id == streamer for v in alternatives(call.args.get(None, "streamer")))
    ]


def texts_in(interp: Interpreter, value: Value) -> list[Value]:
    """Return a prompt's texts: itself, or what a list of prompts holds."""
    found: list[Value] = []
    for alt in alternatives(value):
        record = interp.store.get(alt.id) if isinstance(alt, Ref) else None
        if isinstance(record, ListRec):
            found.extend((*(record.items or ()), record.element))
        else:
            found.append(alt)
    return found


def is_prompt(interp: Interpreter, value: Value, decode: Decode | PipelineCall | Stream | Completion) -> bool:
    """Whether `value` is the text that was tokenized for the call behind `decode`."""
    mine = holes_of(value)
    for text in prompts_of(interp, decode):
        same_place = value.origin is not None and value.origin == text.origin
        if value == text and (same_place or not (isinstance(value, Unknown) and not value.hint)):
            return True
        if mine and mine & holes_of(text):
            return True
    return False


def text_cut(  # noqa: PLR0917
    interp: Interpreter, text: Value, how: str, by: Value, sure: bool, node: Node, result: str
) -> Value:
    """Note that a prompt was taken off decoded text, and return what is left: text without the prompt."""
    cut = TextCut(*interp.where(node), how, by, text, sure)
    seen = False
    for decoded in decoded_in(text):
        decoded.decode.cuts.append(cut)
        seen = True
    if seen:
        interp.record("text_cuts", cut)
    return Unknown(hint=result, origin=interp.site(node))


def slice_text(interp: Interpreter, text: Value, bounds: Slice, node: Node) -> Value:
    """Return `text[a:b]`; from a length on, that takes the prompt off."""
    lower = bounds.lower
    if lower is None or lower == Const(0):
        return text
    decode = next(decoded_in(text)).decode
    sure = False
    for one in alternatives(lower):
        number = literal(one)
        if isinstance(number, int):
            if number < 3 or _asked_for(interp, node, number):
                return text
            return text_cut(interp, text, "slice", one, False, node, "answer")
        if isinstance(one, Length):
            target = one.of
            if isinstance(target, Str) and any(
                isinstance(p, Hole) and isinstance(p.value, DecodedText) for p in target.parts
            ):
                # The difference of two decoded texts: a stream, or a prompt that was decoded again; not left whole.
                if isinstance(decode, Decode):
                    decode.echo_expected = True
                return Unknown(hint="chunk", origin=interp.site(node))
            if one.what == "index":
                begins = divides(interp, decode, target)
                if begins is None:
                    return text
                sure = begins
            else:
                sure = is_prompt(interp, target, decode) or _promptlike(target)
    return text_cut(interp, text, "slice", lower, sure, node, "answer")


def divides(
    interp: Interpreter, decode: Decode | PipelineCall | Stream | Completion, marker: Value
) -> bool | None:
    """Whether a marker stands between prompt and answer; None where it cannot be the prompt's.

    What was matched in the text itself is a parser's way of moving on, and a literal that a known prompt does not hold is
    the answer's own.
    """
    if _matched(marker):
        return None
    text = literal(marker)
    if not isinstance(text, str):
        words = " ".join(str(h) for h in holes_of(marker))
        return not re.search(r"eos|think|stop", words, re.IGNORECASE)
    parts = [part for prompt in prompts_of(interp, decode) for part in text_of(prompt)]
    if any(text in part for part in parts if isinstance(part, str)):
        return True
    if _MARKER.search(text) is not None and not _THINKING.search(text):
        return True
    return False if not parts or any(isinstance(part, Hole) for part in parts) else None


def _matched(value: Value) -> bool:
    """Whether a text holds what a pattern matched in a decoded text."""
    return any(
        isinstance(part, Hole) and getattr(part.value, "hint", "") in _FOUND
        for one in alternatives(value)
        for part in text_of(one)
    )


def _asked_for(interp: Interpreter, node: Node, count: int) -> bool:
    """Whether it was asked here which characters a text begins with, before so many of them are left out."""
    if not isinstance(node, cst.Subscript):
        return False
    code = re.escape(interp.text_key(node.value) or interp.site(node).code(node.value))
    return bool(interp.held(re.compile(rf"^{code}(?:\[0?:{count}\]|\.startswith\()")))


def without_front(text: Value, cut: Value | None) -> Value:
    """Return a text whose front was cut off: the BOS that a template or the program wrote there is gone."""
    parts = text_of(text)
    first = parts[0] if parts else ""
    taken = literal(cut)
    if isinstance(first, Rendered):
        kept: tuple[str | Hole, ...] = (dataclasses.replace(first, bare=True), *parts[1:])
    elif isinstance(first, Hole) and "bos" in getattr(first.value, "hint", ""):
        kept = parts[1:]
    elif isinstance(first, str) and isinstance(taken, str) and first.startswith(taken):
        kept = (first[len(taken) :], *parts[1:])
    else:
        return text
    return Str(kept, origin=text.origin)


def _is_bos(value: Value) -> bool:
    text = literal(value)
    return "bos" in getattr(value, "hint", "") or (isinstance(text, str) and _BOS.fullmatch(text) is not None)


def _promptlike(value: Value) -> bool:
    hints = {str(h).lower() for h in holes_of(value) if isinstance(h, str)}
    hints.add(getattr(value, "hint", "").lower())
    return any(
        re.search(r"prompt|question|query|instruction|context|input_?text|source|message|^inputs?$", hint)
        for hint in hints
    )


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    method = registry.method
    texts = (Str, Const, Hole, DecodedText)

    def unchanged(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        if isinstance(receiver, Const) and not isinstance(receiver.value, str):
            return None
        if name in _UNCHANGED:
            return receiver
        for value in args.all():
            if carries(value):
                interp.use(value, "compared", node)
        if name in {"startswith", "endswith", "count"} and carries(receiver):
            interp.use(receiver, "searched", node)
            for decoded in decoded_in(receiver):
                decode = decoded.decode
                if name == "startswith" and isinstance(decode, Decode):
                    decode.echo_expected |= any(is_prompt(interp, v, decode) for v in args.positional)
        return None

    for kind in texts:
        registry.any_method.setdefault(kind, []).append(unchanged)

    @method(texts, "format", "format_map", "substitute")
    def format_(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value:
        return filled(interp, receiver, name, args, node)

    @method(texts, "join")
    def join_(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value:
        source = args.positional[0] if args.positional else UNKNOWN
        element = interp.iterate(source)
        items = interp.elements(source, None)
        pieces = [text_of(item) for item in items] if items is not None else [text_of(element)]
        return concat(*pieces).at(interp.site(node))

    @method(texts, "replace")
    def replace(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        if not carries(receiver):
            if len(args.positional) > 1 and _is_bos(args.positional[0]):
                return without_front(receiver, args.positional[0])
            return replaced(receiver, args, interp.site(node))
        old, new = args.get(0, "old"), args.get(1, "new")
        if old is None or literal(new) not in {"", " "}:
            return receiver
        decode = next(decoded_in(receiver)).decode
        if all(isinstance(one, Const) for one in alternatives(old)) and not is_prompt(interp, old, decode):
            # A literal that is replaced by nothing is a marker or a special token, not the prompt.
            return receiver
        if _matched(old):
            return receiver
        related = is_prompt(interp, old, decode) or _promptlike(old)
        if not related and isinstance(old, Unknown | Const) and re.search(r"token", getattr(old, "hint", "")):
            return receiver
        return text_cut(interp, receiver, "replace", old, related, node, "answer")

    @method(texts, "removeprefix", "lstrip")
    def removeprefix(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        if not carries(receiver) and args.positional:
            return without_front(receiver, args.positional[0])
        if not args.positional:
            return receiver
        old = args.positional[0]
        decode = next(decoded_in(receiver)).decode
        if isinstance(old, Const) and not is_prompt(interp, old, decode):
            return receiver
        return text_cut(interp, receiver, "removeprefix", old, is_prompt(interp, old, decode), node, "answer")

    @method(texts, "split", "rsplit", "partition", "rpartition")
    def split(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        marker = args.get(0, "sep") or Const(None)
        if carries(receiver):
            return Pieces(
                receiver if isinstance(receiver, Str) else Str(text_of(receiver)),
                marker,
                name,
                origin=interp.site(node),
            )
        return Ref(
            interp.store.new(ListRec(None, Str((Hole(Unknown(hint="piece")),)))),
            "list",
            origin=interp.site(node),
        )

    @method(texts, "splitlines")
    def splitlines(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        if carries(receiver):
            return Pieces(
                receiver if isinstance(receiver, Str) else Str(text_of(receiver)),
                Const("\n"),
                name,
                origin=interp.site(node),
            )
        return None

    def piece(interp: Interpreter, owner: Pieces, index: list[Any], site: Site, node: Node) -> Value | None:
        first = index[0] if index else UNKNOWN
        number = literal(first) if isinstance(first, Value) else None
        if isinstance(first, Slice):
            low = literal(first.lower)
            if low in (0, None):
                return owner
            number = low if isinstance(low, int) else 1
        if number == 0:
            return owner.text
        text = literal(owner.marker)
        if not isinstance(number, int):
            return owner.text
        decode = next(decoded_in(owner.text)).decode
        if owner.marker == Const(None):
            return owner.text
        sure = divides(interp, decode, owner.marker)
        if sure is None or (not sure and isinstance(text, str) and not text.strip()):
            # A line or a word of the whole text: it may still be the prompt's.
            return owner.text
        return text_cut(interp, owner.text, "split", owner.marker, sure, node or owner.origin.node, "answer")  # type: ignore[union-attr]

    registry.items.setdefault(Pieces, []).append(piece)
    registry.iterators[Pieces] = lambda interp, value: value.text

    @method(Pieces, "pop")
    def pop_piece(interp: Interpreter, receiver: Pieces, name: str, args: Args, node: Node) -> Value | None:
        return piece(
            interp, receiver, [args.positional[0] if args.positional else Const(-1)], interp.site(node), node
        )

    def text_item(
        interp: Interpreter, owner: Value, index: list[Any], site: Site, node: Node
    ) -> Value | None:
        first = index[0] if index else UNKNOWN
        if not isinstance(first, Slice):
            return Unknown(hint="character", origin=site)
        if carries(owner):
            return slice_text(interp, owner, first, node)
        if isinstance(owner, Const) and not isinstance(owner.value, str):
            return None
        text = Str(text_of(owner), origin=site)
        return text if first.lower in (None, Const(0)) else without_front(text, None)

    for kind in texts:
        registry.items.setdefault(kind, []).append(text_item)

    @method(texts, "find", "index", "rfind", "rindex")
    def find(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        if not carries(receiver):
            return None
        interp.use(receiver, "searched", node)
        return Length(args.positional[0] if args.positional else UNKNOWN, "index", origin=interp.site(node))

    @registry.function("re.sub", "regex.sub")
    def sub(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        return args.get(2, "string")

    @registry.function("re.split", "regex.split")
    def re_split(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        text = args.get(1, "string")
        if text is not None and carries(text):
            return Pieces(
                text if isinstance(text, Str) else Str(text_of(text)),
                args.get(0, "pattern") or UNKNOWN,
                "split",
                origin=interp.site(node),
            )
        return None

    @registry.function(
        "re.search", "re.match", "re.findall", "re.fullmatch", "re.finditer", "regex.search", "regex.findall"
    )
    def search(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        text = args.get(1, "string")
        if text is not None and carries(text):
            interp.use(text, "searched", node)
            return Unknown(hint="match", origin=interp.site(node))
        return None
