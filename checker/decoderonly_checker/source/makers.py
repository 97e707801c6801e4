"""Whether code uses a tokenizer or a processor, which make token ids: told from the words alone.

Their names stand in imports, annotations, settings and class heads too, where they make nothing.
"""

from __future__ import annotations

from decoderonly_checker.late import late_pattern

_WORD_END = late_pattern(rb"\w*\Z")
# Lines in which a name is only imported, or defined as a class; more may stand behind a semicolon or a colon.
_HEADS = (b"from ", b"from\t", b"import ", b"import\t")
_AS = late_pattern(rb"[ \t]+as[ \t]")
# Before a class's name: annotations of all kinds, and the prose of an f-string; not the key of a table.
_ANNOTATES = late_pattern(rb"(?:\w:|\||\w\[|->|`~?)[ \t]*[\"']?(?:\w+\.)*\Z")
_QUOTES = (b"`", b"~")
# What makes nothing by itself: `tokenizer = None`, `has_tokenizer=True`, `tokenizer: Tokenizer`, `tokenizer is None`.
_IDLE = late_pattern(
    rb"[ \t]*(?:=[ \t]*(?:None|True|False|\{|\[\]|\d|[\"'])|:(?!=))|[ \t]+is[ \t]+(?:not[ \t]+)?None\b"
)
# `tokenizer.save_pretrained(folder)`: nothing of it is made of a text.
_KEPT = late_pattern(
    rb"[ \t]*\.(?:save_pretrained|save_vocabulary|push_to_hub|init_kwargs|name_or_path|vocab_size)\b"
)
# Asks what something is, or whether it has one.
_ASKS = late_pattern(rb"\b(?:isinstance|issubclass|hasattr)\([^()]*(?:\([^()]*)?\Z")
_CLASS = late_pattern(rb"(?:Tokeni[sz]er(?:Fast|Base)?s?|Processor)\Z")
# `tokenizer_path`, `slow_tokenizer_class`: about a tokenizer, and none unless it is called.
_ABOUT = late_pattern(
    rb"\w_tokeni[sz]er_\w+\Z|tokeni[sz]er_(?:class|cls|configs?|paths?|names?|types?|files?|dirs?|version|revision)\Z"
)


class Uses:
    """Looks for uses of something in code."""

    def __init__(self, name: bytes) -> None:
        """Take what it is called.

        Args:
            name: The pattern of the end of the name. It begins with a literal, as that is quick to look for.
        """
        self._name = late_pattern(name)

    def search(self, code: bytes, /) -> bool:
        """Whether code, without comments and documentation, uses it."""
        return any(_is_use(code, match.start(), match.end()) for match in self._name.finditer(code))


def _is_use(code: bytes, start: int, end: int) -> bool:
    """Whether a name that ends in `code[start:end]` stands where it may make ids."""
    line = code.rfind(b"\n", 0, start) + 1
    before = code[line:start]
    word = _WORD_END.search(before)
    first = word.start() if word is not None else len(before)
    name, before = before[first:] + code[start:end], before[:first]
    after = code[end : end + 30]
    inner = before.lstrip()
    if _AS.match(after) is not None:
        return True  # by another name it may be used anywhere
    if inner.startswith(_HEADS):
        return b";" in before
    if before.startswith(b"class "):
        return b":" in before or b";" in before
    if before.endswith(_QUOTES) or name == b"is_tokenizers_available":
        return False
    follows = after.lstrip(b" \t")[:1]
    is_class = _CLASS.search(name) is not None
    if not is_class and name.lstrip(b"_")[:1].isupper():
        return False  # of settings, say; where the project defines it, that tells what it does
    if follows == b"(":
        return True
    if follows == b".":
        return _KEPT.match(after) is None
    if (is_class or before.endswith((b'"', b"'"))) and _ASKS.search(before) is not None:
        return False
    if is_class:
        alone = not inner and follows in {b",", b"\n"}  # in a list of imports
        return not alone and _ANNOTATES.search(before) is None
    return _ABOUT.search(name) is None and _IDLE.match(after) is None
