"""Builds of torch that an index or folder offers, and which are for the processor alone.

Nothing is downloaded but what an index says of its wheels: names, sizes, and the metadata that it
serves beside them (PEP 658).
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterable, Sequence
from email.parser import HeaderParser
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

MIB = 2**20
# Builds for the processor are 70 to 200 MiB large, those with CUDA from 400 MiB to gigabytes.
MOST_MIB = 300
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
GPU_STARTS = ("nvidia-", "cuda-", "triton", "pytorch-triton")
ASK = """
import json, sys
from pip._vendor.packaging.markers import default_environment
from pip._vendor.packaging.tags import sys_tags
print(json.dumps([sys.executable, default_environment(), [str(tag) for tag in sys_tags()]]))
"""


class Interpreter(NamedTuple):
    path: str
    markers: dict[str, str]
    tags: frozenset[str]  # of the wheels that it runs

    @classmethod
    def ask(cls, python: str) -> Interpreter:
        command = [python, "-c", ASK]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        path, markers, tags = json.loads(said)
        return cls(path, markers, frozenset(tags))


class Offer(NamedTuple):
    """A wheel as an index or folder names it."""

    file: str
    location: str  # a path or an address
    size_bytes: int | None


class TorchBuild(NamedTuple):
    file: str
    location: str
    version: Version
    refusal: str  # why it is not for the processor alone; empty when it is


def list_builds(
    interpreter: Interpreter, allowed: SpecifierSet, places: Sequence[str]
) -> list[TorchBuild]:
    """Every torch that runs on an interpreter and lies in the range, judged.

    Args:
        places: indexes or folders of wheels; pip's own where none is given.
    """
    builds: list[TorchBuild] = []
    for place in places or find_pip_places():
        offers = list_offers(place)
        for offer in offers:
            try:
                name, version, _, tags = parse_wheel_filename(offer.file)
            except InvalidWheelFilename:
                continue
            runs_here = not interpreter.tags.isdisjoint(map(str, tags))
            if name == "torch" and runs_here and allowed.contains(version):
                refusal = judge(offer, version, interpreter, offers)
                builds.append(TorchBuild(offer.file, offer.location, version, refusal))
    return builds


def judge(
    offer: Offer, version: Version, interpreter: Interpreter, offers: Iterable[Offer] = ()
) -> str:
    """Why a build is not for the processor alone, or nothing.

    The local version tells where there is one (`+cpu`, `+cu130`). Where there is none, the wheel's
    requirements tell, as this machine reads them. Its size has a say in either case.

    Args:
        offers: the same build for another Python among them tells the requirements too, where an
            index serves no metadata beside a wheel.
    """
    if version.local and not version.local.startswith("cpu"):
        return f"built for {version.local}"
    if offer.size_bytes is not None and offer.size_bytes > MOST_MIB * MIB:
        return f"{offer.size_bytes / MIB:.0f} MiB, as large as a CUDA build"
    if version.local:
        return ""
    same = [each for each in offers if _is_same_build(each, offer) and each != offer]
    read = (read_requires(each.location) for each in (offer, *same))
    requires = next((each for each in read if each is not None), None)
    if requires is None:
        return "the index does not tell its requirements"
    for requirement in requires:
        marker = requirement.marker
        if marker and not marker.evaluate({**interpreter.markers, "extra": ""}):
            continue
        if canonicalize_name(requirement.name).startswith(GPU_STARTS):
            return f"a CUDA build: it requires {requirement.name}"
    return "" if offer.size_bytes is not None else "the index does not tell its size"


def _is_same_build(offer: Offer, other: Offer) -> bool:
    """torch-2.9.0-cp311-cp311-manylinux_2_28_aarch64.whl and its like for another Python."""
    ours, theirs = offer.file.split("-"), other.file.split("-")
    return ours[:2] == theirs[:2] and ours[-1] == theirs[-1]


def find_pip_places() -> list[str]:
    """Where pip itself would look."""
    places = os.environ.get("PIP_FIND_LINKS", "").split()
    places += os.environ.get("PIP_EXTRA_INDEX_URL", "").split()
    return [*places, os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"]


def list_offers(place: str) -> list[Offer]:
    folder = Path(urllib.parse.urlsplit(place).path if place.startswith("file:") else place)
    if folder.is_dir():
        wheels = folder.glob("torch-*.whl")
        return [Offer(each.name, str(each.resolve()), each.stat().st_size) for each in wheels]
    return list_index(f"{place.rstrip('/')}/torch/")


def list_index(address: str) -> list[Offer]:
    """The wheels of an index's page, in JSON (PEP 691) or HTML (PEP 503)."""
    wish = {"Accept": f"{SIMPLE_JSON}, text/html;q=0.1"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=wish), timeout=60
        ) as answer:
            content_type, text = answer.headers["Content-Type"], answer.read().decode("utf-8")
    except (urllib.error.URLError, ValueError) as error:
        print(f"{address} cannot be read: {error}")
        return []
    if content_type.startswith(SIMPLE_JSON):
        return [
            Offer(each["filename"], urllib.parse.urljoin(address, each["url"]), each.get("size"))
            for each in json.loads(text)["files"]
            if not each.get("yanked")
        ]
    page = _Links()
    page.feed(text)
    links = [urllib.parse.urljoin(address, link).partition("#")[0] for link in page.links]
    return [Offer(urllib.parse.unquote(link.rpartition("/")[2]), link, None) for link in links]


def read_requires(location: str) -> list[Requirement] | None:
    """A wheel's requirements; None where an index serves no metadata beside it."""
    try:
        if "://" in location:
            with urllib.request.urlopen(f"{location}.metadata", timeout=60) as answer:
                text = answer.read().decode("utf-8")
        else:
            with zipfile.ZipFile(location) as wheel:
                entry = next(each for each in wheel.namelist() if each.endswith("/METADATA"))
                text = wheel.read(entry).decode("utf-8")
    except urllib.error.URLError:
        return None
    headers = HeaderParser().parsestr(text)
    return [Requirement(line) for line in headers.get_all("Requires-Dist") or ()]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for key, value in attrs if tag == "a" and key == "href" and value]
