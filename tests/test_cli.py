"""The commands as a user meets them: what they print, how they exit, what they leave behind."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import Luthier, Outcome, command
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
STUDIES = ("quickstart.yaml", "ag_news.yaml")


@pytest.fixture
def luthier(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Luthier:
    return command(capsys, monkeypatch)


@pytest.fixture
def recipe(tiny_base: Path, chat_file: Path, tmp_path: Path) -> Path:
    """A LoRA recipe of two steps on the tiny model."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"base_model: {tiny_base}\ndatasets:\n  - path: {chat_file}\n"
        "sequence_len: 256\nmicro_batch_size: 4\nmax_steps: 2\nlearning_rate: 1e-3\n"
        "adapter: lora\nlora_r: 2\nlora_alpha: 4\nlora_target_linear: true\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def full_recipe(recipe: Path) -> Path:
    """The same without an adapter."""
    kept = recipe.read_text(encoding="utf-8").partition("adapter:")[0]
    recipe.write_text(kept, encoding="utf-8")
    return recipe


def assert_explained(outcome: Outcome, *parts: str) -> None:
    """A clear error: its own exit code, one paragraph on stderr, no traceback."""
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err
    assert "\n\n" not in outcome.err.strip()
    assert outcome.err.startswith("error: ")
    for part in parts:
        assert part in outcome.err


# check


@pytest.mark.parametrize("name", STUDIES)
def test_check_accepts_the_shipped_studies(name: str, luthier: Luthier) -> None:
    outcome = luthier("check", ROOT / "studies" / name)
    assert outcome.code == 0, outcome.err
    shown = luthier("check", ROOT / "studies" / name, "--json")
    assert json.loads(shown.out)["kind"] == "study"


def test_check_imports_no_torch() -> None:
    script = (
        "import sys\n"
        "from luthier import cli\n"
        f"sys.argv = ['luthier', 'check', {str(ROOT / 'studies' / 'quickstart.yaml')!r}]\n"
        "try:\n    cli.main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_check_names_every_mistake_with_its_line_and_mend(recipe: Path, luthier: Luthier) -> None:
    with recipe.open("a", encoding="utf-8") as file:
        file.write("lora_use_dorra: true\nwarmup_ratio: 2\n")
    outcome = luthier("check", recipe)
    assert outcome.code == 2
    assert "2 mistakes" in outcome.err
    assert "did you mean `lora_use_dora`, now `peft_use_dora`?" in " ".join(outcome.err.split())
    shown = json.loads(luthier("check", recipe, "--json").out)
    assert [problem["line"] for problem in shown["problems"]] == [12, 13]
    assert not shown["ok"]


def test_set_changes_a_key_before_checking(recipe: Path, luthier: Luthier) -> None:
    shown = luthier(
        "check", recipe, "--set", "lora_r=8", "--set", "datasets.0.type=alpaca", "--json"
    )
    changed = json.loads(shown.out)["recipe"]
    assert (changed["lora_r"], changed["datasets"][0]["type"]) == (8, "alpaca")
    assert luthier("check", recipe, "--set", "lora_rr=8").code == 2


# bad input: each a clear error, nothing half-written


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ("", ("rows.jsonl", "no rows")),
        ('{"messages": [{"role": "user", "content": "a"', ("rows.jsonl:1", "JSON")),
        ('{"mesages": [{"role": "user", "content": "a"}]}\n', ("rows.jsonl:1", "`messages`")),
    ],
    ids=["empty data", "truncated JSON line", "wrong column"],
)
def test_bad_data_is_explained_and_leaves_nothing(
    rows: str, parts: tuple[str, ...], recipe: Path, tmp_path: Path, luthier: Luthier
) -> None:
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    place = f"datasets.0.path={tmp_path / 'rows.jsonl'}"
    outcome = luthier("train", recipe, "--output", tmp_path / "run", "--set", place)
    assert_explained(outcome, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("base_model=no-such-model", ("no such model: no-such-model", "base_model: embedded")),
        ("lora_dropuot=0", ("unknown key `lora_dropuot`", "did you mean `lora_dropout`")),
        ("lora_target_modules=[nowhere]", ("nowhere",)),
        ("datasets.0.path=/no/such/file.jsonl", ("/no/such/file.jsonl",)),
        ("val_set_size=500", ("val_set_size",)),
        ("save_steps=50", ("`save_steps: 50` never fires",)),
    ],
    ids=["no such model", "unknown key", "no such layer", "no such file", "val set", "cadence"],
)
def test_a_bad_recipe_is_explained_and_leaves_nothing(
    override: str, parts: tuple[str, ...], recipe: Path, tmp_path: Path, luthier: Luthier
) -> None:
    outcome = luthier("train", recipe, "--output", tmp_path / "run", "--set", override)
    assert_explained(outcome, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["/proc/luthier/run", "{file}/run", "{file}"])
