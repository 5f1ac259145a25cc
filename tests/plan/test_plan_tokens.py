"""Examples and tokens of a recipe: stated, measured, counted or asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import DataError, PlanError
from luthier.plan.amounts.row_sample import WHOLE_BYTES
from luthier.plan.amounts.tokens import count_tokens
from luthier.plan.figure import Figure
from luthier.recipe.load import parse_recipe
from luthier.recipe.schema import Recipe


def make_recipe(data: Any, **keys: Any) -> Recipe:
    source = data if isinstance(data, dict) else {"path": str(data)}
    values = {"base_model": "somebody/model", "learning_rate": 1e-3, "datasets": [source], **keys}
    return parse_recipe(values).recipe


def write_chats(file: Path, answers: list[str]) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "x" * 40},
                {"role": "assistant", "content": answer},
            ]
        }
        for answer in answers
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_what_is_stated_is_taken_and_marked_as_given() -> None:
    counts = count_tokens(make_recipe("no/where"), 5000, 210)
    assert (counts.examples.value, counts.examples.basis) == (5000, "given")
    assert (counts.tokens_per_example.value, counts.tokens_per_example.basis) == (210, "given")


def test_both_answers_of_a_stated_pair_may_fill_sequence_len() -> None:
    pairs = {"path": "no/where", "type": "preference"}
    counts = count_tokens(make_recipe(pairs, rl="dpo", sequence_len=1024), 5000, 400)
    assert counts.longest_tokens.value == 2 * 1024


def test_rows_that_are_not_at_hand_are_asked_for_by_their_flags() -> None:
    with pytest.raises(PlanError, match=r"--samples and --average-tokens"):
        count_tokens(make_recipe("somebody/data"))
    with pytest.raises(PlanError, match=r"Give --average-tokens, or"):
        count_tokens(make_recipe("somebody/data"), samples=10)


def test_a_misspelt_file_is_answered_with_its_neighbour(tmp_path: Path) -> None:
    write_chats(tmp_path / "chat.jsonl", ["yes"])
    with pytest.raises(PlanError, match=r"Did you mean .*chat\.jsonl\?"):
        count_tokens(make_recipe(tmp_path / "chats.jsonl"))


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("title,body\nHello,World\n")
    source = {"path": str(file), "type": "completion", "columns": {"text": "subject"}}
    with pytest.raises(DataError, match="subject"):
        count_tokens(make_recipe(source))


def test_without_a_tokenizer_four_characters_are_a_token(tmp_path: Path) -> None:
    file = write_chats(tmp_path / "chat.jsonl", ["y" * 20, "y" * 60])
    counts = count_tokens(make_recipe(file))
    # 10 of the prompt and 5 or 15 of the answer, and 5 around each of the two turns.
    assert counts.tokens_per_example.value == (25 + 35) / 2
    assert counts.longest_tokens.value == 35
    # Of the answer its stop token too.
    assert counts.supervised_share.value == pytest.approx((6 + 16) / 60)
    assert counts.tokens_per_example.basis == "assumed"
    assert (counts.examples.value, counts.examples.basis) == (2, "measured")


def test_an_example_longer_than_sequence_len_is_dropped_or_cut(tmp_path: Path) -> None:
    file = write_chats(tmp_path / "chat.jsonl", ["y" * 20, "y" * 60])
    dropped = count_tokens(make_recipe(file, sequence_len=30))
    assert (dropped.examples.value, dropped.tokens_per_example.value) == (1, 25)
    cut = count_tokens(make_recipe(file, sequence_len=30, excess_length_strategy="truncate"))
    assert (cut.examples.value, cut.tokens_per_example.value) == (2, 27.5)


def test_a_held_out_share_is_not_trained_on(tmp_path: Path) -> None:
    file = write_chats(tmp_path / "chat.jsonl", ["y" * 20] * 20)
    counts = count_tokens(make_recipe(file, val_set_size=0.1))
    assert (counts.examples.value, counts.validation_examples.value) == (18, 2)


def test_a_pair_counts_its_prompt_once_and_both_answers(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    row = {"prompt": "x" * 40, "chosen": "y" * 20, "rejected": "z" * 60}
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    recipe = make_recipe({"path": str(file), "type": "preference"}, rl="dpo")
    counts = count_tokens(recipe)
    # 10 + 5 + 15, five marks around the question and each answer's own.
    assert counts.tokens_per_example.value == 10 + 5 + 15 + 11
    assert counts.supervised_share.value == pytest.approx((5 + 15 + 2) / 41)
    assert counts.longest_tokens.value == 10 + 9 + 15 + 1


@pytest.mark.parametrize("rl", [None, "dpo"])
def test_generated_rows_agree_with_what_training_tokenises(rl: str | None) -> None:
    from luthier.models.load import load_tokenizer
    from luthier.train.prepare import prepare_data

    source: dict[str, Any] = {"generate": "elle", "count": 60, "seed": 3}
    keys: dict[str, Any] = {"base_model": "embedded", "sequence_len": 1024}
    if rl:
        source |= {"type": "preference", "level": "cic"}
        keys |= {"rl": rl}
    recipe = make_recipe(source, **keys)
    tokenizer = load_tokenizer("embedded").tokenizer
    training = prepare_data(recipe, tokenizer, skip_bad_rows=False).training
    tokens = sum(example.tokens for example in training)
    supervised = sum(example.supervised_tokens for example in training)
    counts = count_tokens(recipe)
    assert counts.examples.value == len(training)
    assert counts.tokens_per_example.value == pytest.approx(tokens / len(training), rel=0.02)
    assert counts.supervised_share.value == pytest.approx(supervised / tokens, rel=0.03)
    longest = max(example.sequence_tokens for example in training)
    assert counts.longest_tokens.value == pytest.approx(longest, rel=0.03)


def test_tokenised_data_of_an_earlier_run_are_measured(
    tiny_base: Path, chat_file: Path, tmp_path: Path
) -> None:
    from luthier.models.load import load_tokenizer
    from luthier.train.prepare import prepare_data

    keys = {"base_model": str(tiny_base), "dataset_prepared_path": str(tmp_path / "kept")}
    recipe = make_recipe(chat_file, **keys)
    tokenizer = load_tokenizer(str(tiny_base)).tokenizer
    cache = Path(str(recipe.dataset_prepared_path))
    training = prepare_data(recipe, tokenizer, skip_bad_rows=False, cache=cache).training
    counts = count_tokens(recipe)
    tokens = sum(example.tokens for example in training)
    assert counts.tokens_per_example.value == tokens / 24
    assert counts.tokens_per_example.basis == "measured"
    supervised = sum(example.supervised_tokens for example in training)
    assert counts.supervised_share.value == supervised / tokens


def test_the_lines_of_a_large_file_are_counted_and_its_beginning_is_read(tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    row = json.dumps({"text": "word " * 100}) + "\n"
    rows = 2 * WHOLE_BYTES // len(row)
    file.write_text(row * rows, encoding="utf-8")
    recipe = make_recipe({"path": str(file), "type": "completion"})
    assert count_tokens(recipe).examples == Figure(rows, "measured", "lines counted")


def test_of_a_large_table_the_rest_is_estimated_by_size(tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    row = "word " * 100 + "\n"
    rows = 2 * WHOLE_BYTES // len(row)
    file.write_text("text\n" + row * rows, encoding="utf-8")
    recipe = make_recipe({"path": str(file), "type": "completion"})
    started = time.perf_counter()
    counts = count_tokens(recipe)
    assert time.perf_counter() - started < 0.5
    assert counts.examples.value == pytest.approx(rows, rel=0.01)
    assert "by size" in counts.examples.source


def test_of_a_long_json_list_the_beginning_is_read(tmp_path: Path) -> None:
    file = tmp_path / "many.json"
    rows = [{"text": f"{number} " + "word " * 100} for number in range(12_000)]
    file.write_text(json.dumps(rows), encoding="utf-8")
    counts = count_tokens(make_recipe({"path": str(file), "type": "completion"}))
    assert counts.examples.value == pytest.approx(12_000, rel=0.01)


def test_counting_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from luthier.plan.amounts.tokens import count_tokens\n"
        "from luthier.recipe.load import parse_recipe\n"
        "values = {'base_model': 'embedded', 'learning_rate': 1,\n"
        "          'datasets': [{'generate': 'elle', 'count': 9}]}\n"
        "count_tokens(parse_recipe(values).recipe)\n"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
