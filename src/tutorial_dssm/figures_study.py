"""The figures of the study: seeds of all runs, sampled rollouts against the truth, calibration; and the angle behind a latent state (floor 4).

Colours are those of Okabe & Ito (2008), and every colour comes with a marker of its own. Angles are in rad, times in s. Arrays may be torch tensors
(on the CPU) or numpy. No function trains, reads or saves anything, or touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .figures import DT, _array, _figure, _plain, _plain_log
from .figures_filtering import BLACK, BLUE, CYCLE, GREEN, LABELS, ORANGE, PURPLE, RED, SKY
from .models.base import SequentialModel
from .pendulum import SequenceData
from .study import split

STYLE = {  # objective -> colour and marker, the same in every figure
    "elbo-learned-noise": (RED, "o"), "annealed": (ORANGE, "^"), "constrained": (BLUE, "s"), "elbo": (PURPLE, "v"), "rewo": (GREEN, "D"),
    "balanced": (SKY, "P"),
}  # fmt: skip
MEASURES = {
    "r2_velocity": "$R^2$ of the velocity", "r2_velocity_knn": "$R^2$ of the velocity (neighbours)", "r2_sin": "$R^2$ of sin φ",
    "r2_cos": "$R^2$ of cos φ", "mse_open_loop": "open-loop error (squared, per pixel)", "mse_forecast": "forecast error (squared, per pixel)",
    "mse_smoothed": "reconstruction error (squared, per pixel)", "rate": "rate (nats per sequence)",
}  # fmt: skip


def wrap(angle) -> np.ndarray:
    """Angles on [-π, π)."""
    return np.remainder(_array(angle) + np.pi, 2 * np.pi) - np.pi


# ---------------------------------------------------------------- from latent states to angles


class AngleMap(NamedTuple):
    """Linear map from z to (sin φ, cos φ), then atan2."""

    weights: np.ndarray  # [Z + 1, 2], the intercept last

    def __call__(self, z) -> np.ndarray:
        """z [..., Z] -> φ [...] on (-π, π]."""
        z = _array(z).astype(np.float64)
        sin, cos = np.moveaxis(z @ self.weights[:-1] + self.weights[-1], -1, 0)
        return np.arctan2(sin, cos)


def fit_angle(z, state) -> AngleMap:
    """Ordinary least squares from smoothed means z [N, T, Z] to sin φ and cos φ of state [N, T, 2], as the R² of the tables.

    ValueError when the shapes do not go together.
    """
    z, state = _array(z).astype(np.float64), _array(state).astype(np.float64)
    if z.shape[:-1] != state.shape[:-1] or state.shape[-1] != 2:
        raise ValueError(f"z and state must be [N, T, Z] and [N, T, 2], got {list(z.shape)} and {list(state.shape)}")
    design = np.column_stack([z.reshape(-1, z.shape[-1]), np.ones(z[..., 0].size)])
    phi = state[..., 0].ravel()
    return AngleMap(np.linalg.lstsq(design, np.column_stack([np.sin(phi), np.cos(phi)]), rcond=None)[0])


@torch.no_grad()
def sampled_rollouts(model: SequentialModel, data: SequenceData, frames: int, draws: int, generator: torch.Generator | None = None) -> Tensor:
    """Paths drawn from the model after it has seen `frames` frames: [S, N, T - frames + 1, Z], the state at the last frame seen included.

    Each path starts at its own posterior draw given x_{1:frames} and draws every transition: the predictive distribution. ValueError unless
    1 <= frames <= T and draws >= 1.
    """
    N, T = data.x.shape[:2]
    if not (1 <= frames <= T and draws >= 1):
        raise ValueError(f"frames must be between 1 and {T} and draws at least 1, got {frames} and {draws}")
    paths = []
    for _ in range(draws):
        z = model.infer(data.x[:, :frames], data.u[:, :frames], generator).sample[:, -1]
        paths.append(model.predict(z, data.u[:, frames - 1 :], sample=True, generator=generator))
    return torch.stack(paths)


# ---------------------------------------------------------------- calibration


def _central(samples: np.ndarray, levels) -> tuple[np.ndarray, np.ndarray]:
    """Circular means [...] of samples [S, ...], and the deviations from them [2, L, ...] at which the central interval of each level begins and ends.

    Quantile k/(S + 1) is the k-th smallest of S draws: of one more draw, that share lies below it in the mean, whatever the distribution.
    """
    centre = np.arctan2(np.sin(samples).mean(0), np.cos(samples).mean(0))
    tail = (1 - np.asarray(levels, float)) / 2
    return centre, np.quantile(wrap(samples - centre), np.stack([tail, 1 - tail]), axis=0, method="weibull")


def calibration(samples, truth, levels) -> np.ndarray:
    """Share of true angles that lie in the central interval of each level [L], over all sequences and steps.

    Angles are circular: intervals are quantiles of the deviation from the circular mean of the draws, so that ±π is no edge. Levels above
    (S - 1)/(S + 1) ask for more than S draws can tell: the interval ends at the outermost draws.

    Args:
        samples: [S, N, T] drawn angles, in rad, on any branch.
        truth: [N, T].
        levels: [L] in (0, 1).
    Raises:
        ValueError: shapes that do not go together, S < 2, values that are not finite, or a level outside (0, 1).
    """
    samples, truth, levels = (_array(v).astype(np.float64) for v in (samples, truth, np.atleast_1d(levels)))
    if samples.ndim < 1 or samples.shape[1:] != truth.shape or len(samples) < 2:
        raise ValueError(f"samples must be [S, *truth.shape] with S >= 2, got {list(samples.shape)} for {list(truth.shape)}")
    if not (np.isfinite(samples).all() and np.isfinite(truth).all()):
        raise ValueError("samples and truth must be finite, got NaN or infinity")
    if not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels must be between 0 and 1, got {levels.tolist()}")
    centre, (low, high) = _central(samples, levels)
    deviation = wrap(truth - centre)
    return ((low <= deviation) & (deviation <= high)).reshape(len(levels), -1).mean(1)


def calibration_curve(levels, coverage: Mapping[str, np.ndarray]) -> Figure:
    """Nominal against empirical coverage of central intervals of the predicted angle. levels [L] in (0, 1); coverage {name: [L]}."""
    figure = _figure(6.8, 4.2)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.5", lw=1, ls="--", label="calibrated")
    for (name, values), colour, marker in zip(coverage.items(), CYCLE * 2, "osD^vPX*<>"):
        axis.plot(_array(levels), _array(values), marker + "-", color=colour, ms=5, lw=1.3, label=name)
    axis.text(0.97, 0.06, "below the line: too sure", transform=axis.transAxes, ha="right", fontsize=8, color="0.35")
    axis.set(xlabel="nominal coverage", ylabel="share of true angles inside", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.legend(*axis.get_legend_handles_labels(), fontsize=8, loc="outside right upper", frameon=False)
    _plain(axis)
    return figure


# ---------------------------------------------------------------- rollouts


def _broken(path: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Copies with NaN put in where `path` jumps by more than π, so that a line does not cross the panel there."""
    jumps = np.flatnonzero(np.abs(np.diff(path)) > np.pi) + 1
    return [np.insert(v.astype(float), jumps, np.nan) for v in (path, *others)]


