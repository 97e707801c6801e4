"""The runtime guard: a sanitizer for the calls that a program really makes.

`guard` watches a block of code without pytest, `script.main` a whole program; under `pytest --decoderonly-checks` every
test runs guarded. None of them imports torch or transformers: the guard waits until the program does.
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
    """Guard the block and collect what is found: `guard("collect")` for those who want the list alone.

    Yields:
        The list of findings, filled while the block runs.
    """
    from pytest_decoderonly.runtime.session import guard

    with guard("collect") as found:
        yield found.findings
