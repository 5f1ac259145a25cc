"""A study computes in one precision from its first run to its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from driven_study import Driven

from luthier.files import read_json
from luthier.precision_store import STORE_VARIABLE, MeasuredGain, remember_gain


def precisions(study: Driven) -> dict[str, str]:
    files = sorted(study.folder.glob("*/seed-*/provenance.json"))
    return {
        str(file.parent.relative_to(study.folder)): read_json(file)["precision"] for file in files
    }


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Say what was measured of bfloat16 here."""
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "precisions.jsonl"))

    def remember(gain: float) -> None:
        assert remember_gain(MeasuredGain(gain, 1.0 if gain > 1 else 0.0))

    return remember


def test_what_was_decided_at_first_holds_for_all_arms_seeds_and_resumes(
    driven: Callable[..., Driven], measured: Callable[[float], None]
) -> None:
    measured(2.0)
    study = driven()
    assert not study.run().failed
    assert read_json(study.folder / "settled.json")["precision"] == "bfloat16"
    assert any("computes in bfloat16 (bf16: auto, measured 2.00" in text for text in study.said)
    assert set(precisions(study).values()) == {"bfloat16"}
    measured(0.5)
    assert not study.run("seeds=[3, 4]").failed
    assert len(precisions(study)) == 4
    assert set(precisions(study).values()) == {"bfloat16"}


def test_an_arm_that_asks_for_its_own_precision_gets_it(
    driven: Callable[..., Driven], measured: Callable[[float], None], study_text: str
) -> None:
    measured(2.0)
    study = driven(study_text.replace("full: {}", "full: {bf16: false}"))
    assert not study.run().failed
    assert precisions(study) == {"full/seed-3": "float32", "lora/seed-3": "bfloat16"}


def test_what_every_arm_asks_for_is_what_the_study_scores_in(
    driven: Callable[..., Driven], measured: Callable[[float], None], study_text: str
) -> None:
    measured(2.0)
    study = driven(
        study_text.replace("  logging_steps: 1\n", "  logging_steps: 1\n  bf16: false\n")
    )
    assert not study.run().failed
    assert read_json(study.folder / "settled.json")["precision"] == "float32"


def test_a_study_older_than_the_decision_goes_on_as_it_began(
    driven: Callable[..., Driven], measured: Callable[[float], None]
) -> None:
    measured(0.5)
    study = driven()
    assert not study.run().failed
    (study.folder / "settled.json").unlink()
    measured(2.0)
    assert not study.run("seeds=[3, 4]").failed
    assert set(precisions(study).values()) == {"float32"}
