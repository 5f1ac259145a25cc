"""A model's config.json from the Hugging Face hub: its cache on this disk, then the network."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.errors import PlanError
from luthier.plan.model.config_keys import parse_object
from luthier.plan.model.known_models import suggest_known

CONFIG = "config.json"
TIMEOUT_SECONDS = 5.0
# A config.json has a few kilobytes; more is some other page.
LARGEST_BYTES = 1_000_000

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_YES = ("1", "ON", "YES", "TRUE")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


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
    config = folder / "snapshots" / revision / CONFIG
    return config if config.is_file() else None


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and shows the token to no other host than the hub."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and (following.type, following.host) != (req.type, req.host):
            following.remove_header("Authorization")
        return following


def fetch_config(name: str) -> Mapping[str, Any]:
    """The config.json of a hub model's main branch, over the network.

    HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE hold as they do for Hugging Face's own tools.

    Raises:
        PlanError: the hub may not be asked, cannot be reached, or has no such file.
    """
    if _HUB_NAME.fullmatch(name) is None:
        raise _not_found(name, "it is neither a folder here nor a name on the hub")
    for variable in _OFFLINE:
        if os.environ.get(variable, "").upper() in _YES:
            raise _not_found(name, f"{variable} is set, so the hub is not asked")
    url = f"{endpoint()}/{name}/resolve/main/{CONFIG}"
    request = urllib.request.Request(url, headers={"User-Agent": "luthier"})
    if token := os.environ.get("HF_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(_SameHostRedirects())
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            text = answer.read(LARGEST_BYTES).decode("utf-8")
    except urllib.error.HTTPError as error:
        raise _not_found(name, _explain_status(url, error.code)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _not_found(name, f"{endpoint()} could not be reached ({reason})") from None
    return parse_object(text, url)


def endpoint() -> str:
    """Where the hub is, without a slash at the end."""
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
