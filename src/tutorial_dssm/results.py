"""The table of the book: every run over its seeds, and the search that came before it (floor 4)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from . import experiments, files


class Measure(NamedTuple):
    """One column of the table."""

    key: str  # of `experiments.evaluate`
    head: str  # in Markdown
    digits: int
    worst: str  # "min" where more is better, "max" where less is better, "" where neither is


MEASURES = (
    Measure("r2_sin", r"$R^2$ $\sin\varphi$", 3, "min"),
    Measure("r2_cos", r"$R^2$ $\cos\varphi$", 3, "min"),
    Measure("r2_velocity", r"$R^2$ $\dot\varphi$", 3, "min"),
    Measure("r2_velocity_knn", r"$R^2$ $\dot\varphi$ (kNN)", 3, "min"),
    Measure("mse_smoothed", "reconstruction MSE", 5, "max"),
    Measure("mse_open_loop", "open-loop MSE", 4, "max"),
    Measure("mse_forecast", "forecast MSE", 4, "max"),
    Measure("rate", "rate (nats)", 1, ""),
)
HEADLINE = ("r2_sin", "r2_cos", "r2_velocity", "r2_velocity_knn", "mse_open_loop")


class Summary(NamedTuple):
    """One measure of one run over its seeds."""

    mean: float
    sd: float  # sample standard deviation over seeds; NaN for one seed
    worst: float  # the smallest or largest value, whichever is worse; NaN where neither is
    seeds: int


def runs(rows: Iterable[Mapping]) -> list[str]:
    """Names of the runs, each once: in the order of `experiments.EXPERIMENTS`, then any others."""
    names = dict.fromkeys(row["run"] for row in rows)
    known = [name for name in experiments.EXPERIMENTS if name in names]
    return known + [name for name in names if name not in known]


def summarise(rows: Iterable[Mapping], run: str, measure: Measure) -> Summary:
    """Mean, standard deviation and worst of a measure over the seeds of a run. ValueError when there is no row of that run."""
    values = [row[measure.key] for row in rows if row["run"] == run]
    if not values:
        raise ValueError(f"no row of the run {run!r}")
    worst = {"min": min, "max": max}[measure.worst](values) if measure.worst else math.nan
    return Summary(fmean(values), stdev(values) if len(values) > 1 else math.nan, worst, len(values))


def number(value: float | None, digits: int, sign: str = "") -> str:
    """A fixed number of digits, or an exponent from a million on; a dash for what is missing or not finite. sign "+" shows it always."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{sign}.1e}" if abs(value) >= 1e6 else f"{value:{sign}.{digits}f}"


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary_table(rows: Sequence[Mapping], keys: Sequence[str] = HEADLINE) -> str:
    """One line a run: mean ± standard deviation over seeds, and the worst seed in parentheses. Markdown."""
    measures = [m for m in MEASURES if m.key in keys]
    body = []
    for run in runs(rows):
        cells = []
        for m in measures:
            s = summarise(rows, run, m)
            spread = f" ± {number(s.sd, m.digits)}" if s.seeds > 1 else ""
            worst = f" ({number(s.worst, m.digits)})" if m.worst and s.seeds > 1 else ""
            cells.append(number(s.mean, m.digits) + spread + worst)
        body.append([f"`{run}`", str(summarise(rows, run, measures[0]).seeds), *cells])
    return markdown(["run", "seeds", *(m.head for m in measures)], body)


def seed_table(rows: Sequence[Mapping], run: str) -> str:
    """One line a seed of a run, all measures. Markdown."""
    chosen = sorted((row for row in rows if row["run"] == run), key=lambda row: row["seed"])
    body = [
        [str(row["seed"]), str(row["steps"]), number(row["seconds"] / 60, 1), *(number(row[m.key], m.digits) for m in MEASURES)]
        for row in chosen
    ]
    return markdown(["seed", "steps", "minutes", *(m.head for m in MEASURES)], body)


def seed_rows(rows: Sequence[Mapping]) -> str:
    """One line a row, whatever its run and data: run, seed, steps and all measures. Markdown."""
    body = [[f"`{row['run']}`", str(row["seed"]), str(row["steps"]), *(number(row[m.key], m.digits) for m in MEASURES)] for row in rows]
    return markdown(["run", "seed", "steps", *(m.head for m in MEASURES)], body)


# ---------------------------------------------------------------- the search

SEARCH = experiments.PRETRAINED / "search.json"
FOUND = 0.95  # a seed counts as found when all three R² reach this


def load_search() -> list[dict]:
    """A row per trial.

    Keys: source ("prototype", "search", "after the freeze" or "third"), model, settings (text), seed, steps, and on validation sequences
    r2_sin, r2_cos, r2_velocity, r2_velocity_knn and mse_open_loop (the last two may be null).
    Trials that looked hopeless were stopped early: `steps` says where.
    """
    return files.read_json(SEARCH)


def search_table(trials: Sequence[Mapping]) -> str:
    """One line a setting: how many seeds found angle and velocity, and the worst and best seed. Markdown."""
    groups: dict[tuple, list[Mapping]] = {}
    for trial in trials:
        groups.setdefault((trial["model"], trial["settings"], trial["steps"]), []).append(trial)
    body = []
    for (model, settings, steps), group in groups.items():
        angle = [min(t["r2_sin"], t["r2_cos"]) for t in group]
        velocity = [t["r2_velocity"] for t in group]
        bent = [t["r2_velocity_knn"] for t in group if t.get("r2_velocity_knn") is not None]
        errors = [t["mse_open_loop"] for t in group if t["mse_open_loop"] is not None]
        found = sum(min(a, v) >= FOUND for a, v in zip(angle, velocity))
        body.append(
            [model, settings, str(steps), f"{found} of {len(group)}", _range(angle, 3), _range(velocity, 3), _range(bent, 3), _range(errors, 4)]
        )
    head = ["model", "settings", "steps", "seeds found", "$R^2$ of the angle", "$R^2$ of the velocity", "the same, neighbours", "open-loop MSE"]
    return markdown(head, body)


def _range(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"


def load_study() -> list[dict]:
    """The rows of the shipped study: a row per model, objective and seed, with the keys of `evaluate`, the IWAE bound, config hash and versions."""
    return files.read_json(experiments.PRETRAINED / "study.json")


def load_tuning() -> list[dict]:
    """The runs that chose the study's settings (`book/make_tuning.py`): a row per objective, setting and model, on one seed and validation films."""
    return files.read_json(experiments.PRETRAINED / "study_tuning.json")
