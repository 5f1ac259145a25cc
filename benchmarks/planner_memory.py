"""How well the memory model predicts published peaks: the memory part of the accuracy page."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from planner_rows import Row

from luthier.plan.memory.device_figure import CONTEXT_GIB
from luthier.plan.memory.estimate import estimate_memory
from luthier.plan.work.engines import ENGINES

OUTLIER = 0.05

# Bytes for each token and vocabulary entry that fit the oldest of the tables to a percent: beside
# the float32 copies that newer versions make too, the bfloat16 logits that they are made from.
_OLDER_LOGITS = {"transformers": 14, "accelerated-peft": 14, "fused-loss": 10}
# SantaCoder's own loss made no float32 copies: four tensors, or three, of two bytes each.
_SANTACODER_LOGITS = {"transformers": 8, "accelerated-peft": 8, "fused-loss": 6}
_SANTACODER_POSITIONS, _ROW_TOKENS = 2048, 4096


class Predicted(NamedTuple):
    """One measurement beside its prediction, both in GiB.

    Attributes:
        row: the measurement.
        measured, predicted: the peak, allocated or reserved as it was measured.
        moment: when memory is fullest, by the prediction.
    """

    row: Row
    measured: float
    predicted: float
    moment: str

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


class Reason(NamedTuple):
    """Why a row is off, and its error once that is put right."""

    text: str
    error: float | None


def predict_row(row: Row) -> Predicted:
    """The peak that was measured, as the planner has it."""
    memory = estimate_memory(row.workload, row.machine)
    if row.allocated_gib is not None:
        return Predicted(row, row.allocated_gib, memory.allocated_gib.value, memory.moment)
    assert row.reserved_gib is not None, "a row without any peak"
    return Predicted(row, row.reserved_gib, memory.device_gib.value - CONTEXT_GIB, memory.moment)


def describe_memory(rows: Sequence[Row]) -> str:
    """The section on memory, in Markdown."""
    found = [predict_row(row) for row in rows]
    lines = [
        "## Memory",
        "",
        "Peaks of whole published runs against the prediction from recipe, model and device;",
        "*error* is |predicted ÷ measured − 1|. No constant of the memory model is fitted to these",
        "rows: each term is counted from the loops' code, and our own loop's from the tensors that",
        "really are alive (tests/plan/test_plan_memory_tensors.py).",
        "",
        "| measurements | rows | median | 90th percentile | largest |",
        "|---|--:|--:|--:|--:|",
        *[_line(title, [item for item in found if chosen(item.row)]) for title, chosen in GROUPS],
        _shown_line(rows),
        "",
        "The last line sets the figure that nvidia-smi showed beside the planner's `device_gib`,",
        "which rests on typical shares of these same rows. PEFT's rows are reserved memory, so",
        "they rest on the share of one GPU; their longest batch is taken as 4 examples of 768.",
        "",
        *_describe_outliers([item for item in found if abs(item.error) > OUTLIER]),
    ]
    return "\n".join(lines)


def _is(collection: str, several: bool, table: str = "") -> Callable[[Row], bool]:
    return lambda row: (
        row.collection == collection
        and (row.devices > 1) == several
        and (not table or row.table == table)
    )


FMS, PEFT = "fms-acceleration", "PEFT"
GROUPS: Sequence[tuple[str, Callable[[Row], bool]]] = (
    ("**one GPU, allocated**", _is(FMS, False)),
    ("· a100_80gb.csv", _is(FMS, False, "a100_80gb")),
    ("· a100_80gb_granite.csv", _is(FMS, False, "a100_80gb_granite")),
    ("· a100_80gb_liger.csv", _is(FMS, False, "a100_80gb_liger")),
    ("**several GPUs, allocated**", _is(FMS, True)),
    ("· a100_80gb.csv", _is(FMS, True, "a100_80gb")),
    ("· a100_80gb_granite.csv", _is(FMS, True, "a100_80gb_granite")),
    ("· a100_80gb_liger.csv", _is(FMS, True, "a100_80gb_liger")),
    ("**PEFT's comparison, reserved**", _is(PEFT, False)),
)


def _line(title: str, items: Sequence[Predicted]) -> str:
    return _spread(title, [abs(item.error) for item in items])


def _shown_line(rows: Iterable[Row]) -> str:
    errors = [
        abs(estimate_memory(row.workload, row.machine).device_gib.value / row.device_gib - 1)
        for row in rows
        if row.device_gib is not None
    ]
    return _spread("**what nvidia-smi shows**", errors)


def _spread(title: str, errors: Sequence[float]) -> str:
    ordered = sorted(errors)
    high = statistics.quantiles(ordered, n=10, method="inclusive")[8]
    middle = statistics.median(ordered)
    return f"| {title} | {len(ordered)} | {middle:.1%} | {high:.1%} | {ordered[-1]:.1%} |"


def _describe_outliers(items: Sequence[Predicted]) -> list[str]:
    lines = [
        f"### Rows that are off by more than {OUTLIER:.0%}",
        "",
        "*explained* is the error once the reason is put right.",
        "",
        "| model | method | GPUs | batch | measured | predicted | error | reason | explained |",
        "|---|---|--:|--:|--:|--:|--:|:-:|--:|",
    ]
    reasons: dict[str, int] = {}
    for item in sorted(items, key=lambda item: -abs(item.error)):
        row, reason = item.row, explain(item)
        number = reasons.setdefault(reason.text, len(reasons) + 1)
        explained = "" if reason.error is None else f"{reason.error:+.1%}"
        model = row.model.rpartition("/")[2]
        lines.append(
            f"| {model} | {row.method.replace(' FSDP full-shard', '')} | {row.devices} | "
            f"{row.batch_size} | {item.measured:.2f} | {item.predicted:.2f} | {item.error:+.1%} | "
            f"{number} | {explained} |"
        )
    return [*lines, "", *[f"{number}. {text}" for text, number in reasons.items()]]


def explain(item: Predicted) -> Reason:
    """Why a prediction is off."""
    row = item.row
    if "santacoder" in row.model:
        return _explain_santacoder(item)
    older = _OLDER_LOGITS.get(row.workload.engine)
    if row.table == "a100_80gb" and older is not None:
        corrected = _error_with(item, older)
        if abs(corrected) < abs(item.error):
            return Reason(
                "The oldest of the three tables. What is missing is 2 bytes for each token and "
                "vocabulary entry, the size of the bfloat16 logits: it seems that the loss of that "
                "version kept them beside their float32 copies. The newer tables show none of it, "
                "nor does the transformers of today.",
                corrected,
            )
    if "Mixtral" in row.model:
        return Reason(
            "A mixture's experts work one after the other on the tokens sent to them; how many "
            "one of them gets at once is the router's choice, taken here as an equal share.",
            None,
        )
    if row.collection == PEFT:
        return Reason("Reserved, not allocated: the share reserved beyond is a typical one.", None)
    return Reason("Not explained.", None)


def _explain_santacoder(item: Predicted) -> Reason:
    row = item.row
    logits = _SANTACODER_LOGITS[row.workload.engine]
    if row.method.startswith("full"):
        return Reason(
            f"This model reads {_SANTACODER_POSITIONS:,} positions: the full runs' peaks are those "
            f"of rows of that length, not of the {_ROW_TOKENS:,} tokens that are published. Its "
            "loss then made no float32 copies of the logits either (2).",
            _error_with(item, logits, _SANTACODER_POSITIONS / _ROW_TOKENS),
        )
    return Reason(
        "This family's own loss then made no float32 copies of the logits: 8 bytes for each token "
        "and vocabulary entry instead of 12, fused 6 instead of 8.",
        _error_with(item, logits),
    )


def _error_with(item: Predicted, logit_bytes: float, tokens: float = 1.0) -> float:
    workload = item.row.workload
    traits = ENGINES[workload.engine]._replace(logit_bytes=logit_bytes)
    longest = workload.longest_tokens
    shorter = longest._replace(value=longest.value * tokens)
    memory = estimate_memory(workload._replace(longest_tokens=shorter), item.row.machine, traits)
    return memory.allocated_gib.value / item.measured - 1
