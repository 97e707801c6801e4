"""`decoderonly study`: found by the checker's command line, which imports this when it is asked for."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
from decoderonly_checker.cli.outputs import check_writable, write_report
from decoderonly_checker.config import SettingsError

from pytest_decoderonly.study.render import FORMATS, render, words
from pytest_decoderonly.study.ways import ALONE, BATCHED, Plan, Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_decoderonly.study.result import Study
    from pytest_decoderonly.study.tasks import Task

_INTERRUPTED = 130


def _integers(least: int) -> Callable[[click.Context, click.Parameter, str], tuple[int, ...]]:
    """Read `1,4,8`; what is named twice counts once."""

    def read(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, ...]:
        words = [word.strip() for word in value.split(",")]
        if not all(word.isascii() and word.isdigit() and int(word) >= least for word in words):
            raise click.BadParameter(f"expected integers from {least} on, separated by commas, got {value!r}")
        return tuple(dict.fromkeys(map(int, words)))

    return read


def _ways(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[Way, ...]:
    """Read `left,right`; prompts alone are always measured."""
    known = [way.key for way in (ALONE, *BATCHED)]
    words = [word.strip() for word in value.split(",")]
    for word in words:
        if word not in known:
            raise click.BadParameter(f"{word!r} is none of {', '.join(known)}")
    return tuple(way for way in BATCHED if way.key in words)


@click.command("study", short_help="Measure what padding does to a model's answers.")
@click.argument("model")
@click.option(
    "--tasks",
    "tasks_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask these questions (JSONL) instead of the built-in ones.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Ask no more than this many questions."
)
@click.option("--seed", type=int, metavar="N", help="Shuffle the questions first, before --limit.")
@click.option(
    "--ways",
    callback=_ways,
    default=",".join(way.key for way in BATCHED),
    show_default=True,
    metavar="WAYS",
    help="Ways to hold against prompts alone, separated by commas.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    callback=_integers(1),
    default="2,8",
    show_default=True,
    metavar="N,...",
    help="Prompts in a batch; several, separated by commas.",
)
@click.option(
    "--padding",
    "paddings",
    callback=_integers(0),
    default="0",
    show_default=True,
    metavar="N,...",
    help="Padding columns beyond what the longest prompt needs; several, separated by commas.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    metavar="N",
    help="Longest answer.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="Measure times so often, all ways in turn, and take the median.",
)
@click.option(
    "--dtype", metavar="DTYPE", help="The same as MODEL,dtype=DTYPE (float32, bfloat16, float16 ...)."
)
@click.option(
    "--device",
    metavar="DEVICE",
    help="The same as MODEL,device=DEVICE (cpu, cuda:1, mps ...). Default: a GPU if there is one.",
)
@click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="How the result is printed.",
)
@click.option(
    "-o",
    "--output-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the result to this file; what it means is still printed.",
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the result: FILE.svg or FILE.png (needs the extra `study`).",
)
@click.option("-q", "--quiet", is_flag=True, help="Draw no progress.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    model: str,
    tasks_file: Path | None,
    limit: int | None,
    seed: int | None,
    ways: tuple[Way, ...],
    batch_sizes: tuple[int, ...],
    paddings: tuple[int, ...],
    max_new_tokens: int,
    rounds: int,
    dtype: str | None,
    device: str | None,
    output_format: str,
    output_file: Path | None,
    plot_file: Path | None,
    quiet: bool,
) -> None:
    """Ask MODEL the same questions one at a time and in padded batches, and tell what changes.

    MODEL is named as for `pytest --decoderonly-model`: a model folder, a hub id, gguf:FILE, tiny:ARCHITECTURE or
    module:factory. See docs/reference/study.md.
    """
    if output_file is not None:
        check_writable(output_file)
    if plot_file is not None:
        _check_plot(plot_file)
    tasks = _tasks(tasks_file, limit, seed)
    plan = Plan(ways, batch_sizes, paddings, max_new_tokens, rounds)
    options = [f"{name}={value}" for name, value in (("dtype", dtype), ("device", device)) if value]
    study = _measured(model, options, tasks, plan, quiet=quiet)
    study.setting |= {"tasks": "built-in" if tasks_file is None else str(tasks_file), "seed": seed}
    text = render(study, output_format)
    if output_file is None:
        click.echo(text, nl=False)
    else:
        write_report(output_file, text)
        click.echo(words(study), nl=False)
    if plot_file is not None:
        from pytest_decoderonly.study.plot import draw

        write_report(plot_file, draw(study, plot_file.suffix.lower()), "--plot")
    ctx.exit(_INTERRUPTED if study.interrupted else 0)


def _tasks(file: Path | None, limit: int | None, seed: int | None) -> list[Task]:
    from pytest_decoderonly.study.tasks import BUILT_IN, TaskError, choose, read_tasks

    try:
        return choose(read_tasks(file or BUILT_IN), limit, seed)
    except TaskError as problem:
        raise SettingsError(f"--tasks: {problem}") from None


def _measured(model: str, options: list[str], tasks: list[Task], plan: Plan, *, quiet: bool) -> Study:
    """Load the model and run the study, with a bar on terminals."""
    # A GGUF file is read with a bar of its own, which no switch of transformers reaches; both are read on import.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from decoderonly_checker.cli.progress import Progress

    from pytest_decoderonly.conformance.spec import SpecError, load, parse
    from pytest_decoderonly.devices import default_device

    root = Path.cwd()
    try:
        spec = parse(",".join([model, *options]), root)
        # Where torch is missing, `load` says so.
        loaded = load(spec, root, device=default_device() if find_spec("torch") else None)
    except SpecError as problem:
        raise SettingsError(f"study: {problem}") from None
    from pytest_decoderonly.study.experiment import StudyError, run_study
    from pytest_decoderonly.study.tasks import TaskError

    try:
        with Progress(quiet=quiet, label="Asking") as progress:
            return run_study(loaded.model, loaded.tokenizer, tasks, plan, name=spec.name, tell=progress)
    except (StudyError, TaskError) as problem:
        raise SettingsError(f"study: {problem}") from None


def _check_plot(file: Path) -> None:
    from pytest_decoderonly.study.plot import SUFFIXES

    if file.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--plot: {file}: expected a name that ends in {' or '.join(SUFFIXES)}")
    check_writable(file, "--plot")
    if find_spec("matplotlib") is None:
        raise SettingsError('--plot needs matplotlib: pip install "pytest-decoderonly[study]"')
