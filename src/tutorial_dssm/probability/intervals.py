"""What a few seeds can tell: intervals, signs, many comparisons, and the optimism of a choice.

A seed's number is treated as an independent draw. Arrays are numpy; probabilities are in [0, 1].
"""

import math
from collections.abc import Sequence
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


def _finite(values: Sequence[float], least: int) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < least or not np.isfinite(values).all():
        raise ValueError(f"need at least {least} finite numbers in a row, got {values.tolist()}")
    return values


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of n independent normal numbers [n] with its interval, mean ± t s/√n with t of n - 1
    degrees of freedom, and the p of mean zero.

    Student (1908). ValueError for fewer than two numbers, numbers that are not finite, all numbers
    equal, or a level outside (0, 1).

    Equations: zoo-t-interval
    """
    values = _finite(values, 2)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    n, mean, error = (
        len(values),
        float(values.mean()),
        float(values.std(ddof=1)) / len(values) ** 0.5,
    )
    if error == 0:
        raise ValueError("all numbers are equal: nothing can be said about their spread")
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half, float(2 * stdtr(n - 1, -abs(mean) / error)))


def wrong_order(distance: float, seeds: int = 1) -> float:
    """Chance that the better of two runs has the worse mean over some seeds, when `distance`
    standard deviations (of one run) lie between them.

    Both normal with equal standard deviation and independent. ValueError for seeds below 1.

    Equations: zoo-wrong-order
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    return float(ndtr(-abs(distance) * (seeds / 2) ** 0.5))


def largest_unseen(seeds: int, confidence: float = 0.95) -> float:
    """The largest rate of failure that fits with no failure in `seeds` runs: at a higher one, such
    luck has a chance below 1 - confidence.

    The solution p of (1 - p)^n = 1 - confidence. ValueError for seeds below 1 or a confidence
    outside (0, 1).

    Equations: zoo-unseen
    """
    if seeds < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"need at least one seed and a confidence in (0, 1), got {seeds} and {confidence}"
        )
    return 1 - (1 - confidence) ** (1 / seeds)


def sign_probability(plus: int, minus: int) -> float:
    """Chance of a split at least as uneven as plus against minus when both signs are equally likely
    (two-sided sign test).

    ValueError for negative counts or none at all.

    Equations: zoo-signs
    """
    if min(plus, minus) < 0 or plus + minus == 0:
        raise ValueError(f"counts must not be negative, nor both zero, got {plus} and {minus}")
    n = plus + minus
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(plus, minus) + 1)) / 2**n)


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values [m]: those below α may be called findings, and the chance of any false one
    among them is at most α.

    The k-th smallest p is multiplied by m - k + 1, and made at least as large as those before it.
    Holm (1979). Holds for any dependence between the comparisons. ValueError for numbers outside
    [0, 1].

    Equations: zoo-holm
    """
    p = _finite(p, 1)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"p must lie between 0 and 1, got {p.tolist()}")
    order = p.argsort(kind="stable")
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return np.minimum(steps, 1)[order.argsort(kind="stable")]


def expected_maximum(k: int) -> float:
    """Mean of the largest of k independent standard normal numbers: ∫ z k φ(z) Φ(z)^(k-1) dz.

    ValueError for k below 1.

    Equations: zoo-maximum
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return quad(
        lambda z: z * k * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * ndtr(z) ** (k - 1),
        -12,
        12,
        limit=200,
    )[0]
