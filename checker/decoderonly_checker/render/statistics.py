"""How often each rule was broken."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.diagnostics import Diagnostic


def render_statistics(diagnostics: Iterable[Diagnostic], *, as_json: bool = False) -> str:
    """Count findings by rule, the most frequent first.

    Args:
        diagnostics: What was found.
        as_json: A list of objects with `code`, `name` and `count`, instead of a table of count, code and name.

    Returns:
        Text that ends in a line break, or nothing for no findings in a table.
    """
    counts = Counter((diagnostic.code, diagnostic.name) for diagnostic in diagnostics)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if as_json:
        rows = [{"code": code, "name": name, "count": count} for (code, name), count in ordered]
        return json.dumps(rows, indent=2) + "\n"
    width = max((len(str(count)) for count in counts.values()), default=0)
    return "".join(f"{count:>{width}}  {code}  {name}\n" for (code, name), count in ordered)
