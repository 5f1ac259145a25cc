"""Document 004, the study plan for one DGX Spark: every figure that follows from its inputs.

The inputs are those that studies/spark/ holds, so the walk also holds the studies to the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from stated import ROOT, Row, check, find, read_document, read_table, within

from luthier.plan.inputs import PlanInputs, inputs_of_arm
from luthier.plan.outcome.points import find_bucket, hours_from_throughput, throughput_from_steps
from luthier.recipe import load_study

SPARK = ROOT / "studies" / "spark"
DOCUMENT = "004"
METHODS = {"LoRA": "lora", "Full FT": "full"}
PARAMETERS = 7_615_616_512
PEAK_FLOPS = 125e12


class Experiment(NamedTuple):
    """One experiment: its study, the document's number, names, and recommended epochs."""

    study: str
    number: int
    name: str
    epochs: Mapping[str, int]


EXPERIMENTS = (
    Experiment("instruction", 1, "Instruction", {"lora": 2, "full": 1}),
    Experiment("conversational", 2, "Conversational", {"lora": 1, "full": 1}),
    Experiment("code", 3, "Code", {"lora": 2, "full": 1}),
    Experiment("math", 4, "Math", {"lora": 2, "full": 1}),
    Experiment("medical", 5, "Medical", {"lora": 2, "full": 1}),
    Experiment("legal", 6, "Legal", {"lora": 2, "full": 1}),
    Experiment("dpo", 7, "DPO", {"lora": 2}),
    Experiment("tool_use", 8, "Tool Use", {"lora": 3, "full": 3}),
    Experiment("summarization", 9, "Summarization", {"lora": 1, "full": 1}),
    Experiment("creative", 10, "Creative", {"lora": 2, "full": 1}),
)


def hours(study: str, arm: str, epochs: float | None = None, **stated: float) -> float:
    """Hours of an arm of studies/spark, by the inputs of its plan; `stated` replaces some."""
    name = "dpo" if study == "dpo" else arm
    loaded = load_study(SPARK / f"{study}.yaml")
    recipe = next(item.recipe for item in loaded.arms if item.name == name)
    inputs = inputs_of_arm(PlanInputs(**stated), loaded.study, name)  # pyright: ignore
    assert inputs.samples
    assert inputs.average_tokens
    assert inputs.tokens_per_second
    return hours_from_throughput(
        inputs.samples,
        inputs.average_tokens,
        recipe.num_epochs if epochs is None else epochs,
        inputs.tokens_per_second,
    )


def find_experiment(name: str) -> Experiment:
    """The experiment whose name stands at the beginning of `name`."""
    return next(item for item in EXPERIMENTS if name.startswith(item.name))


def walk_spark() -> list[Row]:
    """All rows of the document, in its order."""
    text = read_document(DOCUMENT)
    walks = (_throughput, _full_sets, _hour_tables, _recommendations, _summary, _buckets)
    walks += (_viability, _order, _totals, _first_comparison)
    return [row for walk in walks for row in walk(text)]


def _row(where: str, stated: str, computed: float, unit: float | None = None) -> Row:
    return check(DOCUMENT, where, stated, computed, unit)


def _throughput(text: str) -> Iterator[Row]:
    """Tokens per second from steps per second; round figures are held to their own roundness."""
    for line in read_table(text, "Method", "### Measured Training Throughput"):
        name = line["Method"]
        rate = throughput_from_steps(float(line["Speed (it/s)"]), 16, int(line["Seq Len"]))
        stated = line["Token Throughput"]
        digits = re.sub(r"\D", "", stated)
        unit = 10.0 ** (len(digits) - len(digits.rstrip("0")))
        yield _row(f"throughput measured: {name}", stated, rate, unit)
        if name == "Full FT":
            (mfu,) = find(text, r"This implies (~\d+%) Model FLOP")
            yield _row("utilisation of full FT", mfu, 600 * PARAMETERS * rate / PEAK_FLOPS)


