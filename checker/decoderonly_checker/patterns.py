"""Patterns as in .gitignore, matched as git's own `wildmatch.c` does, but on characters instead of bytes.

Own code because this runs for every file and folder of a tree: most patterns are plain names or suffixes, which one
look-up in a dictionary answers, and nothing is imported for them. The tests hold it to git itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SPECIAL = frozenset("*?[\\")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t-\\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_NEVER = "(?!)"


class PatternError(ValueError):
    """A pattern that can never match."""


class Patterns:
    """The patterns of one .gitignore, or of one settings key; the last one that matches decides.

    Paths are relative to the folder that the patterns belong to, with `/` between their parts.
    """

    __slots__ = ("_anchored", "_any_name", "_any_path", "_named", "_names", "_suffixes", "folded")

    def __init__(self, lines: Iterable[str], *, folded: bool = False) -> None:
        """Compile patterns.

        Args:
            lines: One pattern each; comments and blank lines among them are passed over.
            folded: Small and capital letters are the same.
        """
        self.folded = folded
        # Plain names and `*.suffix`: what they match -> (rank, excludes, folders only), the last one of each kind.
        self._names: dict[str, list[_Rule]] = {}
        self._suffixes: dict[str, list[_Rule]] = {}
        # The others, as expressions on the last part of a path or on all of it, the last one first.
        self._named: list[tuple[_Rule, Callable[[str], object]]] = []
        self._anchored: list[tuple[_Rule, Callable[[str], object]]] = []
        by_name: list[str] = []
        by_path: list[str] = []
        for rank, line in enumerate(lines):
            self._add(rank, line, by_name, by_path)
        self._named.reverse()
        self._anchored.reverse()
        flags = re.IGNORECASE | re.DOTALL if folded else re.DOTALL
        # One expression for all: most paths match none of them.
        self._any_name = re.compile("|".join(by_name), flags).fullmatch if by_name else None
        self._any_path = re.compile("|".join(by_path), flags).fullmatch if by_path else None

    def _add(self, rank: int, line: str, by_name: list[str], by_path: list[str]) -> None:
        pattern = _trimmed(line)
        if not pattern or pattern.startswith("#"):
            return
        excludes = not pattern.startswith("!")
        pattern = pattern if excludes else pattern[1:]
        folders_only = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        rule = (rank, excludes, folders_only)
        if not pattern:
            return
        if "/" not in pattern:
            plain = pattern.lower() if self.folded else pattern
            if not _SPECIAL.intersection(pattern):
                self._names.setdefault(plain, []).append(rule)
            elif pattern[:2] == "*." and not _SPECIAL.intersection(pattern[2:]) and "." not in pattern[2:]:
                self._suffixes.setdefault(plain[1:], []).append(rule)
            else:
                by_name.append(f"(?:{translate(pattern, path=False)})")
                self._named.append((rule, self._compiled(by_name[-1])))
        else:
            by_path.append(f"(?:{translate(pattern.removeprefix('/'), path=True)})")
            self._anchored.append((rule, self._compiled(by_path[-1])))

    def __bool__(self) -> bool:
        return bool(self._names or self._suffixes or self._named or self._anchored)

    def _compiled(self, expression: str) -> Callable[[str], object]:
        flags = re.IGNORECASE | re.DOTALL if self.folded else re.DOTALL
        return re.compile(expression, flags).fullmatch

    def verdict(self, relative: str, name: str, *, is_folder: bool) -> bool | None:
        """Judge one file or folder by itself: whatever lies in an excluded folder is not to be asked about.

        Args:
            relative: The path.
            name: Its last part.
            is_folder: Patterns that end in `/` match folders only.

        Returns:
            True for excluded, False for taken back by `!`, None where no pattern speaks.
        """
        if self.folded:
            name = name.lower()
        best = -1
        verdict = None
        rules = self._names.get(name)
        if rules is not None:
            for rank, excludes, folders_only in rules:
                if is_folder or not folders_only:
                    best, verdict = rank, excludes
        if self._suffixes:
            dot = name.rfind(".")
            if dot >= 0:
                for rank, excludes, folders_only in self._suffixes.get(name[dot:], ()):
                    if rank > best and (is_folder or not folders_only):
                        best, verdict = rank, excludes
        if self._any_name is not None and self._any_name(name) is not None:
            for (rank, excludes, folders_only), matches in self._named:
                if rank > best and (is_folder or not folders_only) and matches(name) is not None:
                    best, verdict = rank, excludes
                    break
        if self._any_path is not None and self._any_path(relative) is not None:
            for (rank, excludes, folders_only), matches in self._anchored:
                if rank > best and (is_folder or not folders_only) and matches(relative) is not None:
                    return excludes
        return verdict

    def covers(self, relative: str, *, is_folder: bool = False) -> bool:
        """Whether a path is excluded, by itself or with one of the folders that it lies in."""
        parts = relative.split("/")
        for end, name in enumerate(parts, start=1):
            if self.verdict("/".join(parts[:end]), name, is_folder=is_folder or end < len(parts)):
                return True
        return False


_Rule = tuple[int, bool, bool]


def read_patterns(data: bytes) -> Patterns:
    """Compile the content of a .gitignore; bytes that are not UTF-8 stand for themselves, as in file names."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return Patterns(line.removesuffix("\r") for line in text.split("\n"))


