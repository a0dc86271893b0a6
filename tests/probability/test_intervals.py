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
    for interval in (
        lambda: intervals.t_interval([1.0, 2.0], level),
        lambda: intervals.paired_interval([1.0, 2.0], [0.0, 3.0], level),
        lambda: intervals.bootstrap_interval([1.0, 2.0], level=level),
    ):
        with pytest.raises(ValueError, match="level"):
            interval()


def test_paired_interval_is_scipys_paired_t_test():
    x, y = np.random.default_rng(4).normal(size=(2, 6))
    found, reference = intervals.paired_interval(x, y, 0.9), stats.ttest_rel(x, y)
    np.testing.assert_allclose(found[1:3], reference.confidence_interval(0.9))
    assert found.p == pytest.approx(reference.pvalue)
    assert found.mean == pytest.approx(x.mean() - y.mean())


@pytest.mark.parametrize("x, y", [([3.0], [1.0]), ([3.0, 5.0], [1.0, 3.0])])
def test_without_a_spread_a_paired_interval_is_only_a_mean(x, y):
    found = intervals.paired_interval(x, y)
    assert found.mean == 2.0 and np.isnan(found[1:]).all()


@pytest.mark.parametrize("x, y", [([], []), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, math.nan])])
def test_pairs_that_are_none_are_refused(x, y):
    with pytest.raises(ValueError):
        intervals.paired_interval(x, y)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_bootstrap_interval_is_scipys(statistic):
    """Two sets of resamples: their quantiles differ by the sampling error of a quantile."""
    x = np.random.default_rng(5).gamma(2.0, size=40)
    reference = stats.bootstrap((x,), statistic, confidence_level=0.8, method="percentile", rng=1)
    found = intervals.bootstrap_interval(x, statistic, 0.8, seed=2)
    spread = reference.standard_error
    np.testing.assert_allclose(found, reference.confidence_interval, atol=0.1 * spread)
    assert found == intervals.bootstrap_interval(x, statistic, 0.8, seed=np.random.default_rng(2))


def test_a_bootstrap_of_five_is_a_third_shorter_than_the_t_interval():
    x = np.random.default_rng(6).normal(size=(200, 5))
    lengths = [np.diff(intervals.bootstrap_interval(v, resamples=1000))[0] for v in x]
    ratio = np.mean(lengths) / np.mean([np.diff(intervals.t_interval(v)[1:3])[0] for v in x])
    assert ratio == pytest.approx(2 / 3, abs=0.05)


def test_mean_and_sd_are_numpys_and_nan_where_there_are_too_few():
    x = [1.0, 4.0, 2.5]
    assert intervals.mean_and_sd(x) == pytest.approx((np.mean(x), np.std(x, ddof=1)))
    mean, sd = intervals.mean_and_sd([3.0])
    assert mean == 3.0 and math.isnan(sd)
    assert np.isnan(intervals.mean_and_sd([])).all()


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


@pytest.mark.slow
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
        lambda: intervals.bootstrap_interval([1.0]),
        lambda: intervals.bootstrap_interval([1.0, 2.0], resamples=0),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError):
        call()