def test_unwritable_output_is_explained(
    place: str, recipe: Path, tmp_path: Path, luthier: Luthier
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    outcome = luthier("train", recipe, "--output", place.format(file=taken))
    assert_explained(outcome, "cannot write", place.format(file=taken))
    assert taken.read_text() == "a file"


def test_a_full_disk_is_explained_and_leaves_no_result(
    full_recipe: Path, tmp_path: Path, luthier: Luthier
) -> None:
    """No file may grow beyond 16 KiB: recipe and provenance fit, weights do not."""
    run, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, limits[1]))
    try:
        outcome = luthier("train", full_recipe, "--output", run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_explained(outcome._replace(err=last_error(outcome.err)), "cannot write", "free space")
    assert not (run / "model").exists()
    assert not (run / "done.json").exists()
    assert not list(run.rglob(".staged-*"))
    assert luthier("train", full_recipe, "--output", run, "--resume").code == 0


def test_merging_onto_a_full_disk_is_explained_and_leaves_nothing(
    recipe: Path, tmp_path: Path, luthier: Luthier
) -> None:
    assert luthier("train", recipe, "--output", tmp_path / "run").code == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, limits[1]))
    try:
        outcome = luthier("merge", tmp_path / "run", "--output", tmp_path / "merged")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_explained(outcome, "cannot write", str(tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".staged-*"))


def last_error(text: str) -> str:
    """What follows the progress lines and notes."""
    return text[text.index("error: ") :]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    full_recipe: Path, tmp_path: Path, luthier: Luthier
) -> None:
    """One good step with a rate of zero, warming up; then weights of 1e30."""
    run = tmp_path / "run"
    sets = ("learning_rate=1e30", "max_grad_norm=0", "max_steps=6", "warmup_steps=1")
    flags = [part for text in (*sets, "save_steps=1") for part in ("--set", text)]
    outcome = luthier("train", full_recipe, "--output", run, *flags)
    error = last_error(outcome.err)
    assert_explained(outcome._replace(err=error), "Lower learning_rate", "checkpoint is kept")
    assert not (run / "model").exists()
    assert not (run / "done.json").exists()
    (kept, *_) = sorted((run / "checkpoints").glob("step-*"))
    weights = load_file(kept / "weights.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_a_second_run_into_the_same_folder_is_refused(
    recipe: Path, tmp_path: Path, luthier: Luthier
) -> None:
    assert luthier("train", recipe, "--output", tmp_path / "run").code == 0
    outcome = luthier("train", recipe, "--output", tmp_path / "run")
    assert_explained(outcome, "already holds a run", "--resume")
    assert luthier("train", recipe, "--output", tmp_path / "run", "--resume").code == 0
    changed = luthier("train", recipe, "-o", tmp_path / "run", "--resume", "--set", "lora_r=4")
    assert_explained(changed, "another lora_r")


def test_train_without_a_place_to_write_says_so(recipe: Path, luthier: Luthier) -> None:
    assert_explained(luthier("train", recipe), "--output DIR", "output_dir")


