"""What a few seeds can tell: intervals, signs, many comparisons, and the optimism of a choice.

A seed's number is treated as an independent draw. Arrays are numpy; probabilities are in [0, 1].
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr, stdtr, stdtrit


class Interval(NamedTuple):
    """A mean over seeds and what it leaves open."""

    mean: float
    low: float
    high: float
    p: float  # two-sided, of a mean of zero


def _finite(values: Sequence[float] | np.ndarray, least: int) -> np.ndarray:
    array = np.asarray(values, float)
    if array.ndim != 1 or len(array) < least or not np.isfinite(array).all():
        raise ValueError(f"need at least {least} finite numbers in a row, got {array.tolist()}")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; NaN where there are too few numbers for one of them."""
    mean = fmean(values) if len(values) else math.nan
    sd = stdev(values) if len(values) > 1 else math.nan
    return mean, sd


def t_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Mean of n independent normal numbers [n] with its interval, and the p of mean zero.

    The interval is mean ± t s/√n, with t of n - 1 degrees of freedom. Student (1908). ValueError
    for fewer than two numbers, numbers that are not finite, all numbers equal, or a level outside
    (0, 1).

    Equations: zoo-t-interval
    """
    x = _finite(values, 2)
    _check_level(level)
    n = len(x)
    mean = float(x.mean())
    error = float(x.std(ddof=1)) / n**0.5
    if np.ptp(x) == 0:
        raise ValueError("all numbers are equal: nothing can be said about their spread")
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half, float(2 * stdtr(n - 1, -abs(mean) / error)))


def paired_interval(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, level: float = 0.95
) -> Interval:
    """Mean of first - second, pair by pair (two [n]), with its `t_interval`.

    One pair, or pairs that all differ by the same, say nothing of the spread: the mean stands, and
    low, high and p are NaN. ValueError for rows of different lengths or without a number, numbers
    that are not finite, or a level outside (0, 1).
    """
    x, y = _finite(first, 1), _finite(second, 1)
    if len(x) != len(y):
        raise ValueError(f"pairs need two rows of one length, got {len(x)} and {len(y)}")
    _check_level(level)
    difference = x - y
    if np.ptp(difference) == 0:
        return Interval(float(difference.mean()), math.nan, math.nan, math.nan)
    return t_interval(difference, level)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[..., np.ndarray] = np.mean,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int | np.random.Generator = 0,
) -> tuple[float, float]:
    """Percentile bootstrap: the middle `level` of a statistic over resamples of [n] numbers.

    It assumes nothing of the distribution, but is too short for few numbers: with n = 5 normal ones
    about a third shorter than `t_interval`.

    Args:
        values: [n] independent numbers.
        statistic: numpy-like, of an array along `axis`: np.mean, np.median, ….
        level: share of the resamples inside.
        resamples: how many sets of n numbers are drawn, with replacement.
        seed: of a new generator, or a generator to draw from.
    Returns:
        Low and high end.
    Raises:
        ValueError: fewer than two numbers, numbers that are not finite, a level outside (0, 1), or
            no resamples.

    Efron (1979).
    """
    x = _finite(values, 2)
    _check_level(level)
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    drawn = np.random.default_rng(seed).choice(x, (resamples, len(x)))
    low, high = np.quantile(statistic(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wrong_order(distance: float, seeds: int = 1) -> float:
    """Chance that the better of two runs has the worse mean over some seeds.

    `distance` standard deviations (of one run) lie between them. Both normal with equal standard
    deviation and independent. ValueError for seeds below 1.

    Equations: zoo-wrong-order
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    return float(ndtr(-abs(distance) * (seeds / 2) ** 0.5))


def largest_unseen(seeds: int, confidence: float = 0.95) -> float:
    """The largest rate of failure that fits with no failure in `seeds` runs.

    At a higher one, such luck has a chance below 1 - confidence. The solution p of (1 - p)^n = 1 -
    confidence. ValueError for seeds below 1 or a confidence outside (0, 1).

    Equations: zoo-unseen
    """
    if seeds < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"need at least one seed and a confidence in (0, 1), got {seeds} and {confidence}"
        )
    return 1 - (1 - confidence) ** (1 / seeds)


def sign_probability(plus: int, minus: int) -> float:
    """Two-sided sign test: the chance of a split at least as uneven as plus against minus.

    Both signs are equally likely. ValueError for negative counts or none at all.

    Equations: zoo-signs
    """
    if min(plus, minus) < 0 or plus + minus == 0:
        raise ValueError(f"counts must not be negative, nor both zero, got {plus} and {minus}")
    n = plus + minus
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(plus, minus) + 1)) / 2**n)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p-values [m] of m comparisons.

    Those below α may be called findings, and the chance of any false one among them is at most α.
    The k-th smallest p is multiplied by m - k + 1, and made at least as large as those before it.
    Holm (1979). Holds for any dependence between the comparisons. ValueError for numbers outside
    [0, 1].

    Equations: zoo-holm
    """
    x = _finite(p, 1)
    if x.min() < 0 or x.max() > 1:
        raise ValueError(f"p must lie between 0 and 1, got {x.tolist()}")
    order = x.argsort(kind="stable")
    steps = np.maximum.accumulate((len(x) - np.arange(len(x))) * x[order])
    return np.minimum(steps, 1)[order.argsort(kind="stable")]


def expected_maximum(k: int) -> float:
    """Mean of the largest of k independent standard normal numbers: ∫ z k φ(z) Φ(z)^(k-1) dz.

    ValueError for k below 1.

    Equations: zoo-maximum
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")

    def integrand(z: float) -> float:
        return z * k * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * ndtr(z) ** (k - 1)

    return quad(integrand, -12, 12, limit=200)[0]
