"""What a model's name means: the embedded model, a hub id, a folder, an adapter, an earlier run.

A run or an adapter stands on a base, which may be a run again. Names are followed here, by files
alone; nothing is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier import provenance
from luthier.errors import ModelError
from luthier.files import RunLayout, read_json
from luthier.models.quantize import Quantization, choose_quantization
from luthier.recipe.load import load_recipe

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
ADAPTER_CONFIG = "adapter_config.json"
MODEL_CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"


@dataclass(frozen=True)
class ModelPlace:
    """Where a model's parts lie: the base, the adapter on it, and the tokenizer.

    Attributes:
        base: as `find_model` takes it; with an adapter it may itself be a run or an adapter.
        quantization: how the base was packed when the adapter was trained.
    """

    base: str
    adapter: Path | None
    tokenizer: str
    quantization: Quantization | None = None


def locate_model(name: str) -> str:
    """The folder or hub id that transformers loads for the name of a plain model."""
    return str(EMBEDDED_FOLDER) if name == EMBEDDED else name


def is_result(name: str) -> bool:
    """True for the folder of a run or of an adapter: what stands on a base model."""
    folder = Path(name)
    if name == EMBEDDED or (folder / MODEL_CONFIG).exists():
        return False
    return RunLayout(folder).recipe.exists() or (folder / ADAPTER_CONFIG).exists()


def find_model(name: str) -> ModelPlace:
    """What `name` means: a run's folder, an adapter's folder, a model's folder, or a hub id.

    Raises:
        ModelError: a run that has not finished, or a folder without a model.
    """
    folder = Path(name)
    if name == EMBEDDED or (folder / MODEL_CONFIG).exists() or not folder.is_dir():
        return ModelPlace(name, None, name)
    if RunLayout(folder).recipe.exists():
        return _place_of_run(RunLayout(folder))
    if (folder / ADAPTER_CONFIG).exists():
        run = RunLayout(folder.parent)
        # Only the run's recipe tells how the base was packed under its adapter.
        if run.recipe.exists() and run.adapter == folder:
            return _place_of_run(run)
        return _place_of_adapter(folder)
    failed = RunLayout(folder).error
    why = f" Its run failed: see {failed}." if failed.exists() else ""
    raise ModelError(
        f"{name} holds neither a run's result nor an adapter nor a model.{why} Give the folder "
        "of a finished run, or one with an adapter_config.json or a config.json."
    )


def find_root(name: str) -> str:
    """The plain model at the bottom of runs that stand on runs."""
    place = find_model(name) if is_result(name) else None
    return name if place is None else find_root(place.base)


def find_tokenizer(name: str) -> str:
    """The folder or hub id whose tokenizer goes with a model's name."""
    if not is_result(name) or (Path(name) / TOKENIZER_CONFIG).exists():
        return locate_model(name)
    return find_tokenizer(find_model(name).tokenizer)


def digest_base(name: str) -> str | None:
    """SHA-256 over all weights that `name` stands for; None where they come from the hub."""
    if not is_result(name):
        return provenance.digest_model(Path(locate_model(name)))
    place = find_model(name)
    if place.adapter is None:
        return provenance.digest_model(Path(place.base))
    adapter = provenance.digest_model(place.adapter) or ""
    base = digest_base(place.base) or place.base
    return provenance.digest_texts([adapter, base, str(place.quantization)])


def _place_of_run(run: RunLayout) -> ModelPlace:
    if run.adapter.exists():
        recipe = load_recipe(run.recipe).recipe
        base = _find_recorded(recipe.base_model, run.root, run.provenance)
        return ModelPlace(
            base, run.adapter, _choose_tokenizer(run.adapter, base), choose_quantization(recipe)
        )
    if run.model.exists():
        return ModelPlace(str(run.model), None, str(run.model))
    raise ModelError(
        f"{run.root} holds a run without a result. Finish it with `luthier train … --resume`."
    )


def _place_of_adapter(folder: Path) -> ModelPlace:
    recorded = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not recorded:
        raise ModelError(f"{folder} does not name the base model it was trained on.")
    base = _find_recorded(str(recorded), folder, None)
    return ModelPlace(base, folder, _choose_tokenizer(folder, base))


def _choose_tokenizer(adapter: Path, base: str) -> str:
    return str(adapter) if (adapter / TOKENIZER_CONFIG).exists() else base


def _find_recorded(base: str, beside: Path, origin: Path | None) -> str:
    """A base as the run or adapter in `beside` recorded it, found from any working directory.

    A relative path counts from where the run was started: its origin tells where that was. Where
    that is gone or unknown, the path is tried from here and from each folder above `beside`, so
    that a tree of runs may be moved as a whole.
    """
    if base == EMBEDDED or Path(base).is_absolute():
        return base
    if origin is not None and origin.exists():
        recorded = read_json(origin)["model"].get("path", "")
        if recorded is None or _holds_model(Path(recorded)):
            return recorded or base
    for parent in (Path(), *beside.resolve().parents):
        if _holds_model(parent / base):
            return str(parent / base)
    return base


def _holds_model(folder: Path) -> bool:
    return (folder / MODEL_CONFIG).exists() or is_result(str(folder))
