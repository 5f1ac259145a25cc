"""Which wheels a machine lacks: Luthier's requirements less what the machine has.

pip cannot be asked: for another Python it judges environment markers by the Python that runs it
(pip issue 10050), and it would fetch a torch that is there already. So requirements are followed
here, wheel by wheel, and whoever calls fetches one wheel at a time, without its requirements.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

# The machine's own, whatever it is: built for its driver, gigabytes large.
UNTOUCHABLE = ("torch", "torchvision", "torchaudio", "triton", "pytorch-triton", "flash-attn")
UNTOUCHABLE_STARTS = ("nvidia-", "cuda-", "pytorch-triton-")


class BundleError(Exception):
    """What stands in the way of a bundle, and how to mend it."""


class NoWheelError(Exception):
    """No release answers to a requirement with a wheel for the machine."""


class Target(NamedTuple):
    """The machine that the wheels are for."""

    python: str  # 3.12
    machine: str  # x86_64
    glibc: tuple[int, int]

    def markers(self, extra: str) -> dict[str, str]:
        """What environment markers see there."""
        return {
            "extra": extra,
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def platforms(self) -> list[str]:
        """Wheel platforms that run there, newest first: pip does not widen a manylinux_2_x."""
        major, newest = self.glibc
        oldest = 5 if self.machine == "x86_64" else 17
        tags = [f"manylinux_{major}_{minor}" for minor in range(newest, oldest - 1, -1)]
        tags.append("manylinux2014")
        if self.machine == "x86_64":
            tags += ["manylinux2010", "manylinux1"]
        return [f"{tag}_{self.machine}" for tag in (*tags, "linux")]

    def __str__(self) -> str:
        glibc = ".".join(map(str, self.glibc))
        return f"Python {self.python} on {self.machine} with glibc {glibc}"


class Wheel(NamedTuple):
    name: str
    version: Version
    file: Path
    requires: tuple[Requirement, ...]


class Needed(NamedTuple):
    wheel: Wheel
    needs: SpecifierSet  # any version of it that is there and fits is left alone
    replaces: Version | None  # what is there and does not fit


class Demand(NamedTuple):
    """One requirement on its way to being met."""

    requirement: Requirement
    requirer: str  # the name of a wheel, or "luthier"
    extra: str  # the extra that asks for it, or ""


Fetch = Callable[[Requirement], Path]  # one wheel of that name; raises NoWheelError


class _LearntError(Exception):
    """Something was learnt that undoes an earlier choice: start again."""


def is_untouchable(name: str) -> bool:
    """Whether a package is the machine's own affair, which no bundle may carry."""
    return name in UNTOUCHABLE or name.startswith(UNTOUCHABLE_STARTS)


def read_wheel(file: Path) -> Wheel:
    """A wheel's name, version and requirements."""
    name, version, _, _ = parse_wheel_filename(file.name)
    with zipfile.ZipFile(file) as archive:
        metadata = next(
            entry
            for entry in archive.namelist()
            if entry.endswith(".dist-info/METADATA") and entry.count("/") == 1
        )
        headers = HeaderParser().parsestr(archive.read(metadata).decode("utf-8"))
    requires = tuple(Requirement(line) for line in headers.get_all("Requires-Dist") or ())
    return Wheel(str(name), version, file, requires)


class Resolver:
    """Follows requirements from Luthier's own, and starts again when a choice proves wrong."""

    def __init__(
        self,
        target: Target,
        have: Mapping[str, Version],
        preferred: Mapping[str, Version],
        fetch: Fetch,
    ) -> None:
        self.target = target
        self.have = have  # by canonical name, like `preferred`
        self.preferred = preferred
        self.fetch = fetch
        self.excluded: dict[str, set[Version]] = defaultdict(set)
        self.excluded_because: dict[str, str] = {}
        self.narrowed: dict[str, SpecifierSet] = defaultdict(SpecifierSet)
        self.unfit: set[str] = set()  # there, but not as Luthier itself needs it

    def resolve(self, roots: Iterable[Requirement]) -> list[Needed]:
        """The wheels to carry, sorted by name.

        Raises:
            BundleError: the machine's own torch does not do, or nothing fits what is there.
        """
        roots = list(roots)
        while True:
            try:
                return self._walk(roots)
            except _LearntError:
                continue

    def _walk(self, roots: list[Requirement]) -> list[Needed]:
        chosen: dict[str, Wheel] = {}
        wanted: dict[str, SpecifierSet] = defaultdict(SpecifierSet)
        followed: set[tuple[str, str]] = set()
        demands = deque(Demand(requirement, "luthier", "") for requirement in roots)
        while demands:
            demand = demands.popleft()
            requirement = demand.requirement
            marker = requirement.marker
            if marker and not marker.evaluate(self.target.markers(demand.extra)):
                continue
            name = str(canonicalize_name(requirement.name))
            stays = name in self.have and self._stays(name, demand, chosen)
            if is_untouchable(name):
                continue
            wanted[name] &= requirement.specifier
            if not stays and name not in chosen:
                chosen[name] = self._choose(name, wanted[name])
            if name in chosen and not wanted[name].contains(chosen[name].version, True):
                self.narrowed[name] &= wanted[name]
                raise _LearntError
            for extra in sorted(requirement.extras) if stays else ("", *sorted(requirement.extras)):
                if (name, extra) not in followed:
                    followed.add((name, extra))
                    requires = self._requires_of_there(name) if stays else chosen[name].requires
                    demands.extend(Demand(each, name, extra) for each in requires)
        return [Needed(chosen[name], wanted[name], self.have.get(name)) for name in sorted(chosen)]

    def _stays(self, name: str, demand: Demand, chosen: Mapping[str, Wheel]) -> bool:
        """Whether what the machine has is left as it is."""
        there = self.have[name]
        if demand.requirement.specifier.contains(there, prereleases=True):
            return name not in self.unfit
        said = f"{demand.requirer} needs {name}{demand.requirement.specifier}, {there} is there"
        if demand.requirer in chosen:  # an older release may ask for less
            wheel = chosen[demand.requirer]
            self.excluded[wheel.name].add(wheel.version)
            self.excluded_because[wheel.name] = f"{said} (version {wheel.version})"
            raise _LearntError
        if is_untouchable(name):
            raise BundleError(f"{said}. A bundle never carries {name}: bring it up to date there.")
        if name not in self.unfit:
            self.unfit.add(name)
            raise _LearntError
        return False

    def _choose(self, name: str, wanted: SpecifierSet) -> Wheel:
        specifier = wanted & self.narrowed[name]
        for version in sorted(self.excluded[name]):
            specifier &= SpecifierSet(f"!={version}")
        pinned = self.preferred.get(name)
        texts = [f"{name}=={pinned}"] if pinned and specifier.contains(pinned, True) else []
        for text in (*texts, f"{name}{specifier}"):
            try:
                return read_wheel(self.fetch(Requirement(text)))
            except NoWheelError:
                continue
        because = self.excluded_because.get(name)
        raise BundleError(
            f"No wheel of {name} {specifier} for {self.target}{f': {because}' if because else ''}."
        )

    def _requires_of_there(self, name: str) -> tuple[Requirement, ...]:
        """What an installed package's extras may ask for, which only its wheel tells."""
        try:
            wheel = read_wheel(self.fetch(Requirement(f"{name}=={self.have[name]}")))
        except NoWheelError:  # a build of the machine's own
            return ()
        return tuple(each for each in wheel.requires if "extra" in str(each.marker))
