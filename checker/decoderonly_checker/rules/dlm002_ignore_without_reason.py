"""DLM002 ignore-without-reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from decoderonly_checker.diagnostics import Confidence, Diagnostic, Severity
from decoderonly_checker.rules.base import CommentRule, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from decoderonly_checker.comments import Comments


class IgnoreWithoutReason(CommentRule):
    """Reports `# decoderonly: ignore[…]` and `# decoderonly: skip-file` with no reason behind them.

    Only where the settings ask for reasons: `require-ignore-reason = true`.

    ## Why is this bad?

    Whoever reads the line later cannot tell whether the finding was looked at and is harmless here, or was in the way.

    ## What it does not report

    `# noqa`, whose readers expect codes only.

    ## Fix safety

    No fix: only people know the reason.
    """

    severity: ClassVar[Severity] = Severity.WARNING
    needs_findings: ClassVar[bool] = False
    wanted: ClassVar[Mapping[str, Any]] = {"require_ignore_reason": True}
    references = (
        Reference(
            "eslint-comments, require-description",
            "https://ota-meshi.github.io/eslint-plugin-eslint-comments/rules/require-description.html",
        ),
        Reference(
            "eslint/rfcs #33: descriptions in directive comments", "https://github.com/eslint/rfcs/pull/33"
        ),
    )
    bad: ClassVar[str] = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Once upon a time", return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    print(tokenizer.decode(output[0]))  # decoderonly: ignore[DLM201]
    """

    good: ClassVar[str] = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    encoding = tokenizer("Once upon a time", return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    print(tokenizer.decode(output[0]))  # decoderonly: ignore[DLM201] the story is shown with its beginning
    """

    def check_comments(self, comments: Comments) -> Iterator[Diagnostic]:
        """Yield the comments that give no reason."""
        if not comments.settings.require_ignore_reason:
            return
        for cell, directive in (*comments.directives(), *comments.skips()):
            if directive.noqa or directive.reason:
                continue
            yield Diagnostic(
                self.code,
                self.name,
                self.severity,
                Confidence.CERTAIN,
                comments.place(cell, directive.start, directive.end),
                "this comment does not say why",
                "nobody can tell later whether the finding is harmless here",
                "write the reason behind it",
                "no reason",
            )
