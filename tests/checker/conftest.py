"""What the checker's tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nowhere")


@pytest.fixture(scope="module", autouse=True)
def _in_no_project(_nowhere: Path) -> Iterator[None]:
    """Run in an empty folder: text that is checked as if it stood here has no project around it to be looked through."""
    before = Path.cwd()
    os.chdir(_nowhere)
    yield
    os.chdir(before)
