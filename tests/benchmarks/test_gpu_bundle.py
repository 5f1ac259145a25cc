"""The bundle for machines without a network: what goes in, in which pieces, and how it comes out.

No network: wheels are made here, and a folder of them stands for the index.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from benchmarks.gpu import bundle, install_bundle
from benchmarks.gpu.bundle_pieces import cut, fill_pieces, write_bundle
from benchmarks.gpu.bundle_resolve import (
    BundleError,
    Needed,
    NoWheelError,
    Resolver,
    Target,
    read_wheel,
)
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

REPOSITORY = Path(__file__).parents[2]
TARGET = Target("3.12", "x86_64", (2, 28))
HERE = Target(f"{sys.version_info.major}.{sys.version_info.minor}", os.uname().machine, (2, 28))


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    requires: Sequence[str] = (),
    *,
    padding_bytes: int = 0,
    tag: str = "py3-none-any",
) -> Path:
    """A wheel with one module of its name; padding that no compression makes small."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    contents = {
        f"{name}/__init__.py": f'__version__ = "{version}"\n'.encode(),
        f"{info}/METADATA": ("\n".join(lines) + "\n").encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    if padding_bytes:
        contents[f"{name}/weights.bin"] = os.urandom(padding_bytes)
    record = "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD"))
    contents[f"{info}/RECORD"] = record.encode()
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
    return wheel