def _full_sets(text: str) -> Iterator[Row]:
    """What the text says of the whole sets and of other subsets."""
    (lora, full) = find(text, r"at 3 epochs, LoRA would take (~\d+ hours) and Full FT (~\d+ hours)")
    yield _row("FLAN 1.8M, 3 epochs, LoRA", lora, hours("instruction", "lora", 3, samples=1.8e6))
    yield _row("FLAN 1.8M, 3 epochs, Full FT", full, hours("instruction", "full", 3, samples=1.8e6))
    (chat,) = find(text, r"2 epochs\) would take (~\d+ hours) with LoRA")
    chat_hours = hours("conversational", "lora", 2, samples=1.5e6)
    yield _row("UltraChat 1.5M, 2 epochs, LoRA", chat, chat_hours)
    (combo,) = find(text, r"WildChat combo \(~100K, (~\d+h) LoRA\)")
    combo_hours = hours("conversational", "lora", 1, samples=1e5)
    yield _row("ShareGPT + WildChat 100K, LoRA", combo, combo_hours)
    (lora, full) = find(text, r"200K subset \(LoRA (~\d+h), Full FT (~\d+h)\)")
    news = hours("summarization", "lora", 1, samples=2e5)
    yield _row("CNN/DailyMail 200K, LoRA", lora, news)
    news = hours("summarization", "full", 1, samples=2e5)
    yield _row("CNN/DailyMail 200K, Full FT", full, news)


def _section(text: str, experiment: Experiment) -> str:
    start = re.search(rf"^## {experiment.number}\. ", text, re.MULTILINE)
    assert start is not None
    end = text.index("### After Fine-Tuning", start.start())
    return text[start.start() : end]


def _hour_tables(text: str) -> Iterator[Row]:
    """Every experiment × method × epochs, and the tokens of an epoch."""
    for experiment in EXPERIMENTS:
        section = _section(text, experiment)
        for line in read_table(section, "Method"):
            arm = METHODS[line["Method"]]
            for column, stated in line.items():
                if not column.endswith(("Epoch", "Epochs")) or not re.search(r"\d", stated):
                    continue
                computed = hours(experiment.study, arm, int(column[0]))
                where = f"{experiment.name}, {line['Method']}, {column.lower()}"
                yield _row(where, stated, computed)
        calculation = r"= (\d+M) (?:equiv )?tokens/epoch. LoRA @ ([\d,]+) tok/s"
        (millions, rate) = find(section, calculation)
        tokens = hours(experiment.study, "lora", 1) * 3600 * float(rate.replace(",", ""))
        yield _row(f"{experiment.name}, tokens of an epoch", millions, tokens / 1e6)


def _recommendations(text: str) -> Iterator[Row]:
    """The line that recommends a method: epochs, and hours."""
    pattern = r"(LoRA|Full FT)(?: only)?\**:? \((\d)(?:-(\d))? epochs?, ~?(\d+)(?:-(\d+))? hours\)"
    for experiment in EXPERIMENTS:
        section = _section(text, experiment)
        (line,) = find(section, r"#### Method Recommendation: (.*)")
        for method, first, last, low, high in re.findall(pattern, line.replace("**", "")):
            ends = [(first, low), (last, high)] if last else [(first, low)]
            for epochs, stated in ends:
                computed = hours(experiment.study, METHODS[method], int(epochs))
                where = f"{experiment.name}, recommended: {method}, {epochs} ep"
                yield _row(where, f"{stated} hours", computed)


def _summary(text: str) -> Iterator[Row]:
    """The table of all experiments with the recommended epochs."""
    for line in read_table(text, "#"):
        experiment = find_experiment(line["Fine-Tuning Type"].strip("*"))
        for column, arm in (("LoRA (rec. epochs)", "lora"), ("Full FT (rec. epochs)", "full")):
            if line[column] == "N/A":
                continue
            stated, epochs = find(line[column], r"(~\d+h)\**\s+\((\d) ep\)")
            assert int(epochs) == experiment.epochs[arm]
            computed = hours(experiment.study, arm, int(epochs))
            yield _row(f"summary: {experiment.name}, {arm}", stated, computed)


def _buckets(text: str) -> Iterator[Row]:
    """The hours in the table of buckets, and the bucket that each experiment stands in."""
    for line in read_table(text, "Time Bucket"):
        borders = [float(number) for number in re.findall(r"\d+", line["Time Bucket"])]
        low, high = borders if len(borders) == 2 else (0.0, borders[0])
        for name, stated in re.findall(r"(\w[\w ]*?) \((\d+h)", line["Experiments"]):
            experiment = find_experiment(name)
            computed = hours(experiment.study, "lora", experiment.epochs["lora"])
            yield _row(f"buckets: {experiment.name}, hours", stated, computed)
            bucket = find_bucket(computed)
            inside = (bucket.at_least_hours, bucket.below_hours) == (low, high)
            # The planner's own bucket decides; the span says the same for the walk.
            assert inside == (low <= computed < high)
            where = f"buckets: {experiment.name}, bucket"
            yield Row(DOCUMENT, where, line["Time Bucket"], low, computed, None, (low, high))


