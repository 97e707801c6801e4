"""Texts that are filled in: `format`, `%` and `replace`. Where the template is known, each value lands in its place."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

from decoderonly_checker.flow.choices import concat, text_of
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Const,
    Hole,
    Scattered,
    Site,
    Str,
    Tuple,
    Unknown,
    Value,
    literal,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    import libcst as cst

    from decoderonly_checker.flow.interpreter import Interpreter

Parts = tuple[str | Hole, ...]
_PERCENT = late_pattern(r"%(?:\((\w+)\))?[-#0 +]*[\d*]*(?:\.\d+)?([%sdrfieg])")


def filled(interp: Interpreter, template: Value, name: str, args: Args, node: cst.CSTNode) -> Value:
    """Return `template.format(…)`, `template.format_map(…)` or a `string.Template` filled in."""
    site = interp.site(node)
    exact = None if name == "substitute" else _formatted(interp, text_of(template), name, args, node)
    if exact is not None:
        return concat(*exact).at(site)
    pieces: list[Parts] = [text_of(template)]
    pieces.extend((Scattered(value, getattr(value, "hint", "")),) for value in args.positional)
    pieces.extend((Scattered(value, key),) for key, value in args.keywords.items())
    if args.open is not None:
        pieces.append((Scattered(args.open, "**"),))
    return concat(*pieces).at(site)


def _formatted(
    interp: Interpreter, template: Parts, name: str, args: Args, node: cst.CSTNode
) -> list[Parts] | None:
    """Return the parts of a filled template; None where the template does not show its fields."""
    if args.star is not None or not any(isinstance(part, str) for part in template):
        return None
    count = 0

    def value_of(field: str) -> tuple[Value, str]:
        nonlocal count
        root = re.split(r"[.\[]", field, maxsplit=1)[0]
        key: int | str = root
        if not root:
            key, count = count, count + 1
        elif root.isdigit():
            key = int(root)
        if isinstance(key, int):
            value = args.positional[key] if key < len(args.positional) else UNKNOWN
            label = getattr(value, "hint", "")
        else:
            value = args.keywords.get(key, args.open or UNKNOWN)
            label = key
            if key not in args.keywords and args.open is not None:
                value = interp.get_item(args.open, [Const(key)], node)
            elif name == "format_map" and args.positional:
                value = interp.get_item(args.positional[0], [Const(key)], node)
        if root != field:
            label = re.split(r"[.\[]", field)[-1].rstrip("]")
            value = Unknown(hint=label, origin=value.origin)
        return value, label

    return _each_literal(template, lambda text: _fields(text, value_of))


def _fields(text: str, value_of: Callable[[str], tuple[Value, str]]) -> list[Parts] | None:
    pieces: list[Parts] = []
    try:
        for plain, field, _, _ in string.Formatter().parse(text):
            if plain:
                pieces.append((plain,))
            if field is not None:
                pieces.append(_put(*value_of(field)))
    except ValueError:
        return None
    return pieces


def _put(value: Value, label: str) -> Parts:
    text = literal(value)
    return (text,) if isinstance(text, str) else (Hole(value, label, origin=value.origin),)


def _each_literal(template: Parts, fill: Callable[[str], list[Parts] | None]) -> list[Parts] | None:
    """Apply `fill` to the literal parts of a text and keep its holes."""
    pieces: list[Parts] = []
    for part in template:
        made: list[Parts] | None = [(part,)] if isinstance(part, Hole) else fill(part)
        if made is None:
            return None
        pieces.extend(made)
    return pieces


def percent(template: Value, values: Value, site: Site) -> Value:
    """Return `template % values`."""
    given = list(values.items) if isinstance(values, Tuple) else [values]

    def fill(text: str) -> list[Parts] | None:
        pieces: list[Parts] = []
        end = 0
        for found in _PERCENT.finditer(text):
            pieces.append((text[end : found.start()],))
            end = found.end()
            if found[2] == "%":
                pieces.append(("%",))
            elif found[1] is not None or not given:
                return None
            else:
                value = given.pop(0)
                pieces.append(_put(value, getattr(value, "hint", "")))
        return [*pieces, (text[end:],)]

    exact = _each_literal(text_of(template), fill)
    if exact is None or given:
        return Str((*text_of(template), Scattered(values)), origin=site)
    return concat(*exact).at(site)


def replaced(text: Value, args: Args, site: Site) -> Value | None:
    """Return `text.replace(old, new)` of a text that no model wrote."""
    if not isinstance(text, Str) and not isinstance(literal(text), str):
        return None
    old, new = args.get(0, "old"), args.get(1, "new")
    if old is None or new is None:
        return None
    parts = text_of(text)
    marker = literal(old)
    if isinstance(marker, str) and marker and any(isinstance(p, str) and marker in p for p in parts):

        def fill(plain: str) -> list[Parts]:
            pieces: list[Parts] = []
            for position, piece in enumerate(plain.split(marker)):
                if position:
                    pieces.append(_put(new, getattr(new, "hint", "")))
                pieces.append((piece,))
            return pieces

        return concat(*(_each_literal(parts, fill) or [])).at(site)
    if isinstance(marker, str) and all(isinstance(p, str) for p in parts):
        return text
    if isinstance(new, Const) and isinstance(marker, str):
        return text  # somewhere in what is filled in, the same in every text that it is filled into
    return concat(parts, (Scattered(new, getattr(new, "hint", "")),)).at(site)


__all__ = ["filled", "percent", "replaced"]
