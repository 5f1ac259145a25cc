"""Run the tests with the lowest and with the highest versions that pyproject.toml allows.

    python scripts/version_ranges.py                                     # both, all tests
    python scripts/version_ranges.py --sets lowest --tests tests/train tests/models
    python scripts/version_ranges.py --torch-index https://download.pytorch.org/whl/cpu

Each set gets a virtual environment of its own. On Linux, PyPI's torch is a CUDA build of several
gigabytes: one is never fetched. What an index says of each wheel, its name, size and requirements,
is read first, and only a build for the processor is taken, from pip's own places or from
--torch-index (an index's address or a folder of wheels; may be repeated). Where the range's end
cannot be had so, the nearest version stands in, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from torch_builds import Interpreter, TorchBuild, list_builds

SetName = Literal["lowest", "highest"]
SETS: tuple[SetName, ...] = ("lowest", "highest")
CHECKOUT = Path(__file__).resolve().parents[1]
# They look at the code, and no version of them changes what it does.
LINTERS = ("ruff", "pyright", "import-linter", "types-pyyaml")
SHOWN = ("torch", "transformers", "tokenizers", "accelerate", "huggingface-hub", "datasets")
SHOWN_TOO = ("numpy", "safetensors", "bitsandbytes", "pydantic", "peft", "trl")


class RangeError(Exception):
    """A set that cannot be built, and how it could be."""


class Row(NamedTuple):
    name: SetName
    versions: dict[str, str]
    remark: str
    outcome: str


def main() -> int:
    options = parse_options()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="version-ranges-"))
    rows: list[Row] = []
    try:
        for name in options.sets:
            try:
                rows.append(run_set(name, folder / name, options))
            except RangeError as error:
                rows.append(Row(name, {}, "", f"not run: {error}"))
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(format_table(rows))
    return 0 if all(" 0 failed" in row.outcome for row in rows) else 1


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--tests", nargs="+", default=["tests"], help="what pytest is given")
    parser.add_argument(
        "--python",
        action="append",
        help="the interpreter; by default the lowest and the highest supported one that is here",
    )
    parser.add_argument("--torch-index", action="append", default=[], metavar="URL_OR_FOLDER")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the environments there")
    parser.add_argument(
        "--pin", action="append", default=[], metavar="NAME==VERSION", help="instead of the set's"
    )
    return parser.parse_args()


def run_set(name: SetName, folder: Path, options: argparse.Namespace) -> Row:
    """Build one environment and run the tests in it."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = read_requirements(project)
    torch_range = next(need for need in needs if need.name == "torch")
    interpreter, build = choose_torch(name, project["requires-python"], torch_range, options)
    end = floor(torch_range) if name == "lowest" else None
    remark = (
        f"torch {build.version} stands in for {end}" if end not in (None, build.version) else ""
    )
    python = build_environment(name, folder, interpreter, build, needs, options.pin)
    outcome = run_tests(python, folder / "tests.xml", options.tests)
    return Row(name, list_versions(python), remark, outcome)


def run_tests(python: str, report: Path, tests: Sequence[str]) -> str:
    """How the tests went, counted."""
    code = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *tests],
        cwd=CHECKOUT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    ).returncode
    if not report.exists():
        return f"pytest ended with {code} before a test ran"
    counts = ElementTree.parse(report).getroot()[0].attrib
    failed = int(counts["failures"]) + int(counts["errors"])
    passed = int(counts["tests"]) - failed - int(counts["skipped"])
    return f"{passed} passed, {failed} failed, {counts['skipped']} skipped"


def read_requirements(project: dict[str, Any]) -> list[Requirement]:
    """What Luthier and its tests need, extras resolved, linters left out."""
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["dev"], *extras["trackers"]]
    needs = [Requirement(line) for line in lines]
    return [
        need
        for need in needs
        if need.name != project["name"] and canonicalize_name(need.name) not in LINTERS
    ]


