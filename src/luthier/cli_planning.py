"""The verbs that know beforehand: `plan`, `calibrate` and `power`. No logic, as in `cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli_options import AsJson, Scale, Set, Skip, Trust, err, out, print_json

planning_app = typer.Typer()

Gpu = Annotated[str | None, typer.Option("--gpu", help="Device by name; this machine without it.")]
Gpus = Annotated[int | None, typer.Option("--gpus", min=1, help="How many of it.")]
Price = Annotated[
    float | None, typer.Option("--usd-per-hour", help="Price of one device for an hour.")
]
Sharing = Annotated[
    str | None,
    typer.Option("--sharding", help="none, ddp, zero2, zero3, zero3-offload or fsdp."),
]
Loop = Annotated[
    str | None,
    typer.Option("--engine", help="Whose loop: luthier, transformers, fused-loss or liger."),
]


@planning_app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="A recipe or a study.")],
    gpu: Gpu = None,
    gpus: Gpus = None,
    usd_per_hour: Price = None,
    sharding: Sharing = None,
    engine: Loop = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Training examples.")] = None,
    average_tokens: Annotated[float | None, typer.Option(help="Tokens of an example.")] = None,
    tokens_per_second: Annotated[float | None, typer.Option(help="Known throughput.")] = None,
    test_examples: Annotated[int | None, typer.Option(min=2, help="Scored per task.")] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="USD", help="List what this can buy.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="HOURS", help="List what is done by then.")
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option(help="A config.json, for a model that is not at hand.")
    ] = None,
    set_: Set = None,
    scale: Scale = None,
    as_json: AsJson = False,
) -> None:
    """What a run takes before it is paid for: memory, hours, dollars, what it can show."""
    from luthier import api
    from luthier.plan.inputs import read_flags
    from luthier.plan.render import plan_as_json, render_plan

    flags = read_flags(
        gpu=gpu,
        gpus=gpus,
        usd_per_hour=usd_per_hour,
        sharding=sharding,
        engine=engine,
        samples=samples,
        average_tokens=average_tokens,
        tokens_per_second=tokens_per_second,
        test_examples=test_examples,
    )
    found = api.plan(
        file,
        flags,
        overrides=set_ or (),
        scale=scale,
        config=model_config,
        budget_usd=budget,
        deadline_hours=deadline,
    )
    if as_json:
        print_json(plan_as_json(found))
    else:
        out.print(render_plan(found), markup=False)


@planning_app.command()
def calibrate(
    recipe: Annotated[Path, typer.Argument(help="A recipe.")],
    steps: Annotated[int, typer.Option(help="Real steps to take.")] = 15,
    set_: Set = None,
    skip_bad_rows: Skip = False,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Run real steps here and remember their speed and memory for later plans."""
    from luthier import api
    from luthier.plan.render_calibration import calibration_as_json, render_calibration
    from luthier.plan.time.calibration import find_store

    measured = api.calibrate(
        recipe,
        steps,
        overrides=set_ or (),
        skip_bad_rows=skip_bad_rows,
        trust_remote_code=trust_remote_code,
        note=lambda text: err.print(f"note: {text}", markup=False),
    )
    if as_json:
        print_json(calibration_as_json(measured))
        return
    out.print(render_calibration(measured), markup=False)
    out.print(f"Kept in {find_store()}; plans of this recipe on this machine use it.", markup=False)


@planning_app.command()
def power(
    n: Annotated[int, typer.Option("--n", help="Examples that every arm is scored on.")],
    rate: Annotated[float, typer.Option(help="Expected score of the baseline, 0 to 1.")],
    difference: Annotated[
        float | None, typer.Option(help="A difference that is wanted, such as 0.009.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of every arm.")] = 1,
    arms: Annotated[int, typer.Option(help="Arms compared, the baseline among them.")] = 2,
    disagreement: Annotated[
        float | None, typer.Option(help="Share of examples that one of two arms has right.")
    ] = None,
    correlation: Annotated[
        float | None, typer.Option(help="Of two arms' scores over the examples.")
    ] = None,
    sd: Annotated[
        float | None, typer.Option(help="Standard deviation of one graded score.")
    ] = None,
    seed_sd: Annotated[
        float | None, typer.Option(help="Standard deviation from seed to seed.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Chance of any false claim.")] = 0.05,
    power: Annotated[float, typer.Option(help="Chance of finding what is there.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """The smallest difference that an evaluation can show, and the examples it takes."""
    from luthier import api
    from luthier.stats.power import power_as_json
    from luthier.stats.render_power import render_power

    report = api.power(
        n,
        rate,
        difference=difference,
        seeds=seeds,
        arms=arms,
        disagreement=disagreement,
        correlation=correlation,
        sd=sd,
        seed_sd=seed_sd,
        alpha=alpha,
        power=power,
    )
    if as_json:
        print_json(power_as_json(report))
    else:
        out.print(render_power(report), markup=False)
