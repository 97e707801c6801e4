"""`decoderonly explain`."""

from __future__ import annotations

from pathlib import Path

import click

from decoderonly_checker.config import SettingsError, load_settings
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.files import SourceError

_PLACE = late_pattern(r"^(?P<path>.+?)(?::cell (?P<cell>\d+))?:(?P<line>\d+)(?::\d+)?$")


@click.command("explain", short_help="Tell what the checker believes at a line.")
@click.argument("place")
def command(place: str) -> None:
    """Tell what the checker believes at PLACE, given as FILE:LINE (in a notebook as FILE:cell N:LINE).

    Which model and tokenizer it sees there, where padding was set, and what it does not know.
    """
    match = _PLACE.match(place)
    if match is None:
        raise SettingsError(f"explain: {place!r} is not FILE:LINE")
    path, line = Path(match["path"]), int(match["line"])
    cell = int(match["cell"]) - 1 if match["cell"] else None
    if not path.is_file():
        raise SettingsError(f"explain: {path}: no such file")
    from decoderonly_checker.explain import explain  # brings libcst

    try:
        told, known = explain(path.absolute(), line, load_settings(path), cell)
    except SourceError as problem:
        raise SettingsError(f"explain: {problem}") from None
    if told:
        click.echo("\n\n".join(told))
        return
    nearest = ", ".join(str(n) for n in sorted(known, key=lambda n: abs(n - line))[:5])
    click.echo(
        f"{place}: nothing that rules read was seen here" + (f"; nearest lines: {nearest}" if nearest else "")
    )
