from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from luthier.stats import ArmScores, Comparison, compare_arms, compare_counts, render_comparison


def _print(comparison: Comparison) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(render_comparison(comparison))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in text.splitlines()) <= 80
    return " ".join(text.split())


def _arm(name: str, share: float, seeds: int = 1) -> ArmScores:
    generator = np.random.default_rng(len(name))
    scores_SN = (generator.random((seeds, 500)) < share).astype(np.float64)
    ids = tuple(f"{number:03d}" for number in range(500))
    return ArmScores(name, tuple(map(str, range(seeds))), ids, scores_SN, "yes/no", "json_valid")


def test_published_counts_read_as_a_sentence():
    text = _print(compare_counts("full=7234/7600", "lora=7254/7600"))
    assert "lora 7600 95.45 +0.26 −0.41 to +0.94 0.443 no detectable difference" in text
    assert "With 7,600 examples a side, differences under about 0.96 points" in text


def test_long_names_fit_and_what_was_not_measured_is_said():
    arms = [_arm("base", 0.2), _arm("full fine-tuning of everything", 0.8), _arm("lora", 0.85)]
    text = _print(compare_arms(arms))
    assert "With 500 shared examples, differences under about" in text
    assert "Holm-corrected over 2 comparisons" in text
    assert "Each arm has a single seed" in text
    assert "better" in text


def test_an_untouched_base_beside_several_seeds_is_explained():
    text = _print(compare_arms([_arm("base", 0.2), _arm("lora", 0.85, 3)]))
    assert "base has a single seed" in text
    assert "an untouched model has none" in text


def test_an_interval_beside_zero_with_no_verdict_is_explained():
    # 400/500 against 373/500 alone is p = 0.042; over three pairs it no longer counts.
    text = _print(compare_counts("400/500", "373/500", "400/500", "401/500"))
    assert "can disagree" in text
