"""The runtime guard: a sanitizer for the calls that a program really makes.

`watch` guards a block of code without pytest; under `pytest --decoderonly-checks` every test runs guarded.
Neither imports torch or transformers: the guard waits until the program does.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.report import DecoderOnlyWarning, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DecoderOnlyWarning", "Finding", "watch"]


@contextmanager
def watch() -> Iterator[list[Finding]]:
    """Guard the block and collect what is found.

    Nothing is raised or printed, and nothing that the block computes is changed. Calls made by threads that
    the block starts are seen too. Blocks may be nested: a finding goes to the innermost one.

    Yields:
        The list of findings, filled while the block runs: one per code and place, each with its count.

    Example:
        >>> with watch() as findings:
        ...     answer = ask(model, tokenizer, "Why?")
        >>> for finding in findings:
        ...     print(finding)
    """
    from pytest_decoderonly.runtime.watcher import Watcher, recorder

    watcher = Watcher()
    recorder().enter(watcher)
    try:
        yield watcher.findings
    except BaseException as error:
        watcher.failed(error)
        raise
    finally:
        watcher.conclude()
        recorder().leave(watcher)
        watcher.warn_of_faults()
