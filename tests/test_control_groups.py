"""What a container may use, as Linux states it in its two versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier import control_groups
from luthier.control_groups import read_core_limit, read_memory_limit_bytes


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "OWN_GROUPS", tmp_path / "own")
    return tmp_path


def write(groups: Path, files: dict[str, str], own: str = "") -> None:
    for name, text in files.items():
        file = groups / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (groups / "own").write_text(own)


def test_without_control_groups_there_is_no_limit(groups: Path) -> None:
    assert read_core_limit() is None
    assert read_memory_limit_bytes() is None


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("765000 100000", 7), ("50000 100000", 1), ("max 100000", None)],
)
def test_a_container_of_version_2_sees_its_limit_at_the_top(
    groups: Path, quota: str, cores: int | None
) -> None:
    write(groups, {"cpu.max": f"{quota}\n", "memory.max": "max\n"}, own="0::/\n")
    assert read_core_limit() == cores
    assert read_memory_limit_bytes() is None


def test_a_service_s_limit_and_those_above_it_hold_together(groups: Path) -> None:
    files = {
        "work.slice/cpu.max": "300000 100000\n",
        "work.slice/run.service/cpu.max": "800000 100000\n",
        "work.slice/run.service/memory.max": f"{2**33}\n",
        "other.slice/cpu.max": "100000 100000\n",
    }
    write(groups, files, own="0::/work.slice/run.service\n")
    assert read_core_limit() == 3
    assert read_memory_limit_bytes() == 2**33


def test_version_1_keeps_controllers_apart(groups: Path) -> None:
    files = {
        "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "400000\n",
        "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "memory/docker/abc/memory.limit_in_bytes": f"{2**31}\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    own = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n"
    write(groups, files, own=own)
    assert read_core_limit() == 4
    assert read_memory_limit_bytes() == 2**31


def test_a_container_of_version_1_sees_its_limit_at_its_controller_s_top(groups: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    write(groups, files, own="5:cpu,cpuacct:/docker/abc\n")
    assert read_core_limit() == 1
