"""The verbs as commands. No logic: read arguments, call `luthier.api`, print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from luthier.cli_options import (
    AsJson,
    MaybeOutput,
    Output,
    Scale,
    Set,
    Skip,
    Trust,
    err,
    out,
    print_json,
)
from luthier.cli_planning import planning_app
from luthier.errors import LuthierError, RecipeError

app = typer.Typer(
    help="Plan, run, measure and compare LLM fine-tuning studies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Make data.", no_args_is_help=True)
study_app = typer.Typer(help="Run a study, or see where it stands.", no_args_is_help=True)
app.add_typer(planning_app)
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")

INTERRUPTED = 130


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A recipe or a study.")],
    as_json: AsJson = False,
    set_: Set = None,
    scale: Scale = None,
) -> None:
    """Check a recipe or study: its normalised form, or every mistake at once."""
    from luthier import api
    from luthier.recipe import render

    try:
        loaded = api.check(file, set_ or (), scale)
    except RecipeError as error:
        if as_json:
            print_json(render.mistakes_as_json(error))
        else:
            err.print(render.render_mistakes(error), markup=False)
        raise typer.Exit(2) from None
    if as_json:
        print_json(render.checked_as_json(str(file), loaded))
    else:
        out.print(render.render_checked(loaded).rstrip("\n"), markup=False)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML).")],
    output: MaybeOutput = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after a crash.")] = False,
    set_: Set = None,
    skip_bad_rows: Skip = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train one recipe."""
    from luthier import api

    result = api.train(
        recipe,
        output,
        resume=resume,
        overrides=set_ or (),
        skip_bad_rows=skip_bad_rows,
        trust_remote_code=trust_remote_code,
        note=lambda text: err.print(f"note: {text}", markup=False),
    )
    out.print(str(result), markup=False)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A run, an adapter, a model folder or a hub id.")],
    task: Annotated[str, typer.Option(help="elle, classification or perplexity.")],
    output: Output,
    data: Annotated[Path | None, typer.Option(help="Rows to score.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score the first rows only.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    set_: Set = None,
    as_json: AsJson = False,
    trust_remote_code: Trust = False,
) -> None:
    """Score a model on one task; --set changes keys of the dataset."""
    from luthier import api

    result = api.evaluate(
        model,
        task,
        output=output,
        data=data,
        limit=limit,
        overrides=set_ or (),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        print_json(result)
        return
    for metric, figure in result["metrics"].items():
        out.print(f"{metric:<20} {figure['value']:.4f}  (n = {figure['n']})", markup=False)
    out.print(str(output / f"{task}.jsonl"), markup=False)


@app.command()
def merge(
    run: Annotated[str, typer.Argument(help="A run or an adapter.")],
    output: Output,
    trust_remote_code: Trust = False,
) -> None:
    """Merge an adapter into its base model, in float32."""
    from luthier import api

    out.print(str(api.merge(run, output, trust_remote_code=trust_remote_code)), markup=False)


@app.command()
def compare(
    evaluations: Annotated[
        list[str], typer.Argument(help="Files, run folders, arms (name=a,b), or counts.")
    ],
    metric: Annotated[str | None, typer.Option(help="Which score to compare.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The first, when absent.")] = None,
    task: Annotated[str | None, typer.Option(help="Which task, where there are several.")] = None,
    counts: Annotated[
        bool, typer.Option("--counts", help="Compare bare numbers: 7254/7600 7234/7600.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare evaluations, paired by example, with intervals and a verdict."""
    from luthier import api
    from luthier.stats import comparison_as_dict, render_comparison

    if counts:
        comparison = api.compare_counts(evaluations)
    elif metric is None:
        raise typer.BadParameter("say which score to compare.", param_hint="--metric")
    else:
        comparison = api.compare(evaluations, metric, baseline=baseline, task=task)
    if as_json:
        print_json(comparison_as_dict(comparison))
    else:
        Console(highlight=False).print(render_comparison(comparison))


@app.command()
def doctor() -> None:
    """What is installed, what the machine has, what is missing and how to get it."""
    from luthier.doctor import examine

    for topic, state, mend in examine():
        out.print(f"{topic:<16} {state}" + (f"  ({mend})" if mend else ""), markup=False)


@data_app.command()
def elle(
    out_file: Annotated[Path, typer.Option("--out", help="File to write.")],
    level: Annotated[str, typer.Option(help="basic or cic.")] = "basic",
    style: Annotated[str, typer.Option(help="compact or full.")] = "compact",
    count: Annotated[int, typer.Option(help="Rows.")] = 1000,
    seed: Annotated[int, typer.Option()] = 0,
    hide_values: Annotated[
        bool, typer.Option("--hide-values", help="The model must compute the values.")
    ] = False,
) -> None:
    """Generate Elle briefings with their true values, as chat messages."""
    from luthier import api

    rows = api.write_elle(
        out_file, level=level, style=style, count=count, seed=seed, hide_values=hide_values
    )
    out.print(f"{rows} rows in {out_file}", markup=False)


@data_app.command()
def preferences(
    rows: Annotated[Path, typer.Option("--from", help="Rows that `luthier data elle` wrote.")],
    out_file: Annotated[Path, typer.Option("--out", help="File to write.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="Pairs; one for each row, when absent.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Pair Elle briefings with ones that fail in one named way, for preference training."""
    from luthier import api

    failures = api.write_preferences(out_file, rows=rows, count=count, seed=seed)
    for failure, pairs in sorted(failures.items()):
        out.print(f"{failure:<24} {pairs}", markup=False)
    out.print(f"{sum(failures.values())} pairs in {out_file}", markup=False)


@study_app.command("run")
def study_run(
    study: Annotated[Path, typer.Argument(help="A study (YAML).")],
    output: MaybeOutput = None,
    set_: Set = None,
    scale: Scale = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at once; as many as cores and memory carry, when absent."),
    ] = None,
    skip_bad_rows: Skip = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train and score every arm and seed; start it again to go on after a crash."""
    from luthier import api
    from luthier.report import read_study, render_terminal_table

    outcome = api.run_study(
        study,
        output,
        overrides=set_ or (),
        scale=scale,
        jobs=jobs,
        skip_bad_rows=skip_bad_rows,
        trust_remote_code=trust_remote_code,
        say=lambda text: err.print(text, markup=False),
    )
    Console(highlight=False).print(render_terminal_table(read_study(outcome.folder)))
    out.print(f"Report: {outcome.folder / 'report.html'}", markup=False)
    if outcome.failed:
        raise typer.Exit(1)


@study_app.command("status")
def study_status(folder: Annotated[Path, typer.Argument(help="A study's folder.")]) -> None:
    """Where each run of a study stands."""
    from luthier.recipe.load_study import load_study
    from luthier.study.run import describe_status

    for run, status in describe_status(load_study(folder / "study.yaml"), folder):
        out.print(f"{run.title:<40} {status}", markup=False)


@study_app.command("report")
def study_report(
    folder: Annotated[Path, typer.Argument(help="A study's folder.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the results as Markdown instead.")
    ] = False,
) -> None:
    """Write report.html and results.csv again from a study's files."""
    from luthier import api
    from luthier.report import read_study, render_markdown

    if markdown:
        sys.stdout.write(render_markdown(read_study(folder)))
        return
    out.print(str(api.report(folder)), markup=False)


def run_safely(command: Callable[[], None]) -> None:
    """Print a user's mistake as its message alone, and exit with 2."""
    try:
        command()
    except LuthierError as error:
        err.print(f"error: {error}", markup=False)
        sys.exit(2)
    except SystemExit as ended:
        # Typer turns Ctrl-C into this exit code, without a word.
        if ended.code == INTERRUPTED:
            err.print("interrupted. Start it again to go on; luthier train needs --resume.")
        raise


def main() -> None:
    run_safely(app)


if __name__ == "__main__":
    main()
