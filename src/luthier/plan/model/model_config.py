"""Where a model's config.json is found: a file, a folder, the shipped table, the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.errors import PlanError
from luthier.files import RunLayout
from luthier.plan.model.architectures import facts_from_config
from luthier.plan.model.config_keys import parse_object
from luthier.plan.model.known_models import find_known
from luthier.plan.model.model_facts import ModelFacts
from luthier.recipe.load import load_recipe

EMBEDDED = "embedded"
# As in models/places.py, which cannot be imported without torch.
EMBEDDED_FOLDER = Path(__file__).parents[2] / "models" / "embedded"
MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
# A run that stands on a run and so on: more than this is a circle.
LONGEST_CHAIN = 32


def read_facts(base_model: str, config: Path | None = None) -> ModelFacts:
    """The facts of a recipe's base model, from the nearest place that has them.

    In this order: `config`; the embedded model's folder; a local folder of a model, an adapter or
    a run, followed to the plain model at the bottom; the shipped table; the hub's cache on this
    disk; the hub itself, unless HF_HUB_OFFLINE is set.

    Args:
        base_model: as in a recipe: `embedded`, a hub name or a folder.
        config: a config.json that says what the model is, whatever its name.

    Raises:
        PlanError: no such configuration, or one that the planner cannot read.
    """
    if config is not None:
        return facts_from_config(base_model, _read_json(config), f"--model-config {config}")
    bottom = _follow(base_model)
    folder = EMBEDDED_FOLDER if bottom == EMBEDDED else Path(bottom)
    if (folder / MODEL_CONFIG).is_file():
        source = "the embedded model's config.json" if bottom == EMBEDDED else str(folder)
        return facts_from_config(base_model, _read_json(folder / MODEL_CONFIG), source)
    if folder.is_dir() or bottom.startswith((".", "/", "~")):
        missing = "has no config.json" if folder.is_dir() else "is not there"
        raise PlanError(
            f"base_model {base_model}: the folder {bottom} {missing}. "
            "Give the model's folder, or its config.json with --model-config FILE."
        )
    known = find_known(bottom)
    if known is not None:
        return known._replace(name=base_model)
    return _read_from_hub(base_model, bottom)


def _read_from_hub(base_model: str, name: str) -> ModelFacts:
    # Imported late: the standard library's network modules take longer to load than a plan.
    from luthier.plan.model import hub

    cached = hub.find_cached(name)
    if cached is not None:
        return facts_from_config(base_model, _read_json(cached), f"the hub's cache: {name}")
    return facts_from_config(base_model, hub.fetch_config(name), f"{hub.endpoint()}/{name}")


def _follow(base_model: str) -> str:
    """The plain model at the bottom of runs and adapters that stand on one another."""
    name = base_model
    for _ in range(LONGEST_CHAIN):
        below = _find_below(name)
        if below is None:
            return name
        name = below
    raise PlanError(f"base_model {base_model}: its runs stand on one another in a circle.")


def _find_below(name: str) -> str | None:
    """What the run or adapter `name` stands on; None for a plain model."""
    folder = Path(name)
    if name == EMBEDDED or not folder.is_dir() or (folder / MODEL_CONFIG).is_file():
        return None
    run = RunLayout(folder)
    if not run.recipe.is_file() and RunLayout(folder.parent).adapter == folder:
        run = RunLayout(folder.parent)
    if run.recipe.is_file():
        # A fully trained model has its own configuration; everything else has its base's.
        if (run.model / MODEL_CONFIG).is_file():
            return str(run.model)
        return _find_recorded(load_recipe(run.recipe).recipe.base_model, run.root)
    if (folder / ADAPTER_CONFIG).is_file():
        recorded = _read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        if not recorded:
            raise PlanError(f"{folder / ADAPTER_CONFIG} does not name the base model.")
        return _find_recorded(str(recorded), folder)
    return None


def _find_recorded(base: str, beside: Path) -> str:
    """A base as a run or adapter in `beside` recorded it, found from any working directory."""
    if base == EMBEDDED or Path(base).is_absolute():
        return base
    origin = beside / "provenance.json"
    if origin.is_file():
        model = _read_json(origin).get("model")
        path = model.get("path") if isinstance(model, Mapping) else None
        if isinstance(path, str) and _holds_model(Path(path)):
            return path
    for parent in (Path(), *beside.resolve().parents):
        if _holds_model(parent / base):
            return str(parent / base)
    return base


def _holds_model(folder: Path) -> bool:
    files = (folder / MODEL_CONFIG, folder / ADAPTER_CONFIG, RunLayout(folder).recipe)
    return any(file.is_file() for file in files)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise PlanError(f"{path} cannot be read: {why}.") from None
    return parse_object(text, str(path))
