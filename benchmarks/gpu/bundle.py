"""Gather as wheels what a GPU machine without a network lacks to run Luthier.

    make gpu-bundle                          for the machine in plain_machine.txt
    make gpu-bundle HAVE=have.txt            for yours; there: bash benchmarks/gpu/setup.sh --list

Carry the folder that it writes to the machine and run `bash benchmarks/gpu/setup.sh` there. What
the machine has is left alone: only what is missing, or older than Luthier can use, is fetched, and
torch, triton and CUDA never are.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.bundle_pieces import write_bundle
from benchmarks.gpu.bundle_resolve import (
    BundleError,
    Fetch,
    NoWheelError,
    Resolver,
    Target,
    is_untouchable,
    read_wheel,
)
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
PLAIN_MACHINE = HERE / "plain_machine.txt"
# Of the development tools, those that the benchmarks compare with and the tests run on.
FOR_BENCHMARKS = ("peft", "trl", "galore-torch", "pytest", "hypothesis")
MIB = 2**20


class Machine(NamedTuple):
    target: Target
    have: dict[str, Version]  # by canonical name


def main() -> int:
    options = parse_options()
    try:
        machine = read_machine(options)
        roots = [each for each in read_roots() if each.name not in options.without]
        with tempfile.TemporaryDirectory() as downloads:
            fetch = build_fetch(machine.target, Path(downloads))
            resolver = Resolver(machine.target, machine.have, read_pins(), fetch)
            needed = resolver.resolve(roots)
            sizes = write_bundle(
                options.out,
                machine.target,
                [str(root) for root in roots],
                needed,
                read_wheel(fetch(Requirement("pip"))),
                int(options.piece_mib * MIB),
            )
    except BundleError as error:
        print(f"No bundle: {error}", file=sys.stderr)
        return 1
    for each in needed:
        instead = f" instead of {each.replaces}" if each.replaces else ""
        print(f"{each.wheel.name} {each.wheel.version}{instead}")
    total = f"{len(needed)} packages, {sum(sizes) / MIB:.0f} MiB in {len(sizes)} pieces"
    print(f"{options.out}: {total} for {machine.target}")
    return 0


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.bundle", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--have",
        type=Path,
        default=PLAIN_MACHINE,
        help="what the machine has: `setup.sh --list`, or `pip list --format=freeze`, run there",
    )
    parser.add_argument("--python", help="its Python, 3.12 unless the list says another")
    parser.add_argument("--machine", help="its processor: x86_64 (the default) or aarch64")
    parser.add_argument("--glibc", help="its C library at least, 2.28 unless the list says another")
    parser.add_argument("--out", type=Path, default=Path(".gpu-bundle"))
    parser.add_argument("--piece-mib", type=float, default=59, help="the most a piece may hold")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=FOR_BENCHMARKS,
        help="leave out what is only for comparing and testing; may be repeated",
    )
    return parser.parse_args(arguments)


def read_machine(options: argparse.Namespace) -> Machine:
    """What a list says of a machine; options win over it.

    The list is `name==version` lines, and `# python 3.12.3`, `# machine x86_64`, `# glibc 2.39`.

    Raises:
        BundleError: it cannot be read, names no torch, or a Python that Luthier does not support.
    """
    if not options.have.is_file():
        raise BundleError(
            f"{options.have} is not there. Make it on the machine: "
            "bash benchmarks/gpu/setup.sh --list > have.txt"
        )
    versions: dict[str, Version] = {}
    stated = {"python": "3.12", "machine": "x86_64", "glibc": "2.28"}
    for line in options.have.read_text(encoding="utf-8").splitlines():
        if fact := re.fullmatch(r"#\s*(python|machine|glibc)\s+(\S+)\s*", line):
            stated[fact[1]] = fact[2]
            continue
        name, equals, version = line.partition("#")[0].strip().partition("==")
        with contextlib.suppress(InvalidVersion):  # a build of somebody's own
            if equals:
                versions[str(canonicalize_name(name))] = Version(version)
    if "torch" not in versions:
        raise BundleError(f"{options.have} names no torch, and a bundle never carries it.")
    for fact in stated:
        stated[fact] = getattr(options, fact) or stated[fact]
    try:
        python, glibc = Version(stated["python"]), Version(stated["glibc"])
    except InvalidVersion as error:
        raise BundleError(f"{error}: a version is written like 3.12 or 2.28.") from None
    supported = SpecifierSet(read_project()["requires-python"])
    if not supported.contains(python):
        raise BundleError(f"Luthier runs on Python {supported}, and {python} is there.")
    target = Target(f"{python.major}.{python.minor}", stated["machine"], (glibc.major, glibc.minor))
    return Machine(target, versions)


def read_project() -> dict[str, Any]:
    """pyproject.toml's [project]."""
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_roots() -> list[Requirement]:
    """What Luthier needs, and of its development tools what the benchmarks and tests do."""
    project = read_project()
    tools = [Requirement(text) for text in project["optional-dependencies"]["dev"]]
    needs = [Requirement(text) for text in project["dependencies"]]
    return needs + [tool for tool in tools if canonicalize_name(tool.name) in FOR_BENCHMARKS]


def read_pins() -> dict[str, Version]:
    """The versions that Luthier is tested with: taken wherever the machine leaves the choice."""
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("==") for line in lines if "==" in line]
    return {str(canonicalize_name(name)): Version(version) for name, _, version in pairs}


def build_fetch(target: Target, folder: Path) -> Fetch:
    """A function that has pip download one wheel for a machine."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={target.python}"]
    command += [f"--platform={platform}" for platform in target.platforms()]

    fetched: dict[str, Path] = {}

    def fetch(requirement: Requirement) -> Path:
        name = str(canonicalize_name(requirement.name))
        assert not is_untouchable(name), f"{name} must never be downloaded"
        if str(requirement) in fetched:
            return fetched[str(requirement)]
        place = Path(tempfile.mkdtemp(dir=folder))
        done = subprocess.run(
            [*command, "--dest", str(place), str(requirement)],
            check=False,
            capture_output=True,
            text=True,
        )
        wheels = list(place.glob("*.whl"))
        if done.returncode == 0 and len(wheels) == 1:
            return fetched.setdefault(str(requirement), wheels[0])
        if "No matching distribution" in done.stderr:
            raise NoWheelError(str(requirement))
        raise BundleError(f"pip could not fetch {requirement}:\n{done.stderr.strip()}")

    return fetch


if __name__ == "__main__":
    sys.exit(main())
