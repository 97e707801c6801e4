"""Text to libcst trees, without letting hostile or generated input take the process down."""

from __future__ import annotations

import libcst

from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.scan import logical_lines
from decoderonly_checker.source.stack import on_deep_stack
from decoderonly_checker.source.syntax import syntax_error

# CPython's own limit ("too many nested parentheses"): deeper code does not run either.
MAX_BRACKETS = 200
# libcst's parser recurses on the native stack and the process dies where that ends (at some 2,000 levels on
# 8 MiB). Deep input is parsed on a thread with room to spare, deeper input is refused.
DEEP = 150
MAX_NESTING = 1000
# The parser cannot be interrupted, and its trees take far more memory than the text. Nobody writes
# as much into one file by hand.
MAX_LENGTH = 2_500_000

_LIBCST_PLACE = late_pattern(r"error at (\d+):\d+: (.*)")


class ParseError(Exception):
    """Text that is not Python, or too deep to be looked at."""

    def __init__(self, message: str, line: int | None) -> None:
        """Keep the one-line message and the 1-based line."""
        super().__init__(message)
        self.message = message
        self.line = line


def check_length(text: str) -> None:
    """Refuse what would take too much memory.

    Raises:
        ParseError: The text is too long.
    """
    if len(text) > MAX_LENGTH:
        reason = f"is too long to be analysed: {len(text) / 1e6:.1f} MB of code, the limit is {MAX_LENGTH / 1e6:g} MB"
        raise ParseError(reason, None)


def parse(text: str) -> libcst.Module:
    """Parse a module.

    Raises:
        ParseError: The text does not parse, nests too deep, or is too long.
    """
    check_length(text)
    depth = nesting(text)
    try:
        if depth > DEEP:
            return on_deep_stack(lambda: libcst.parse_module(text))
        return libcst.parse_module(text)
    except libcst.ParserSyntaxError as problem:
        raise _explain(text, problem, depth) from None
    except (RecursionError, MemoryError):
        raise ParseError("nests too deep to be parsed", None) from None


def nesting(text: str) -> int:
    """Return a bound from above on how deep the tree of a text nests.

    Raises:
        ParseError: It nests too deep to be parsed at all.
    """
    deepest = 0
    line_number = 1
    # The branches of an elif chain hang below each other in the tree: (indentation, length) of open chains.
    chains: list[tuple[int, int]] = []
    for line in logical_lines(text):
        if line.brackets > MAX_BRACKETS:
            reason = f"brackets nest {line.brackets} deep; Python itself stops at {MAX_BRACKETS}"
            raise ParseError(reason, line_number)
        if not line.empty:
            indent = len(text[line.start : line.end]) - len(text[line.start : line.end].lstrip())
            while chains and chains[-1][0] > indent:
                chains.pop()
            length = chains.pop()[1] if chains and chains[-1][0] == indent else 0
            chains.append((indent, length + 1 if line.first_word == "elif" else 0))
        deepest = max(deepest, line.nesting + sum(length for _, length in chains))
        if deepest > MAX_NESTING:
            reason = f"one statement nests too deep: over {MAX_NESTING} chained operators or branches"
            raise ParseError(reason, line_number)
        line_number += text.count("\n", line.start, line.end)
    return deepest


def _explain(text: str, problem: libcst.ParserSyntaxError, depth: int) -> ParseError:
    """Prefer Python's own words; libcst's say which tokens it expected, and a wrong place."""
    found = syntax_error(text) if depth <= DEEP else None
    if found is not None:
        return ParseError(*found)
    match = _LIBCST_PLACE.search(str(problem))
    if match is None:
        return ParseError("syntax error", problem.raw_line or None)
    return ParseError("syntax error: unexpected token", int(match.group(1)))
