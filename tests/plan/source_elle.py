"""Documents 000, 001 and 002, the Elle pipeline: every figure that follows from their inputs.

Hours, cards and prices are those that the plans of studies/elle/ hold, where they hold them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stated import NUMBER, ROOT, Row, check, find, read_document, read_table

from luthier.plan.figure import Figure
from luthier.plan.inputs import PlanInputs, expected_scores, inputs_of_arm
from luthier.plan.outcome.points import mean_score, scale, usd_per_point
from luthier.plan.outcome.serving import compare_serving
from luthier.recipe import load_study
from luthier.recipe.plan_section import ServingSection
from luthier.recipe.study import Study

ELLE = ROOT / "studies" / "elle"
H200_USD = 4.0
EIGHT_H200_USD = 28.72
# "Weighted average: 0.15×JSON + 0.50×CIC + 0.35×Format".
OVERALL_WEIGHTS = {"json_valid": 0.15, "cic_accuracy": 0.50, "format": 0.35}
ARMS = {
    "Base (no FT)": "base",
    "Standard LoRA (r=32)": "lora",
    "Standard QLoRA (r=64)": "qlora",
    "DoRA + NEFTune": "dora-neftune",
    "GaLore": "galore",
    "ReLoRA (3×64)": "relora",
    "ORPO (on DoRA base)": "orpo",
    "Full Fine-Tune (8×H200)": "full",
}


def read_study(name: str) -> Study:
    """A study of studies/elle."""
    return load_study(ELLE / f"{name}.yaml").study


def cost(study: Study, arm: str) -> float:
    """Hours × cards × price, as the study's plan states them."""
    inputs = inputs_of_arm(PlanInputs(), study, arm)
    assert inputs.hours
    assert inputs.gpus
    assert inputs.usd_per_hour
    return inputs.hours * inputs.gpus * inputs.usd_per_hour


def walk_elle() -> list[Row]:
    """All rows of the three documents, in their order."""
    results, book, pipeline = (read_document(number) for number in ("000", "001", "002"))
    walks = [_results(results), _ablations(results), _points(results), _scaling(results)]
    walks += [_book(book), _training(pipeline), _answers(pipeline), _return(pipeline)]
    return [row for walk in walks for row in walk]


def _overall(study: Study, arm: str) -> float:
    scores = expected_scores(study.plan)[arm]
    return 100 * mean_score([scores[key] for key in ("json_valid", "cic_accuracy", "format")])


def _results(text: str) -> Iterator[Row]:
    """The plain mean of three scores, and what each method costs."""
    study = read_study("methods")
    scores = expected_scores(study.plan)
    for line in read_table(text, "Method"):
        arm = ARMS[line["Method"]]
        yield check("000", f"overall: {arm}", line["Overall"], _overall(study, arm))
        weighted = 100 * sum(
            weight * scores[arm][metric] for metric, weight in OVERALL_WEIGHTS.items()
        )
        yield check("000", f"overall by its stated weights: {arm}", line["Overall"], weighted)
        if arm != "base":
            dollars = cost(study, arm) + (cost(study, "dora-neftune") if arm == "orpo" else 0)
            yield check("000", f"cost: {arm}", line["Cost"].rstrip("*"), dollars)
    (gain,) = find(text, r"- \+(\d+\.\d%) overall vs standard LoRA")
    better = _overall(study, "dora-neftune") - _overall(study, "lora")
    yield check("000", "DoRA + NEFTune above LoRA", gain, better)


def _ablations(text: str) -> Iterator[Row]:
    """Differences to the table's first row; the row that two tables share."""
    lines = read_table(text, "Configuration")
    arms = list(read_study("dora_components").arms)
    scores = expected_scores(read_study("dora_components").plan)
    for line, arm in zip(lines, arms, strict=True):
        assert check("000", arm, line["CIC Accuracy"], 100 * scores[arm]["cic_accuracy"]).agrees
        if line["Delta"] != "-":
            gained = 100 * (scores[arm]["cic_accuracy"] - scores["lora"]["cic_accuracy"])
            yield check("000", f"ablation, delta: {arm}", line["Delta"], gained)
    for line in read_table(text, "Alpha"):
        if line["Alpha"].startswith("0"):
            without_noise = 100 * scores["dora-rslora-loraplus"]["cic_accuracy"]
            yield check("000", "NEFTune alpha 0", line["CIC Accuracy"], without_noise)
        if line["Alpha"] == "5":
            noise = 100 * scores["all"]["cic_accuracy"]
            yield check("000", "NEFTune alpha 5", line["CIC Accuracy"], noise)


