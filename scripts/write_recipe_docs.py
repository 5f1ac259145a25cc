"""Write docs/recipe-keys.md from the schema and the dialect's tables.

The test tests/recipe/test_recipe_docs.py holds the committed file to what this makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from luthier.recipe import dialect
from luthier.recipe.dataset import DatasetSource, InstructFormat
from luthier.recipe.kinds import phrase_of
from luthier.recipe.plan_section import PlanSection, ServingSection
from luthier.recipe.schema import SECTIONS
from luthier.recipe.study import Sample, Study, TaskSpec

DESTINATION = Path(__file__).parent.parent / "docs" / "recipe-keys.md"

INTRODUCTION = """\
# Recipe keys

<!-- Made by scripts/write_recipe_docs.py from the schema; edit the schema, not this file. -->

A recipe is the flat YAML that Axolotl users already have. Every key is honoured or refused by
name; none is ignored. `luthier check FILE` names all mistakes at once, each with its line and its
mend. `--set key=value` changes a key from the command line; dots reach into lists and mappings:
`--set datasets.0.path=rows.jsonl`.

Files are read by the rules of YAML 1.2: `1e-4` is a number, and `no` is text (where a key needs
`true` or `false`, `yes` and `no` are understood). A key without a value, or with `null`, counts as
absent. Relative paths start at the current directory.
"""

STUDIES = """\
## Studies

A file with `study` or `arms` is a study. With `--set`, a key of the study changes the study
(`sample.train=100`, `arms.lora.lora_r=4`), and a key of recipes changes `base`. `--set data=FILE`
replaces only the place of the data where `data` is a mapping; how its rows are read stays.

Where a dataset of the base or of an arm has no `path`, its rows are the study's training rows, and
what `data` says about reading them (`type`, `columns`, `prompt`, …) holds for it too, unless it
says otherwise itself. An arm with `adapter: null` leaves the adapter's keys of the base out.

A grid's arms are named `arm-key=value-key=value`, in the order of the grid. Whatever a file system
could take amiss becomes `_`, the values of a list are joined by `+`, and a name of more than 100
characters is cut and ends in eight digits of its digest.
"""

PLAN = """\
### `plan`

Only `luthier plan` reads it, and its flags win over it. The keys of the machine and of the amounts
take one value for all arms, or a mapping of an arm's name to its own value. Where a flag names
another machine, the file's price, throughput and hours are left aside: they were not that one's.
"""

OLD_NAMES = """\
## Old names

Accepted with a note. `relora_steps` without `relora` turns ReLoRA on, as it used to.

`optim_args` (`"rank=128, scale=0.25"`, or a mapping) and `optim_target_modules` are read as the
keys of the chosen optimizer: with `optimizer: galore_adamw`, as `galore_rank`, `galore_scale` and
`galore_target_modules`.
"""


def write_docs() -> str:
    """The whole text of docs/recipe-keys.md."""
    parts = [INTRODUCTION, *_recipe_tables()]
    parts += ["## Inside `datasets` and `test_datasets`\n", _table(DatasetSource)]
    parts += ["### A custom instruct format (`type:` as a mapping)\n", _table(InstructFormat)]
    parts += [STUDIES, _table(Study)]
    parts += ["### `sample`\n", _table(Sample), "### An entry of `tasks`\n", _table(TaskSpec)]
    parts += [PLAN, _table(PlanSection), "### `plan.serving`\n", _table(ServingSection)]
    parts += [OLD_NAMES, _renames()]
    parts += ["## Not yet available\n\nRefused by name, unless off.\n", _not_yet()]
    parts += ["## Refused\n\nKeys of other tools, refused with the reason.\n", _refused()]
    return "\n".join(parts)


def _recipe_tables() -> Iterator[str]:
    for title, part in SECTIONS.items():
        yield f"## {title}\n"
        yield _table(part)


def _table(model: type[BaseModel]) -> str:
    return _rows(model.model_fields.items())


def _rows(fields: Iterable[tuple[str, FieldInfo]]) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in fields:
        cells = (f"`{name}`", phrase_of(field), _default(field), field.description or "")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if field.default_factory is not None or value in (None, "", ()) or isinstance(value, BaseModel):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{value}`"


def _renames() -> str:
    lines = ["| old | today |", "|---|---|"]
    for old, new in {**dialect.LEGACY, **dialect.DATASET_LEGACY}.items():
        lines.append(f"| `{old}` | `{new}` |")
    for part in ("role", "content"):
        lines.append(f"| `message_field_{part}` | `message_property_mappings.{part}` |")
    for key, values in dialect.LEGACY_VALUES.items():
        lines += [f"| `{key}: {old}` | `{key}: {new}` |" for old, new in values.items()]
    for key, values in dialect.DATASET_LEGACY_VALUES.items():
        lines += [f"| `{key}: {old}` | `{key}: {new}` |" for old, new in values.items()]
    return "\n".join(lines) + "\n"


def _not_yet() -> str:
    named: list[tuple[str, str]] = [(why, f"`{key}`") for key, why in dialect.NOT_YET.items()]
    named += [(why, f"`datasets[].{key}`") for key, why in dialect.DATASET_NOT_YET.items()]
    by_technique: dict[str, list[str]] = {}
    for why, key in named:
        by_technique.setdefault(why, []).append(key)
    return "".join(f"- {why}: {', '.join(keys)}\n" for why, keys in by_technique.items())


def _refused() -> str:
    lines = ["| key | why | instead |", "|---|---|---|"]
    everything: Mapping[str, dialect.Refused] = {
        **dialect.REFUSED,
        **{
            f"{key}: {value}": item
            for key, values in dialect.REFUSED_VALUES.items()
            for value, item in values.items()
        },
        **{f"datasets[].{key}": item for key, item in dialect.DATASET_REFUSED.items()},
    }
    for reason, group in groupby(everything.items(), key=lambda item: item[1]):
        keys = ", ".join(f"`{key}`" for key, _ in group)
        lines.append(f"| {keys} | {reason.why} | {reason.mend} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DESTINATION.write_text(write_docs(), encoding="utf-8")
    print(f"wrote {DESTINATION}")
