"""Figures of runs over seeds: the study, sampled rollouts against the truth, calibration, and the
time of a training step.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.calibration import central_interval, wrap
from ..experiments import measures
from .style import (
    BLACK,
    BLUE,
    GREEN,
    LABELS,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Array,
    as_array,
    grid_behind,
    legend_outside,
    log_axes,
    plain_axes,
    plain_axis,
    series_styles,
)

SHOWN = ("r2_velocity", "mse_open_loop")

# objective -> colour and marker, the same in every figure
STYLE = {
    "elbo-learned-noise": (RED, "o"),
    "annealed": (ORANGE, "^"),
    "constrained": (BLUE, "s"),
    "elbo": (PURPLE, "v"),
    "rewo": (GREEN, "D"),
    "balanced": (SKY, "P"),
}
OTHER = (BLACK, "X")

LETTERS = 80  # of a label, in all panels together


# ---------------------------------------------------------------- seeds


def _measure_axis(axis: Axes, key: str, width: int) -> None:
    """The horizontal axis of a measure, after its numbers are drawn: R² up to 1, errors on a
    logarithmic one; its label in lines of `width` letters.
    """
    if key.startswith("r2_"):
        axis.set_xlim(min(-0.03, axis.get_xlim()[0]), 1.03)
    elif measures.measure(key).worst == "max" and axis.lines:
        log_axes(axis, "x")
    axis.set_xlabel(textwrap.fill(measures.label(key), width), fontsize=9)
    axis.tick_params(labelsize=8)
    grid_behind(axis, "x")


def _name_rows(axis: Axes, names: Sequence[str]) -> None:
    """Rows 0, 1, … from the top, by name."""
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.5, -0.5)


def _mean_bar(axis: Axes, value: float, y: float, half: float) -> None:
    axis.plot([value, value], [y - half, y + half], color=BLACK, lw=1.8)


def results_table_figure(rows: Sequence[Mapping], keys: Sequence[str] = SHOWN) -> Figure:
    """Every run and seed as a point, the mean over seeds as a bar, one panel for each measure.

    rows: dicts with "run", "seed" and the measures (`experiments.load_results()`). Errors get a
    logarithmic axis.
    """
    runs = list(dict.fromkeys(row["run"] for row in rows))
    figure, axes = plain_axes(1, len(keys), 7, 0.42 * len(runs) + 1.1, sharey=True)
    for axis, key in zip(axes[0], keys):
        for y, (run, style) in enumerate(zip(runs, series_styles())):
            values = np.array([row[key] for row in rows if row["run"] == run], float)
            apart = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else 0.0
            height = np.full(len(values), y) + apart
            axis.plot(values, height, ms=5, alpha=0.75, **style.points)
            _mean_bar(axis, values.mean(), y, 0.32)
        _measure_axis(axis, key, LETTERS // len(keys))
    _name_rows(axes[0, 0], runs)
    figure.set_layout_engine("constrained", wspace=0.06)
    return figure


def study(rows: Sequence[Mapping], keys: Sequence[str] = SHOWN) -> Figure:
    """Every seed of the study as a point: a row for each model, a colour and marker for each
    objective, a panel for each measure.

    rows: dicts with "model", "objective" and the measures, of `study.load` or
    `experiments.load_results`. Short bars are means over seeds; errors
    have a logarithmic axis. Seeds without a finite number are counted at the right edge ("2 NaN").
    ValueError without rows.
    """
    if not rows:
        raise ValueError("no rows to draw")
    parts = [(row["model"], row["objective"]) for row in rows]
    models = list(dict.fromkeys(model for model, _ in parts))
    known = dict.fromkeys(objective for _, objective in parts)
    objectives = [o for o in dict.fromkeys((*STYLE, *known)) if o in known]
    reach = 0.27 if len(objectives) > 1 else 0.0
    offsets = dict(zip(objectives, np.linspace(-reach, reach, len(objectives))))
    figure, axes = plain_axes(1, len(keys), 7, 0.62 * len(models) + 1.3, sharey=True)
    for axis, key in zip(axes[0], keys):
        for y, model in enumerate(models):
            for objective, offset in offsets.items():
                own = (row for row, part in zip(rows, parts) if part == (model, objective))
                _seeds(axis, [row.get(key) for row in own], y + offset, objective)
        for y in range(len(models) - 1):
            axis.axhline(y + 0.5, color="0.9", lw=0.8)
        _measure_axis(axis, key, LETTERS // len(keys))
    _name_rows(axes[0, 0], models)
    for objective in objectives:
        colour, marker = STYLE.get(objective, OTHER)
        axes[0, 0].plot([], [], marker, color=colour, ms=6, label=objective.replace("-", " "))
    legend_outside(figure, axes[0, 0])
    return figure


def _seeds(axis: Axes, values: Sequence[float | None], y: float, objective: str) -> None:
    """The seeds of one model and objective at height y, and how many have no finite number."""
    colour, marker = STYLE.get(objective, OTHER)
    finite = np.array([v for v in values if v is not None and np.isfinite(v)], float)
    if len(finite):
        (points,) = axis.plot(finite, np.full(len(finite), y), marker, color=colour, ms=5)
        points.set(alpha=0.75, mec="white", mew=0.4)
        _mean_bar(axis, finite.mean(), y, 0.11)
    if missing := len(values) - len(finite):
        edge = axis.get_yaxis_transform()  # x in shares of the axis
        count = axis.text(1.0, y, f"{missing} NaN", transform=edge, ha="right", va="center")
        count.set(color=colour, fontsize=7)


def scaling(rows: Sequence[Mapping]) -> Figure:
    """Time of a training step against each size that was varied, on logarithmic axes.

    rows: dicts with model, varied (the name of a size), that size, and step_ms, as
    `benchmarks/scaling.py` makes them.
    """
    names = {"T": "sequence length T", "B": "batch B (sequences)", "nz": "state size (dim z)"}
    varied = list(dict.fromkeys(row["varied"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plain_axes(1, len(varied), 7.5, 3.0, sharey=True)
    for axis, size in zip(axes[0], varied):
        own = [row for row in rows if row["varied"] == size]
        for model, style in zip(models, series_styles()):
            times = {row[size]: row["step_ms"] for row in own if row["model"] == model}
            axis.plot(list(times), list(times.values()), ms=5, label=model, **style.marked)
        axis.set(xlabel=names.get(size, size), xscale="log", yscale="log")
        ticks = sorted({row[size] for row in own})
        axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axis.xaxis.minorticks_off()
        grid_behind(axis)
    axes[0, 0].set_ylabel("time of a training step (ms)")
    axes[0, 0].legend(fontsize=9)
    return figure


# ---------------------------------------------------------------- calibration and rollouts


def calibration_curve(levels: Array, coverage: Mapping[str, Array]) -> Figure:
    """Nominal against empirical coverage of central intervals. levels [L] in (0, 1); coverage
    {name: [L]}.
    """
    figure, axis = plain_axis(6.8, 4.2)
    levels = as_array(levels)
    axis.plot([0, 1], [0, 1], color="0.5", lw=1, ls="--", label="calibrated")
    for (name, values), style in zip(coverage.items(), series_styles()):
        axis.plot(levels, as_array(values), ms=5, lw=1.3, label=name, **style.marked)
    words = axis.text(0.97, 0.06, "below the line: too sure", transform=axis.transAxes)
    words.set(ha="right", fontsize=8, color="0.35")
    axis.set(xlabel="nominal coverage", ylabel="share of the truths inside")
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _band(
    axis: Axes,
    time: np.ndarray,
    centre: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    label: str,
) -> None:
    """Circular means [T] with the band of deviations [low, high]; where the mean jumps by more than
    π, the line is broken, so that it does not cross the panel.
    """
    jumps = np.flatnonzero(np.abs(np.diff(centre)) > np.pi) + 1
    when, mean, bottom, top = (
        np.insert(v.astype(float), jumps, np.nan)
        for v in (time, centre, centre + low, centre + high)
    )
    axis.fill_between(when, bottom, top, color=BLUE, alpha=0.25, lw=0, label=label)
    axis.plot(when, mean, color=BLUE, lw=1.4, label="their circular mean")


def rollout_panels(
    samples: Array,
    truth: Array,
    *,
    dt: float,
    seen: int = 1,
    level: float = 0.9,
    titles: Sequence[str] = (),
) -> Figure:
    """Sampled predictions against the truth, a panel for each sequence: the true angle, the
    circular mean and the central band of the draws.

    The truth is drawn as one unbroken line (a full turn adds 2π), and the band on the branch next
    to it.

    Args:
        samples: [S, N, T'] drawn angles of the last T' steps of the sequences.
        truth: [N, T] true angles, T >= T'.
        dt: between two steps, in s.
        seen: number of frames that the model saw, marked by a line; for the title only where the
            first T - T' frames are others.
        level: of the band.
    Raises:
        ValueError: shapes that do not go together, or a level outside (0, 1).
    """
    samples, truth = as_array(samples).astype(np.float64), as_array(truth).astype(np.float64)
    N, T = truth.shape if truth.ndim == 2 else (0, 0)
    fits = samples.ndim == 3 and samples.shape[1] == N and 2 <= samples.shape[2] <= T
    if not fits or len(samples) < 2:
        raise ValueError(
            "samples and truth must be [S, N, T'] and [N, T] with S, T' >= 2, "
            f"got {list(samples.shape)} and {list(truth.shape)}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    truth, first = np.unwrap(truth, axis=1), T - samples.shape[2]
    time = dt * np.arange(T)
    centre, ((low,), (high,)) = central_interval(samples, [level])
    centre = truth[:, first:] + wrap(centre - truth[:, first:])
    figure, axes = plain_axes(N, 1, 7, 1.75 * N + 0.8, sharex=True)
    for k, axis in enumerate(axes[:, 0]):
        _band(axis, time[first:], centre[k], low[k], high[k], f"{level:.0%} of the draws")
        axis.plot(time, truth[k], color=BLACK, lw=1.2, ls="--", label="truth")
        axis.axvline(dt * (seen - 1), color="0.6", lw=1, label="last frame seen")
        axis.set_ylabel(LABELS[0], fontsize=9)
        axis.set_title(titles[k] if k < len(titles) else "", fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
    axes[-1, 0].set_xlabel("time (s)", fontsize=9)
    legend_outside(figure, axes[0, 0])
    return figure
