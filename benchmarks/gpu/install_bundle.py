"""Install a bundle on the machine that it was made for, without a network (see setup.sh).

Only the standard library, and what pip carries within itself: nothing else need be there.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
FORMAT = 1
MAKE = "make gpu-bundle HAVE=have.txt, with have.txt from `bash benchmarks/gpu/setup.sh --list`"


class SetupError(Exception):
    """What stands in the way, and how to mend it."""


class Installed(NamedTuple):
    version: str
    requires: tuple[str, ...]


def main() -> int:
    options = parse_options()
    if options.list:
        print(list_machine())
        return 0
    try:
        with tempfile.TemporaryDirectory() as scratch:
            return install(options, Path(scratch))
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu/setup.sh", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--bundle", type=Path, default=CHECKOUT / ".gpu-bundle")
    parser.add_argument(
        "--target",
        type=Path,
        metavar="DIR",
        help="install into this folder and leave the environment as it is",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="also replace packages of the environment that are too old for Luthier",
    )
    parser.add_argument(
        "--break-system-packages",
        action="store_true",
        help="install into a system's own Python; safe in a container that is nobody else's",
    )
    parser.add_argument(
        "--list", action="store_true", help="print what is here, for make gpu-bundle HAVE=…"
    )
    return parser.parse_args()


def install(options: argparse.Namespace, scratch: Path) -> int:
    """Everything in order: look, refuse, and only then change something."""
    manifest = read_manifest(options.bundle)
    pip_wheel = join_wheel(manifest["pip"], options.bundle, scratch)
    packaging = import_packaging(pip_wheel)
    there = find_installed(options.target)
    wheels = [wheel for wheel in manifest["wheels"] if not fits(packaging, wheel, there)]
    check_replaced(wheels, there, options)
    check_python(packaging, manifest, wheels)
    check_complete(packaging, manifest, wheels, there)
    if options.target is None:
        check_writable(options.break_system_packages)
    files = [join_wheel(wheel, options.bundle, scratch) for wheel in wheels]
    if not has_checkout(options.target):
        files.append(write_checkout_wheel(scratch, with_path=options.target is None))
    if files:
        run_pip(files, pip_wheel, options, scratch)
    describe(packaging, manifest, wheels, there)
    return run_doctor(options.target)


def read_manifest(bundle: Path) -> dict[str, Any]:
    """What a bundle holds.

    Raises:
        SetupError: there is none, or this checkout cannot read it.
    """
    file = bundle / "manifest.json"
    if not file.is_file():
        raise SetupError(f"{file} is not here. Where there is a network: {MAKE}; carry it here.")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SetupError(f"{file} is damaged ({error}): copy it again.") from None
    if manifest.get("format") != FORMAT:
        raise SetupError(f"{file} is of another version of Luthier: make the bundle anew. {MAKE}")
    return manifest


def join_wheel(wheel: Mapping[str, Any], bundle: Path, scratch: Path) -> Path:
    """A wheel put together from its pieces, its checksums compared.

    Raises:
        SetupError: a piece is missing or damaged.
    """
    joined = scratch / wheel["file"]
    whole = hashlib.sha256()
    with joined.open("wb") as file:
        for chunk in wheel["chunks"]:
            part = bundle / chunk["file"]
            if not part.is_file():
                raise SetupError(
                    f"{part} is missing: copy {part.parent.name} here too "
                    f"({wheel['name']} is in it)."
                )
            content = part.read_bytes()
            if hashlib.sha256(content).hexdigest() != chunk["sha256"]:
                raise SetupError(f"{part} is damaged (its checksum differs): copy it again.")
            whole.update(content)
            file.write(content)
    if whole.hexdigest() != wheel["sha256"]:
        raise SetupError(f"{wheel['file']} is damaged once joined: make the bundle anew.")
    return joined


def import_packaging(pip_wheel: Path) -> Any:
    """The library of versions and markers that pip carries: nothing else need be installed."""
    sys.path.append(str(pip_wheel))
    name = "pip._vendor.packaging"
    for part in ("markers", "requirements", "specifiers", "tags", "utils", "version"):
        importlib.import_module(f"{name}.{part}")
    return sys.modules[name]


def find_installed(target: Path | None) -> dict[str, Installed]:
    """What Python finds here, or would with the target folder in front."""
    path = [str(target), *sys.path] if target else list(sys.path)
    # Its own metadata, left by an editable install, tells nothing of this environment.
    path = [each for each in path if each and not is_within(Path(each), CHECKOUT / "src")]
    found: dict[str, Installed] = {}
    for distribution in importlib.metadata.distributions(path=path):
        name = distribution.metadata["Name"]
        if name:  # what a broken uninstall leaves has none
            requires = tuple(distribution.requires or ())
            found.setdefault(canonical(name), Installed(distribution.version, requires))
    return found


def is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def fits(packaging: Any, wheel: Mapping[str, Any], there: Mapping[str, Installed]) -> bool:
    """Whether what is there is left alone."""
    name = wheel["name"]
    return name in there and satisfies(packaging, there[name].version, wheel["needs"])


def satisfies(packaging: Any, version: str, specifier: str) -> bool:
    try:
        return packaging.specifiers.SpecifierSet(specifier).contains(version, prereleases=True)
    except packaging.version.InvalidVersion:  # a build of the machine's own: taken at its word
        return True


def check_replaced(
    wheels: Iterable[Mapping[str, Any]],
    there: Mapping[str, Installed],
    options: argparse.Namespace,
) -> None:
    """Nothing that is there is changed unless asked for."""
    replaced = [wheel for wheel in wheels if wheel["name"] in there]
    if replaced and not options.replace and options.target is None:
        says = ", ".join(
            f"{wheel['name']} {there[wheel['name']].version} (needed: {wheel['needs']})"
            for wheel in replaced
        )
        raise SetupError(
            f"not as Luthier needs it: {says}. Add --replace to put {len(replaced)} in its place, "
            "or --target DIR to leave the environment as it is."
        )


def check_python(
    packaging: Any, manifest: Mapping[str, Any], wheels: Iterable[Mapping[str, Any]]
) -> None:
    """Wheels run on one Python, processor and C library only."""
    tags = set(packaging.tags.sys_tags())
    made_for = manifest["target"]
    for wheel in wheels:
        own = packaging.utils.parse_wheel_filename(wheel["file"])[3]
        if not own & tags:
            raise SetupError(
                f"the bundle is for Python {made_for['python']} on {made_for['machine']} with "
                f"glibc {made_for['glibc']}; here are Python {platform.python_version()} "
                f"({sys.executable}), {platform.machine()} and {' '.join(platform.libc_ver())}, "
                f"and {wheel['file']} does not run on them. Choose another Python "
                f"(PYTHON=/path/to/python3 bash benchmarks/gpu/setup.sh), or: {MAKE}"
            )


def check_complete(
    packaging: Any,
    manifest: Mapping[str, Any],
    wheels: Iterable[Mapping[str, Any]],
    there: Mapping[str, Installed],
) -> None:
    """Afterwards nothing may be missing: better said before than after."""
    coming = {wheel["name"]: wheel for wheel in wheels}
    lacking: dict[str, str] = {}
    demands = [(text, "luthier", "") for text in manifest["roots"]]
    seen: set[tuple[str, str, str]] = set()
    while demands:
        text, requirer, extra = demand = demands.pop()
        if demand in seen:
            continue
        seen.add(demand)
        requirement = packaging.requirements.Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonical(requirement.name)
        if name not in coming and name not in there:
            lacking[name] = f"{requirement.name}{requirement.specifier} (for {requirer})"
            continue
        version = coming[name]["version"] if name in coming else there[name].version
        if not satisfies(packaging, version, str(requirement.specifier)):
            lacking[name] = (
                f"{requirement.name}{requirement.specifier} (for {requirer}; {version} is there)"
            )
        requires = coming[name]["requires"] if name in coming else there[name].requires
        # What is there was complete before; only the extras asked for now are new to it.
        extras = ("", *requirement.extras) if name in coming else tuple(requirement.extras)
        demands += [(each, name, each_extra) for each_extra in extras for each in requires]
    if lacking:
        raise SetupError(
            "the bundle was made for a machine that has more. Lacking here: "
            f"{', '.join(lacking[name] for name in sorted(lacking))}. {hint(lacking)}"
        )


def hint(lacking: Iterable[str]) -> str:
    if "torch" in lacking:
        return f"torch is never in a bundle: is {sys.executable} the Python that has it?"
    return f"Make it anew for this machine: {MAKE}"


def check_writable(break_system_packages: bool) -> None:
    """An environment that is not ours to write is refused, with the ways around."""
    folder = Path(sysconfig.get_path("purelib"))
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    ways = (
        "Add --target DIR, or use a virtual environment that sees what is here: "
        f"{sys.executable} -m venv --system-site-packages DIR, then PYTHON=DIR/bin/python"
    )
    own = sys.prefix == sys.base_prefix
    if own and marker.exists() and not break_system_packages:
        raise SetupError(
            f"{sys.executable} is managed by the system ({marker}). {ways}. In a container that "
            "is nobody else's, --break-system-packages does."
        )
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(existing, os.W_OK):
        raise SetupError(f"{folder} cannot be written. {ways}.")


def has_checkout(target: Path | None) -> bool:
    """Whether `luthier` is installed here and means this checkout."""
    if target is not None:
        path = [str(target)]
    else:
        path = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    version = read_project()["version"]
    for distribution in importlib.metadata.distributions(name="luthier", path=path):
        origin = json.loads(distribution.read_text("direct_url.json") or "{}").get("url")
        made_here = distribution.read_text("CHECKOUT") == str(CHECKOUT)
        if distribution.version == version and (made_here or origin == CHECKOUT.as_uri()):
            return True
    return False


def read_project() -> dict[str, Any]:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def write_checkout_wheel(folder: Path, *, with_path: bool) -> Path:
    """A wheel that points here: the command, the metadata and, in a .pth file, the sources.

    What `pip install --editable .` makes, without the setuptools that it asks for. In a --target
    folder no .pth file is read, so there PYTHONPATH names the sources.
    """
    project = read_project()
    name, version = project["name"], project["version"]
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {each}\n" for each in project["dependencies"])
    scripts = "".join(f"{key} = {value}\n" for key, value in project["scripts"].items())
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        f"{info}/METADATA": f"{head}Requires-Python: {project['requires-python']}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{scripts}",
        f"{info}/CHECKOUT": str(CHECKOUT),
    }
    if with_path:
        contents[f"__editable__.{name}.pth"] = f"{CHECKOUT / 'src'}\n"
    record = ""
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text.encode())}\n"
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return wheel


def run_pip(
    files: Iterable[Path], pip_wheel: Path, options: argparse.Namespace, scratch: Path
) -> None:
    """Install wheels, and nothing but these wheels."""
    command = [sys.executable]
    # Without a pip of its own the environment borrows the bundle's.
    has_pip = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], check=False, capture_output=True
    )
    command += ["-m", "pip"] if has_pip.returncode == 0 else [str(pip_wheel / "pip")]
    command += ["install", "--isolated", "--no-index", "--no-deps", "--no-cache-dir", "--quiet"]
    command += ["--disable-pip-version-check", "--no-warn-script-location"]
    if options.break_system_packages:
        command.append("--break-system-packages")
    staged = scratch / "staged"
    # Into a folder pip would also put away the scripts of what it installed there before.
    command += ["--target", str(staged)] if options.target else ["--force-reinstall"]
    done = subprocess.run(
        [*command, *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},  # no index, no constraints from there
    )
    if done.returncode != 0:
        raise SetupError(f"pip failed:\n{(done.stderr or done.stdout).strip()}")
    if options.target:
        move_into(staged, options.target)


def move_into(staged: Path, target: Path) -> None:
    """Put freshly installed packages into a folder, in the place of earlier ones."""
    for info in staged.glob("*.dist-info"):
        stem = info.name.partition("-")[0]
        for old in target.glob(f"{stem}-*.dist-info"):
            shutil.rmtree(old)
    try:
        shutil.copytree(staged, target, dirs_exist_ok=True)
    except OSError as error:
        raise SetupError(f"{target} cannot be written: {error}. Choose another folder.") from None


def describe(
    packaging: Any,
    manifest: Mapping[str, Any],
    wheels: Iterable[Mapping[str, Any]],
    there: Mapping[str, Installed],
) -> None:
    """What was installed, and what was there already."""
    coming = {wheel["name"]: wheel["version"] for wheel in wheels}
    roots = {canonical(packaging.requirements.Requirement(each).name) for each in manifest["roots"]}
    print(f"{'package':24} {'version':16}")
    for name in sorted({*roots, *coming}):
        if name in coming:
            before = f", {there[name].version} before" if name in there else ""
            print(f"{name:24} {coming[name]:16} installed{before}")
        else:
            print(f"{name:24} {there[name].version:16} was there")
    print(f"{'luthier':24} {read_project()['version']:16} {CHECKOUT}")


def run_doctor(target: Path | None) -> int:
    """`luthier doctor` in the environment as it is now."""
    environment = dict(os.environ)
    if target is not None:
        target = target.resolve()
        places = [str(target), str(CHECKOUT / "src")]
        before = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([*places, *([before] if before else [])])
    print(flush=True)
    code = subprocess.run(
        [sys.executable, "-P", "-m", "luthier.cli", "doctor"], check=False, env=environment
    ).returncode
    if code != 0:
        print(
            "setup: all is installed, but `luthier doctor` failed, as said above", file=sys.stderr
        )
    if target is not None:
        print("\nBefore you use it, in each shell:")
        print(f'export PYTHONPATH="{os.pathsep.join(places)}${{PYTHONPATH:+:$PYTHONPATH}}"')
        print(f'export PATH="{target / "bin"}:$PATH"')
    return code


def list_machine() -> str:
    """What is here, as `make gpu-bundle HAVE=…` reads it; works without pip."""
    facts = (
        f"# python {platform.python_version()}",
        f"# machine {platform.machine()}",
        f"# glibc {platform.libc_ver()[1] or '2.28'}",
    )
    packages = find_installed(None)
    packages.pop("luthier", None)
    return "\n".join([*facts, *(f"{name}=={packages[name].version}" for name in sorted(packages))])


if __name__ == "__main__":
    sys.exit(main())
