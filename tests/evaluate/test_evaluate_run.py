"""What an evaluation writes, what it keeps in memory, and which model a name means."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from luthier.api import train
from luthier.data.examples import Example
from luthier.errors import DataError, ModelError
from luthier.evaluate import TASKS
from luthier.evaluate.model import EvaluatedModel, ModelPlace, find_model, load_model
from luthier.evaluate.run import evaluate_model
from luthier.evaluate.task import Scored, Summary, Task, TaskOptions
from luthier.recipe.study import TASK_NAMES

NO_MODEL = EvaluatedModel(SimpleNamespace(dtype=torch.float32), None)


class Details(dict[str, Any]):
    """An example's details, with something whose life can be watched."""

    watched: object


def build_task(
    alive: list[int] | None = None, fails_at: int | None = None, value: float = 1.0
) -> Task:
    """A task that scores every example alike; notes how many scores are alive at each."""
    living: weakref.WeakSet[Any] = weakref.WeakSet()

    class Watched:
        pass

    def score(
        _model: EvaluatedModel, examples: Sequence[Example], options: TaskOptions
    ) -> Iterator[Scored]:
        for number, example in enumerate(examples):
            if number == fails_at:
                raise KeyboardInterrupt
            watched = Watched()
            living.add(watched)
            details = Details(number=number, size=options.batch_size)
            details.watched = watched
            yield Scored(example.id, "asked", "said", {"right": value, "rare": 2.0}, details)
            if alive is not None:
                alive.append(len(living))

    def summarise(rows: Iterator[Mapping[str, Any]]) -> Summary:
        return Summary({"last": float([row["number"] for row in rows][-1])}, {"extra": [1, 2]})

    kinds: dict[str, Any] = {"right": "yes/no", "rare": "score", "absent": "score"}
    return Task(kinds, lambda _: None, score, summarise, TaskOptions(5, 7))


def examples(count: int) -> list[Example]:
    return [Example(f"e{number}", (), text="t") for number in range(count)]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda task: monkeypatch.setitem(TASKS, "fake", task)


def test_the_recipe_knows_exactly_the_tasks_that_there_are() -> None:
    assert set(TASK_NAMES) == set(TASKS)


def test_the_files_have_the_documented_form(use: Any, tmp_path: Path) -> None:
    use(build_task())
    result = evaluate_model(NO_MODEL, "fake", examples(3), tmp_path / "eval", name="mine")
    lines = (tmp_path / "eval" / "mine.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {
        "id": "e1",
        "prompt": "asked",
        "output": "said",
        "scores": {"right": 1.0, "rare": 2.0},
        "number": 1,
        "size": 7,
    }
    summary = json.loads((tmp_path / "eval" / "mine.json").read_text())
    assert summary == result
    assert summary.pop("seconds") >= 0
    assert summary == {
        "task": "fake",
        "n": 3,
        "precision": "float32",
        "metrics": {
            "right": {"value": 1.0, "n": 3, "kind": "yes/no"},
            "rare": {"value": 2.0, "n": 3, "kind": "score"},
            "last": {"value": 2.0, "n": 3, "kind": "summary"},
        },
        "extra": [1, 2],
    }


def test_scores_go_to_disk_one_by_one(use: Any, tmp_path: Path) -> None:
    """At most the one just scored and the one before it are held."""
    alive: list[int] = []
    use(build_task(alive))
    gc.collect()
    evaluate_model(NO_MODEL, "fake", examples(400), tmp_path)
    assert len(alive) == 400
    assert max(alive) <= 2


def test_an_interrupted_evaluation_leaves_no_file(use: Any, tmp_path: Path) -> None:
    use(build_task(fails_at=3))
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(NO_MODEL, "fake", examples(6), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_repetition_leaves_the_evaluation_before(use: Any, tmp_path: Path) -> None:
    use(build_task())
    evaluate_model(NO_MODEL, "fake", examples(6), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    use(build_task(fails_at=3))
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(NO_MODEL, "fake", examples(6), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_scores_that_are_no_numbers_are_refused(use: Any, tmp_path: Path) -> None:
    use(build_task(value=float("nan")))
    with pytest.raises(ModelError, match="example e0: the model's scores are not numbers"):
        evaluate_model(NO_MODEL, "fake", examples(2), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_task_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are elle, classification, perplexity"):
        evaluate_model(NO_MODEL, "spelling", examples(1), tmp_path)


# which model a name means


def train_on(base: Path, rows: Path, output: Path, **keys: Any) -> Path:
    recipe = {"base_model": str(base), "datasets": [{"path": str(rows)}], "learning_rate": 5e-2}
    train({**recipe, "sequence_len": 256, "max_steps": 2, **keys}, output)
    return output


@torch.no_grad()
def ask(name: Path) -> torch.Tensor:
    return load_model(str(name)).causal(torch.arange(9)[None]).logits


def test_a_run_an_adapter_and_a_whole_model_are_found(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    lora = {"adapter": "lora", "lora_r": 2, "lora_alpha": 4, "lora_target_linear": True}
    full = train_on(tiny_base, chat_file, tmp_path / "full")
    adapted = train_on(tiny_base, chat_file, tmp_path / "lora", **lora)
    place = find_model(str(adapted))
    assert (place.base, place.adapter) == (str(tiny_base), adapted / "adapter")
    assert place.tokenizer == str(adapted / "adapter")
    assert find_model(str(full)).base == str(full / "model")
    assert find_model("some/hub-id") == ModelPlace("some/hub-id", None, "some/hub-id")
    assert ask(adapted).equal(ask(adapted / "adapter"))
    assert ask(full).equal(ask(full / "model"))
    assert not ask(full).equal(ask(tiny_base))
    assert not ask(adapted).equal(ask(tiny_base))


def test_a_run_that_has_not_finished_is_no_model(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    run = train_on(tiny_base, chat_file, tmp_path / "run")
    (run / "model").rename(tmp_path / "gone")
    with pytest.raises(ModelError, match="a run without a result"):
        find_model(str(run))


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds neither a run's result nor"):
        find_model(str(tmp_path))
    (tmp_path / "error.json").write_text("{}")
    with pytest.raises(ModelError, match=r"Its run failed: see .*error\.json"):
        find_model(str(tmp_path))
