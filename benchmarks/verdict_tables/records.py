"""What a benchmark measured before, line by line in JSON: it goes on from there with the same libraries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def versions() -> dict[str, str]:
    """Return what the numbers depend on."""
    import torch
    import transformers

    return {"transformers": transformers.__version__, "torch": torch.__version__.partition("+")[0]}


def read(path: Path, key: str) -> dict[str, dict[str, Any]]:
    """Return what was measured with the installed libraries, the last word on each `key`."""
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record.get("versions") == versions():
                found[record.pop(key)] = record
    return found
