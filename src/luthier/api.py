"""The verbs as Python functions; `luthier.train` is `luthier train`.

import luthier
run = luthier.train("recipe.yaml", "runs/first")
luthier.evaluate("runs/first", "elle", output="runs/first/eval")
luthier.plan("studies/quickstart.yaml").found.runs[0].memory.fits
luthier.run_study("studies/quickstart.yaml")
luthier.compare(["a.jsonl", "b.jsonl"], metric="accuracy")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.errors import ModelError, OutputError

if TYPE_CHECKING:
    from luthier.plan.inputs import PlanInputs
    from luthier.plan.render import Plan
    from luthier.plan.time.calibration import Calibration
    from luthier.recipe.load import LoadedRecipe
    from luthier.recipe.study import LoadedStudy
    from luthier.stats import Comparison
    from luthier.stats.power import PowerReport
    from luthier.study.run import StudyOutcome

RecipeLike = str | Path | Mapping[str, Any]

# Rows that `evaluate` generates for the elle task when it is given none: never a training seed.
ELLE_TEST = {"generate": "elle", "level": "cic", "style": "compact", "count": 200, "seed": 910_000}


def check(
    path: str | Path, overrides: Sequence[str] = (), scale: str | None = None
) -> LoadedRecipe | LoadedStudy:
    """Read a recipe or a study; raises RecipeError with every mistake at once."""
    from luthier.recipe.load_study import load_any

    return load_any(Path(path), overrides, scale)


def plan(
    path: str | Path,
    flags: PlanInputs | None = None,
    *,
    overrides: Sequence[str] = (),
    scale: str | None = None,
    config: str | Path | None = None,
    budget_usd: float | None = None,
    deadline_hours: float | None = None,
) -> Plan:
    """What a recipe or a study takes, and what its evaluation can tell; no weights are read.

    Args:
        flags: the machine and the amounts, where they are to differ from the study's `plan`.
        config: a model's `config.json`, where its name is not enough.
        budget_usd, deadline_hours: limits; with one, everything that they allow is listed. Of a
            study, its first arm's recipe stands for what is to be trained.

    Raises:
        RecipeError: every mistake of the file at once.
        PlanError: a fact that is missing, and the flag that supplies it.
    """
    from luthier.plan.choice.choose import Limits, check_limits, choose
    from luthier.plan.choice.row_estimate import make_it_fit
    from luthier.plan.inputs import PlanInputs, inputs_of_arm
    from luthier.plan.render import Plan
    from luthier.plan.run_plan import Surroundings, plan_run
    from luthier.plan.study_plan import plan_study
    from luthier.recipe.study import LoadedStudy

    limits = Limits(budget_usd, deadline_hours)
    check_limits(limits)
    loaded = check(path, overrides, scale)
    flags = flags or PlanInputs()
    place = None if config is None else Path(config)
    if isinstance(loaded, LoadedStudy):
        found = plan_study(loaded, flags, place, Path("runs") / loaded.study.study)
        runs = found.runs
        inputs = inputs_of_arm(flags, loaded.study, loaded.arms[0].name)
    else:
        found = plan_run(Path(path).stem, loaded.recipe, flags, Surroundings(place))
        runs, inputs = (found,), flags
    changes = {
        run.name: make_it_fit(run.workload, run.machine, run.counts)
        for run in runs
        if run.memory.fits != "yes"
    }
    return Plan(found, changes, choose(runs[0], inputs, limits) if limits.is_set else None)


def calibrate(
    recipe: str | Path,
    steps: int = 15,
    *,
    overrides: Sequence[str] = (),
    skip_bad_rows: bool = False,
    trust_remote_code: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Take real steps of a recipe here and remember their speed and memory for later plans."""
    from luthier.recipe.load import load_recipe

    loaded = load_recipe(Path(recipe), overrides)
    for text in loaded.notes:
        note(text)
    # Brings torch: a mistake in the recipe is told before.
    from luthier.calibrate import calibrate as measure

    return measure(
        loaded.recipe, steps, skip_bad_rows=skip_bad_rows, trust_remote_code=trust_remote_code
    )


