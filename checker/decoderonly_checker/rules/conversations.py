"""How a rendered prompt stands to the rendered conversation that it is the beginning of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.flow.choices import text_of
from decoderonly_checker.flow.prefixes import Front, fit
from decoderonly_checker.flow.state import DictRec, ListRec
from decoderonly_checker.flow.values import Const, Ref, Rendered, Str, Unknown, Value, alternatives
from decoderonly_checker.rules.prompts import absent, checkpoints

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.values import Encoding

LACKS_HEADER = "lacks"
EXTRA_HEADER = "extra"
PREFIX = "prefix"
_DEPTH = 4


def asks_for_answer(how: Encoding) -> bool | None:
    """Whether a rendering ends in the header of the answer; None where that is not known."""
    given = alternatives(how.generation_prompt)
    if all(absent(one) for one in given):
        return False
    values = {one.value if isinstance(one, Const) and not one.default else None for one in given}
    only = values.pop() if len(values) == 1 else None
    return only if isinstance(only, bool) else None


def ignores_header(how: Encoding) -> bool | None:
    """Whether the checkpoint's template writes no header of its own; None where the table does not tell."""
    if not absent(how.chat_template):
        return None
    entries = checkpoints(how.tokenizer)
    told = {known.template_ignores_generation_prompt if known is not None else None for known in entries}
    return told.pop() if len(told) == 1 else None


def rendered_fit(prompt: Rendered, whole: Rendered, more: bool, facts: Facts) -> str | None:
    """Compare a rendered prompt with a rendered conversation.

    Args:
        prompt: What is measured.
        whole: What the labels are made from.
        more: Whether text follows the rendered conversation.
        facts: All records.

    Returns:
        `LACKS_HEADER`, `EXTRA_HEADER` or `PREFIX`; None where it is not known how they stand to each other.
    """
    one, two = prompt.encoding, whole.encoding
    if one is None or two is None:
        return None
    begins, whole_begins = asks_for_answer(one), asks_for_answer(two)
    if begins is None or ignores_header(one):
        return None
    if same_turns(prompt, whole, facts):
        if whole_begins is None or begins == whole_begins:
            return PREFIX if begins == whole_begins else None
        if begins:
            return EXTRA_HEADER if more else None
        return LACKS_HEADER if more else None
    role = next_role(prompt, whole, facts)
    if role is None:
        return None
    if begins:
        return PREFIX
    return LACKS_HEADER if not one.begun and role in {"assistant", "model", ""} else None


def same_turns(prompt: Rendered, whole: Rendered, facts: Facts) -> bool:
    """Whether two renderings are of the same conversation, as it stood at either call."""
    one, two = _turns(prompt), _turns(whole)
    if one is not None and two is not None:
        return len(one) == len(two) and all(same(a, b, facts) for a, b in zip(one, two, strict=True))
    # A list may have grown between the calls.
    return (
        one is two
        and prompt.value == whole.value
        and not isinstance(prompt.value, Ref)
        and _known(prompt.value)
    )


def next_role(prompt: Rendered, whole: Rendered, facts: Facts) -> str | None:
    """Return whose turn follows where the prompt is the front of a conversation, "" if unknown; None where it is not."""
    one, two = _turns(prompt), _turns(whole)
    if one is not None and two is not None:
        if not (0 < len(one) < len(two)) or not all(
            same(a, b, facts) for a, b in zip(one, two, strict=False)
        ):
            return None
        record = facts.objects.get(two[len(one)].id) if isinstance(two[len(one)], Ref) else None  # type: ignore[attr-defined]
        role = record.entries.get("role") if isinstance(record, DictRec) else None
        return str(role.value) if isinstance(role, Const) else ""
    return "" if _is_front(prompt.value, whole.value, facts) else None


def _is_front(one: Value, two: Value, facts: Facts) -> bool:
    """Whether `one` is all but the end of the list `two`: `messages[:-1]`, or `two` is `one + answer`."""
    if isinstance(one, Unknown) and isinstance(two, Unknown):
        return one.front and not two.front and bool(one.hint) and one.hint == two.hint
    if isinstance(two, Ref):
        longer = facts.objects.get(two.id)
        if isinstance(longer, ListRec) and longer.begins is not None and longer.begins == one and _known(one):
            return True
        record = facts.objects.get(one.id) if isinstance(one, Ref) else None
        return isinstance(record, ListRec) and record.front_of == two.id
    if not isinstance(two, Str):
        return False
    found = fit(text_of(one), text_of(two))
    return found.front is Front.PREFIX and bool(found.longer_rest)


def same(one: Value, two: Value, facts: Facts, depth: int = 0) -> bool:
    """Whether two messages say the same."""
    if one == two:
        return not isinstance(one, Unknown) or bool(one.hint)
    if not (isinstance(one, Ref) and isinstance(two, Ref)) or depth > _DEPTH:
        return False
    a, b = facts.objects.get(one.id), facts.objects.get(two.id)
    if isinstance(a, DictRec) and isinstance(b, DictRec):
        return a.entries.keys() == b.entries.keys() and all(
            same(a.entries[key], b.entries[key], facts, depth + 1) for key in a.entries
        )
    if isinstance(a, ListRec) and isinstance(b, ListRec) and a.items is not None and b.items is not None:
        return len(a.items) == len(b.items) and all(
            same(x, y, facts, depth + 1) for x, y in zip(a.items, b.items, strict=True)
        )
    return False


def _turns(rendered: Rendered) -> tuple[Value, ...] | None:
    return rendered.encoding.turns if rendered.encoding is not None else None


def _known(value: Value) -> bool:
    return not isinstance(value, Unknown) or bool(value.hint)


__all__ = ["EXTRA_HEADER", "LACKS_HEADER", "PREFIX", "ignores_header", "rendered_fit"]
