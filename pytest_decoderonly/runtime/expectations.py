"""Findings that a block of code is meant to make, or may make."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_decoderonly.runtime.report import Finding

_CODE = re.compile(r"DLM\d{3}")


@contextmanager
def decoderonly_allow(*codes: str, reason: str = "") -> Iterator[None]:
    """Let the runtime guard accept these codes inside the block; other findings go to whoever watches around it.

    Args:
        *codes: Codes such as `"DLM201"`.
        reason: Why, for the reader.

    Raises:
        ValueError: No code, or something that is none.

    Example:
        >>> with decoderonly_allow("DLM101", reason="the wrong way, to compare with"):
        ...     model.generate(encoding["input_ids"])
    """
    del reason
    with _block(codes, "decoderonly_allow"):
        yield


@contextmanager
def decoderonly_expect(*codes: str, reason: str = "") -> Iterator[list[Finding]]:
    """Expect the runtime guard to find each of these codes inside the block; it fails where one is missing.

    Works in any test, with `--decoderonly-checks` or without. Other findings go to whoever watches around the block.

    Args:
        *codes: Codes such as `"DLM101"`.
        reason: Why, for the reader.

    Yields:
        The findings with these codes, complete behind the block.

    Raises:
        AssertionError: One of the codes was not found.
        ValueError: No code, or something that is none.

    Example:
        >>> with decoderonly_expect("DLM101") as findings:
        ...     model.generate(encoding["input_ids"])
        >>> assert "padding" in findings[0].message
    """
    __tracebackhide__ = True
    del reason
    expected: list[Finding] = []
    with _block(codes, "decoderonly_expect") as found:
        yield expected
        # An exception of the block itself passes: what it was to find matters no more.
        found.settle()
        expected += found.accepted
        missing = sorted(set(codes) - {finding.code for finding in expected})
        if missing:
            others = ", ".join(finding.summary for finding in found.others) or "nothing else"
            raise AssertionError(
                f"decoderonly_expect: {', '.join(missing)} not found in the block; found there: {others}"
            )


class _Found:
    """What one block's watcher has, shared with the one around it."""

    def __init__(self, codes: tuple[str, ...]) -> None:
        from pytest_decoderonly.runtime.watcher import recorder

        self._recorder = recorder()
        self._outer = self._recorder.watcher
        self._watcher = self._recorder.watch_within(frozenset(codes))

    @property
    def accepted(self) -> list[Finding]:
        """Findings with the block's codes."""
        return self._watcher.accepted_findings

    @property
    def others(self) -> list[Finding]:
        """Findings with other codes."""
        return self._watcher.findings

    def failed(self, error: BaseException) -> None:
        """Tell what ended the block."""
        self._watcher.failed(error)

    def settle(self) -> None:
        """Judge what only the whole block shows."""
        self._watcher.conclude()

    def leave(self) -> None:
        """Hand over what the block does not accept."""
        self.settle()
        self._recorder.leave(self._watcher)
        if self._outer is not None:
            self._outer.take(self._watcher)
        else:
            self._watcher.warn_of_faults()


@contextmanager
def _block(codes: tuple[str, ...], name: str) -> Iterator[_Found]:
    wrong = [code for code in codes if not (isinstance(code, str) and _CODE.fullmatch(code))]
    if wrong or not codes:
        raise ValueError(
            f'{name}: expected codes such as {name}("DLM201"), got {wrong[0] if wrong else "none"!r}'
        )
    found = _Found(codes)
    try:
        yield found
    except BaseException as error:
        found.failed(error)
        raise
    finally:
        found.leave()