def _points(text: str) -> Iterator[Row]:
    """Dollars per point: of the whole score, as the document divides, and above the base."""
    study = read_study("methods")
    options = {"A": "dora-neftune", "B": "galore", "C": "orpo", "D": "relora"}
    for line in read_table(text, "Option"):
        arm = options[line["Option"]]
        dollars = cost(study, arm) + (cost(study, "dora-neftune") if arm == "orpo" else 0)
        whole = usd_per_point(dollars, _overall(study, arm))
        above = usd_per_point(dollars, _overall(study, arm), _overall(study, "base"))
        assert whole is not None
        assert above is not None
        yield check("000", f"$/point of the whole score: {arm}", line["$/point"], whole)
        yield check("000", f"$/point above the base: {arm}", line["$/point"], above)


def _scaling(text: str) -> Iterator[Row]:
    """Cost and speed-up of one, two, four and eight cards."""
    study = read_study("hardware")
    for line, arm in zip(read_table(text, "GPUs"), study.arms, strict=True):
        inputs = inputs_of_arm(PlanInputs(), study, arm)
        assert inputs.hours
        assert inputs.gpus
        assert check("000", arm, line["Time"], inputs.hours).agrees
        scaled = scale(inputs.hours, inputs.gpus, 10, 1, inputs.usd_per_hour)
        assert scaled.usd is not None
        yield check("000", f"scaling, cost: {arm}", line["Cost"], scaled.usd)
        yield check("000", f"scaling, throughput: {arm}", line["Throughput"], scaled.speed_up)


def _book(text: str) -> Iterator[Row]:
    """Document 001: hours × cards × $4, in its table and in its three options."""
    for line in read_table(text, "Technique"):
        hours, cards = find(line["GPU Hours"], r"(\d+)h @ (\d)x H200")
        usd = scale(int(hours), int(cards), int(hours), 1, H200_USD).usd
        assert usd is not None
        yield check("001", f"cost: {line['Technique']}", line["Cost"], usd)
    (most,) = find(text, r"1-4x H200 @ \$4-(\$\d+)/hr")
    yield check("001", "four cards for an hour", most, 4 * H200_USD)
    for cards in (2, 1):
        (stated,) = find(text, rf"on {cards}x H200 \(~(\$\d+)/hr\)")
        yield check("001", f"{cards} cards for an hour", stated, cards * H200_USD)
    for hours, stated in re.findall(
        r"- \*\*Runtime\*\*: ~(\d+) hours\n- \*\*Cost\*\*: (\$\d+)", text
    ):
        cards = 2 if hours == "6" else 1
        yield check("001", f"budget option of {hours} hours", stated, int(hours) * cards * H200_USD)
    for hours, stated in re.findall(r"- (\d) hours \w+(?:\+NEFTune)? \((\$\d+)\)", text):
        yield check("001", "half of the split budget", stated, int(hours) * 2 * H200_USD)
    (total,) = find(text, r"- \*\*Total\*\*: (\$\d+), two-stage")
    yield check("001", "split budget", total, 2 * 3 * 2 * H200_USD)
    (large,) = find(text, r"\(vs (\d)TB\+ for AdamW\)")
    # 16 bytes a weight: float32 weights, gradients and two moments.
    yield Row("001", "AdamW of 72B, TB", f"{large}TB+", 1, 16 * 72.7e9 / 1e12, None, (1, 2))