def rollouts(samples, truth, seen: int = 1, dt: float = DT, level: float = 0.9, titles: Sequence[str] = ()) -> Figure:
    """Sampled predictions against the truth, a panel for each sequence: the true angle, the circular mean and the central band of the draws.

    The truth is drawn as one unbroken line (a full turn adds 2π), and the band on the branch next to it.

    Args:
        samples: [S, N, T'] drawn angles of the last T' steps of the sequences.
        truth: [N, T] true angles, T >= T'.
        seen: number of frames that the model saw, marked by a line; for the title only where the first T - T' frames are others.
        level: of the band.
    Raises:
        ValueError: shapes that do not go together, or a level outside (0, 1).
    """
    samples, truth = _array(samples).astype(np.float64), _array(truth).astype(np.float64)
    N, T = truth.shape if truth.ndim == 2 else (0, 0)
    if samples.ndim != 3 or samples.shape[1] != N or not 2 <= samples.shape[2] <= T or len(samples) < 2:
        raise ValueError(f"samples and truth must be [S, N, T'] and [N, T] with S, T' >= 2, got {list(samples.shape)} and {list(truth.shape)}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    truth, first = np.unwrap(truth, axis=1), T - samples.shape[2]
    time = dt * np.arange(T)
    centre, ((low,), (high,)) = _central(samples, [level])
    centre = truth[:, first:] + wrap(centre - truth[:, first:])
    figure = _figure(7, 1.75 * N + 0.8)
    axes = figure.subplots(N, 1, squeeze=False, sharex=True)[:, 0]
    for k, axis in enumerate(axes):
        mean, bottom, top, when = _broken(centre[k], centre[k] + low[k], centre[k] + high[k], time[first:])
        axis.fill_between(when, bottom, top, color=BLUE, alpha=0.25, lw=0, label=f"{level:.0%} of the draws")
        axis.plot(when, mean, color=BLUE, lw=1.4, label="their circular mean")
        axis.plot(time, truth[k], color=BLACK, lw=1.2, ls="--", label="truth")
        axis.axvline(dt * (seen - 1), color="0.6", lw=1, label="last frame seen")
        axis.set_ylabel(LABELS[0], fontsize=9)
        axis.set_title(titles[k] if k < len(titles) else "", fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
        _plain(axis)
    axes[-1].set_xlabel("time (s)", fontsize=9)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, ncols=4, loc="outside lower center", frameon=False)
    return figure


# ---------------------------------------------------------------- the study


def study(rows: Sequence[Mapping], measures: Sequence[str] = ("r2_velocity", "mse_open_loop")) -> Figure:
    """Every seed of the study as a point: a row for each model, a colour and marker for each objective, a panel for each measure.

    rows: of `study.load` or `experiments.load_results`. Short bars are means over seeds; errors have a logarithmic axis. Seeds without a finite
    number are counted at the right edge ("2 NaN"). ValueError without rows.
    """
    if not rows:
        raise ValueError("no rows to draw")
    parts = [split(row["run"]) for row in rows]
    models = list(dict.fromkeys(model for model, _ in parts))
    objectives = [o for o in (*STYLE, "") if o in {objective for _, objective in parts}]
    offset = dict(zip(objectives, np.linspace(-0.27, 0.27, len(objectives)) if len(objectives) > 1 else [0.0]))
    figure = _figure(7, 0.62 * len(models) + 1.3)
    axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for axis, measure in zip(axes, measures):
        for y, model in enumerate(models):
            for objective in objectives:
                colour, marker = STYLE.get(objective, (BLACK, "X"))
                values = [row.get(measure) for row, part in zip(rows, parts) if part == (model, objective)]
                finite = np.array([v for v in values if v is not None and np.isfinite(v)], float)
                at = y + offset[objective]
                if len(finite):
                    axis.plot(finite, np.full(len(finite), at), marker, color=colour, ms=5, alpha=0.75, mec="white", mew=0.4)
                    axis.plot([finite.mean()] * 2, [at - 0.11, at + 0.11], color=BLACK, lw=1.6)
                if missing := len(values) - len(finite):
                    edge = axis.get_yaxis_transform()  # x in shares of the axis
                    axis.text(1.0, at, f"{missing} NaN", transform=edge, color=colour, fontsize=7, ha="right", va="center")
        if measure.startswith("r2"):
            axis.set_xlim(min(-0.03, axis.get_xlim()[0]), 1.03)
        elif measure.startswith("mse") and axis.lines:
            axis.set_xscale("log")
            _plain_log(axis.xaxis)
        for y in range(len(models) - 1):
            axis.axhline(y + 0.5, color="0.9", lw=0.8)
        axis.set_xlabel(MEASURES.get(measure, measure), fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", color="0.94")
        axis.set_axisbelow(True)
        _plain(axis)
    axes[0].set_yticks(range(len(models)), models, fontsize=9)
    axes[0].set_ylim(len(models) - 0.5, -0.5)
    for objective in objectives:
        colour, marker = STYLE.get(objective, (BLACK, "X"))
        axes[0].plot([], [], marker, color=colour, ms=6, label=objective.replace("-", " ") or "other")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, ncols=len(names), loc="outside lower center", frameon=False)
    return figure
