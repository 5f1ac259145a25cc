"""Arithmetic of a plan, with numbers that can be worked out by hand."""

from __future__ import annotations

import itertools
import math

import pytest

from luthier.plan.outcome.points import (
    TIME_BUCKETS,
    TIME_CATEGORIES,
    find_bucket,
    hours_from_throughput,
    mean_score,
    scale,
    throughput_from_steps,
    usd_per_point,
)


def test_hours_are_tokens_over_throughput():
    # 3,600 rows × 10 tokens × 2 epochs at 20 tokens a second: 3,600 seconds.
    assert hours_from_throughput(3600, 10, 2, 20) == 1.0
    assert hours_from_throughput(3600, 10, 0.5, 20) == 0.25


def test_throughput_of_a_padded_loop_counts_every_position():
    assert throughput_from_steps(0.25, 16, 512) == 2048


def test_half_the_time_on_two_devices_is_full_efficiency_and_costs_the_same():
    scaled = scale(hours=5, devices=2, reference_hours=10, usd_per_device_hour=4)
    assert (scaled.speed_up, scaled.efficiency) == (2, 1)
    assert (scaled.device_hours, scaled.usd) == (10, 40)


def test_a_scaling_against_two_devices_counts_from_there():
    scaled = scale(hours=3, devices=4, reference_hours=6, reference_devices=2)
    assert (scaled.speed_up, scaled.efficiency, scaled.usd) == (2, 1, None)


def test_points_are_counted_above_the_untouched_model():
    assert usd_per_point(48, 92, 68) == 2
    assert usd_per_point(46, 92) == 0.5


def test_nothing_gained_has_no_price_per_point():
    assert usd_per_point(48, 68, 68) is None
    assert usd_per_point(48, 60, 68) is None


def test_the_plain_mean_weighs_scores_alike():
    assert mean_score([1, 2, 6]) == 3


@pytest.mark.parametrize("buckets", [TIME_BUCKETS, TIME_CATEGORIES])
def test_buckets_join_without_gaps_from_nothing_to_for_ever(buckets):
    assert buckets[0].at_least_hours == 0
    assert buckets[-1].below_hours == math.inf
    for first, second in itertools.pairwise(buckets):
        assert first.below_hours == second.at_least_hours


def test_a_time_on_a_border_is_in_the_longer_bucket():
    assert find_bucket(12).name == "12-24 h"
    assert find_bucket(11.99).name == "under 12 h"
    assert find_bucket(25.25).name == "24-36 h"
    assert find_bucket(121, TIME_CATEGORIES).name == "not recommended"


@pytest.mark.parametrize("hours", [-1, math.nan])
def test_a_time_that_is_none_has_no_bucket(hours: float):
    with pytest.raises(ValueError, match="lie in no bucket"):
        find_bucket(hours)


def test_no_throughput_is_refused_by_name():
    with pytest.raises(ValueError, match="tokens_per_second"):
        hours_from_throughput(1, 1, 1, 0)