class Index:
    """A folder of wheels; remembers what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def add(self, name: str, version: str, *requires: str) -> None:
        make_wheel(self.folder, name, version, requires)

    def fetch(self, requirement: Requirement) -> Path:
        self.asked.append(requirement.name)
        wheels = [read_wheel(file) for file in self.folder.glob(f"{requirement.name}-*.whl")]
        fitting = [each for each in wheels if requirement.specifier.contains(each.version)]
        if not fitting:
            raise NoWheelError(str(requirement))
        return max(fitting, key=lambda each: each.version).file


def resolve(
    index: Index,
    roots: Sequence[str],
    have: Mapping[str, str],
    pins: Mapping[str, str] | None = None,
) -> dict[str, str]:
    resolver = Resolver(
        TARGET,
        {name: Version(version) for name, version in have.items()},
        {name: Version(version) for name, version in (pins or {}).items()},
        index.fetch,
    )
    needed = resolver.resolve(Requirement(root) for root in roots)
    return {each.wheel.name: str(each.wheel.version) for each in needed}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


# What goes in


def test_only_what_is_missing_is_fetched_with_what_it_needs(index: Index) -> None:
    index.add("trl", "1.0", "helper>=1", "torch>=2.9", "numpy>=2")
    index.add("helper", "1.5")
    assert resolve(index, ["trl", "numpy>=2"], {"torch": "2.11.0", "numpy": "2.5.2"}) == {
        "trl": "1.0",
        "helper": "1.5",
    }
    assert set(index.asked) == {"trl", "helper"}


def test_torch_and_cuda_are_never_fetched(index: Index) -> None:
    index.add("bits", "1.0", "torch>=2.9", "triton", "nvidia-cublas", "cuda-toolkit>=13")
    assert resolve(index, ["bits", "torch>=2.9"], {"torch": "2.11.0+cu130"}) == {"bits": "1.0"}
    assert index.asked == ["bits"]


def test_a_torch_that_is_too_old_is_said(index: Index) -> None:
    with pytest.raises(BundleError, match=r"luthier needs torch>=2\.9, 2\.8\.0 is there"):
        resolve(index, ["torch>=2.9"], {"torch": "2.8.0"})


def test_a_package_that_is_too_old_for_luthier_is_bundled(index: Index) -> None:
    index.add("safetensors", "0.8.0")
    have = {"torch": "2.11.0", "safetensors": "0.4.0"}
    assert resolve(index, ["safetensors>=0.5"], have) == {"safetensors": "0.8.0"}


def test_an_older_release_is_taken_where_the_newest_asks_for_more_than_is_there(
    index: Index,
) -> None:
    index.add("trl", "1.1", "transformers>=5.20")
    index.add("trl", "1.0", "transformers>=5.0")
    have = {"torch": "2.11.0", "transformers": "5.17.0"}
    assert resolve(index, ["trl>=1"], have) == {"trl": "1.0"}


def test_where_no_release_goes_with_what_is_there_both_are_named(index: Index) -> None:
    index.add("trl", "1.1", "transformers>=5.20")
    with pytest.raises(BundleError, match=r"trl needs transformers>=5\.20, 5\.17\.0 is there"):
        resolve(index, ["trl>=1"], {"torch": "2.11.0", "transformers": "5.17.0"})


def test_a_later_requirement_narrows_an_earlier_choice(index: Index) -> None:
    index.add("dill", "0.4")
    index.add("dill", "0.3")
    index.add("multiprocess", "1.0", "dill<0.4")
    assert resolve(index, ["dill", "multiprocess"], {"torch": "2.11.0"})["dill"] == "0.3"


def test_tested_versions_are_preferred(index: Index) -> None:
    index.add("pydantic", "2.14")
    index.add("pydantic", "2.13")
    assert resolve(index, ["pydantic"], {}, {"pydantic": "2.13"}) == {"pydantic": "2.13"}


def test_markers_are_judged_for_the_machine_and_not_for_this_python(index: Index) -> None:
    index.add("old", "1.0")
    index.add("new", "1.0")
    roots = ['old; python_version < "3.12"', 'new; python_version >= "3.12"']
    assert resolve(index, roots, {}) == {"new": "1.0"}


def test_an_extra_of_a_package_that_is_there_is_followed(index: Index) -> None:
    index.add("fsspec", "2026.1", 'aiohttp; extra == "http"', "filelock")
    index.add("aiohttp", "3.0")
    assert resolve(index, ["fsspec[http]"], {"fsspec": "2026.1"}) == {"aiohttp": "3.0"}


def test_every_manylinux_up_to_the_machines_own_is_asked_for() -> None:
    platforms = Target("3.12", "aarch64", (2, 28)).platforms()
    assert platforms[0] == "manylinux_2_28_aarch64"
    assert "manylinux_2_17_aarch64" in platforms
    assert "manylinux_2_29_aarch64" not in platforms


def test_a_list_made_on_the_machine_says_what_it_is(tmp_path: Path) -> None:
    have = tmp_path / "have.txt"
    have.write_text("# python 3.13.2\n# machine aarch64\n# glibc 2.39\nTorch==2.11.0\nx @ file:y\n")
    machine = bundle.read_machine(bundle.parse_options(["--have", str(have)]))
    assert machine.target == Target("3.13", "aarch64", (2, 39))
    assert machine.have == {"torch": Version("2.11.0")}


def test_the_plain_machine_is_one_that_luthier_supports() -> None:
    machine = bundle.read_machine(bundle.parse_options([]))
    for root in bundle.read_roots():
        if root.name in machine.have:
            assert root.specifier.contains(machine.have[root.name]), root


# Pieces


def test_pieces_hold_everything_and_no_more_than_they_may(tmp_path: Path) -> None:
    sizes = [50, 30, 30, 30, 20, 250]
    files = [tmp_path / f"{number}.whl" for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        file.write_bytes(os.urandom(size))
    chunks = [chunk for file in files for chunk in cut(file, 100)]
    pieces = fill_pieces(chunks, 100)
    assert [sum(chunk.size_bytes for chunk in piece) for piece in pieces] == [100, 100, 100, 90, 20]
    assert sorted(chunk for piece in pieces for chunk in piece) == sorted(chunks)
    assert [chunk.name for chunk in chunks[-3:]] == ["5.whl.1", "5.whl.2", "5.whl.3"]


# Setup, in a bare environment

PIECE_BYTES = 2**20
PYPROJECT = """
[project]
name = "luthier"
version = "9.9"
requires-python = ">=3.11"
dependencies = ["alpha>=1"]
scripts = {luthier = "luthier.cli:main"}
"""
CLI = """
def main():
    import alpha
    print("luthier", "sees alpha", alpha.__version__)

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="session")
def pip_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pip that runs here, as the wheel that a bundle brings along."""
    pip = importlib.metadata.distribution("pip")
    wheel = tmp_path_factory.mktemp("pip") / f"pip-{pip.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in pip.files or ():
            if file.parts[0] != ".." and file.suffix != ".pyc":
                archive.write(str(file.locate()), str(file))
    return wheel


class Place:
    """A bundle, a checkout, and a bare environment that lacks even pip."""

    def __init__(self, folder: Path, pip_wheel: Path) -> None:
        self.folder = folder
        self.pip_wheel = pip_wheel
        self.bundle = folder / "checkout" / ".gpu-bundle"
        self.python = folder / "venv" / "bin" / "python"
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        tools = folder / "checkout" / "benchmarks" / "gpu"
        tools.mkdir(parents=True)
        for name in ("setup.sh", "install_bundle.py"):
            shutil.copy(REPOSITORY / "benchmarks" / "gpu" / name, tools)
        sources = folder / "checkout" / "src" / "luthier"
        sources.mkdir(parents=True)
        (sources / "__init__.py").touch()
        (sources / "cli.py").write_text(CLI)
        (folder / "checkout" / "pyproject.toml").write_text(PYPROJECT)

    @property
    def site_packages(self) -> Path:
        return next((self.folder / "venv" / "lib").glob("python*/site-packages"))

    def make_bundle(self, *wheels: Path, roots: Sequence[str] = ("alpha>=1",)) -> None:
        needs = {each.name: each.specifier for each in map(Requirement, roots)}
        needed = [
            Needed(wheel, needs.get(wheel.name, SpecifierSet()), None)
            for wheel in map(read_wheel, wheels)
        ]
        pip = read_wheel(self.pip_wheel)
        write_bundle(self.bundle, HERE, roots, needed, pip, PIECE_BYTES)

    def put(self, wheel: Path) -> None:
        """What the environment has from before."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site_packages)

    def setup(self, *options: str, python: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.folder / "checkout" / "benchmarks" / "gpu" / "setup.sh"), *options],
            env={"PATH": os.environ["PATH"], "PYTHON": str(python or self.python)},
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *command: str, **environment: str) -> str:
        path = f"{self.python.parent}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()


