"""How well the model of a step predicts published throughput: the time part of the accuracy page.

Each group of measurements is also predicted by constants that were fitted without it: a model, a
method, a training loop, a number of devices or a GPU at a time. Two constants are fitted, the
A100's share of its peak in products and the share of the bandwidth that a layer's element-wise
kernels get; everything else is counted from code or stated by makers.

    python benchmarks/planner_time.py        prints the section
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from planner_rows import Row, read_rows
from planner_short_steps import describe_short_steps

from luthier.plan.time.step_time import count_step_tokens, estimate_step
from luthier.plan.time.utilisation import LAYER_BANDWIDTH_SHARE, product_share

# Searched in steps of 0.02: finer than the measurements repeat.
PRODUCT_SHARES = [0.60 + 0.02 * step for step in range(19)]
LAYER_SHARES = [0.50 + 0.02 * step for step in range(19)]
FITTED_GPU = "A100-80GB"
WORST = 8
# Variants that train or compute otherwise than LoRA does: known to the memory model alone.
ONLY_MEMORY = ("lorafa", "bdlora", "mica")
WHY = (
    "The form of the model was chosen with all rows in view: that small activations stay in a",
    "GPU's cache was added for the L40S, and the wait for gathered weights for two GPUs. Left out",
    "of the fit are the constants, not these ideas.",
    "",
    "The worst rows. Most have 2 examples a GPU on two GPUs: gathering weights hides behind so few",
    "products only in part, and how much differs from loop to loop. Full fine-tuning of",
    "Llama-3-8B takes 75 to 79 of 80 GiB there: the allocator gives memory back and asks again,",
    "which a plan says by `tight` and not by a slower step.",
)


class Timed(NamedTuple):
    """One measurement beside its prediction.

    Attributes:
        row: the measurement.
        seconds: of a step, as measured.
        products: seconds of a step, predicted, that products take on a device of share 1.
        layers: seconds that element-wise kernels take at share 1 of the bandwidth.
        rest: all other predicted seconds.
        shares: of products and of bandwidth, as the planner has them.
    """

    row: Row
    seconds: float
    products: float
    layers: float
    rest: float
    shares: tuple[float, float]

    def predict(self, shares: tuple[float, float] | None = None) -> float:
        """Seconds of a step by the planner's shares, or others for the GPU that is fitted."""
        fitted = self.row.machine.device.name == FITTED_GPU
        products, layers = shares if shares and fitted else self.shares
        layers = shares[1] if shares else layers
        return self.products / products + self.layers / layers + self.rest

    def error(self, shares: tuple[float, float] | None = None) -> float:
        """Predicted ÷ measured − 1."""
        return self.predict(shares) / self.seconds - 1


def time_row(row: Row) -> Timed:
    """Predict the step of one measurement."""
    step = estimate_step(row.workload, row.machine)
    tokens = count_step_tokens(row.workload, row.machine) / row.devices
    share = product_share(row.machine.device).value
    products = step.parts["products"] * share
    layers = step.parts["layers"] * LAYER_BANDWIDTH_SHARE
    rest = step.seconds.value - step.parts["products"] - step.parts["layers"]
    seconds = tokens / row.tokens_per_second
    return Timed(row, seconds, products, layers, rest, (share, LAYER_BANDWIDTH_SHARE))


def fit(rows: Sequence[Timed]) -> tuple[float, float]:
    """The shares with the smallest mean logarithmic error on `rows`."""

    def loss(shares: tuple[float, float]) -> float:
        return sum(abs(math.log(row.predict(shares) / row.seconds)) for row in rows)

    return min(((p, b) for p in PRODUCT_SHARES for b in LAYER_SHARES), key=loss)


# Title → what a row belongs to; each value of it is left out once.
GROUPINGS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row.workload.facts.name.rpartition("/")[2].removesuffix("-GPTQ"),
    "method": lambda row: row.method.partition(" ")[0].partition(":")[0].lower(),
    "training loop": lambda row: row.workload.engine,
    "devices": lambda row: f"{row.devices} × {row.machine.device.name}",
    "GPU": lambda row: row.machine.device.name,
}


class GroupError(NamedTuple):
    """Errors on one group by constants that were fitted without it."""

    grouping: str
    group: str
    rows: int
    shares: tuple[float, float]
    median: float
    p90: float


def leave_groups_out(rows: Sequence[Timed]) -> list[GroupError]:
    """Predict every group by what the others teach."""
    found: list[GroupError] = []
    for grouping, name_group in GROUPINGS.items():
        for group in sorted({name_group(timed.row) for timed in rows}):
            inside = [timed for timed in rows if name_group(timed.row) == group]
            outside = [timed for timed in rows if name_group(timed.row) != group]
            # A fit needs something of the GPU that it is for.
            known = [timed for timed in outside if timed.row.machine.device.name == FITTED_GPU]
            shares = fit(known) if known else (0.75, LAYER_BANDWIDTH_SHARE)
            errors = [abs(timed.error(shares)) for timed in inside]
            found.append(GroupError(grouping, group, len(inside), shares, *_spread(errors)))
    return found


def _spread(errors: Iterable[float]) -> tuple[float, float]:
    ordered = sorted(errors)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]


def describe_time(rows: Sequence[Row]) -> str:
    """The section as Markdown."""
    rows = [row for row in rows if not row.method.endswith(ONLY_MEMORY)]
    timed = [time_row(row) for row in rows]
    one = _spread(abs(item.error()) for item in timed if item.row.devices == 1)
    several = _spread(abs(item.error()) for item in timed if item.row.devices > 1)
    lines = [
        "## Time",
        "",
        "Seconds of a step against the published throughput. Two constants are fitted, both on the",
        "A100: products reach "
        f"{product_share(timed[-1].row.machine.device).value:.2f} of the peak at infinite width, "
        f"element-wise kernels {LAYER_BANDWIDTH_SHARE:.2f} of the bandwidth.",
        "",
        "| rows | n | median error | 90th percentile |",
        "|---|---|---|---|",
        f"| one GPU | {sum(r.devices == 1 for r in rows)} | {one[0]:.1%} | {one[1]:.1%} |",
        f"| several GPUs | {sum(r.devices > 1 for r in rows)} | {several[0]:.1%} "
        f"| {several[1]:.1%} |",
        "",
        "Each group predicted by constants fitted without it:",
        "",
        "| left out | group | n | fitted shares | median error | 90th percentile |",
        "|---|---|---|---|---|---|",
    ]
    for item in leave_groups_out(timed):
        lines.append(
            f"| {item.grouping} | {item.group} | {item.rows} | {item.shares[0]:.2f}, "
            f"{item.shares[1]:.2f} | {item.median:.1%} | {item.p90:.1%} |"
        )
    lines += [
        "",
        describe_short_steps(),
        "",
        *WHY,
        "",
        "| model | method | GPUs | batch | error |",
        "|---|---|---|---|---|",
    ]
    for item in sorted(timed, key=lambda item: -abs(item.error()))[:WORST]:
        row = item.row
        lines.append(
            f"| {row.model} | {row.method} | {row.devices} | {row.batch_size} "
            f"| {item.error():+.0%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(describe_time(read_rows()))