def check_pattern(pattern: str) -> None:
    """Refuse what git would silently pass over.

    Raises:
        PatternError: It can never match anything.
    """
    body = _trimmed(pattern)
    if body.startswith("#"):
        raise PatternError("a comment")
    body = body.removeprefix("!").removesuffix("/").removeprefix("/")
    if not body or _NEVER in translate(body, path="/" in body):
        raise PatternError("matches nothing")


def _trimmed(line: str) -> str:
    """The line without trailing spaces; a backslash keeps one."""
    end = len(line)
    while end and line[end - 1] == " ":
        end -= 1
    if end == len(line):
        return line
    slashes = end - len(line[:end].rstrip("\\"))
    return line[: end + slashes % 2]


def translate(pattern: str, *, path: bool) -> str:
    """Write a pattern as a regular expression for the whole of a name.

    Args:
        pattern: Without `!` in front, without `/` at either end.
        path: It may match several parts, so that `*` and `?` leave `/` alone.
    """
    anything, one = ("[^/]*", "[^/]") if path else (".*", ".")
    first = next((index for index, letter in enumerate(pattern) if letter in _SPECIAL), 0)
    parts: list[str] = []
    index = 0
    while index < len(pattern):
        letter = pattern[index]
        if letter == "*":
            start = index
            while index < len(pattern) and pattern[index] == "*":
                index += 1
            # git compares the text in front of the first special character apart: `**` right behind it stands
            # as if at the beginning.
            free = start in (0, first) or pattern[start - 1] == "/"
            if not path or index - start == 1 or not free:
                parts.append(anything)
            elif index == len(pattern):
                parts.append(".*")
            elif pattern[index] == "/":
                parts.append("(?:.*/)?")
                index += 1
            else:
                parts.append(".*" if pattern.startswith("\\/", index) else anything)
            continue
        if letter == "?":
            parts.append(one)
        elif letter == "[":
            expression, index = _set(pattern, index)
            parts.append(f"(?!/){expression}" if path else expression)
        elif letter == "\\":
            index += 1
            if index == len(pattern):
                return _NEVER
            parts.append(re.escape(pattern[index]))
        else:
            parts.append(re.escape(letter))
        index += 1
    return "".join(parts)


def _set(pattern: str, start: int) -> tuple[str, int]:
    """Translate `[…]`: the expression, and where the closing bracket stands (or the end, if it never matches)."""
    index = start + 1
    negated = pattern[index : index + 1] in ("!", "^")
    index += negated
    inside: list[str] = []
    before = ""  # what a range may begin with
    first = True
    while True:
        letter = pattern[index : index + 1]
        if not letter:
            return _NEVER, len(pattern)
        if letter == "]" and not first:
            break
        first = False
        if letter == "\\":
            index += 1
            letter = pattern[index : index + 1]
            if not letter:
                return _NEVER, len(pattern)
            inside.append(re.escape(letter))
        elif letter == "-" and before and pattern[index + 1 : index + 2] not in ("", "]"):
            index += 1
            last = pattern[index]
            if last == "\\":
                index += 1
                last = pattern[index : index + 1]
                if not last:
                    return _NEVER, len(pattern)
            if before <= last:
                inside.append(f"{re.escape(before)}-{re.escape(last)}")
            letter = ""
        elif letter == "[" and pattern[index + 1 : index + 2] == ":":
            end = pattern.find("]", index + 2)
            if end < 0:
                return _NEVER, len(pattern)
            if end > index + 2 and pattern[end - 1] == ":":
                known = _CLASSES.get(pattern[index + 2 : end - 1])
                if known is None:
                    return _NEVER, len(pattern)
                inside.append(known)
                letter = ""
                index = end
            else:
                inside.append("\\[")
        else:
            inside.append(re.escape(letter))
        before = letter
        index += 1
    if not inside:
        return ("." if negated else _NEVER), index
    return f"[{'^' if negated else ''}{''.join(inside)}]", index
