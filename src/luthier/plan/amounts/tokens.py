"""How many examples and tokens a recipe trains on: stated, measured, counted or guessed.

The firmest answer there is: the user's own statement; what an earlier run tokenised; the rows
themselves, a sample of them tokenised or their characters counted. Where there is nothing to read
the user is asked, never guessed for.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from luthier.errors import PlanError
from luthier.plan.amounts.example_tokens import (
    Counter,
    ExampleTokens,
    choose_counter,
    count_examples,
)
from luthier.plan.amounts.prepared_tokens import PreparedTokens, find_prepared
from luthier.plan.amounts.row_sample import SAMPLED_ROWS, RowSample, sample_rows
from luthier.plan.figure import Basis, Figure, weakest
from luthier.plan.model.model_config import EMBEDDED_FOLDER
from luthier.recipe.schema import Recipe

EMBEDDED = "embedded"
# Where only the amounts are stated: about half of a chat example is the answer.
USUAL_SUPERVISED_SHARE = 0.5
# A sample of 200 misses the longest rows.
LONGER_THAN_SAMPLED = 1.15
NO_VALIDATION = Figure(0.0, "given", "no validation data")


class TokenCount(NamedTuple):
    """What one epoch holds.

    Attributes:
        examples: that are trained on.
        tokens_per_example: mean, in a row: of a pair its prompt once and both answers.
        longest_tokens: of the longest example.
        supervised_share: share of the tokens that carry a label.
        validation_examples: held out, or in `test_datasets`.
        lengths: tokens of some examples, in no order; empty where only their mean is known.
    """

    examples: Figure
    tokens_per_example: Figure
    longest_tokens: Figure
    supervised_share: Figure
    validation_examples: Figure = NO_VALIDATION
    lengths: tuple[int, ...] = ()


def count_tokens(
    recipe: Recipe,
    samples: int | None = None,
    average_tokens: float | None = None,
    supervised_share: float | None = None,
    *,
    prepared: Path | None = None,
    tokenizer: Path | None = None,
) -> TokenCount:
    """The examples of the recipe's datasets and their tokens.

    Args:
        samples: training examples of an epoch, as the user states them.
        average_tokens: of one example, as the user states it.
        supervised_share: of the tokens, as the user states it.
        prepared: folder of tokenised data; the recipe's `dataset_prepared_path` when absent.
        tokenizer: folder of the base model's tokenizer; found by the model's name when absent.

    Raises:
        PlanError: neither stated nor at hand; names the flags that supply it.
        DataError: a data file that cannot be read.
    """
    if samples is not None and average_tokens is not None:
        found = _only_stated(recipe)
    else:
        found = _count_at_hand(recipe, prepared, tokenizer)
    if found is None:
        raise _nothing_at_hand(recipe, samples, average_tokens)
    if samples is not None:
        found = found._replace(examples=Figure(float(samples), "given", "--samples"))
    if average_tokens is not None:
        average = Figure(float(average_tokens), "given", "--average-tokens")
        longest = found.longest_tokens
        if longest.value < average.value:
            longest = Figure(average.value, "given", "--average-tokens")
        found = found._replace(tokens_per_example=average, longest_tokens=longest, lengths=())
    if supervised_share is not None:
        found = found._replace(supervised_share=Figure(supervised_share, "given", "stated"))
    return found


def _only_stated(recipe: Recipe) -> TokenCount:
    whole = recipe.train_on_inputs or all(item.type == "completion" for item in recipe.datasets)
    share = (
        Figure(1.0, "computed", "every token carries a label")
        if whole and recipe.rl is None
        else Figure(USUAL_SUPERVISED_SHARE, "assumed", "half of a usual chat example")
    )
    nothing = Figure(0.0, "given", "to be stated")
    longest = Figure(recipe.sequence_len, "computed", "no example is longer than sequence_len")
    if recipe.rl is not None:
        longest = Figure(2 * recipe.sequence_len, "computed", "two answers of sequence_len each")
    held = NO_VALIDATION
    if recipe.val_set_size >= 1:
        held = Figure(recipe.val_set_size, "given", "val_set_size")
    return TokenCount(nothing, nothing, longest, share, held)


def _count_at_hand(
    recipe: Recipe, prepared: Path | None, tokenizer: Path | None
) -> TokenCount | None:
    samples = [sample_rows(source) for source in recipe.datasets]
    known = [sample for sample in samples if sample is not None]
    total = sum(sample.rows.value for sample in known) if len(known) == len(samples) else None
    trained = None if total is None else total - _held_out(recipe, total)
    folder = prepared or _folder_of(recipe.dataset_prepared_path)
    if folder is not None and len(recipe.datasets) == 1:
        rows = None if trained is None else round(trained)
        kept = find_prepared(folder, pairs=recipe.rl is not None, rows=rows)
        if kept is not None:
            return _from_prepared(kept, recipe, total)
    if total is None or not any(sample.examples for sample in known):
        return None
    counter = choose_counter(recipe, tokenizer or _folder_of_model(recipe.base_model))
    counted = [
        count_examples(sample.examples, counter, train_on_inputs=recipe.train_on_inputs)
        for sample in known
    ]
    return _from_rows(recipe, known, counted, counter)


def _folder_of(path: str | None) -> Path | None:
    return None if path is None else Path(path)


def _folder_of_model(name: str) -> Path | None:
    if name == EMBEDDED:
        return EMBEDDED_FOLDER
    return Path(name) if Path(name).is_dir() else None


def _held_out(recipe: Recipe, total: float) -> float:
    """Examples of the training data that are kept for validation."""
    if recipe.test_datasets or not recipe.val_set_size:
        return 0.0
    size = recipe.val_set_size
    return min(total - 1, size if size >= 1 else max(1.0, round(size * total)))


def _count_validation(recipe: Recipe, total: float, basis: Basis) -> Figure:
    if recipe.test_datasets:
        samples = [sample_rows(source) for source in recipe.test_datasets]
        rows = [sample.rows.value for sample in samples if sample is not None]
        return Figure(sum(rows), "computed", "rows of test_datasets")
    held = _held_out(recipe, total)
    return Figure(held, basis, "val_set_size") if held else NO_VALIDATION


def _from_prepared(kept: PreparedTokens, recipe: Recipe, total: float | None) -> TokenCount:
    count, tokens = len(kept.lengths), int(kept.lengths.sum())
    source = "the tokenised data on disk"
    return TokenCount(
        Figure(count, "measured", source),
        Figure(tokens / count, "measured", source),
        Figure(int(kept.sequences.max()), "measured", source),
        Figure(kept.supervised / tokens, "measured", source),
        _count_validation(recipe, count if total is None else total, "computed"),
        tuple(int(length) for length in kept.lengths[:: max(1, count // 5_000)]),
    )


def _from_rows(
    recipe: Recipe,
    samples: Sequence[RowSample],
    counted: Sequence[list[ExampleTokens]],
    counter: Counter,
) -> TokenCount:
    rows = sum(sample.rows.value for sample in samples)
    kept = [_fit(items, recipe) for items in counted]
    left = [
        sample.rows.value * (len(fitting) / max(1, len(items)))
        for sample, items, fitting in zip(samples, counted, kept, strict=True)
    ]
    examples = sum(left) * (1 - _held_out(recipe, rows) / rows)
    if examples < 1:
        raise PlanError(
            f"every row is longer than sequence_len {recipe.sequence_len}. Raise sequence_len, or "
            "write excess_length_strategy: truncate."
        )
    means = [np.array(items, dtype=float).mean(0) for items in kept if items]
    weights = np.array([share for share, items in zip(left, kept, strict=True) if items])
    tokens, _, supervised = (float(x) for x in np.average(np.array(means), axis=0, weights=weights))
    basis = weakest(*(sample.rows for sample in samples))
    return TokenCount(
        Figure(round(examples), basis if sum(left) == rows else "computed", samples[0].rows.source),
        Figure(tokens, counter.basis, counter.source),
        _longest(recipe, samples, kept, counter),
        Figure(supervised / tokens, counter.basis, counter.source),
        _count_validation(recipe, rows, basis),
        _draw_lengths(kept, weights),
    )


def _longest(
    recipe: Recipe,
    samples: Sequence[RowSample],
    kept: Sequence[list[ExampleTokens]],
    counter: Counter,
) -> Figure:
    """The longest example: of all rows, or somewhat more than the longest of those sampled."""
    longest = max(item.longest_sequence for items in kept for item in items)
    if all(len(s.examples) >= s.rows.value for s in samples):
        return Figure(longest, counter.basis, counter.source)
    bound = min(recipe.sequence_len, round(longest * LONGER_THAN_SAMPLED))
    return Figure(bound, "assumed", f"of {sum(map(len, kept))} sampled rows, and 15% more")


def _fit(items: list[ExampleTokens], recipe: Recipe) -> list[ExampleTokens]:
    """What is left of the sampled examples under the recipe's rule for long ones."""
    limit = recipe.sequence_len
    if recipe.excess_length_strategy == "drop":
        return [item for item in items if item.longest_sequence <= limit]
    cut: list[ExampleTokens] = []
    for item in items:
        over = max(0, item.longest_sequence - limit)
        supervised = max(1, item.supervised - over)
        cut.append(ExampleTokens(item.tokens - over, item.longest_sequence - over, supervised))
    return cut


