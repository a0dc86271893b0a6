"""What rows say: a run over its seeds, and pairs of runs seed by seed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from ..probability.intervals import mean_and_sd, t_interval
from .measures import measure
from .runs import named_runs


class Summary(NamedTuple):
    """One measure of one run over its seeds.

    The statistics are over seeds with a finite number, NaN where there are too few.
    """

    mean: float
    sd: float  # sample standard deviation
    worst: float  # smallest or largest, whichever is worse; NaN for measures where neither is
    worst_seed: int | None
    seeds: int  # with a finite number
    nans: int  # seeds with a number that is not finite, or that broke down


class Paired(NamedTuple):
    """First run minus second run, seed by seed."""

    seeds: list[int]  # that both have, with finite numbers
    differences: list[float]
    signs: list[int]  # of the differences: 1, 0 or -1
    mean: float
    low: float  # 95 % t interval of the mean over seeds; NaN for one seed
    high: float


def run_names(rows: Iterable[Mapping]) -> list[str]:
    """Names of the runs, each once: in the order of `named_runs`, then any others."""
    names = dict.fromkeys(row["run"] for row in rows)
    known = [name for name in named_runs() if name in names]
    return known + [name for name in names if name not in known]


def _values(rows: Iterable[Mapping], run: str, key: str) -> dict[int, float]:
    """Finite values of a measure by seed."""
    found = {row["seed"]: row.get(key) for row in rows if row["run"] == run}
    finite = {s: v for s, v in found.items() if v is not None and math.isfinite(v)}
    return dict(sorted(finite.items()))


def summarise(rows: Sequence[Mapping], run: str, key: str) -> Summary:
    """A measure of a run over its seeds. ValueError when there is no row of that run."""
    own = [row for row in rows if row["run"] == run]
    if not own:
        raise ValueError(f"no row of the run {run!r}")
    values, worst = _values(own, run, key), measure(key).worst
    worst_seed = None
    if values and worst:
        worst_seed = (min if worst == "min" else max)(values, key=lambda seed: values[seed])
    return Summary(
        *mean_and_sd(list(values.values())),
        math.nan if worst_seed is None else values[worst_seed],
        worst_seed,
        len(values),
        sum(bool(row.get("nan")) for row in own),
    )


def compare(
    rows: Sequence[Mapping], first: str, second: str, key: str, log: bool = False
) -> Paired:
    """First minus second, paired over seeds.

    Both runs of a seed saw the same data, and differ in what their names say. `log` compares
    natural logarithms (for errors, which span orders of magnitude: the exponential of a difference
    is a ratio). The interval is that of `intervals.t_interval`. ValueError when no seed has finite
    numbers in both.
    """
    a, b = (_values(rows, run, key) for run in (first, second))
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise ValueError(f"no seed has {key} of both {first} and {second}")
    differences = [math.log(a[s] / b[s]) if log else a[s] - b[s] for s in seeds]
    signs = [(d > 0) - (d < 0) for d in differences]
    mean = fmean(differences)
    low = high = math.nan
    if len(set(differences)) > 1:
        _, low, high, _ = t_interval(differences)
    elif len(seeds) > 1:  # all differences are equal: no spread
        low = high = mean
    return Paired(seeds, differences, signs, mean, low, high)


def balancing(rows: Sequence[Mapping], model: str, key: str, log: bool = False) -> Paired:
    """Does balancing help a model? Constrained minus the ELBO with learned noise."""
    return compare(rows, f"{model}-constrained", f"{model}-elbo-learned-noise", key, log)


def kalman_posterior(
    rows: Sequence[Mapping], key: str, objective: str = "constrained", log: bool = False
) -> Paired:
    """Does the Kalman posterior win? The EKVAE minus the DKS under one objective.

    "At equal rate" is a condition, not something this subtracts: look at the same comparison with
    key "rate" beside it.
    """
    return compare(rows, f"ekvae-{objective}", f"dks-{objective}", key, log)
