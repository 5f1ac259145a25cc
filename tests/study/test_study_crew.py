"""Runs side by side: how many, on how many threads, and which goes next."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from luthier.files import RunLayout, read_json
from luthier.study import crew as crew_module
from luthier.study import settled
from luthier.study.crew import Crew, pick_next
from luthier.study.ledger import Run
from luthier.study.settled import Slots, settle_slots

A, B, C = (Run(name, 1, Path(name)) for name in "abc")


@pytest.mark.parametrize(
    ("pending", "working", "next_"),
    [
        ([A, B, C], [], A),
        ([B, C], [A], C),  # b stands on a, which is not over
        ([B], [A], None),
        ([B, C], [], B),
        ([], [C], None),
    ],
)
def test_the_first_run_whose_stages_are_over_goes_next(
    pending: list[Run], working: list[Run], next_: Run | None
) -> None:
    stages: Mapping[Run, list[Run]] = {A: [], B: [A], C: []}
    assert pick_next(pending, working, stages) == next_


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Four cores and 10 GiB; the study's folder, its runs planned at 1 GiB each."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(settled, "gpu_may_be_here", lambda: False)
    monkeypatch.setattr(settled, "read_memory_bytes", lambda: 10 * 2**30)
    processor = settled.read_processor(Path("nowhere"))
    monkeypatch.setattr(settled, "read_processor", lambda _: processor._replace(cores=4))
    (tmp_path / "settled.json").write_text('{"precision": "float32", "why": ""}')
    plan_memory(tmp_path, 1.0)
    return tmp_path


def plan_memory(folder: Path, *peaks_gib: float) -> None:
    arms = [{"memory": {"allocated_gib": peak}} for peak in peaks_gib]
    (folder / "plan.json").write_text(json.dumps({"arms": arms}))


def test_as_many_runs_go_at_once_as_there_are_cores(machine: Path) -> None:
    assert settle_slots([A] * 9, machine, None, begun=False) == Slots(4, 1)
    assert read_json(machine / "settled.json")["threads"] == 1


def test_fewer_runs_have_more_threads_each(machine: Path) -> None:
    assert settle_slots([A, B], machine, None, begun=False) == Slots(2, 2)


def test_a_single_run_takes_what_torch_takes(machine: Path) -> None:
    assert settle_slots([A], machine, None, begun=False) == Slots(1, None)


def test_no_more_runs_than_memory_carries(machine: Path) -> None:
    plan_memory(machine, 1.0, 3.0)  # 7 of 10 GiB may be taken
    assert settle_slots([A] * 9, machine, None, begun=False) == Slots(2, 2)


@pytest.mark.parametrize("damage", ["", "{}", '{"arms": []}', '{"arms": [{"memory": null}]}'])
def test_without_a_plan_one_run_goes_at_a_time(machine: Path, damage: str) -> None:
    (machine / "plan.json").write_text(damage)
    assert settle_slots([A] * 9, machine, None, begun=False) == Slots(1, None)


def test_whoever_states_threads_shares_the_machine_himself(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert settle_slots([A] * 9, machine, None, begun=False) == Slots(1, None)


def test_on_a_gpu_one_run_goes_at_a_time(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "gpu_may_be_here", lambda: True)
    assert settle_slots([A] * 9, machine, None, begun=False) == Slots(1, None)
    assert settle_slots([A] * 9, machine, 2, begun=True) == Slots(2, None)


def test_a_study_keeps_the_threads_that_it_began_with(machine: Path) -> None:
    assert settle_slots([A, B], machine, None, begun=False) == Slots(2, 2)
    # More arms, or another wish: the runs are shared out anew, their threads stay.
    assert settle_slots([A] * 9, machine, None, begun=True) == Slots(2, 2)
    assert settle_slots([A] * 9, machine, 1, begun=True) == Slots(1, 2)


def test_a_study_older_than_this_goes_on_one_by_one(machine: Path) -> None:
    assert settle_slots([A] * 9, machine, None, begun=True) == Slots(1, None)


def test_two_runs_are_side_by_side_and_what_they_say_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Each waits for the other's file: one after another they would wait for ever.
    script = (
        "import os, sys, time, pathlib\n"
        "name = sys.argv[sys.argv.index('--arm') + 1]\n"
        "other = {'a': 'b', 'b': 'a'}[name]\n"
        "folder = pathlib.Path(sys.argv[3])\n"
        "(folder / name).touch()\n"
        "print(name, 'has', os.environ['OMP_NUM_THREADS'], file=sys.stderr)\n"
        "deadline = time.monotonic() + 30\n"
        "while not (folder / other).exists() and time.monotonic() < deadline: time.sleep(0.01)\n"
        "sys.exit(0 if (folder / other).exists() and name == 'a' else 3)\n"
    )
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "worker.py"} "$@"\n')
    stand_in.chmod(0o755)
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(crew_module.sys, "executable", str(stand_in))
    runs = [Run(name, 1, tmp_path / "runs" / name) for name in "ab"]
    with Crew(tmp_path, Slots(2, 1), trust_remote_code=False) as crew:
        for run in runs:
            assert crew.has_room
            crew.start(run)
        assert not crew.has_room
        ended = [*crew.wait()]
        while crew.working:
            ended += crew.wait()
    assert {item.run: item.succeeded for item in ended} == {runs[0]: True, runs[1]: False}
    assert "exit code 3" in read_json(RunLayout(runs[1].folder).error)["message"]
    said = capfd.readouterr().err
    assert "a has 1" in said
    assert "b has 1" in said
