"""The table of the book: every run over its seeds, and the search that came before it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from . import runs as named
from .measures import HEADLINE, MEASURES, Measure


class Summary(NamedTuple):
    """One measure of one run over its seeds."""

    mean: float
    sd: float  # sample standard deviation over seeds; NaN for one seed
    worst: float  # the smallest or largest value, whichever is worse; NaN where neither is
    seeds: int


def run_names(rows: Iterable[Mapping]) -> list[str]:
    """Names of the runs, each once: in the order of `experiments.EXPERIMENTS`, then any others."""
    names = dict.fromkeys(row["run"] for row in rows)
    known = [name for name in named.EXPERIMENTS if name in names]
    return known + [name for name in names if name not in known]


def summarise(rows: Iterable[Mapping], run: str, measure: Measure) -> Summary:
    """Mean, standard deviation and worst of a measure over the seeds of a run.

    ValueError when there is no row of that run.
    """
    values = [row[measure.key] for row in rows if row["run"] == run]
    if not values:
        raise ValueError(f"no row of the run {run!r}")
    worst = {"min": min, "max": max}[measure.worst](values) if measure.worst else math.nan
    return Summary(
        fmean(values), stdev(values) if len(values) > 1 else math.nan, worst, len(values)
    )


def number(value: float | None, digits: int, sign: str = "") -> str:
    """A fixed number of digits, or an exponent from a million on; a dash for what is missing or not
    finite. sign "+" shows it always.
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{sign}.1e}" if abs(value) >= 1e6 else f"{value:{sign}.{digits}f}"


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary_table(rows: Sequence[Mapping], keys: Sequence[str] = HEADLINE) -> str:
    """One line a run: mean ± standard deviation over seeds, and the worst seed in parentheses.

    Markdown.
    """
    measures = [m for m in MEASURES if m.key in keys]
    body = []
    for run in run_names(rows):
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
        [
            str(row["seed"]),
            str(row["steps"]),
            number(row["seconds"] / 60, 1),
            *(number(row[m.key], m.digits) for m in MEASURES),
        ]
        for row in chosen
    ]
    return markdown(["seed", "steps", "minutes", *(m.head for m in MEASURES)], body)


def seed_rows(rows: Sequence[Mapping]) -> str:
    """One line a row, whatever its run and data: run, seed, steps and all measures. Markdown."""
    body = [
        [
            f"`{row['run']}`",
            str(row["seed"]),
            str(row["steps"]),
            *(number(row[m.key], m.digits) for m in MEASURES),
        ]
        for row in rows
    ]
    return markdown(["run", "seed", "steps", *(m.head for m in MEASURES)], body)
