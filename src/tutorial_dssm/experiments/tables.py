"""Tables in Markdown: numbers, and the rows of runs over their seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence

from .comparisons import compare, run_names, summarise
from .measures import HEADLINE, MEASURES, measure

KEYS = ("r2_velocity", "r2_velocity_knn", "mse_open_loop", "mse_forecast", "rate")  # of the study


def number(value: float | None, digits: int, sign: str = "") -> str:
    """A fixed number of digits, or an exponent from a million on.

    A dash stands for what is missing or not finite; sign "+" shows it always.
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{sign}.1e}" if abs(value) >= 1e6 else f"{value:{sign}.{digits}f}"


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _over_seeds(rows: Sequence[Mapping], run: str, key: str) -> str:
    """Mean ± standard deviation over seeds, and the worst seed in parentheses."""
    s, digits = summarise(rows, run, key), measure(key).digits
    cell = number(s.mean, digits)
    if s.seeds > 1:
        cell += f" ± {number(s.sd, digits)}"
    if s.seeds > 1 and s.worst_seed is not None:
        cell += f" ({number(s.worst, digits)})"
    return cell


def _own(rows: Iterable[Mapping], run: str) -> list[Mapping]:
    return [row for row in rows if row["run"] == run]


def summary_table(rows: Sequence[Mapping], keys: Sequence[str] = HEADLINE) -> str:
    """One line a run: seeds, and each measure as mean ± standard deviation (worst seed)."""
    body = [
        [f"`{run}`", str(len(_own(rows, run))), *(_over_seeds(rows, run, key) for key in keys)]
        for run in run_names(rows)
    ]
    return markdown(["run", "seeds", *(measure(key).head for key in keys)], body)


def study_table(rows: Sequence[Mapping], keys: Sequence[str] = KEYS) -> str:
    """As `summary_table`, with the number of seeds whose numbers broke down."""
    body = []
    for run in run_names(rows):
        own = _own(rows, run)
        broken = sum(bool(row.get("nan")) for row in own)
        cells = [_over_seeds(rows, run, key) for key in keys]
        body.append([f"`{run}`", str(len(own)), str(broken), *cells])
    return markdown(["run", "seeds", "NaN", *(measure(key).head for key in keys)], body)


def _measured(row: Mapping) -> list[str]:
    return [number(row[m.key], m.digits) for m in MEASURES]


def seed_table(rows: Sequence[Mapping], run: str) -> str:
    """One line a seed of a run, all measures."""
    body = [
        [str(row["seed"]), str(row["steps"]), number(row["seconds"] / 60, 1), *_measured(row)]
        for row in sorted(_own(rows, run), key=lambda row: row["seed"])
    ]
    return markdown(["seed", "steps", "minutes", *(m.head for m in MEASURES)], body)


def seed_rows(rows: Sequence[Mapping]) -> str:
    """One line a row, whatever its run and data: run, seed, steps and all measures."""
    body = [
        [f"`{row['run']}`", str(row["seed"]), str(row["steps"]), *_measured(row)] for row in rows
    ]
    return markdown(["run", "seed", "steps", *(m.head for m in MEASURES)], body)


def comparison_table(
    rows: Sequence[Mapping], keys: Sequence[str] = ("r2_velocity", "mse_open_loop", "rate")
) -> str:
    """One line a comparison: mean difference over seeds [95 % interval], the sign of each seed's.

    First balancing, model by model, then the Kalman posterior against two network posteriors,
    objective by objective; those that the rows allow.
    """
    names = run_names(rows)
    models = dict.fromkeys(row["model"] for run in names for row in _own(rows, run))
    objectives = dict.fromkeys(row["objective"] for run in names for row in _own(rows, run))
    pairs = [(f"{m}-constrained", f"{m}-elbo-learned-noise") for m in models]
    for other in ("dks", "dvbf-smoothing"):
        pairs += [(f"ekvae-{o}", f"{other}-{o}") for o in objectives]
    body = [
        [f"`{first}` − `{second}`", *(_difference(rows, first, second, key) for key in keys)]
        for first, second in pairs
        if first in names and second in names
    ]
    return markdown(["difference", *(measure(key).head for key in keys)], body)


def _difference(rows: Sequence[Mapping], first: str, second: str, key: str) -> str:
    """A cell: mean [interval] signs, or a dash where the two share no seed."""
    try:
        p = compare(rows, first, second, key)
    except ValueError:
        return "–"
    digits = measure(key).digits
    signs = "".join({1: "+", 0: "0", -1: "−"}[s] for s in p.signs)
    interval = f" [{number(p.low, digits)}, {number(p.high, digits)}]" if len(p.seeds) > 1 else ""
    return f"{number(p.mean, digits, '+')}{interval} {signs}"