def _training(text: str) -> Iterator[Row]:
    """Document 002: what its trainings cost, at $4 a card and at $28.72 for eight."""
    dollars, rate, hours = find(text, r"\*\*Cost\*\*: ~(\$\d+) \(\$([\d.]+)/hr x ([\d.]+) hours\)")
    assert float(rate) == EIGHT_H200_USD
    yield check("002", "8 × H200 for 1.7 h", dollars, float(rate) * float(hours))
    (minutes,) = find(text, r"- Time Estimate: (~\d+) minutes")
    yield check("002", "1.7 h in minutes", minutes, 60 * float(hours))
    (three,) = find(text, r"\*\*Hardware\*\*: 2x H200\n\*\*Cost\*\*: (\$[\d.]+)")
    yield check("002", "2 × H200 for 3 h", three, 3 * 2 * H200_USD)
    (batch,) = find(text, r"Effective Batch Size: (\d+) \(4 x 8 GPUs\)")
    yield check("002", "examples a step", batch, 4 * 8)
    (capacity,) = find(text, r"8x H200 SXM \((\d+) GB VRAM\)")
    yield check("002", "8 × H200, GB", capacity, 8 * 141)
    lines = {line["Configuration"]: line for line in read_table(text, "Configuration")}
    low, high = (float(item) for item in NUMBER.findall(lines["Standard (7B)"]["Cost"]))
    spent = 0.5 * 2 * H200_USD
    yield Row("002", "7B, 2 × H200, 30 min", f"${low:g}-{high:g}", low, spent, None, (low, high))
    adapter = lines["Advanced (72B QLoRA)"]["Cost"]
    yield check("002", "72B QLoRA, 2 × H200 for 6.5 h", adapter, 6.5 * 2 * H200_USD)
    yield check(
        "002", "72B, 8 × H200 for 1.5 h", lines["Beast (72B Full)"]["Cost"], 1.5 * EIGHT_H200_USD
    )


def _section(own: float, months: tuple[int, ...] = ()) -> ServingSection:
    return ServingSection(usd_per_answer=own, api_usd_per_answer=0.50, answers_per_month=months)


def _answers(text: str) -> Iterator[Row]:
    """The scale table: own briefings at the document's price of one, and bought ones."""
    prices = {
        line["Model"]: line["Cost"] for line in read_table(text, "Model", "### Inference Costs")
    }
    own = {name: float(NUMBER.findall(price)[0]) for name, price in prices.items()}
    assert own["Anthropic Haiku"] == 0.50
    months = compare_serving(_section(own["Self-hosted 7B"], (100, 1000, 10000))).months
    for line, month in zip(read_table(text, "Scale"), months, strict=True):
        assert check("002", "scale", line["Scale"].replace("/month", ""), month.answers).agrees
        where = f"briefings a month: {line['Scale'].replace('/month', '')}"
        yield check("002", f"{where}, self-hosted", line["Self-hosted"], month.own_usd)
        yield check("002", f"{where}, bought", line["Anthropic Haiku"], month.api_usd)
    times = compare_serving(_section(own["Self-hosted 7B"])).times_cheaper
    (stated,) = find(text, r"Cost comparison: (\d+x) cheaper")
    assert times is not None
    yield check("002", "self-hosted is cheaper by", stated, times)


def _return(text: str) -> Iterator[Row]:
    """Savings at the scale table's $0.001 and at $0.0008 a briefing, and the break-even points."""
    stated = re.findall(
        r"\*\*([\d,]+) briefings/month\*\*: Self-hosted saves (\$[\d,]+)/month", text
    )
    for amount, saving in stated:
        for own in (0.001, 0.0008):
            months = compare_serving(_section(own, (int(amount.replace(",", "")),))).months
            where = f"saved on {amount} briefings at ${own:g}"
            yield check("002", where, saving, months[0].saved_usd)
    (answers,) = find(text, r"\*\*Break-even\*\*: (~\d+) briefings")
    for what, own, training in (("7B, $5", 0.0008, 5.0), ("72B, $50", 0.003, 50.0)):
        serving = compare_serving(_section(own), Figure(training, "given"))
        assert serving.break_even_answers is not None
        # "~10" is a round number: the nearest ten.
        unit = 10.0
        yield check("002", f"break-even, {what}", answers, serving.break_even_answers, unit)
