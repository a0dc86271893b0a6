"""What the rows of a study say: runs over their seeds, and pairs of runs seed by seed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from . import measures, tables
from .study import split

KEYS = (
    "r2_velocity",
    "r2_velocity_knn",
    "mse_open_loop",
    "mse_forecast",
    "rate",
)  # columns of `study_table`


class Summary(NamedTuple):
    """One measure of one run over its seeds; the statistics are over seeds with a finite number,
    NaN where there are too few.
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


def _worst(key: str) -> str:
    """ "min" where more is better, "max" where less is better, "" where neither is."""
    return next(
        (m.worst for m in measures.MEASURES if m.key == key),
        "min" if key.startswith("r2_") else "max" if key.startswith("mse_") else "",
    )


def _values(rows: Iterable[Mapping], run: str, key: str) -> dict[int, float]:
    """Finite values of a measure by seed."""
    found = {row["seed"]: row.get(key) for row in rows if row["run"] == run}
    return {
        seed: value
        for seed, value in sorted(found.items())
        if value is not None and math.isfinite(value)
    }


def summarise(rows: Sequence[Mapping], run: str, key: str) -> Summary:
    """A measure of a run over its seeds. ValueError when there is no row of that run."""
    own = [row for row in rows if row["run"] == run]
    if not own:
        raise ValueError(f"no row of the run {run!r}")
    values, pick = _values(own, run, key), {"min": min, "max": max}.get(_worst(key))
    worst_seed = pick(values, key=values.get) if pick and values else None
    return Summary(
        fmean(values.values()) if values else math.nan,
        stdev(values.values()) if len(values) > 1 else math.nan,
        math.nan if worst_seed is None else values[worst_seed],
        worst_seed,
        len(values),
        sum(bool(row.get("nan")) for row in own),
    )


def compare(
    rows: Sequence[Mapping], first: str, second: str, key: str, log: bool = False
) -> Paired:
    """First minus second, paired over seeds: both runs of a seed saw the same data, and differ in
    what their names say.

    `log` compares natural logarithms (for errors, which span orders of magnitude: the exponential
    of a difference is a ratio). The interval is mean ± t sd/√n with t of n - 1 degrees of freedom.
    ValueError when no seed has finite numbers in both.
    """
    from scipy.special import stdtrit

    a, b = (_values(rows, run, key) for run in (first, second))
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise ValueError(f"no seed has {key} of both {first} and {second}")
    differences = [math.log(a[s] / b[s]) if log else a[s] - b[s] for s in seeds]
    n, mean = len(seeds), fmean(differences)
    half = float(stdtrit(n - 1, 0.975)) * stdev(differences) / n**0.5 if n > 1 else math.nan
    return Paired(
        seeds, differences, [(d > 0) - (d < 0) for d in differences], mean, mean - half, mean + half
    )


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


def _heads(keys: Sequence[str]) -> list[tuple[str, int]]:
    known = {"distortion": ("$D$", 0), "elbo": ("ELBO", 0), "iwae": ("IWAE", 0)} | {
        m.key: (m.head, m.digits) for m in measures.MEASURES
    }
    return [known.get(key, (f"`{key}`", 3)) for key in keys]


def study_table(rows: Sequence[Mapping], keys: Sequence[str] = KEYS) -> str:
    """One line a run: seeds, NaN count, and each measure as mean ± standard deviation over seeds
    (worst seed in parentheses). Markdown.
    """
    body = []
    for name in tables.run_names(rows):
        cells = []
        for key, (_, digits) in zip(keys, _heads(keys)):
            s = summarise(rows, name, key)
            spread = f" ± {tables.number(s.sd, digits)}" if s.seeds > 1 else ""
            worst = (
                f" ({tables.number(s.worst, digits)})"
                if s.worst_seed is not None and s.seeds > 1
                else ""
            )
            cells.append(tables.number(s.mean, digits) + spread + worst)
        own = [row for row in rows if row["run"] == name]
        body.append(
            [f"`{name}`", str(len(own)), str(sum(bool(row.get("nan")) for row in own)), *cells]
        )
    return tables.markdown(["run", "seeds", "NaN", *(head for head, _ in _heads(keys))], body)


def comparison_table(
    rows: Sequence[Mapping], keys: Sequence[str] = ("r2_velocity", "mse_open_loop", "rate")
) -> str:
    """One line a comparison that the rows allow: mean difference over seeds [95 % interval] and the
    sign of each seed's. Markdown.

    First balancing, model by model, then the Kalman posterior against two network posteriors,
    objective by objective.
    """
    names = tables.run_names(rows)
    models, objectives = (
        (list(dict.fromkeys(part)) for part in zip(*(split(name) for name in names)))
        if names
        else ((), ())
    )
    pairs = [(f"{m}-constrained", f"{m}-elbo-learned-noise") for m in models]
    pairs += [
        (f"ekvae-{o}", f"{other}-{o}") for other in ("dks", "dvbf-smoothing") for o in objectives
    ]
    body = []
    for first, second in pairs:
        if first not in names or second not in names:
            continue
        cells = []
        for key, (_, digits) in zip(keys, _heads(keys)):
            try:
                p = compare(rows, first, second, key)
            except ValueError:
                cells.append("–")
                continue
            signs = "".join({1: "+", 0: "0", -1: "−"}[s] for s in p.signs)
            interval = (
                f" [{tables.number(p.low, digits)}, {tables.number(p.high, digits)}]"
                if len(p.seeds) > 1
                else ""
            )
            cells.append(f"{tables.number(p.mean, digits, '+')}{interval} {signs}")
        body.append([f"`{first}` − `{second}`", *cells])
    return tables.markdown(["difference", *(head for head, _ in _heads(keys))], body)
