"""One check as the command line asks for it: run, drawn and summed up; `--watch` runs it again and again."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from decoderonly_checker.cli.caches import opened_cache
from decoderonly_checker.cli.outputs import check_writable, write_report
from decoderonly_checker.cli.progress import Progress
from decoderonly_checker.config import Settings, SettingsError, load_settings, read_settings
from decoderonly_checker.immutable import immutable
from decoderonly_checker.render import FOR_MACHINES, render
from decoderonly_checker.render.text import error_line, fixable, fixed_line, silenced_line, summary
from decoderonly_checker.runner import check_paths, check_source
from decoderonly_checker.source.excerpts import Excerpts
from decoderonly_checker.source.files import SourceError, load_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from decoderonly_checker.diagnostics import CheckResult, Confidence

_STDIN = "-"


@immutable
class Overrides:
    """What the command line lays over the settings that govern a path."""

    config: Path | None
    select: tuple[str, ...]
    extend_select: tuple[str, ...]
    ignore: tuple[str, ...]
    exclude: tuple[str, ...]
    timeout: float | None
    respect_gitignore: bool | None
    include_markdown: bool

    def of(self, path: Path) -> Settings:
        """The settings for a path.

        Raises:
            SettingsError: A settings file is wrong.
        """
        settings = read_settings(self.config) if self.config is not None else load_settings(path)
        return dataclasses.replace(
            settings,
            select=self.select or settings.select,
            extend_select=(*(() if self.select else settings.extend_select), *self.extend_select),
            ignore=(*settings.ignore, *self.ignore),
            extend_exclude=(*settings.extend_exclude, *self.exclude),
            include_markdown=settings.include_markdown or self.include_markdown,
            timeout=settings.timeout if self.timeout is None else self.timeout,
            respect_gitignore=(
                settings.respect_gitignore if self.respect_gitignore is None else self.respect_gitignore
            ),
        )


@immutable
class Job:
    """The options of `decoderonly check`."""

    paths: tuple[Path, ...]
    overrides: Overrides
    output_format: str
    output_file: Path | None
    stdin_filename: Path | None
    changed_since: str | None
    statistics: bool
    force_exclude: bool
    confidence: Confidence | None
    no_cache: bool
    cache_dir: Path | None
    exit_zero: bool
    color: bool | None
    quiet: bool
    fix: bool
    unsafe_fixes: bool
    diff: bool
    exit_non_zero_on_fix: bool
    add_ignore: str | None
    use_baseline: bool
    report_silenced: bool

    @property
    def reads_stdin(self) -> bool:
        """Whether standard input is what is to be checked."""
        return any(str(path) == _STDIN for path in self.paths)

    def run(self) -> int:
        """Check, print, and return the exit code.

        Raises:
            SettingsError: A settings file or an option is wrong.
        """
        if self.add_ignore is not None:
            return self._silence(self.add_ignore)
        given = sys.stdin.buffer.read() if self.reads_stdin else None
        if self.diff:
            if given is None:
                return self._show_differences(self._check_paths)
            return self._show_differences(self._checks_of(given), given={self._stdin_key: given})
        if given is not None and self.fix:
            return self._fix_stdin(given)
        done = None
        if given is not None:
            result = self._checks_of(given)({})
            excerpts = self._excerpts_of(given)
        elif self.fix:
            from decoderonly_checker.fixes.run import fix_all

            done = fix_all(self._check_paths, unsafe=self.unsafe_fixes)
            result, excerpts = done.left, Excerpts()
        else:
            result, excerpts = self._check_paths(), Excerpts()
        use_color = self.output_file is None and wants_color(self.color)
        drawn = self._draw(result, excerpts, color=use_color)
        if self.output_file is None:
            click.echo(drawn, nl=False, color=use_color)
        else:
            write_report(self.output_file, drawn)
        for error in result.errors:
            click.echo(error_line(error), err=True)
        if not self.quiet:
            for hint in result.hints:
                click.echo(f"hint: {hint}", err=True)
            # What a machine reads stays alone on standard output.
            alone = self.output_file is None and self.output_format in FOR_MACHINES
            if done is not None:
                click.echo(fixed_line(done.cured, len(done.files)), err=alone)
            click.echo(summary(result, self.changed_since) + fixable(result, done is not None), err=alone)
        if result.errors:
            return 2
        if done is not None and done.cured and self.exit_non_zero_on_fix:
            return 1
        return 1 if result.diagnostics and not self.exit_zero else 0

    def _silence(self, reason: str) -> int:
        """Write a comment behind each statement with a finding, or show what would be written."""
        from decoderonly_checker.fixes.ignores import with_ignores
        from decoderonly_checker.fixes.run import fix_once

        if self.diff:
            return self._show_differences(lambda _: with_ignores(self._check_paths(), reason), passes=1)
        done = fix_once(with_ignores(self._check_paths(), reason))
        for error in done.left.errors:
            click.echo(error_line(error), err=True)
        if not self.quiet:
            click.echo(silenced_line(done.cured, len(done.files), len(done.left.diagnostics)))
        return 2 if done.left.errors else 0

    def _show_differences(
        self,
        check: Callable[[Mapping[str, bytes]], CheckResult],
        *,
        passes: int | None = None,
        given: Mapping[str, bytes] | None = None,
    ) -> int:
        from decoderonly_checker.fixes.run import PASSES, differences, rewrite_all

        made = rewrite_all(check, unsafe=self.unsafe_fixes, given=given, passes=passes or PASSES)
        drawn, result = differences(made), made.left
        if self.output_file is None:
            click.echo(drawn, nl=False)
        else:
            write_report(self.output_file, drawn)
        for error in result.errors:
            click.echo(error_line(error), err=True)
        if not self.quiet:
            click.echo("Nothing would be fixed." if not drawn else "No file was changed (--diff).", err=True)
        return 2 if result.errors else int(bool(drawn))

    def _draw(self, result: CheckResult, excerpts: Excerpts, *, color: bool) -> str:
        if self.statistics:
            from decoderonly_checker.render.statistics import render_statistics

            return render_statistics(result.diagnostics, as_json=self.output_format == "json")
        if not self.report_silenced:
            result = dataclasses.replace(result, silenced=())
        on_terminal = self.output_file is None and sys.stdout.isatty()
        width = None
        if on_terminal:
            import shutil

            width = shutil.get_terminal_size().columns
        return render(
            result, self.output_format, excerpts, color=color, links=on_terminal and color, width=width
        )

    def _check_paths(self, unsaved: Mapping[str, bytes] | None = None) -> CheckResult:
        governing = functools.cache(self.overrides.of)
        paths = self.paths or (Path(),)
        narrow = None
        if self.changed_since is not None:
            from decoderonly_checker.changes import Changes  # most runs ask no git

            narrow = Changes(self.changed_since, paths).narrow
        with (
            nullcontext()
            if self.no_cache
            else opened_cache(paths[0], governing, self.cache_dir, tell=not self.quiet) as cache,
            Progress(quiet=self.quiet) as progress,
        ):
            return check_paths(
                paths,
                governing,
                confidence=self.confidence,
                force_exclude=self.force_exclude,
                narrow=narrow,
                progress=progress,
                cache=cache,
                jobs=None,
                use_baseline=self.use_baseline,
                unsaved=unsaved,
            )

    @property
    def _stdin_path(self) -> Path:
        return self.stdin_filename or Path("<stdin>")

    @property
    def _stdin_key(self) -> str:
        return str(self._stdin_path.absolute())

    def _checks_of(self, data: bytes) -> Callable[[Mapping[str, bytes]], CheckResult]:
        """Return what checks standard input, or what fixes made of it."""
        path = self._stdin_path

        def check(unsaved: Mapping[str, bytes]) -> CheckResult:
            now = unsaved.get(self._stdin_key, data)
            return check_source(
                now, path, self.overrides.of, confidence=self.confidence, use_baseline=self.use_baseline
            )

        return check

    def _excerpts_of(self, data: bytes) -> Excerpts:
        try:
            return Excerpts([load_source(self._stdin_path, data)])
        except SourceError:  # told by the result
            return Excerpts()

    def _fix_stdin(self, data: bytes) -> int:
        """Write standard input with its fixes to standard output, and what is left to standard error, as ruff does."""
        from decoderonly_checker.fixes.run import rewrite_all

        given = {self._stdin_key: data}
        made = rewrite_all(self._checks_of(data), unsafe=self.unsafe_fixes, given=given)
        now = made.data.get(self._stdin_key, data)
        sys.stdout.buffer.write(now)
        sys.stdout.buffer.flush()
        drawn = self._draw(made.left, self._excerpts_of(now), color=False)
        if self.output_file is None:
            click.echo(drawn, nl=False, err=True)
        else:
            write_report(self.output_file, drawn)
        for error in made.left.errors:
            click.echo(error_line(error), err=True)
        if not self.quiet:
            click.echo(fixed_line(made.cured, len(made.texts)), err=True)
        if made.left.errors:
            return 2
        if made.cured and self.exit_non_zero_on_fix:
            return 1
        return 1 if made.left.diagnostics and not self.exit_zero else 0

    def check_options(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            SettingsError: With the options' names.
        """
        if self.fix and self.diff:
            raise SettingsError("--fix cannot be combined with --diff")
        if self.add_ignore is not None:
            if self.fix:
                raise SettingsError("--add-ignore cannot be combined with --fix")
            if self.reads_stdin:
                raise SettingsError("--add-ignore cannot be combined with `-` (standard input)")
            if "#" in self.add_ignore or len(self.add_ignore.splitlines()) > 1:
                raise SettingsError("--add-ignore: the reason must be one line without `#`")
        if self.unsafe_fixes and not (self.fix or self.diff):
            raise SettingsError("--unsafe-fixes needs --fix or --diff")
        if self.statistics and self.output_format in FOR_MACHINES - {"json"}:
            raise SettingsError(f"--statistics cannot be combined with --output-format {self.output_format}")
        if self.report_silenced and self.output_format != "sarif":
            raise SettingsError("--report-silenced needs --output-format sarif")
        if self.output_file is not None:
            check_writable(self.output_file)
        if self.reads_stdin and len(self.paths) > 1:
            raise SettingsError("`-` (standard input) cannot be combined with other paths")
        if self.stdin_filename is not None and not self.reads_stdin:
            raise SettingsError("--stdin-filename needs `-` as the path")
        if self.reads_stdin and self.changed_since is not None:
            raise SettingsError("--changed-since cannot be combined with `-` (standard input)")


def wants_color(asked: bool | None) -> bool:
    """Whether to colour standard output: asked for, else NO_COLOR, FORCE_COLOR, else only on a terminal."""
    if asked is not None:
        return asked
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