# eval


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("labelled") / "rows.jsonl"
    rows = [{"id": n, "text": f"number {n}", "label": ("even", "odd")[n % 2]} for n in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_eval_writes_lines_and_a_summary_and_prints_it(
    tiny_base: Path, labelled: Path, tmp_path: Path, luthier: Luthier
) -> None:
    arguments = ["eval", tiny_base, "--task", "classification", "--data", labelled]
    arguments += ["--set", "type=classification", "--limit", 4, "-o", tmp_path / "eval"]
    outcome = luthier(*arguments)
    assert outcome.code == 0, outcome.err
    assert "accuracy" in outcome.out
    summary = json.loads((tmp_path / "eval" / "classification.json").read_text())
    assert summary["n"] == 4
    shown = json.loads(luthier(*arguments, "--json").out)
    assert shown["metrics"] == summary["metrics"]


def test_eval_refuses_what_it_cannot_score_and_leaves_nothing(
    tiny_base: Path, labelled: Path, chat_file: Path, tmp_path: Path, luthier: Luthier
) -> None:
    place = ["--output", tmp_path / "eval"]
    classify = ["--task", "classification", *place]
    for arguments, parts in (
        ([tiny_base, *classify, "--data", chat_file], ("no label", "chat.jsonl:1")),
        ([tiny_base, "--task", "spelling", *place], ("spelling", "elle, classification")),
        ([tiny_base, *classify], ("which rows?", "--data FILE")),
        (["no-such-model", "--task", "elle", *place, "--limit", 1], ("no such model",)),
        ([tiny_base, *classify, "--data", labelled, "--set", "typ=alpaca"], ("`typ`",)),
        ([tiny_base, "--task", "perplexity", *place, "--data", "/no/file.txt"], ("/no/file.txt",)),
    ):
        assert_explained(luthier("eval", *arguments), *parts)
    assert not (tmp_path / "eval").exists()


def test_eval_of_an_unwritable_place_is_explained(
    tiny_base: Path, labelled: Path, luthier: Luthier
) -> None:
    arguments = [tiny_base, "--task", "classification", "--data", labelled]
    arguments += ["--set", "type=classification", "--output", "/proc/luthier"]
    assert_explained(luthier("eval", *arguments), "cannot write /proc/luthier")


# study


@pytest.fixture
def study(tiny_base: Path, chat_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(
        f"study: tiny\ndata: {chat_file}\nsample: {{train: 8, test: 4}}\n"
        f"base: {{base_model: {tiny_base}, max_steps: 1, learning_rate: 1e-3}}\n"
        "arms: {full: {}}\ntasks: [perplexity]\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("sample.train=800", ("24 examples are too few",)),
        ("data=/no/such.csv", ("/no/such.csv",)),
        ("tasks=[spelling]", ("there is no task `spelling`",)),
        ("sampel.train=4", ("did you mean `sample`",)),
    ],
)
def test_a_study_that_cannot_begin_is_explained_and_leaves_nothing(
    override: str, parts: tuple[str, ...], study: Path, tmp_path: Path, luthier: Luthier
) -> None:
    outcome = luthier("study", "run", study, "--output", tmp_path / "out", "--set", override)
    assert_explained(outcome, *parts)
    assert not (tmp_path / "out").exists()


def test_a_study_with_an_unwritable_output_is_explained(study: Path, luthier: Luthier) -> None:
    outcome = luthier("study", "run", study, "--output", "/proc/luthier")
    assert_explained(outcome, "cannot write /proc/luthier")


def test_status_and_report_of_no_study_are_explained(tmp_path: Path, luthier: Luthier) -> None:
    assert_explained(luthier("study", "status", tmp_path), "study.yaml")
    assert_explained(luthier("study", "report", tmp_path), "study.yaml")
    assert not list(tmp_path.iterdir())


# compare


def test_bare_counts_that_differ_by_chance_are_not_told_apart(luthier: Luthier) -> None:
    outcome = luthier("compare", "--counts", "7254/7600", "7234/7600")
    assert outcome.code == 0
    assert "no detectable" in outcome.out
    shown = json.loads(luthier("compare", "--counts", "7254/7600", "7234/7600", "--json").out)
    (pair,) = shown["pairs"]
    assert 0.40 <= pair["p_value"] <= 0.47
    assert pair["verdict"] == "no detectable difference"


def test_compare_pairs_two_evaluation_folders_by_id(tmp_path: Path, luthier: Luthier) -> None:
    """30 examples that only B gets right and 2 that only A does: McNemar on 32 discordant."""
    for name, right in (("a", range(40, 72)), ("b", range(2, 72))):
        folder = tmp_path / name / "eval"
        folder.mkdir(parents=True)
        rows = [{"id": str(n), "scores": {"accuracy": float(n in right)}} for n in range(72)]
        if name == "a":
            rows[0]["scores"] = rows[1]["scores"] = {"accuracy": 1.0}
            rows = [
                row | {"scores": {"accuracy": 1.0}} if 32 <= int(row["id"]) < 40 else row
                for row in rows
            ]
        (folder / "classification.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    outcome = luthier(
        "compare", tmp_path / "a", tmp_path / "b", "--metric", "accuracy", "--json"
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (pair,) = json.loads(outcome.out)["pairs"]
    assert (pair["n"], pair["verdict"]) == (72, "better")
    assert pair["difference"] == pytest.approx(28 / 72)
    # 2 · P(X ≤ 2 | 32 tosses of a fair coin)
    assert pair["p_value"] == pytest.approx(2 * (1 + 32 + 496) / 2**32)


def test_compare_explains_what_it_cannot_compare(tmp_path: Path, luthier: Luthier) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "score": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "2", "score": 1}\n')
    pair = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert_explained(luthier("compare", *pair, "--metric", "score"), "share")
    assert_explained(luthier("compare", *pair, "--metric", "f1"), "f1")
    assert_explained(
        luthier("compare", *pair, "--metric", "score", "--baseline", "c"), "'c'", "a, b"
    )
    assert_explained(luthier("compare", "--counts", "7/5", "3/5"), "7/5")
    without = luthier("compare", *pair)
    assert (without.code, "--metric" in without.err) == (2, True)


# data, merge, doctor, interruption


def test_elle_rows_are_the_same_for_the_same_seed(tmp_path: Path, luthier: Luthier) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = ["--level", "cic", "--count", 20, "--seed", seed]
        assert luthier("data", "elle", *options, "--out", tmp_path / f"{name}.jsonl").code == 0
    first, again, other = ((tmp_path / f"{name}.jsonl").read_bytes() for name in "abc")
    assert first == again != other
    rows = [json.loads(line) for line in first.splitlines()]
    assert len(rows) == 20
    assert {"messages", "truth"} <= rows[0].keys()


def test_elle_refuses_unknown_levels_and_places(tmp_path: Path, luthier: Luthier) -> None:
    file = tmp_path / "rows.jsonl"
    assert_explained(luthier("data", "elle", "--level", "hard", "--out", file), "basic or cic")
    assert_explained(luthier("data", "elle", "--style", "long", "--out", file), "compact or full")
    assert_explained(luthier("data", "elle", "--count", "0", "--out", file), "at least 1")
    assert_explained(luthier("data", "elle", "--out", "/proc/rows.jsonl"), "cannot write")
    assert not file.exists()


def test_a_merged_model_answers_as_base_and_adapter_do(
    recipe: Path, tiny_base: Path, tmp_path: Path, luthier: Luthier
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, merged = tmp_path / "run", tmp_path / "merged"
    sets = ["--set", "learning_rate=1e-1", "--set", "peft_use_dora=true"]
    assert luthier("train", recipe, "--output", run, *sets).code == 0
    assert luthier("merge", run, "--output", merged).code == 0
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        plain = base(ids).logits
        expected = PeftModel.from_pretrained(base, run / "adapter").eval()(ids).logits
        found = AutoModelForCausalLM.from_pretrained(merged)(ids).logits
    assert (expected - plain).abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(merged).chat_template
    assert_explained(luthier("merge", run, "--output", merged), "exists already")
    assert_explained(luthier("merge", merged, "--output", tmp_path / "m"), "no adapter to merge")
    assert not (tmp_path / "m").exists()


def test_doctor_names_versions_devices_and_memory(luthier: Luthier) -> None:
    outcome = luthier("doctor")
    assert outcome.code == 0
    for topic in ("python", "torch", "memory", "device", "embedded model"):
        assert f"\n{topic} " in f"\n{outcome.out}"


def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, luthier: Luthier
) -> None:
    def interrupt() -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setattr("luthier.doctor.examine", interrupt)
    outcome = luthier("doctor")
    assert outcome.code == 130
    assert outcome.err.startswith("interrupted")


def test_a_closed_pipe_is_no_error() -> None:
    """`luthier check … | head -1` shows no traceback."""
    command = f"{sys.executable} -m luthier.cli check studies/quickstart.yaml --json | head -c 1"
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ)
    )
    assert "Traceback" not in done.stderr
