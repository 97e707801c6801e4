"""`decoderonly check`."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decoderonly_checker.cli.caches import opened_cache
from decoderonly_checker.config import (
    Settings,
    SettingsError,
    check_selectors,
    load_settings,
    parse_confidence,
    parse_timeout,
    read_settings,
)
from decoderonly_checker.render import FORMATS, render
from decoderonly_checker.runner import check_paths, check_source
from decoderonly_checker.source.excerpts import Excerpts
from decoderonly_checker.source.files import SourceError, load_source

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult, Confidence

_STDIN = "-"


def _codes(option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Split `DLM1,DLM201` and refuse what means no rule."""
    words = tuple(word.strip() for value in values for word in value.split(",") if word.strip())
    if words:
        from decoderonly_checker.rules import codes

        check_selectors(words, codes(), option)
    return words


def _rules(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    return _codes(parameter.opts[0], values)


def _level(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Confidence | None:  # noqa: ARG001
    return None if value is None else parse_confidence(value, parameter.opts[0])


def _seconds(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:  # noqa: ARG001
    return None if value is None else parse_timeout(value, parameter.opts[0])


@click.command("check", short_help="Check files, folders and notebooks.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    default="full",
    show_default=True,
    help="How findings are printed.",
)
@click.option(
    "--select",
    multiple=True,
    callback=_rules,
    metavar="RULES",
    help="Run these rules only: codes, prefixes or names, separated by commas.",
)
@click.option("--extend-select", multiple=True, callback=_rules, metavar="RULES", help="Run these rules too.")
@click.option("--ignore", multiple=True, callback=_rules, metavar="RULES", help="Do not run these rules.")
@click.option(
    "--confidence",
    callback=_level,
    metavar="LEVEL",
    help="Show findings from this level on: certain, likely (default) or possible.",
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out what matches, as in .gitignore.")
@click.option(
    "--respect-gitignore/--no-respect-gitignore",
    default=None,
    help="Leave out what git ignores, or do not. Default: leave it out.",
)
@click.option("--force-exclude", is_flag=True, help="Leave out excluded files even where they are named.")
@click.option(
    "--timeout",
    type=float,
    callback=_seconds,
    metavar="SECONDS",
    help="Skip a file whose analysis takes longer (default 30; 0: no limit).",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read settings from this file instead of searching.",
)
@click.option(
    "--stdin-filename",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Name of what is read from standard input (`-`).",
)
@click.option(
    "--no-cache", is_flag=True, help="Neither use what earlier runs found nor keep what this one finds."
)
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep results here. Default: DECODERONLY_CACHE_DIR, else .decoderonly_cache in the project.",
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 even if there are findings.")
@click.option("--color/--no-color", default=None, help="Use colours, or do not. Default: on terminals.")
@click.option("-q", "--quiet", is_flag=True, help="Print findings and errors only, no totals.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    paths: tuple[Path, ...],
    output_format: str,
    stdin_filename: Path | None,
    force_exclude: bool,
    confidence: Confidence | None,
    no_cache: bool,
    cache_dir: Path | None,
    exit_zero: bool,
    color: bool | None,
    quiet: bool,
    **overrides: Any,
) -> None:
    """Check PATHS (files, folders, notebooks; `-` for standard input; default: the current folder).

    Settings come from [tool.decoderonly] in the nearest pyproject.toml. A comment silences a finding:
    `# decoderonly: ignore[DLM101] reason`.
    """
    from decoderonly_checker.render.text import error_line, summary

    settings = _Overrides(**overrides)
    if _reads_stdin(paths, stdin_filename):
        result, excerpts = _check_stdin(stdin_filename or Path("<stdin>"), settings, confidence)
    else:
        governing = functools.cache(settings.of)
        paths = paths or (Path(),)
        with (
            nullcontext()
            if no_cache
            else opened_cache(paths[0], governing, cache_dir, tell=not quiet) as cache
        ):
            result = check_paths(
                paths,
                governing,
                confidence=confidence,
                force_exclude=force_exclude,
                cache=cache,
            )
        excerpts = Excerpts()
    use_color = wants_color(color)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    drawn = render(result, output_format, excerpts, color=use_color, width=width)
    click.echo(drawn, nl=False, color=use_color)
    for error in result.errors:
        click.echo(error_line(error), err=True)
    if not quiet:
        # What a machine reads stays alone on standard output.
        click.echo(summary(result), err=output_format == "json")
    if result.errors:
        ctx.exit(2)
    ctx.exit(1 if result.diagnostics and not exit_zero else 0)


def _reads_stdin(paths: tuple[Path, ...], filename: Path | None) -> bool:
    asked = any(str(path) == _STDIN for path in paths)
    if asked and len(paths) > 1:
        raise SettingsError("`-` (standard input) cannot be combined with other paths")
    if filename is not None and not asked:
        raise SettingsError("--stdin-filename needs `-` as the path")
    return asked


def _check_stdin(
    path: Path, settings: _Overrides, confidence: Confidence | None
) -> tuple[CheckResult, Excerpts]:
    data = sys.stdin.buffer.read()
    result = check_source(data, path, settings.of, confidence=confidence)
    try:
        return result, Excerpts([load_source(path, data)])
    except SourceError:  # told by the result
        return result, Excerpts()


@dataclasses.dataclass(frozen=True)
class _Overrides:
    """What the command line lays over the settings that govern a path."""

    config: Path | None
    select: tuple[str, ...]
    extend_select: tuple[str, ...]
    ignore: tuple[str, ...]
    exclude: tuple[str, ...]
    timeout: float | None
    respect_gitignore: bool | None

    def of(self, path: Path) -> Settings:
        settings = read_settings(self.config) if self.config is not None else load_settings(path)
        return dataclasses.replace(
            settings,
            select=self.select or settings.select,
            extend_select=(*(() if self.select else settings.extend_select), *self.extend_select),
            ignore=(*settings.ignore, *self.ignore),
            extend_exclude=(*settings.extend_exclude, *self.exclude),
            timeout=settings.timeout if self.timeout is None else self.timeout,
            respect_gitignore=(
                settings.respect_gitignore if self.respect_gitignore is None else self.respect_gitignore
            ),
        )


def wants_color(asked: bool | None) -> bool:
    """Whether to colour standard output: asked for, else NO_COLOR, FORCE_COLOR, else only on a terminal."""
    if asked is not None:
        return asked
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
