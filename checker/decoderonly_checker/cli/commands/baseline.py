"""`decoderonly baseline`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from decoderonly_checker import baseline
from decoderonly_checker.cli.progress import Progress
from decoderonly_checker.config import Settings, SettingsError, load_settings
from decoderonly_checker.render.text import count, error_line
from decoderonly_checker.rules import codes
from decoderonly_checker.runner import check_paths
from decoderonly_checker.source.files import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from decoderonly_checker.diagnostics import CheckResult


@click.group("baseline", short_help="Count the findings of before, so that only new ones show.")
def command() -> None:
    """Adopt the checker in an old project: what it finds today is counted, and only what is new shows.

    The file is named by the setting `baseline`. It counts findings by file and rule, and belongs into version control.
    """


@command.command("create")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.pass_context
def create(ctx: click.Context, /, *, paths: tuple[Path, ...]) -> None:
    """Count what is found in PATHS (default: the current folder) and write the baseline anew."""
    settings = load_settings(_folder(paths))
    file = settings.baseline or settings.root / baseline.DEFAULT_NAME
    result = _checked(paths, settings)
    if _told(result):
        ctx.exit(2)
    counts = baseline.count([(Path(one.place.path).absolute(), one) for one in result.diagnostics], file)
    baseline.write(file, counts)
    files = len({name for name, _ in counts})
    click.echo(f"Wrote {shown_path(file)}: {count(counts.total(), 'finding')} in {count(files, 'file')}.")
    if settings.baseline is None:
        click.echo(
            f'hint: it is used once the settings say so: baseline = "{baseline.DEFAULT_NAME}"', err=True
        )


@command.command("prune")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.pass_context
def prune(ctx: click.Context, /, *, paths: tuple[Path, ...]) -> None:
    """Take out of the baseline what is no longer found in PATHS (default: the current folder). New findings are not added."""
    settings = load_settings(_folder(paths))
    if settings.baseline is None:
        raise SettingsError("baseline prune: the settings name no baseline")
    old = baseline.read(settings.baseline)
    result = _checked(paths, settings)
    failed = {error.path for error in result.errors}
    found = baseline.count(
        [(Path(one.place.path).absolute(), one) for one in result.diagnostics], settings.baseline
    )
    whole = [
        baseline.name_of(Path(name).absolute(), settings.baseline)
        for name in (*result.checked, *result.skipped)
        if name not in failed
    ]
    left = baseline.pruned(old, found, whole, settings.enabled(codes()), settings.baseline)
    gone = old.total() - left.total()
    if gone:
        baseline.write(settings.baseline, left)
    click.echo(
        f"Took {count(gone, 'finding')} out of {shown_path(settings.baseline)}; {left.total()} left."
        if gone
        else f"Nothing to take out of {shown_path(settings.baseline)}: {left.total()} left."
    )
    ctx.exit(2 if _told(result) else 0)


def _folder(paths: tuple[Path, ...]) -> Path:
    for path in paths:
        if not path.exists():
            raise SettingsError(f"baseline: {path}: no such file or directory")
    return paths[0] if paths else Path()


def _checked(paths: tuple[Path, ...], settings: Settings) -> CheckResult:
    """Check what the baseline's own settings govern."""
    governing: Callable[[Path], Settings] = lambda _: settings  # noqa: E731 - typed
    with Progress(quiet=False) as progress:
        return check_paths(paths or (Path(),), governing, progress=progress, jobs=None, use_baseline=False)


def _told(result: CheckResult) -> bool:
    for error in result.errors:
        click.echo(error_line(error), err=True)
    return bool(result.errors)
