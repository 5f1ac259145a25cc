"""What a race comes to: a cell's common facts, and each contestant's figures by its title."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.cases import Case, Contestant
from benchmarks.gpu.counting import share_of_peak, summarise_seconds
from benchmarks.gpu.fit import Fit

from luthier.plan.machine.devices import describe_this_machine
from luthier.plan.model.model_config import read_facts

# Steps of a contestant's first turn on a length, and of its later ones: kernels are chosen and
# compiled, and memory is claimed.
UNCOUNTED_FIRST, UNCOUNTED = 2, 1
GIB = 2**30


class CaseFailed(Exception):
    """A contestant of Luthier has failed: the cell has no result."""


@dataclass
class Entry:
    """A contestant in one case, and what was measured of it."""

    contestant: Contestant
    fit: Fit
    turns: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    clocks: list[float] = field(default_factory=list[float])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    out_of_memory: str = ""
    failed: str = ""
    alone: bool = False


def describe(case: Case, entries: list[Entry], model: Path) -> dict[str, Any]:
    """The cell: what is common, and each contestant's figures by its title."""
    parameters = read_facts(str(model)).parameters
    peak_tflops = describe_this_machine().bf16_tflops.value
    results = {
        entry.contestant.title: summarise(case, entry, parameters, peak_tflops) for entry in entries
    }
    base = results["Luthier"].get("tokens_per_second")
    for result in results.values():
        if base and "tokens_per_second" in result:
            result["times_luthier"] = round(result["tokens_per_second"] / base, 3)
    return {
        "shape": case.shape,
        "method": case.method,
        "length": case.length,
        "labelled": case.labelled,
        "variant": case.variant,
        "rows_per_step": case.rows,
        "tokens_per_step": case.step_tokens,
        "parameters": parameters,
        "flops_per_weight_and_token": case.passes,
        "peak_tflops": peak_tflops,
        "contestants": results,
        "settings": {
            entry.contestant.title: entry.settings
            for entry in {entry.contestant.process: entry for entry in entries[::-1]}.values()
            if entry.settings
        },
        "largest_loss_difference": find_loss_difference(entries),
    }


def summarise(case: Case, entry: Entry, parameters: float, peak_tflops: float) -> dict[str, Any]:
    """One contestant's figures, or why there are none."""
    planned = {"planned_gib": round(entry.fit.peak, 2)}
    if not entry.fit.is_possible:
        need, has = entry.fit.peak, entry.fit.capacity
        return {"does_not_fit": f"by plan: {need:.1f} of {has:.1f} GiB", **planned}
    if entry.failed:
        return {"failed": entry.failed, **planned}
    if entry.out_of_memory:
        return {"out_of_memory": entry.out_of_memory[:300], **planned}
    counted = [
        turn["seconds"][UNCOUNTED_FIRST if turn["first"] else UNCOUNTED :] for turn in entry.turns
    ]
    found: dict[str, Any] = summarise_seconds(counted, case.step_tokens)
    rate = found["tokens_per_second"]
    found["share_of_peak"] = round(share_of_peak(rate, parameters, case.passes, peak_tflops), 4)
    for name in ("allocated", "reserved"):
        found[f"{name}_gib"] = round(max(turn[name] for turn in entry.turns) / GIB, 3)
    found |= planned
    found["first_step_seconds"] = round(entry.turns[0]["seconds"][0], 3)
    found["loss"] = round(entry.turns[-1]["losses"][-1], 5)
    reference = max(turn["reference_seconds"] for turn in entry.turns)
    if reference:
        found["reference_seconds"] = round(reference, 5)
        whole = found["step_seconds"] + reference
        found["tokens_per_second_with_reference"] = round(case.step_tokens / whole, 1)
    if entry.clocks:
        found["sm_clock_mhz"] = sorted(entry.clocks)[len(entry.clocks) // 2]
    if entry.alone:
        found["alone"] = True
    return found


def find_loss_difference(entries: list[Entry]) -> float | None:
    """The largest |TRL's loss − Luthier's| in turns that both came to after the same steps."""
    own = [turn for e in entries if e.contestant.peer == "luthier" for turn in e.turns]
    peer = [turn for e in entries if e.contestant.peer == "trl" for turn in e.turns]
    found = [
        abs(a - b)
        for mine in own
        for theirs in peer
        if mine["before"] == theirs["before"] and mine["first"] == theirs["first"]
        for a, b in zip(mine["losses"], theirs["losses"], strict=False)
    ]
    return max(found) if found else None


def check(cell: dict[str, Any]) -> None:
    """Raise CaseFailed where a contestant of Luthier came to nothing by a fault."""
    faults = [
        f"{title}: {result['failed']}"
        for title, result in cell["contestants"].items()
        if "failed" in result and title.startswith("Luthier")
    ]
    if faults:
        raise CaseFailed("; ".join(faults))
