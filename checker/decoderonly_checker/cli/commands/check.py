"""`decoderonly check`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decoderonly_checker.cli.job import Job, Overrides
from decoderonly_checker.config import SettingsError, check_selectors, parse_confidence, parse_timeout
from decoderonly_checker.render import FORMATS

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import Confidence


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
    envvar="DECODERONLY_OUTPUT_FORMAT",
    help="How findings are printed.",
)
@click.option(
    "-o",
    "--output-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write findings to this file; the totals are still printed.",
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
    "--changed-since",
    metavar="REV",
    help="Check only what changed since the branch left REV (git), and what imports it.",
)
@click.option(
    "--respect-gitignore/--no-respect-gitignore",
    default=None,
    help="Leave out what git ignores, or do not. Default: leave it out.",
)
@click.option("--include-markdown", is_flag=True, help="Check the Python blocks of Markdown files, too.")
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
@click.option("--fix", is_flag=True, help="Make the fixes that are safe.")
@click.option(
    "--unsafe-fixes", is_flag=True, help="With --fix or --diff: those that people should look at, too."
)
@click.option("--diff", is_flag=True, help="Print what --fix would change, and change nothing.")
@click.option(
    "--exit-non-zero-on-fix",
    is_flag=True,
    help="Exit with 1 if something was fixed, even if nothing is left.",
)
@click.option(
    "--add-ignore",
    metavar="REASON",
    help="Silence all findings: write `# decoderonly: ignore[…] REASON` behind them.",
)
@click.option(
    "--no-baseline",
    "use_baseline",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Show the findings that the baseline holds, too.",
)
@click.option(
    "--report-silenced",
    is_flag=True,
    help="Write silenced findings into a SARIF report too, as suppressed (GitHub shows them as open).",
)
@click.option("--statistics", is_flag=True, help="Count findings by rule instead of showing them.")
@click.option("--watch", "watched", is_flag=True, help="Check again when files change, until Ctrl-C.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 even if there are findings.")
@click.option("--color/--no-color", default=None, help="Use colours, or do not. Default: on terminals.")
@click.option("-q", "--quiet", is_flag=True, help="Print findings and errors only, no totals.")
@click.pass_context
def command(ctx: click.Context, /, *, watched: bool, **options: Any) -> None:
    """Check PATHS (files, folders, notebooks; `-` for standard input; default: the current folder).

    Settings come from [tool.decoderonly] in the nearest pyproject.toml. A comment silences a finding:
    `# decoderonly: ignore[DLM101] reason`.
    """
    overrides = Overrides(**{field.name: options.pop(field.name) for field in fields(Overrides)})
    job = Job(overrides=overrides, **options)
    job.check_options()
    if watched:
        if job.reads_stdin:
            raise SettingsError("--watch cannot be combined with `-` (standard input)")
        from decoderonly_checker.cli.watching import watch

        watch(job)
        ctx.exit(0)
    ctx.exit(job.run())