@pytest.fixture
def place(tmp_path: Path, pip_wheel: Path) -> Place:
    return Place(tmp_path, pip_wheel)


VERSION = "from importlib.metadata import version; print(version('luthier'), version('alpha'))"


def test_setup_joins_pieces_installs_and_leaves_a_second_run_nothing_to_do(place: Place) -> None:
    alpha = make_wheel(place.folder, "alpha", "1.5", ["beta"], padding_bytes=5 * PIECE_BYTES // 2)
    beta = make_wheel(place.folder, "beta", "0.1")
    place.make_bundle(alpha, beta)
    parts = sorted(file.name for file in place.bundle.rglob("alpha*"))
    assert parts == [f"alpha-1.5-py3-none-any.whl.{number}" for number in (1, 2, 3)]

    first = place.setup()
    assert first.returncode == 0, first.stderr
    assert "luthier sees alpha 1.5" in first.stdout
    assert place.run("python", "-c", VERSION) == "9.9 1.5"
    assert place.run("luthier") == "luthier sees alpha 1.5"

    times = {file: file.stat().st_mtime_ns for file in place.site_packages.rglob("*.py")}
    for part in place.bundle.rglob("alpha*"):
        part.unlink()  # what is installed is not read again
    second = place.setup()
    assert second.returncode == 0, second.stderr
    assert "alpha                    1.5              was there" in second.stdout
    assert "installed" not in second.stdout
    assert times == {file: file.stat().st_mtime_ns for file in place.site_packages.rglob("*.py")}


def test_what_is_there_is_not_installed_again(place: Place) -> None:
    place.put(make_wheel(place.folder / "before", "alpha", "1.2"))
    place.make_bundle(make_wheel(place.folder, "alpha", "1.5"))
    done = place.setup()
    assert done.returncode == 0, done.stderr
    assert place.run("python", "-c", VERSION) == "9.9 1.2"


def test_what_is_too_old_is_replaced_only_when_asked(place: Place) -> None:
    place.put(make_wheel(place.folder / "before", "alpha", "0.9"))
    place.make_bundle(make_wheel(place.folder, "alpha", "1.5"))
    refused = place.setup()
    assert refused.returncode == 1
    assert "alpha 0.9 (needed: >=1)" in refused.stderr
    assert "--replace" in refused.stderr
    assert place.run("python", "-c", "import alpha; print(alpha.__version__)") == "0.9"
    assert place.setup("--replace").returncode == 0
    assert place.run("python", "-c", VERSION) == "9.9 1.5"


def test_a_target_folder_leaves_the_environment_as_it_is(place: Place) -> None:
    place.put(make_wheel(place.folder / "before", "beta", "0.1"))
    place.make_bundle(make_wheel(place.folder, "alpha", "1.5", ["beta"]))
    before = sorted(place.site_packages.iterdir())
    target = place.folder / "extra packages"
    for _ in range(2):
        done = place.setup("--target", str(target))
        assert done.returncode == 0, done.stderr
    assert sorted(place.site_packages.iterdir()) == before
    exports = "\n".join(line for line in done.stdout.splitlines() if line.startswith("export "))
    assert place.run("bash", "-c", f"{exports}\nluthier") == "luthier sees alpha 1.5"
    assert place.run("bash", "-c", f'{exports}\npython -c "{VERSION}"') == "9.9 1.5"
    assert not (target / "beta").exists()


def test_a_damaged_piece_is_refused_before_anything_changes(place: Place) -> None:
    place.make_bundle(
        make_wheel(place.folder, "alpha", "1.5"), make_wheel(place.folder, "beta", "0.1")
    )
    piece = next(place.bundle.rglob("beta*.whl"))
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 1
    piece.write_bytes(content)
    done = place.setup()
    assert done.returncode == 1
    assert f"{piece} is damaged (its checksum differs): copy it again." in done.stderr
    assert not list(place.site_packages.iterdir())


def test_a_missing_piece_is_named(place: Place) -> None:
    place.make_bundle(make_wheel(place.folder, "alpha", "1.5", padding_bytes=2 * PIECE_BYTES))
    piece = next(place.bundle.rglob("alpha*.2")).parent
    shutil.rmtree(piece)
    done = place.setup()
    assert done.returncode == 1
    assert f"copy {piece.name} here too (alpha is in it)" in done.stderr
    assert not list(place.site_packages.iterdir())


def test_without_a_bundle_it_says_how_to_make_one(place: Place) -> None:
    done = place.setup()
    assert done.returncode == 1
    assert "make gpu-bundle HAVE=have.txt" in done.stderr


def test_what_this_machine_lacks_beyond_the_bundle_is_named(place: Place) -> None:
    alpha = make_wheel(place.folder, "alpha", "1.5", ["gamma>=2", 'delta; extra == "more"'])
    place.make_bundle(alpha, roots=("alpha>=1", "torch>=2.9"))
    done = place.setup()
    assert done.returncode == 1
    assert "Lacking here: gamma>=2 (for alpha), torch>=2.9 (for luthier)" in done.stderr
    assert "the Python that has it?" in done.stderr
    assert not list(place.site_packages.iterdir())


def test_a_bundle_for_another_python_is_refused(place: Place) -> None:
    place.make_bundle(make_wheel(place.folder, "alpha", "1.5", tag="cp39-cp39-manylinux1_x86_64"))
    done = place.setup()
    assert done.returncode == 1
    assert f"here are Python {sys.version.split()[0]}" in done.stderr


def test_setup_says_which_python_it_cannot_use(place: Place) -> None:
    done = place.setup(python=place.folder / "none")
    assert done.returncode == 1
    assert "no Python here" in done.stderr


def test_the_list_of_a_machine_is_what_the_bundle_reads(place: Place) -> None:
    place.put(make_wheel(place.folder, "torch", "2.11.0+cu130"))
    have = place.folder / "have.txt"
    have.write_text(place.setup("--list").stdout)
    machine = bundle.read_machine(bundle.parse_options(["--have", str(have)]))
    assert machine.have == {"torch": Version("2.11.0+cu130")}
    assert machine.target.python == HERE.python
    assert machine.target.machine == HERE.machine


@pytest.mark.parametrize("managed", [True, False])
def test_an_environment_that_is_not_ours_to_write_is_refused_with_the_ways_around(
    managed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    if managed:
        (tmp_path / "EXTERNALLY-MANAGED").touch()
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(install_bundle.SetupError, match=r"--target DIR.*--system-site-packages"):
        install_bundle.check_writable(break_system_packages=False)
