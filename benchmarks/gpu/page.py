"""Makes docs/results/gpu.md from what the parts have measured.

    python -m benchmarks.gpu.page [--results docs/results/gpu] [--output docs/results/gpu.md]

A machine is a folder of parts' JSON: the results folder itself, and each folder in it. Runs of
small size are no measurements of a GPU, and are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.gpu.page_plan import show_plan
from benchmarks.gpu.page_profile import show_profile
from benchmarks.gpu.page_speed import show_speed
from benchmarks.gpu.tables import show_any, show_table

from luthier.files import read_json, write_text

RESULTS = Path("docs/results/gpu")
OUTPUT = Path("docs/results/gpu.md")
NOT_YET = "Not yet measured."
TITLES = {
    "smoke": "1 · Tests on the GPU",
    "speed": "2 · Speed and memory beside TRL",
    "plan": "3 · Plans beside what runs took",
    "profile": "4 · Where a step's time goes",
    "embedded": "5 · The embedded model",
}
SHOW = {"speed": show_speed, "plan": show_plan, "profile": show_profile}
VERSIONS = (
    "luthier", "python", "torch", "triton", "transformers", "trl", "peft", "accelerate",
    "bitsandbytes", "flash_attn", "liger-kernel",
)  # fmt: skip
INTRODUCTION = """# What a GPU tells

Everything else that Luthier measures can be measured on a processor; this cannot. Five parts write
what they find as JSON, and this page is made of it. A start of a part ends within eight minutes on
one H100; started again, a part goes on with what is not measured yet.

    python -m benchmarks.gpu all      # or one part by its name
    python -m benchmarks.gpu.page
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.page", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON lies")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the page")
    options = parser.parse_args()
    write_text(options.output, build_page(options.results))
    print(options.output)


def build_page(results: Path) -> str:
    """The page as Markdown."""
    machines = read_machines(results)
    sections = [INTRODUCTION]
    if not machines:
        sections += [show_part(name, None, "##") for name in TITLES]
    for parts in machines:
        sections += show_machine(parts)
    return "\n".join(section.strip("\n") + "\n" for section in sections)


def read_machines(results: Path) -> list[dict[str, Any]]:
    """Part → its JSON, for each machine that has measured one at full size."""
    folders = [results, *sorted(path for path in results.glob("*") if path.is_dir())]
    found: list[dict[str, Any]] = []
    for folder in folders:
        parts = {}
        for name in TITLES:
            file = folder / f"{name}.json"
            part = read_json(file) if file.exists() else None
            if part is not None and part.get("size") == "full" and part.get("cells"):
                parts[name] = part
        if parts:
            found.append(parts)
    return found


def show_machine(parts: dict[str, Any]) -> list[str]:
    newest = max(parts.values(), key=lambda part: part["date"])
    hardware = newest["hardware"]
    return [
        f"## {hardware['device_name']}",
        show_hardware(parts, newest),
        *(show_part(name, parts.get(name)) for name in TITLES),
    ]


def show_hardware(parts: dict[str, Any], newest: dict[str, Any]) -> str:
    """The machine, the versions, and when and of which code each part is."""
    hardware = newest["hardware"]
    known = [
        f"{name} {newest['versions'][name]}" for name in VERSIONS if name in newest["versions"]
    ]
    rows = [
        ["device", f"{hardware['device_count']} × {hardware['device_name']}, "
         f"{hardware['memory_bytes'] / 2**30:.1f} GiB"],
        ["processor", hardware["processor"]],
        ["system", hardware["system"]],
        ["versions", ", ".join(known)],
    ]  # fmt: skip
    for name, part in parts.items():
        revision = (part["git_revision"] or "unknown revision")[:12]
        dirty = " with changes" if str(part["git_revision"]).endswith("-dirty") else ""
        rows.append([f"part {name}", f"{part['date'][:10]}, {revision}{dirty}, {part['status']}"])
    return show_table(["", ""], rows)


def show_part(name: str, part: dict[str, Any] | None, level: str = "###") -> str:
    title = f"{level} {TITLES[name]}\n"
    if part is None:
        return f"{title}\n{NOT_YET}\n"
    state = (
        "" if part["status"] == "done" else f"\n*{part['status'].capitalize()}. {part['why']}*\n"
    )
    return f"{title}{state}\n{SHOW.get(name, show_any)(part)}\n"


if __name__ == "__main__":
    main()
