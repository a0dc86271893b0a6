"""What a few seeds can tell, against scipy, statsmodels and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from tutorial_dssm.probability import intervals


@pytest.mark.parametrize("n, level", [(2, 0.95), (5, 0.95), (12, 0.8)])
def test_t_interval_is_scipys(n, level):
    """Equations: zoo-t-interval, zoo-rotation"""
    x = np.random.default_rng(n).normal(0.3, 2, n)
    found, reference = intervals.t_interval(x, level), stats.ttest_1samp(x, 0)
    np.testing.assert_allclose(found[1:3], reference.confidence_interval(level))
    assert found.p == pytest.approx(reference.pvalue) and found.mean == pytest.approx(x.mean())


def test_a_t_interval_holds_the_truth_as_often_as_it_says():
    x = np.random.default_rng(0).normal(1.0, 3.0, (4000, 4))
    hold = [i.low <= 1 <= i.high for i in map(intervals.t_interval, x)]
    assert np.mean(hold) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [[1.0], [1.0, math.nan], [2.0, 2.0], [[1.0, 2.0]]])
def test_t_interval_refuses(values):
    with pytest.raises(ValueError):
        intervals.t_interval(values)


@pytest.mark.parametrize("level", [0, 1, -1])
def test_levels_outside_are_refused(level):
    with pytest.raises(ValueError, match="level"):
        intervals.t_interval([1.0, 2.0], level)


@pytest.mark.parametrize("distance, n", [(0.5, 1), (1.0, 3), (0.0, 2)])
def test_wrong_order_is_the_frequency_of_wrong_orders(distance, n):
    """Equations: zoo-wrong-order"""
    noise = np.random.default_rng(1).standard_normal((2, 40_000, n)).mean(2)
    assert intervals.wrong_order(distance, n) == pytest.approx(
        (distance + noise[0] < noise[1]).mean(), abs=0.01
    )


def test_largest_unseen_is_where_the_binomial_has_no_failure_with_the_chance_left():
    """Equations: zoo-unseen"""
    for n in (1, 5, 40):
        assert stats.binom.pmf(0, n, intervals.largest_unseen(n, 0.9)) == pytest.approx(0.1)
    assert intervals.largest_unseen(1000) == pytest.approx(3 / 1000, rel=0.01)


@pytest.mark.parametrize("plus", range(7))
def test_sign_probability_is_scipys(plus):
    """Equations: zoo-signs"""
    assert intervals.sign_probability(plus, 6 - plus) == pytest.approx(
        stats.binomtest(plus, 6).pvalue
    )


def test_holm_is_statsmodels():
    """Equations: zoo-holm"""
    generator = np.random.default_rng(2)
    for size in (1, 2, 9):
        p = generator.random(size) ** 3
        np.testing.assert_allclose(intervals.holm(p), multipletests(p, method="holm")[1])
    np.testing.assert_allclose(intervals.holm([0.01, 0.01, 0.5]), [0.03, 0.03, 0.5])


def test_expected_maximum():
    """Equations: zoo-maximum, zoo-maximum-bound"""
    largest = np.random.default_rng(3).standard_normal((40_000, 30))
    for k in (1, 2, 7, 30):
        assert intervals.expected_maximum(k) == pytest.approx(
            largest[:, :k].max(1).mean(), abs=0.02
        )
        assert intervals.expected_maximum(k) <= math.sqrt(2 * math.log(k)) + 1e-9
    assert intervals.expected_maximum(2) == pytest.approx(math.pi**-0.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: intervals.wrong_order(1.0, 0),
        lambda: intervals.largest_unseen(0),
        lambda: intervals.largest_unseen(3, 1.0),
        lambda: intervals.sign_probability(0, 0),
        lambda: intervals.sign_probability(-1, 3),
        lambda: intervals.holm([0.1, 1.2]),
        lambda: intervals.holm([]),
        lambda: intervals.expected_maximum(0),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError):
        call()
