"""DLM001 unused-ignore."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from decoderonly_checker.config import nearest_rule
from decoderonly_checker.diagnostics import Confidence, Diagnostic, Severity
from decoderonly_checker.rules.base import CommentRule, Reference
from decoderonly_checker.suppress import means

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.comments import Comments
    from decoderonly_checker.suppress import Directive


class UnusedIgnore(CommentRule):
    """Reports comments that silence a rule where nothing is to be silenced.

    `# decoderonly: ignore[…]` and the codes of this checker in `# noqa: …`.

    ## Why is this bad?

    The code was mended, or moved away from its comment. What is left hides the next mistake that is made in this
    statement, and tells readers of one that is not there.

    ## What it does not report

    - Codes of rules that do not run: left out by `select` or `ignore`, or seen at run time only.
    - `ignore` without codes, unless all rules run; `# noqa` without codes, which is for other tools too.
    - Comments in a file that could not be checked to its end.
    - `ignore[DLM101, guard]`: what the runtime guard sees and the checker does not. The checker passes it over.
    - Comments that name this rule themselves: `ignore[DLM101, DLM001]`.

    ## Fix safety

    Safe: a comment that silences nothing is taken away.
    """

    severity: ClassVar[Severity] = Severity.WARNING
    references = (
        Reference("ruff, unused-noqa (RUF100)", "https://docs.astral.sh/ruff/rules/unused-noqa"),
        Reference(
            "pylint, useless-suppression (I0021)",
            "https://pylint.pycqa.org/en/latest/messages/information/useless-suppression.html",
        ),
    )
    bad: ClassVar[str] = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Hello", return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)  # decoderonly: ignore[DLM101] no padding here
    print(tokenizer.decode(output[0, encoding["input_ids"].shape[1]:]))
    """

    good: ClassVar[str] = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Hello", return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    print(tokenizer.decode(output[0, encoding["input_ids"].shape[1]:]))
    """

    def check_comments(self, comments: Comments) -> Iterator[Diagnostic]:
        """Yield the comments that silenced nothing."""
        if comments.skips_file:
            return
        for cell, directive in comments.directives():
            if directive.guard or {self.code, self.name.upper()} & set(directive.codes):
                continue
            wrong = {
                word: why
                for word in directive.codes or ("",)
                if (why := self._why(comments, cell, directive, word))
            }
            if not wrong:
                continue
            listed = ", ".join(wrong)
            kind = "noqa: " if directive.noqa else "ignore"
            said = f"{kind}{listed}" if directive.noqa else f"{kind}[{listed}]" if listed else kind
            unknown = [why for why in wrong.values() if why != _NOTHING]
            yield Diagnostic(
                self.code,
                self.name,
                self.severity,
                Confidence.CERTAIN,
                comments.place(cell, directive.start, directive.end),
                f"`{said}` silences nothing: {unknown[0] if unknown else _NOTHING}",
                "it says of a mistake that is not there, and would hide one that is made here later",
                "take it away"
                if unknown
                else f"take it away, or write `ignore[{listed + ', ' if listed else ''}guard]` if it is for the runtime guard",
                "covers no finding",
                (),
                comments.without(cell, directive, set(wrong)),
            )

    def _why(self, comments: Comments, cell: int | None, directive: Directive, word: str) -> str:
        """Return what is wrong with a word of a comment; "" for nothing, or nothing that is known."""
        if comments.was_used(cell, directive, word):
            return ""
        if not word:
            return "" if directive.noqa or not comments.judges_all else _NOTHING
        if directive.noqa and not word.startswith(_PREFIX):
            return ""  # of another tool
        meant = [code for code, name in comments.known.items() if means(word, code, name)]
        if not meant:
            return f"there is no rule {word}{nearest_rule(word, comments.known)}"
        findable = comments.findable.keys() & meant
        return _NOTHING if findable and findable <= comments.judged else ""


_NOTHING = "there is no such finding here"
_PREFIX = "DLM"