def _draw_lengths(kept: Sequence[list[ExampleTokens]], weights: np.ndarray) -> tuple[int, ...]:
    """Lengths of examples, each dataset with as many as its share of the rows."""
    drawn: list[int] = []
    shares = weights / weights.sum()
    for items, share in zip([items for items in kept if items], shares, strict=True):
        wanted = max(1, round(SAMPLED_ROWS * share))
        drawn += [items[place * len(items) // wanted].tokens for place in range(wanted)]
    return tuple(drawn)


def _nothing_at_hand(recipe: Recipe, samples: int | None, average: float | None) -> PlanError:
    names = ", ".join(source.path or "rows" for source in recipe.datasets)
    missing = [
        flag
        for flag, value in (("--samples", samples), ("--average-tokens", average))
        if value is None
    ]
    return PlanError(
        f"{names}: the rows are not at hand, so their number and length are not known."
        f"{_nearest_file(recipe)} Give {' and '.join(missing)}, or a local file."
    )


def _nearest_file(recipe: Recipe) -> str:
    """The file beside a misspelt one, as a question; nothing where there is none."""
    for source in recipe.datasets:
        place = Path(source.path or "")
        if source.path is None or place.exists() or not place.parent.is_dir():
            continue
        beside = [file.name for file in place.parent.iterdir() if file.is_file()]
        close = difflib.get_close_matches(place.name, beside, n=1)
        if close:
            return f" Did you mean {place.parent / close[0]}?"
    return ""