def floor(need: Requirement) -> Version:
    """The lowest version that a requirement allows."""
    return max(Version(each.version) for each in need.specifier if each.operator in (">=", "=="))


def choose_torch(
    name: SetName, supported: str, torch_range: Requirement, options: argparse.Namespace
) -> tuple[Interpreter, TorchBuild]:
    """The interpreter and the torch that lie nearest to the set's end.

    Raises:
        RangeError: no supported Python is here, or no build of torch for the processor.
    """
    names = options.python or find_pythons(supported)
    interpreters = [Interpreter.ask(each) for each in names]
    if name == "highest":
        interpreters.reverse()
    refused: list[str] = []
    for interpreter in interpreters:
        builds = list_builds(interpreter, torch_range.specifier, options.torch_index)
        refused += [f"{build.file}: {build.refusal}" for build in builds if build.refusal]
        usable = [build for build in builds if not build.refusal]
        if usable:
            pick = min if name == "lowest" else max
            return interpreter, pick(usable, key=lambda build: build.version)
    shown = "".join(f"\n  {each}" for each in refused[-3:])
    raise RangeError(
        f"no torch{torch_range.specifier} for the processor and {', '.join(names) or 'no Python'}."
        f"{shown}\n  CPU builds of every version: --torch-index https://download.pytorch.org/whl/cpu"
    )


def find_pythons(supported: str) -> list[str]:
    """Interpreters of the supported range that are here, lowest first."""
    specifier = Requirement(f"python{supported}").specifier
    releases = [minor for minor in range(8, 40) if specifier.contains(f"3.{minor}")]
    names = [f"python3.{minor}" for minor in releases]
    return [name for name in names if runs(name)]


def runs(python: str) -> bool:
    # A name on the PATH may be a shim for a Python that is not there.
    if shutil.which(python) is None:
        return False
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def build_environment(
    name: SetName,
    folder: Path,
    interpreter: Interpreter,
    build: TorchBuild,
    needs: Iterable[Requirement],
    pins: Sequence[str],
) -> str:
    """A virtual environment with that torch and the set's versions; its Python."""
    subprocess.run([interpreter.path, "-m", "venv", "--clear", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    pinned = {canonicalize_name(Requirement(pin).name): pin for pin in pins}
    if name == "lowest":
        for need in needs:
            pinned.setdefault(canonicalize_name(need.name), f"{need.name}=={floor(need)}")
    # Whatever asks for torch is content with the build that is here, and pip fetches no other.
    pinned["torch"] = f"torch=={build.version.public}"
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pinned.values()) + "\n", encoding="utf-8")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    others = [str(need) for need in needs if need.name != "torch"]
    torch = [*pip, "--constraint", str(constraints)]
    for command in (
        [*pip, "--no-deps", build.location],
        [*torch, "torch", *others],
        [*pip, "--no-deps", "--editable", str(CHECKOUT)],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            between = done.stdout.partition("The conflict is caused by:")[2].split("\n\n")[0]
            raise RangeError("\n".join([*errors, between]).strip())
    return python


def list_versions(python: str) -> dict[str, str]:
    command = [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    versions = {canonicalize_name(each["name"]): each["version"] for each in json.loads(listed)}
    release = subprocess.run([python, "-V"], check=True, capture_output=True, text=True).stdout
    return {"python": release.split()[-1], **versions}


def format_table(rows: Iterable[Row]) -> str:
    """Packages down, sets across, as Markdown."""
    rows = list(rows)
    lines = [f"| | {' | '.join(row.name for row in rows)} |", f"|---|{'---|' * len(rows)}"]
    for package in ("python", *SHOWN, *SHOWN_TOO):
        cells = " | ".join(row.versions.get(package, "") for row in rows)
        lines.append(f"| {package} | {cells} |")
    lines.append(f"| tests | {' | '.join(row.outcome for row in rows)} |")
    return "\n".join([*lines, *(row.remark for row in rows if row.remark)])


if __name__ == "__main__":
    sys.exit(main())
