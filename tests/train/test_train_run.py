"""A run from recipe to result: what it writes, resuming, precision, early stopping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from runs import LORA, make_recipe, read_done, read_lines, read_losses, train
from safetensors.torch import load_file
from tiny_models import relative_error
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.adapters.load_adapter import load_adapter
from luthier.errors import OutputError
from luthier.files import RunLayout
from luthier.models.load import load_base_model
from luthier.train import loop
from luthier.train.checkpoint import list_checkpoints
from luthier.train.validation import ValidationResult


class Interrupted(Exception):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, before_step: int) -> None:
    """Let the run die before optimizer step `before_step` (0-based)."""
    take_step = loop.take_step

    def dying(parts: Any, settings: Any, step: int) -> Any:
        if step == before_step:
            raise Interrupted
        return take_step(parts, settings, step)

    monkeypatch.setattr(loop, "take_step", dying)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    file = folder / "adapter_model.safetensors"
    return load_file(file if file.exists() else folder / "model.safetensors")


def test_an_adapter_run_leaves_what_the_architecture_promises(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **LORA, val_set_size=4)
    result = train(recipe, tmp_path)
    assert result == tmp_path / "adapter"
    assert {path.name for path in tmp_path.iterdir()} == {
        "recipe.yaml", "provenance.json", "metrics.jsonl", "adapter", "done.json"
    }  # fmt: skip
    done = read_done(tmp_path)
    assert done["steps"] == 6
    assert done["tokens"] > done["supervised_tokens"] > 0
    assert done["trainable_parameters"] == sum(t.numel() for t in weights(result).values())
    lines = read_lines(tmp_path)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert done["val_loss"] == lines[-1]["val_loss"]


def test_the_result_loads_with_peft_and_brings_its_chat_template(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    train(make_recipe(tiny_base, chat_file, **LORA, peft_use_dora=True), tmp_path)
    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32),
        str(tmp_path / "adapter"),
    ).eval()
    ours = load_base_model(str(tiny_base), dtype=torch.float32)
    load_adapter(ours, tmp_path / "adapter", base_model=str(tiny_base))
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert float((ours.eval()(ids).logits - theirs(ids).logits).abs().max()) <= 1e-5
    assert "<|im_start|>" in AutoTokenizer.from_pretrained(tmp_path / "adapter").chat_template


def test_full_fine_tuning_saves_a_model_with_its_tied_weights(
    chat_file: Path, tmp_path: Path
) -> None:
    from tiny_models import save_base_model

    base = save_base_model(tmp_path / "base", tie_word_embeddings=True)
    result = train(make_recipe(base, chat_file, bf16=True), tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(result, dtype=torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert set(weights(result)) == set(load_file(base / "model.safetensors"))
    before = load_file(base / "model.safetensors")
    assert all(not torch.equal(weights(result)[name].float(), before[name]) for name in before)


def test_what_full_fine_tuning_in_bfloat16_saves_is_the_model_that_was_validated(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    # Steps far below bfloat16's grid: rounded, the result would be the base again.
    changes = {"bf16": True, "learning_rate": 1e-6, "val_set_size": 0.2, "eval_steps": 3}
    result = train(make_recipe(tiny_base, chat_file, **changes), tmp_path / "run")
    base, saved = load_file(tiny_base / "model.safetensors"), weights(result)
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    moved = torch.cat([(saved[name] - base[name]).flatten() for name in base]).abs()
    assert 0 < float(moved.max()) < 2e-5


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "method", [{}, LORA, {**LORA, "peft_use_dora": True, "gradient_checkpointing": True}]
)
def test_the_loss_falls(
    method: dict[str, Any], bf16: bool, tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **method, bf16=bf16, max_steps=25)
    train(recipe, tmp_path)
    losses = read_losses(tmp_path)
    assert sum(losses[-5:]) / 5 < losses[0] - 0.4


def test_bfloat16_and_float32_give_nearly_the_same_gradients(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    norms: list[float] = []
    for bf16 in (False, True):
        recipe = make_recipe(tiny_base, chat_file, **LORA, bf16=bf16, max_steps=1)
        train(recipe, tmp_path / str(bf16))
        norms.append(read_lines(tmp_path / str(bf16))[0]["grad_norm"])
    assert norms[1] == pytest.approx(norms[0], rel=0.03)


def test_accumulated_small_batches_equal_one_large_batch(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    # 24 rows of ragged lengths; 2 x 3 and 6 x 1 hold the same rows in each step.
    results: list[dict[str, torch.Tensor]] = []
    for micro, accumulation in ((6, 1), (2, 3), (1, 6)):
        output = tmp_path / f"{micro}"
        recipe = make_recipe(
            tiny_base,
            chat_file,
            **LORA,
            micro_batch_size=micro,
            gradient_accumulation_steps=accumulation,
            num_epochs=1,
            max_steps=None,
        )
        results.append(weights(train(recipe, output)))
        assert read_done(output)["steps"] == 4
    for other in results[1:]:
        for name, tensor in results[0].items():
            assert relative_error(other[name], tensor) < 2e-4, name
    for micro in ("2", "1"):
        assert read_losses(tmp_path / micro) == pytest.approx(read_losses(tmp_path / "6"), rel=1e-5)


@pytest.mark.parametrize("before_step", [1, 4, 6])
def test_an_interrupted_run_ends_with_the_same_bytes(
    before_step: int,
    tiny_base: Path,
    chat_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = make_recipe(
        tiny_base,
        chat_file,
        **LORA,
        lora_dropout=0.2,
        neftune_noise_alpha=5,
        peft_use_dora=True,
        max_steps=7,
        save_steps=2,
        logging_steps=3,
        val_set_size=4,
        eval_steps=3,
    )
    expected = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, before_step)
        with pytest.raises(Interrupted):
            train(recipe, tmp_path / "cut")
    found = train(recipe, tmp_path / "cut", resume=True)
    for file in expected.iterdir():
        assert (found / file.name).read_bytes() == file.read_bytes(), file.name
    timed = {"seconds", "tokens_per_second"}
    lines = [
        [{k: v for k, v in line.items() if k not in timed} for line in read_lines(tmp_path / run)]
        for run in ("whole", "cut")
    ]
    assert lines[0] == lines[1]


def test_resuming_a_finished_run_changes_nothing(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **LORA)
    train(recipe, tmp_path)
    before = (tmp_path / "done.json").read_bytes()
    assert train(recipe, tmp_path, resume=True) == tmp_path / "adapter"
    assert (tmp_path / "done.json").read_bytes() == before


def test_a_folder_with_a_run_is_not_taken_without_resume(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, chat_file, **LORA)
    train(recipe, tmp_path)
    with pytest.raises(OutputError, match="already holds a run"):
        train(recipe, tmp_path)


def test_resuming_with_another_recipe_names_the_changed_keys(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    train(make_recipe(tiny_base, chat_file, **LORA), tmp_path)
    with pytest.raises(OutputError, match="another learning_rate"):
        train(make_recipe(tiny_base, chat_file, **LORA, learning_rate=1e-4), tmp_path, resume=True)


def test_resuming_with_changed_data_is_refused(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(chat_file.read_text())
    recipe = make_recipe(tiny_base, data, **LORA)
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(Interrupted):
            train(recipe, tmp_path / "run")
    data.write_text(chat_file.read_text().replace("Count on", "Count up"))
    with pytest.raises(OutputError, match="another training data"):
        train(recipe, tmp_path / "run", resume=True)


def test_a_checkpoint_of_elsewhere_goes_on_at_the_new_recipes_learning_rate(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {**LORA, "save_steps": 2, "lr_scheduler": "constant"}
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(Interrupted):
            train(make_recipe(tiny_base, chat_file, **usual), tmp_path / "first")
    checkpoint = list_checkpoints(tmp_path / "first" / "checkpoints")[-1]
    recipe = make_recipe(
        tiny_base,
        chat_file,
        **usual,
        resume_from_checkpoint=str(checkpoint),
        learning_rate=1e-4,
    )
    train(recipe, tmp_path / "second")
    assert [line["step"] for line in read_lines(tmp_path / "second")] == [3, 4, 5, 6]
    assert {line["learning_rate"] for line in read_lines(tmp_path / "second")} == {1e-4}


def test_only_as_many_checkpoints_stay_as_the_recipe_says(
    tiny_base: Path, chat_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, 5)
    recipe = make_recipe(tiny_base, chat_file, **LORA, save_steps=1, save_total_limit=3)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path)
    names = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    assert names == ["step-000003", "step-000004", "step-000005"]


def test_checkpoints_are_ordered_by_number_not_by_letter(tmp_path: Path) -> None:
    for step in ("step-1000000", "step-999999", "step-000002"):
        (tmp_path / step).mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)][-1] == "step-1000000"


@pytest.mark.parametrize(
    ("val_losses", "steps", "best"),
    [([3.0, 2.0, 2.5, 2.6, 1.0, 1.0], 4, 2), ([3.0, 2.0, 1.0, 0.9, 0.8, 0.85], 6, 5)],
)
def test_early_stopping_ends_at_the_best_weights(
    val_losses: list[float],
    steps: int,
    best: int,
    tiny_base: Path,
    chat_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The second course never spends its patience, and still ends past its best.
    usual = {**LORA, "val_set_size": 4, "lr_scheduler": "constant"}
    expected = train(make_recipe(tiny_base, chat_file, **usual, max_steps=best), tmp_path / "best")
    course = iter(val_losses)
    monkeypatch.setattr(loop, "validate", lambda *_: ValidationResult(next(course), {}))
    recipe = make_recipe(tiny_base, chat_file, **usual, eval_steps=1, early_stopping_patience=2)
    found = train(recipe, tmp_path / "stopped")
    assert read_done(tmp_path / "stopped")["steps"] == steps
    assert read_done(tmp_path / "stopped")["val_loss"] == val_losses[best - 1]
    for name, tensor in weights(expected).items():
        assert torch.equal(weights(found)[name], tensor), name


def test_the_validation_loss_is_the_mean_over_supervised_tokens(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    # One step at a rate of next to nothing leaves the base model; its loss by definition.
    recipe = make_recipe(
        tiny_base,
        chat_file,
        test_datasets=[{"path": str(chat_file)}],
        eval_batch_size=5,
        learning_rate=1e-12,
        max_steps=1,
    )
    train(recipe, tmp_path)
    from luthier.data.load import load_examples
    from luthier.data.tokenize import TokenizeOptions, tokenize_examples

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float64)
    examples = load_examples(recipe.datasets[0]).examples
    total, count = 0.0, 0
    for example in tokenize_examples(examples, tokenizer, TokenizeOptions(256)).examples:
        ids = torch.tensor(example.input_ids[None], dtype=torch.long)
        with torch.no_grad():
            log_p = model(ids).logits[0, :-1].log_softmax(-1)
        chosen = log_p.gather(1, ids[0, 1:, None])[:, 0][torch.from_numpy(example.loss_mask[1:])]
        total -= float(chosen.sum())
        count += len(chosen)
    assert read_done(tmp_path)["val_loss"] == pytest.approx(total / count, rel=1e-5)
    assert read_losses(tmp_path)[0] == pytest.approx(total / count, rel=0.2)


def test_two_seeds_differ_and_one_seed_repeats(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    results = [
        weights(train(make_recipe(tiny_base, chat_file, **LORA, seed=seed), tmp_path / name))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert any(not torch.equal(results[0][name], results[2][name]) for name in results[0])


def test_a_datasets_own_template_is_the_one_saved(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    datasets = [{"path": str(chat_file), "chat_template": template}]
    result = train(make_recipe(tiny_base, chat_file, **LORA, datasets=datasets), tmp_path)
    assert AutoTokenizer.from_pretrained(result).chat_template == template


def test_a_second_run_in_one_process_may_have_another_precision(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    for bf16 in (True, False, True):
        output = tmp_path / str(len(list(tmp_path.iterdir())))
        train(make_recipe(tiny_base, chat_file, **LORA, bf16=bf16, max_steps=1), output)
    assert RunLayout(tmp_path / "2").done.exists()


def test_provenance_says_what_went_in(tiny_base: Path, chat_file: Path, tmp_path: Path) -> None:
    train(make_recipe(tiny_base, chat_file, **LORA, val_set_size=4, max_steps=1), tmp_path)
    origin = json.loads((tmp_path / "provenance.json").read_text())
    assert origin["data"]["training_examples"] == 20
    assert origin["data"]["validation_examples"] == 4
    assert len(origin["model"]["sha256"]) == 64
    assert origin["versions"]["torch"] == torch.__version__.partition("+")[0] or origin["versions"]
