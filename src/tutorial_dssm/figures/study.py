"""The figures of the study: seeds of all runs, sampled rollouts against the truth, calibration; and
the angle behind a latent state.

Colours are those of Okabe & Ito (2008), and every colour comes with a marker of its own. Angles are
in rad, times in s. Arrays may be torch tensors (on the CPU) or numpy. No function trains, reads or
saves anything, or touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..evaluation.calibration import central_interval, wrap
from ..experiments.comparisons import split
from .style import (
    BLACK,
    BLUE,
    CYCLE,
    DT,
    GREEN,
    LABELS,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    as_array,
    new_figure,
    plain,
    plain_log,
)


def results_table_figure(
    rows: Sequence[Mapping], measures: Sequence[str] = ("r2_velocity", "mse_open_loop")
) -> Figure:
    """Every run and seed as a dot, the mean over seeds as a bar, one panel per measure.

    rows: dicts with "run", "seed" and the measures (`experiments.load_results()`). Errors get a
    logarithmic axis.
    """
    labels = {
        "r2_sin": "$R^2$ of sin φ",
        "r2_cos": "$R^2$ of cos φ",
        "r2_velocity": "$R^2$ of the velocity",
        "r2_velocity_knn": "$R^2$ of the velocity\n(nearest neighbours)",
        "mse_open_loop": "open-loop error\n(squared, per pixel)",
        "mse_forecast": "forecast error\n(squared, per pixel)",
        "mse_smoothed": "reconstruction error\n(squared, per pixel)",
        "rate": "rate\n(nats per sequence)",
    }
    runs = list(dict.fromkeys(row["run"] for row in rows))
    figure = new_figure(7, 0.42 * len(runs) + 1.1)
    axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for axis, measure in zip(axes, measures):
        for y, (run, colour) in enumerate(zip(runs, CYCLE * 3)):
            values = np.array([row[measure] for row in rows if row["run"] == run], float)
            axis.plot(
                values,
                np.full(len(values), y) + np.linspace(-0.14, 0.14, len(values)) * (len(values) > 1),
                "o",
                color=colour,
                ms=5,
                alpha=0.75,
            )
            axis.plot([values.mean()] * 2, [y - 0.32, y + 0.32], color=BLACK, lw=2)
        if measure.startswith("r2"):
            axis.set_xlim(min(-0.03, axis.get_xlim()[0]), 1.03)
        else:
            axis.set_xscale("log")
            plain_log(axis.xaxis)
        axis.set_xlabel(labels.get(measure, measure), fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        plain(axis)
    axes[0].set_yticks(range(len(runs)), runs, fontsize=9)
    figure.get_layout_engine().set(wspace=0.06)
    axes[0].set_ylim(len(runs) - 0.5, -0.5)
    return figure


def scaling(rows: Sequence[Mapping]) -> Figure:
    """Time of a training step against each size that was varied, on logarithmic axes.

    rows: dicts with model, varied (the name of a size), that size, and step_ms, as
    `benchmarks/scaling.py` makes them.
    """
    names = {"T": "sequence length T", "B": "batch B (sequences)", "nz": "state size (dim z)"}
    varied = list(dict.fromkeys(row["varied"] for row in rows))
    figure = new_figure(7.5, 3.0)
    for axis, size in zip(figure.subplots(1, len(varied), sharey=True, squeeze=False)[0], varied):
        for model, colour, marker in zip(
            dict.fromkeys(row["model"] for row in rows), CYCLE, "osD^v"
        ):
            points = [
                (row[size], row["step_ms"])
                for row in rows
                if row["varied"] == size and row["model"] == model
            ]
            axis.plot(*zip(*points), color=colour, marker=marker, ms=5, label=model)
        axis.set(xlabel=names.get(size, size), xscale="log", yscale="log")
        ticks = sorted({row[size] for row in rows if row["varied"] == size})
        axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axis.xaxis.minorticks_off()
        axis.grid(color="0.92")
        plain(axis)
    figure.axes[0].set_ylabel("time of a training step (ms)")
    figure.axes[0].legend(fontsize=9)
    return figure


STYLE = {  # objective -> colour and marker, the same in every figure
    "elbo-learned-noise": (RED, "o"),
    "annealed": (ORANGE, "^"),
    "constrained": (BLUE, "s"),
    "elbo": (PURPLE, "v"),
    "rewo": (GREEN, "D"),
    "balanced": (SKY, "P"),
}


MEASURES = {
    "r2_velocity": "$R^2$ of the velocity",
    "r2_velocity_knn": "$R^2$ of the velocity (neighbours)",
    "r2_sin": "$R^2$ of sin φ",
    "r2_cos": "$R^2$ of cos φ",
    "mse_open_loop": "open-loop error (squared, per pixel)",
    "mse_forecast": "forecast error (squared, per pixel)",
    "mse_smoothed": "reconstruction error (squared, per pixel)",
    "rate": "rate (nats per sequence)",
}


def calibration_curve(levels, coverage: Mapping[str, np.ndarray]) -> Figure:
    """Nominal against empirical coverage of central intervals of the predicted angle. levels [L] in
    (0, 1); coverage {name: [L]}.
    """
    figure = new_figure(6.8, 4.2)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.5", lw=1, ls="--", label="calibrated")
    for (name, values), colour, marker in zip(coverage.items(), CYCLE * 2, "osD^vPX*<>"):
        axis.plot(
            as_array(levels), as_array(values), marker + "-", color=colour, ms=5, lw=1.3, label=name
        )
    axis.text(
        0.97,
        0.06,
        "below the line: too sure",
        transform=axis.transAxes,
        ha="right",
        fontsize=8,
        color="0.35",
    )
    axis.set(
        xlabel="nominal coverage",
        ylabel="share of true angles inside",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    figure.legend(
        *axis.get_legend_handles_labels(), fontsize=8, loc="outside right upper", frameon=False
    )
    plain(axis)
    return figure


# ---------------------------------------------------------------- rollouts


def _broken(path: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Copies with NaN put in where `path` jumps by more than π, so that a line does not cross the
    panel there.
    """
    jumps = np.flatnonzero(np.abs(np.diff(path)) > np.pi) + 1
    return [np.insert(v.astype(float), jumps, np.nan) for v in (path, *others)]


