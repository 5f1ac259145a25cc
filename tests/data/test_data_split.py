"""Splits: exact sizes, seeded, and no prompt on both sides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.examples import Example, Message
from luthier.data.split import prompt_key, split_examples
from luthier.errors import DataError


def item(identifier: int, prompt: str, answer: str = "yes") -> Example:
    messages = (Message("user", prompt, False), Message("assistant", answer, True))
    return Example(str(identifier), messages)


def items(count: int) -> list[Example]:
    return [item(number, f"prompt {number}") for number in range(count)]


def ids(examples: list[Example]) -> list[str]:
    return [example.id for example in examples]


def test_a_split_has_the_asked_sizes_and_shares_nothing() -> None:
    split = split_examples(items(10), train=6, test=3, seed=0)
    assert (len(split.train), len(split.test), split.repeated) == (6, 3, 0)
    assert not set(ids(split.train)) & set(ids(split.test))


def test_without_a_train_size_all_the_rest_is_trained_on() -> None:
    split = split_examples(items(10), train=None, test=3, seed=0)
    assert sorted(ids(split.train) + ids(split.test), key=int) == [str(n) for n in range(10)]


def test_the_seed_decides_the_split() -> None:
    first, again, other = (split_examples(items(50), 30, 20, seed) for seed in (1, 1, 2))
    assert first == again
    assert ids(first.test) != ids(other.test)
    assert ids(first.test) != sorted(ids(first.test), key=int)


def test_equal_prompts_but_for_case_and_space_stay_together() -> None:
    twins = [item(100, "Same  prompt"), item(101, "same prompt\n", "no")]
    for seed in range(20):
        split = split_examples(items(6) + twins, train=4, test=4, seed=seed)
        assert split.repeated == 2
        sides = [{"100", "101"} & set(ids(side)) for side in (split.train, split.test)]
        assert sorted(map(len, sides)) in ([0, 2], [0, 0])


def test_the_prompt_is_what_stands_before_the_first_trained_turn() -> None:
    assert prompt_key(item(1, "A b", "x")) == prompt_key(item(2, "a  B", "y"))
    assert prompt_key(item(1, "a")) != prompt_key(item(1, "b"))
    texts = [Example("1", (), text=text) for text in ("Once", "once ", "twice")]
    assert prompt_key(texts[0]) == prompt_key(texts[1]) != prompt_key(texts[2])


@pytest.mark.parametrize(("train", "test"), [(8, 3), (None, 10), (1, 10)])
def test_too_few_examples_are_an_error(train: int | None, test: int) -> None:
    with pytest.raises(DataError, match="10 examples are too few"):
        split_examples(items(10), train, test, seed=0)


def test_one_prompt_for_all_cannot_be_split() -> None:
    with pytest.raises(DataError, match="share their prompt"):
        split_examples([item(number, "same") for number in range(10)], 5, 5, seed=0)


@pytest.mark.parametrize(("train", "test"), [(0, 1), (-1, 1), (1, -1)])
def test_sizes_below_one_are_refused(train: int, test: int) -> None:
    with pytest.raises(DataError, match="ask for at least"):
        split_examples(items(3), train, test, seed=0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(0, 99), st.data())
def test_no_prompt_is_ever_on_both_sides(
    prompts: list[int], seed: int, data: st.DataObject
) -> None:
    examples = [item(number, f"p{prompt}") for number, prompt in enumerate(prompts)]
    test = data.draw(st.integers(0, len(examples) - 1))
    try:
        split = split_examples(examples, None, test, seed)
    except DataError:
        return
    assert len(split.test) == test
    assert len(split.train) + test == len(examples)
    assert not {prompt_key(e) for e in split.train} & {prompt_key(e) for e in split.test}