def _viability(text: str) -> Iterator[Row]:
    for line in read_table(text, "Experiment", "### Full FT Viability"):
        found = re.search(r"(\d+h) (?:at|for) (\d) epochs?", line["Why"])
        if found:
            experiment = find_experiment(line["Experiment"])
            computed = hours(experiment.study, "full", int(found[2]))
            yield _row(f"viability: {experiment.name}", found[1], computed)


def _order(text: str) -> Iterator[Row]:
    """The ranges in the recommended order and beside the folders: the faster to the slower."""
    listed = re.findall(r"^\d+\. \*\*(.*?)\*\* \(\d+K, ~(\d+)-(\d+)h\)", text, re.MULTILINE)
    names = {"tool_use": "Tool Use", "dpo_alignment": "DPO"}
    folders = [
        (names.get(name, name.split("_")[0].capitalize()), low, high)
        for name, low, high in re.findall(r"─ \d+_(\w+)/\s+# ~(\d+)-(\d+)h", text)
    ]
    assert (len(listed), len(folders)) == (10, 10)
    for place, entries in (("order", listed), ("folders", folders)):
        for name, low, high in entries:
            experiment = find_experiment(name)
            ends = _ends(experiment)
            yield _row(f"{place}: {experiment.name}, shortest", f"{low}h", min(ends))
            yield _row(f"{place}: {experiment.name}, longest", f"{high}h", max(ends))


def _ends(experiment: Experiment) -> list[float]:
    """What a range in the order is of: both methods at their recommended epochs, or LoRA's own."""
    if experiment.study == "dpo":
        return [hours("dpo", "lora", epochs) for epochs in (1, 2)]
    return [hours(experiment.study, arm, number) for arm, number in experiment.epochs.items()]


def _totals(text: str) -> Iterator[Row]:
    """The sums over all experiments, and the days that they take."""
    lora = sum(hours(item.study, "lora", item.epochs["lora"]) for item in EXPERIMENTS)
    trained = [item for item in EXPERIMENTS if "full" in item.epochs]
    full = sum(hours(item.study, "full", item.epochs["full"]) for item in trained)
    core = [item for item in EXPERIMENTS if item.number in (1, 3, 4, 8)]
    core_hours = sum(hours(item.study, "lora", item.epochs["lora"]) for item in core)
    lines = {line["Approach"]: line for line in read_table(text, "Approach")}
    total = "Total Time"
    yield _row("total, LoRA only", lines["LoRA only (recommended)"][total], lora)
    yield _row("total, Full FT only", lines["Full FT only"][total], full)
    (core_line,) = (line for name, line in lines.items() if name.startswith("Core only"))
    yield within(DOCUMENT, "total, core", core_line[total], core_hours)
    days = "Calendar Days"
    (lora_days,) = find(lines["LoRA only (recommended)"][days], r"(~\d+-\d+ days)")
    yield within(DOCUMENT, "days, LoRA only", lora_days, lora / 24)
    (full_days,) = find(lines["Full FT only"][days], r"(~\d+ days)")
    yield _row("days, Full FT only", full_days, full / 24)
    yield within(DOCUMENT, "days, core", core_line[days], core_hours / 24)
    (under,) = find(text, r"\(small dataset, both methods under (\d+h)\)")
    longest = hours("tool_use", "full", 3)
    yield Row(DOCUMENT, "Tool Use, both methods under", under, 14, longest, None, (0, 14))


def _first_comparison(text: str) -> Iterator[Row]:
    """AG News: shares, ratios and steps per second of what was measured."""
    lines = {line["Metric"]: line for line in read_table(text, "Metric")}
    times = lines["Training time"]
    seconds = {method: _seconds(times[method]) for method in ("Full FT", "LoRA")}
    seconds["QLoRA"] = 6 * 3600.0
    for line in read_table(text, "Method", "### Measured Training Throughput"):
        rate = 120_000 / 16 / seconds[line["Method"]]
        yield _row(f"steps/s of the measured time: {line['Method']}", line["Speed (it/s)"], rate)
    (share,) = find(times["Winner"], r"(\d+%) faster")
    less = 100 * (1 - seconds["LoRA"] / seconds["Full FT"])
    yield _row("LoRA, less training time", share, less)
    (ratio,) = find(lines["Output size"]["Winner"], r"(\d+)x smaller")
    yield _row("LoRA, smaller output", f"{ratio}x", 15.25e9 / 177e6)
    (faster,) = find(lines["Inference speed"]["Winner"], r"(\d+%) faster")
    yield _row("Full FT, faster inference", faster, 100 * (49.6 / 41.3 - 1))


def _seconds(stated: str) -> float:
    hours_, minutes = find(stated, r"(\d+)h (\d+)m")
    return int(hours_) * 3600.0 + int(minutes) * 60
