from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from luthier.stats.multiple import adjust_holm


def test_holm_by_hand():
    # 0.01·3 = 0.03; 0.03·2 = 0.06; 0.04·1 = 0.04 is raised to 0.06.
    assert adjust_holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p_values: list[float]):
    expected = multipletests(p_values, method="holm")[1]
    assert adjust_holm(p_values) == pytest.approx(expected)
