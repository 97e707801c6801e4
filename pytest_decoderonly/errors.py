"""Exceptions of others as text, for a report or a message of ours."""

from __future__ import annotations


def message_of(error: BaseException, limit: int = 240) -> str:
    """Return what an exception says, in one line of at most `limit` characters; its type where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def one_line(error: BaseException, limit: int = 240) -> str:
    """Return an exception's type and what it says, in one line; what it says has at most `limit` characters."""
    name, said = type(error).__name__, message_of(error, limit)
    return name if said == name else f"{name}: {said}"