def power(n: int, rate: float, **asked: Any) -> PowerReport:
    """What an evaluation of `n` examples can tell; `stats.power.describe_power` has the rest."""
    from luthier.stats.power import describe_power

    return describe_power(n, rate, **asked)


def train(
    recipe: RecipeLike,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
    skip_bad_rows: bool = False,
    trust_remote_code: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train one recipe; returns the folder of the adapter or model.

    Args:
        recipe: a file, or its keys.
        output: the run's folder; the recipe's `output_dir` when absent.
        resume: go on with what the folder holds.
        overrides: `key=value` texts, as for `--set`.
        note: receives what the recipe's reader had to remark.

    Raises:
        LuthierError: everything that the caller can mend.
    """
    from luthier.recipe.load import load_recipe, parse_recipe
    from luthier.train.run import TrainOptions, train_recipe

    if isinstance(recipe, Mapping):
        loaded = parse_recipe(recipe, overrides)
    else:
        loaded = load_recipe(Path(recipe), overrides)
    for text in loaded.notes:
        note(text)
    place = output or loaded.recipe.output_dir
    if place is None:
        raise OutputError("where to? Give --output DIR, or write output_dir into the recipe.")
    options = TrainOptions(
        resume=resume, skip_bad_rows=skip_bad_rows, trust_remote_code=trust_remote_code
    )
    return train_recipe(loaded.recipe, Path(place), options)


def evaluate(
    model: str | Path,
    task: str,
    *,
    output: str | Path,
    data: str | Path | None = None,
    limit: int | None = None,
    overrides: Sequence[str] = (),
    max_new_tokens: int | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Score a model, a run or an adapter on one task; returns what `<task>.json` holds.

    Args:
        data: rows to score. Absent: the test rows of the study that the run belongs to, or, for
            elle, rows generated for the purpose.
        overrides: `key=value` texts for the keys of a dataset (`type=classification`).
    """
    from luthier.data.load import load_examples
    from luthier.evaluate.model import load_model
    from luthier.evaluate.run import evaluate_model, find_task
    from luthier.recipe.load import parse_recipe

    find_task(task)
    recipe = {"base_model": str(model), "learning_rate": 1, "datasets": [_rows(model, task, data)]}
    on_dataset = [f"datasets.0.{text}" for text in overrides]
    source = parse_recipe(recipe, on_dataset, source="--data").recipe.datasets[0]
    examples = load_examples(source, limit=limit).examples
    loaded = load_model(
        str(model),
        chat_template=source.chat_template or "tokenizer_default",
        trust_remote_code=trust_remote_code,
    )
    return evaluate_model(
        loaded,
        task,
        examples,
        Path(output),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )


def _rows(model: str | Path, task: str, data: str | Path | None) -> dict[str, Any]:
    if data is not None:
        # Raw text needs no format to be named; its suffix says it all.
        return {"path": str(data)} | ({"type": "completion"} if str(data).endswith(".txt") else {})
    study = Path(model).parent.parent
    if (study / "study.yaml").exists() and (study / "data" / "test.jsonl").exists():
        return _stored_rows(study)
    if task == "elle":
        return dict(ELLE_TEST)
    raise ModelError(f"which rows? Give --data FILE: {model} belongs to no study that has some.")


def _stored_rows(folder: Path) -> dict[str, Any]:
    from luthier.data.stored import stored_source
    from luthier.recipe.load_study import load_study

    data = load_study(folder / "study.yaml").study.data
    assert data is not None  # only `data` is ever split into test.jsonl
    stored = stored_source(folder / "data" / "test.jsonl", data)
    return stored.model_dump(mode="json", exclude_defaults=True)


def run_study(
    study: str | Path,
    output: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    scale: str | None = None,
    jobs: int | None = None,
    skip_bad_rows: bool = False,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> StudyOutcome:
    """Run a study to the end and write `results.csv` and `report.html` into its folder.

    Args:
        scale: one of the study's `scales`.
        jobs: runs at once; as many as cores and memory carry, when absent.

    Returns:
        The folder and the runs that failed.
    """
    from luthier.recipe.load_study import load_study
    from luthier.study.run import StudyOptions
    from luthier.study.run import run_study as run

    loaded = load_study(Path(study), overrides, scale)
    for text in loaded.notes:
        say(f"note: {text}")
    folder = Path(output) if output is not None else Path("runs") / loaded.study.study
    outcome = run(loaded, folder, say, StudyOptions(skip_bad_rows, trust_remote_code, jobs))
    report(folder)
    return outcome


def report(folder: str | Path) -> Path:
    """Write `results.csv` and `report.html` from a study's files; returns the latter's path."""
    from luthier.report import read_study, write_report, write_results_csv

    write_results_csv(read_study(Path(folder)), Path(folder) / "results.csv")
    return write_report(Path(folder))


def compare(
    evaluations: Sequence[str],
    metric: str,
    *,
    baseline: str | None = None,
    task: str | None = None,
) -> Comparison:
    """Compare evaluation files or folders, paired by example; see docs/statistics.md."""
    from luthier.stats import compare_arms, read_arms

    return compare_arms(read_arms(list(evaluations), metric, task), baseline)


def compare_counts(counts: Iterable[str]) -> Comparison:
    """Compare bare published numbers such as "7254/7600"; the first is the baseline."""
    from luthier import stats

    return stats.compare_counts(*counts)


def merge(run: str | Path, output: str | Path, *, trust_remote_code: bool = False) -> Path:
    """Add an adapter into its base, in float32, and save the model in the base's precision.

    A quantised base is unpacked first, and a base that is an earlier run merged itself: the result
    is an ordinary model.
    """
    from luthier.adapters.attach_lora import find_layers, merge_lora
    from luthier.adapters.tensor_files import explained_tensor_errors
    from luthier.evaluate.model import find_model, load_model
    from luthier.files import staged_directory
    from luthier.models.load import read_saved_dtype

    place = find_model(str(run))
    if Path(output).exists():
        raise OutputError(f"{output} exists already. Choose another --output, or delete it.")
    loaded = load_model(str(run), bf16=False, trust_remote_code=trust_remote_code)
    if not find_layers(loaded.causal):
        raise ModelError(f"{run} has no adapter to merge: it is a whole model already.")
    merge_lora(loaded.causal)
    with staged_directory(Path(output)) as staged, explained_tensor_errors(Path(output)):
        loaded.causal.to(read_saved_dtype(place.base)).save_pretrained(staged)
        loaded.tokenizer.save_pretrained(staged)
    return Path(output)


def write_elle(
    output: str | Path,
    *,
    level: str,
    style: str,
    count: int,
    seed: int,
    hide_values: bool = False,
) -> int:
    """Write generated Elle rows as JSON lines; returns their number."""
    from typing import cast

    from luthier.data.elle import generate_elle
    from luthier.data.elle.world import Level, Style
    from luthier.files import write_json_lines

    rows = generate_elle(cast("Level", level), cast("Style", style), count, seed, hide_values)
    return write_json_lines(Path(output), rows)


def write_preferences(
    output: str | Path, *, rows: str | Path, count: int | None = None, seed: int = 0
) -> dict[str, int]:
    """Write preference pairs from the Elle rows of a file as JSON lines.

    Args:
        rows: what `write_elle` wrote.
        count: how many pairs; one for each row when absent.

    Returns:
        How many pairs fail in which way.
    """
    from collections import Counter

    from luthier.data.elle.preferences import generate_preferences
    from luthier.data.load import load_examples
    from luthier.files import write_json_lines
    from luthier.recipe.dataset import DatasetSource

    examples = load_examples(DatasetSource(path=str(rows))).examples
    pairs = list(generate_preferences(examples, count or len(examples), seed))
    write_json_lines(Path(output), pairs)
    return dict(Counter(pair["failure"] for pair in pairs))