def rollout_panels(
    samples, truth, seen: int = 1, dt: float = DT, level: float = 0.9, titles: Sequence[str] = ()
) -> Figure:
    """Sampled predictions against the truth, a panel for each sequence: the true angle, the
    circular mean and the central band of the draws.

    The truth is drawn as one unbroken line (a full turn adds 2π), and the band on the branch next
    to it.

    Args:
        samples: [S, N, T'] drawn angles of the last T' steps of the sequences.
        truth: [N, T] true angles, T >= T'.
        seen: number of frames that the model saw, marked by a line; for the title only where the
            first T - T' frames are others.
        level: of the band.
    Raises:
        ValueError: shapes that do not go together, or a level outside (0, 1).
    """
    samples, truth = as_array(samples).astype(np.float64), as_array(truth).astype(np.float64)
    N, T = truth.shape if truth.ndim == 2 else (0, 0)
    if (
        samples.ndim != 3
        or samples.shape[1] != N
        or not 2 <= samples.shape[2] <= T
        or len(samples) < 2
    ):
        raise ValueError(
            f"samples and truth must be [S, N, T'] and [N, T] with S, T' >= 2, got {list(samples.shape)} and {list(truth.shape)}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    truth, first = np.unwrap(truth, axis=1), T - samples.shape[2]
    time = dt * np.arange(T)
    centre, ((low,), (high,)) = central_interval(samples, [level])
    centre = truth[:, first:] + wrap(centre - truth[:, first:])
    figure = new_figure(7, 1.75 * N + 0.8)
    axes = figure.subplots(N, 1, squeeze=False, sharex=True)[:, 0]
    for k, axis in enumerate(axes):
        mean, bottom, top, when = _broken(
            centre[k], centre[k] + low[k], centre[k] + high[k], time[first:]
        )
        axis.fill_between(
            when, bottom, top, color=BLUE, alpha=0.25, lw=0, label=f"{level:.0%} of the draws"
        )
        axis.plot(when, mean, color=BLUE, lw=1.4, label="their circular mean")
        axis.plot(time, truth[k], color=BLACK, lw=1.2, ls="--", label="truth")
        axis.axvline(dt * (seen - 1), color="0.6", lw=1, label="last frame seen")
        axis.set_ylabel(LABELS[0], fontsize=9)
        axis.set_title(titles[k] if k < len(titles) else "", fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        plain(axis)
    axes[-1].set_xlabel("time (s)", fontsize=9)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, ncols=4, loc="outside lower center", frameon=False)
    return figure


# ---------------------------------------------------------------- the study


def study(
    rows: Sequence[Mapping], measures: Sequence[str] = ("r2_velocity", "mse_open_loop")
) -> Figure:
    """Every seed of the study as a point: a row for each model, a colour and marker for each
    objective, a panel for each measure.

    rows: of `study.load` or `experiments.load_results`. Short bars are means over seeds; errors
    have a logarithmic axis. Seeds without a finite number are counted at the right edge ("2 NaN").
    ValueError without rows.
    """
    if not rows:
        raise ValueError("no rows to draw")
    parts = [split(row["run"]) for row in rows]
    models = list(dict.fromkeys(model for model, _ in parts))
    objectives = [o for o in (*STYLE, "") if o in {objective for _, objective in parts}]
    offset = dict(
        zip(objectives, np.linspace(-0.27, 0.27, len(objectives)) if len(objectives) > 1 else [0.0])
    )
    figure = new_figure(7, 0.62 * len(models) + 1.3)
    axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for axis, measure in zip(axes, measures):
        for y, model in enumerate(models):
            for objective in objectives:
                colour, marker = STYLE.get(objective, (BLACK, "X"))
                values = [
                    row.get(measure) for row, part in zip(rows, parts) if part == (model, objective)
                ]
                finite = np.array([v for v in values if v is not None and np.isfinite(v)], float)
                at = y + offset[objective]
                if len(finite):
                    axis.plot(
                        finite,
                        np.full(len(finite), at),
                        marker,
                        color=colour,
                        ms=5,
                        alpha=0.75,
                        mec="white",
                        mew=0.4,
                    )
                    axis.plot([finite.mean()] * 2, [at - 0.11, at + 0.11], color=BLACK, lw=1.6)
                if missing := len(values) - len(finite):
                    edge = axis.get_yaxis_transform()  # x in shares of the axis
                    axis.text(
                        1.0,
                        at,
                        f"{missing} NaN",
                        transform=edge,
                        color=colour,
                        fontsize=7,
                        ha="right",
                        va="center",
                    )
        if measure.startswith("r2"):
            axis.set_xlim(min(-0.03, axis.get_xlim()[0]), 1.03)
        elif measure.startswith("mse") and axis.lines:
            axis.set_xscale("log")
            plain_log(axis.xaxis)
        for y in range(len(models) - 1):
            axis.axhline(y + 0.5, color="0.9", lw=0.8)
        axis.set_xlabel(MEASURES.get(measure, measure), fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", color="0.94")
        axis.set_axisbelow(True)
        plain(axis)
    axes[0].set_yticks(range(len(models)), models, fontsize=9)
    axes[0].set_ylim(len(models) - 0.5, -0.5)
    for objective in objectives:
        colour, marker = STYLE.get(objective, (BLACK, "X"))
        axes[0].plot(
            [], [], marker, color=colour, ms=6, label=objective.replace("-", " ") or "other"
        )
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, fontsize=8, ncols=len(names), loc="outside lower center", frameon=False
    )
    return figure
