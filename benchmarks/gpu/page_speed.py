"""Part 2 on the page: by method, speed and memory of each contestant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu.tables import DASH, percent, shorten, show_notes, show_table

METHODS = {
    "lora": "LoRA",
    "qlora": "QLoRA",
    "dora": "DoRA",
    "full": "Full fine-tuning",
    "dpo": "DPO with LoRA",
}
PUBLISHED = {
    "lora": (
        "Published for Llama-3-8B with LoRA at 4,096 tokens on one H100 (NeMo AutoModel, "
        "performance summary): 12,473 tokens/s, 40.6% as 4N."
    )
}
Cells = Mapping[str, Mapping[str, Any]]


def show_speed(part: Mapping[str, Any]) -> str:
    cells: Cells = part["cells"]
    raced = {name: cell for name, cell in cells.items() if "contestants" in cell}
    plain = {
        name: cell
        for name, cell in raced.items()
        if not cell["variant"] and cell["labelled"] == "all"
    }
    sections = [show_method(title, pick(plain, method)) for method, title in METHODS.items()]
    others = {name: cell for name, cell in raced.items() if name not in plain}
    sections += [show_variants(others), show_faults(cells), show_notes(part)]
    return "\n\n".join(filter(None, sections))


def pick(cells: Cells, method: str) -> list[Mapping[str, Any]]:
    chosen = [cell for cell in cells.values() if cell["method"] == method]
    return sorted(chosen, key=lambda cell: (-cell["parameters"], cell["length"]))


def show_method(title: str, cells: Sequence[Mapping[str, Any]]) -> str:
    if not cells:
        return f"**{title}**: not yet measured."
    peers = list(dict.fromkeys(name for cell in cells for name in cell["contestants"]))
    head = ["model, tokens a row", *peers]
    speed = [[say_case(cell), *(say_speed(cell, peer) for peer in peers)] for cell in cells]
    memory = [[say_case(cell), *(say_memory(cell, peer) for peer in peers)] for cell in cells]
    passes = cells[0]["flops_per_weight_and_token"]
    return "\n".join(
        [
            f"**{title}**: tokens/s (share of peak, {passes}N)",
            "",
            show_table(head, speed, numbers=True),
            "",
            "Peak memory in GiB: allocated / reserved",
            "",
            show_table(head, memory, numbers=True),
            *say_differences(cells),
        ]
    )


def say_case(cell: Mapping[str, Any]) -> str:
    return f"{cell['shape'].upper()}, {cell['length']:,}"


def say_speed(cell: Mapping[str, Any], peer: str) -> str:
    result = cell["contestants"].get(peer)
    if result is None:
        return DASH
    if "tokens_per_second" not in result:
        return say_why(result)
    text = f"{result['tokens_per_second']:,.0f} ({percent(result['share_of_peak'])})"
    if "tokens_per_second_with_reference" in result:
        text += f"; {result['tokens_per_second_with_reference']:,.0f} with the reference"
    return text + (" ¹" if result.get("alone") else "")


def say_memory(cell: Mapping[str, Any], peer: str) -> str:
    result = cell["contestants"].get(peer)
    if result is None or "tokens_per_second" not in result:
        return DASH
    return f"{result['allocated_gib']:.1f} / {result['reserved_gib']:.1f}"


def say_why(result: Mapping[str, Any]) -> str:
    if "does_not_fit" in result:
        return f"does not fit {result['does_not_fit']}"
    return "out of memory" if "out_of_memory" in result else "failed"


def say_differences(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [cell["largest_loss_difference"] for cell in cells]
    known = [value for value in found if value is not None]
    lines = [PUBLISHED[cells[0]["method"]]] if cells[0]["method"] in PUBLISHED else []
    if known:
        lines.append(f"Largest difference between the two peers' losses: {max(known):.1e}.")
    if any(result.get("alone") for cell in cells for result in cell["contestants"].values()):
        lines.append("¹ one after the other: two processes do not fit the device at once.")
    return ["", "  \n".join(lines)] if lines else []


def show_variants(cells: Cells) -> str:
    """Other settings beside Luthier's usual one, in the same race."""
    if not cells:
        return ""
    rows = [
        [
            name if number == 0 else "",
            peer,
            f"{result['tokens_per_second']:,.0f}" if "tokens_per_second" in result else DASH,
            f"{result['times_luthier']:.2f}" if "times_luthier" in result else DASH,
            say_memory(cell, peer),
            f"{result['first_step_seconds']:.1f}" if "first_step_seconds" in result
            else say_why(result),
        ]
        for name, cell in cells.items()
        for number, (peer, result) in enumerate(cell["contestants"].items())
    ]  # fmt: skip
    head = ["cell", "contestant", "tokens/s", "÷ Luthier", "GiB", "first step, s"]
    return "\n".join(["**Other settings**", "", show_table(head, rows)])


def show_faults(cells: Cells) -> str:
    """What went wrong, cell by cell and contestant by contestant."""
    lines = [
        f"- {name}: {shorten(cell['failed'])}" for name, cell in cells.items() if "failed" in cell
    ]
    for name, cell in cells.items():
        for peer, result in cell.get("contestants", {}).items():
            if "failed" in result and not peer.startswith("Luthier"):
                lines.append(f"- {name}, {peer}: {shorten(result['failed'])}")
    return "\n".join(["**Failed**", "", *lines]) if lines else ""
