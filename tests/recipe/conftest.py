"""What the tests of recipes and of studies share."""

from __future__ import annotations

import pytest

from luthier.errors import Problem, RecipeError


@pytest.fixture
def mistakes(read):
    """All that is wrong with a text; `read` is each module's own way of reading one."""

    def mistakes(text: str, *overrides: str) -> tuple[Problem, ...]:
        with pytest.raises(RecipeError) as caught:
            read(text, *overrides)
        return caught.value.problems

    return mistakes
