"""Where a model's config.json is found: a file, a folder, the shipped table, the hub."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier.errors import PlanError
from luthier.files import RunLayout
from luthier.plan.architectures import facts_from_config
from luthier.plan.known_models import find_known, suggest_known
from luthier.plan.model_facts import ModelFacts
from luthier.recipe.load import load_recipe

EMBEDDED = "embedded"
# As in models/places.py, which cannot be imported without torch.
EMBEDDED_FOLDER = Path(__file__).parent.parent / "models" / "embedded"
MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
HUB_TIMEOUT_SECONDS = 5.0
# A config.json has a few kilobytes; more is some other page.
LARGEST_CONFIG_BYTES = 1_000_000
# A run that stands on a run and so on: more than this is a circle.
LONGEST_CHAIN = 32

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_YES = ("1", "ON", "YES", "TRUE")


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
    cached = find_cached(bottom)
    if cached is not None:
        return facts_from_config(base_model, _read_json(cached), f"the hub's cache: {bottom}")
    return facts_from_config(base_model, _fetch_config(bottom), f"{_endpoint()}/{bottom}")


def find_cached(name: str) -> Path | None:
    """The config.json of a hub model's main branch in the cache on this disk; None without one."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface"
    )
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
    folder = hub / f"models--{name.replace('/', '--')}"
    reference = folder / "refs" / "main"
    if not reference.is_file():
        return None
    revision = reference.read_text(encoding="utf-8").strip()
    config = folder / "snapshots" / revision / MODEL_CONFIG
    return config if config.is_file() else None


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
        if isinstance(path, str) and Path(path).is_dir():
            return path
    for parent in (Path(), *beside.resolve().parents):
        if (parent / base).is_dir():
            return str(parent / base)
    return base


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} cannot be read: {error}.") from None
    return _parse(text, str(path))


def _parse(text: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PlanError(f"{where} is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise PlanError(f"{where} holds no JSON object.")
    return value


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and shows the token to no other host than the hub."""

    def redirect_request(self, req: Any, *others: Any) -> Any:
        following = super().redirect_request(req, *others)
        if following is not None and urlsplit(following.full_url).netloc != req.host:
            following.remove_header("Authorization")
        return following


def _fetch_config(name: str) -> Mapping[str, Any]:
    """The config.json of a hub model's main branch, over the network."""
    if _HUB_NAME.fullmatch(name) is None:
        raise _not_found(name, "it is neither a folder here nor a name on the hub")
    if any(os.environ.get(key, "").upper() in _YES for key in ("HF_HUB_OFFLINE", "HF_OFFLINE")):
        raise _not_found(name, "HF_HUB_OFFLINE is set, so the hub is not asked")
    url = f"{_endpoint()}/{name}/resolve/main/{MODEL_CONFIG}"
    request = urllib.request.Request(url, headers={"User-Agent": "luthier"})  # noqa: S310
    if token := os.environ.get("HF_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(_SameHostRedirects())
    try:
        with opener.open(request, timeout=HUB_TIMEOUT_SECONDS) as answer:
            text = answer.read(LARGEST_CONFIG_BYTES).decode("utf-8")
    except urllib.error.HTTPError as error:
        raise _not_found(name, _explain_status(url, error.code)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _not_found(name, f"{_endpoint()} could not be reached ({reason})") from None
    return _parse(text, url)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _explain_status(url: str, status: int) -> str:
    if status in (401, 403):
        return f"{url} answers {status}: no such model, or a gated one that needs HF_TOKEN"
    return f"{url} answers {status}"


def _not_found(name: str, why: str) -> PlanError:
    near = suggest_known(name)
    known = f" Nearest in the shipped table: {', '.join(near)}." if near else ""
    return PlanError(
        f"The shape of {name} is not known: {why}. Give its config.json with "
        f"--model-config FILE.{known}"
    )
