"""`decoderonly clean`."""

from __future__ import annotations

from pathlib import Path

import click

from decoderonly_checker.cache import CacheError, cache_folder, clear
from decoderonly_checker.cli.caches import folder_of
from decoderonly_checker.config import SettingsError, load_settings
from decoderonly_checker.source.files import shown_path


@click.command("clean", short_help="Delete what earlier runs remembered.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Delete the cache in this folder instead, as given to `check`.",
)
@click.pass_context
def command(ctx: click.Context, /, *, paths: tuple[Path, ...], cache_dir: Path | None) -> None:
    """Delete the caches of the projects that PATHS belong to (default: the current folder).

    Only files that the checker wrote are deleted.
    """
    folders: dict[Path, None] = {}
    for path in paths or (Path(),):
        if not path.exists():
            raise SettingsError(f"clean: {path}: no such file or directory")
        settings = load_settings(folder_of(path))
        folders[cache_folder(settings.root, cache_dir, settings.cache_dir)] = None
    failed = False
    for folder in folders:
        try:
            deleted = clear(folder)
        except CacheError as problem:
            click.echo(f"error: {problem}", err=True)
            failed = True
            continue
        shown = shown_path(folder)
        click.echo(f"Deleted {shown} ({_size(deleted)})." if deleted else f"No cache in {shown}.")
    ctx.exit(2 if failed else 0)


def _size(count: int) -> str:
    """Bytes as a person reads them."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.0f} kB" if count < 999_500 else f"{count / 1e6:.1f} MB"
