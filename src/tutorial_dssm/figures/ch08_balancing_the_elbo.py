"""The figures of the chapter on balancing the ELBO."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..learning.training import METRICS
from .style import (
    BLACK,
    BLUE,
    ERROR,
    ORANGE,
    RED,
    SKY,
    Array,
    Curve,
    as_array,
    grey_image,
    legend_outside,
    log_axes,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)

RATE = "rate R (nats)"


# ---------------------------------------------------------------- linear models


def rate_distortion_plane(
    curve: Curve,
    points: Mapping[str, tuple[float, float]],
    totals: Sequence[float] = (),
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
) -> Figure:
    """The rate-distortion plane: the curve that no model passes, models as points, and lines of
    equal ELBO.

    curve (D [M], R [M]), points {name: (D, R)}, totals: values of D + R, each a dashed line of
    equal ELBO; all in nats.
    """
    d, r = (as_array(v) for v in curve)
    figure, axis = plain_axis(6, 3.9)
    axis.fill_between(d, 0, r, color="0.93", lw=0)
    axis.plot(d, r, color=BLACK, lw=1.8, label="least rate for each distortion")
    label = "equal ELBO"
    for total in totals:
        rate = np.where(total >= d, total - d, np.nan)
        axis.plot(d, rate, color="0.4", lw=1, ls="--", label=label)
        label = ""
    for (name, (x, y)), style in zip(points.items(), series_styles()):
        axis.plot(x, y, ms=8, mec="white", label=name, **style.points)
    axis.set(xlabel="distortion D (nats)", ylabel=RATE)
    axis.set(xlim=xlim or (d.min(), d.max()), ylim=ylim or (0, r.max()))
    words = axis.text(0.06, 0.06, "no linear model can be here", transform=axis.transAxes)
    words.set(fontsize=9, color="0.35")
    axis.legend(fontsize=8, loc="upper right")
    axis.tick_params(labelsize=8)
    return figure


def spectra(variances: Mapping[str, Array], shown: int = 16) -> Figure:
    """Variances along the principal components, as shares of the total, on a logarithmic axis.
    variances {name: [n], falling}.
    """
    figure, axis = plain_axis(6, 2.9)
    index = np.arange(1, shown + 1)
    for (name, variance), style in zip(variances.items(), series_styles()):
        values = as_array(variance)
        shares = values[:shown] / values.sum()
        axis.plot(index, shares, ms=6, lw=1, label=name, **style.marked)
    axis.axvspan(0.5, 2.5, color="0.93", lw=0, zorder=0)
    axis.set(xlabel="principal component", xlim=(0.5, shown + 0.5), xticks=index)
    axis.set(ylabel="share of the variance", yscale="log")
    axis.legend(fontsize=9)
    axis.tick_params(labelsize=8)
    return figure


def _draw_water(axis: Axes, variances: np.ndarray, level: float, active: int) -> None:
    """Bars of the variances [n] under water, and how many directions stand out of it."""
    index = np.arange(1, len(variances) + 1)
    bottom = variances[variances > 0].min() * 0.5
    axis.bar(index, variances, color=SKY, width=0.8, label="lost")
    told, above = variances - level, variances > level
    axis.bar(index[above], told[above], 0.8, bottom=level, color=BLUE, label="told by z")
    axis.axhline(level, color=RED, lw=1.5)
    axis.set(yscale="log", ylim=(bottom, variances[0] * 1.6), xlim=(0.3, len(index) + 0.7))
    axis.set_xlabel("principal component", fontsize=8)
    axis.set_ylabel("variance", fontsize=8)
    axis.set_xticks([1, *range(4, len(index) + 1, 4)])
    axis.set_title(f"noise {level**0.5:.2f}: {active} directions in use", fontsize=9)
    axis.legend(fontsize=7, loc="upper right", handlelength=1.0)
    plain(axis, ticks=8)


def _draw_place(axis: Axes, curve: Curve, error: float, rate: float) -> None:
    """A point on the curve."""
    errors, rates = (as_array(v) for v in curve)
    axis.plot(errors, rates, color=BLACK, lw=1.4)
    axis.plot(error, rate, "o", color=RED, ms=8)
    axis.set(xscale="log", ylim=(0, rates.max() * 1.02))
    axis.set_xlabel(ERROR, fontsize=8)
    axis.set_ylabel(RATE, fontsize=8)
    axis.set_title(f"R = {rate:.1f} nats a frame", fontsize=9)
    plain(axis, ticks=8)


def _draw_level(
    axes: Sequence[Axes],
    variances: np.ndarray,
    level: float,
    curve: Curve,
    point: tuple[float, float, int],
    images: Sequence[Array],
) -> None:
    """Bars under water, the point on the curve, and the frame that the linear model gives back."""
    bars, plane, *pictures = axes
    error, rate, active = point
    _draw_water(bars, variances, level, active)
    _draw_place(plane, curve, error, rate)
    for axis, image, title in zip(pictures, images, ("frame", "given back")):
        grey_image(axis, as_array(image))
        axis.set_title(title, fontsize=9)


def _level_axes(figure: Figure) -> list[Axes]:
    """For bars, a plane and two frames."""
    places = [
        (0.085, 0.19, 0.345, 0.68),
        (0.525, 0.19, 0.27, 0.68),
        (0.825, 0.55, 0.155, 0.33),
        (0.825, 0.08, 0.155, 0.33),
    ]
    return [figure.add_axes(place) for place in places]


def water(
    variances: Array,
    level: float,
    curve: Curve,
    point: tuple[float, float, int],
    images: Sequence[Array],
    shown: int = 14,
) -> Figure:
    """Reverse water-filling at one level.

    variances [n] falling; curve (error [M], rate [M]); point (error, rate, directions in use);
    images: the frame and what is given back, [S, S] each.
    """
    figure = new_figure(7, 2.8, layout=None)
    _draw_level(_level_axes(figure), as_array(variances)[:shown], level, curve, point, images)
    return figure


def water_falls(
    variances: Array,
    levels: Sequence[float],
    curve: Curve,
    points: Sequence[tuple[float, float, int]],
    frame: Array,
    given_back: Sequence[Array],
    shown: int = 14,
) -> FuncAnimation:
    """Animation: `water` for falling levels; points [L] of (error, rate, directions), given_back
    [L, S, S].
    """
    bars = as_array(variances)[:shown]
    figure = new_figure(7, 2.8, dpi=72, layout=None)
    axes = _level_axes(figure)

    def draw(k: int) -> list:
        """One picture of the animation."""
        for axis in axes:
            axis.clear()
        _draw_level(axes, bars, levels[k], curve, points[k], (frame, given_back[k]))
        return []

    return FuncAnimation(figure, draw, frames=len(levels), interval=350, blit=False)


# ---------------------------------------------------------------- training


def _smooth(path: np.ndarray, width: int = 21) -> np.ndarray:
    """Moving geometric mean over the steps of positive numbers [steps, n] -> [n, steps]."""
    half = width // 2
    log = np.pad(np.log(path), ((half, half), (0, 0)), "edge")
    return np.exp([np.convolve(v, np.ones(width) / width, "valid") for v in log.T])


def objectives_on_the_toy(curve: Curve, paths: Mapping[str, Array], goal: float) -> Figure:
    """Where objectives lead: paths in the plane with the least rate as a wall, and the noise in
    force over the steps.

    curve (error [M], rate [M]); paths {name: rows (error, rate, σ in force) [steps, 3]}; goal: σ/√λ
    of the constrained optimum.
    """
    error, rate = (as_array(v) for v in curve)
    figure, ((left, right),) = plain_axes(1, 2, 7, 3.6)
    left.fill_between(error, 1e-3, rate, color="0.93", lw=0)
    left.plot(error, rate, color=BLACK, lw=1.6)
    ends = []
    for (name, rows), style in zip(paths.items(), series_styles()):
        path = as_array(rows)
        left.plot(*_smooth(path[:, :2]), color=style.colour, lw=1.1, alpha=0.8)
        ends.append(path[-200:, :2].mean(0))
        left.plot(*ends[-1], ms=8, mec="white", zorder=3, **style.points)
        every = (0, len(path) // 5)
        right.plot(path[:, 2], lw=1.4, ms=5, markevery=every, label=name, **style.marked)
    right.axhline(goal, color=BLACK, lw=1, ls="--", label="constrained, analytic")
    (low_error, low_rate), (_, high_rate) = np.min(ends, 0), np.max(ends, 0)
    left.set(xscale="log", xlabel=ERROR, ylabel=RATE, yscale="log")
    left.set(xlim=(0.6 * low_error, 1.02 * error.max()), ylim=(0.4 * low_rate, 2.2 * high_rate))
    right.set(xlabel="step", ylabel="noise in force")
    for axis in (left, right):
        log_axes(axis, "y")
        axis.tick_params(labelsize=8)
    legend_outside(figure, right)
    return figure


def training_curves(
    histories: Mapping[str, Array],
    columns: Sequence[str] = ("mse", "rate", "sigma"),
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Quantities of several runs over training, a panel each. histories {run: rows
    [step, *METRICS]}, levels {column: dashed}.
    """
    labels = {
        "mse": ERROR,
        "rate": "rate R (nats per sequence)",
        "sigma": "noise in force, σ or σ/√λ",
        "weight": "λ",
        "distortion": "D (nats per sequence)",
        "constraint": "Ĉ/C₀ − 1",
    }
    figure, axes = plain_axes(1, len(columns), 7, 2.9)
    for axis, column in zip(axes[0], columns):
        for (name, rows), style in zip(histories.items(), series_styles()):
            history = as_array(rows)
            values = history[:, 1 + METRICS.index(column)]
            axis.plot(history[:, 0], values, lw=1.3, label=name, **style.lined)
        log_axes(axis, "" if column in ("distortion", "constraint") else "y")
        if levels and column in levels:
            axis.axhline(levels[column], color="0.4", lw=1, ls="--")
        axis.set_title(labels[column], fontsize=9)
        axis.set_xlabel("step", fontsize=9)
        axis.tick_params(labelsize=8)
    legend_outside(figure, axes[0, 0])
    return figure


def noise_against_error(
    history: Array, root_mean_square: str = "√(squared error per pixel)"
) -> Figure:
    """The learned noise of a run and the root of its squared error, over the steps. history rows
    [step, *METRICS].
    """
    steps, *columns = as_array(history).T
    error, noise = (columns[METRICS.index(key)] for key in ("mse", "sigma"))
    figure, axis = plain_axis(6, 2.9)
    axis.plot(steps, np.sqrt(error), color=ORANGE, lw=2.4, label=root_mean_square)
    axis.plot(steps, noise, color=BLUE, lw=1.4, label="learned noise σ")
    axis.set(xlabel="step", ylabel="grey values (black 0, white 1)")
    log_axes(axis, "y")
    axis.legend(fontsize=9)
    axis.tick_params(labelsize=8)
    return figure


def multiplier(
    lam: Sequence[float], error: Sequence[float], target: float, optimum: float | None = None
) -> Figure:
    """λ over the steps beside the squared error over its target. lam, error [steps]."""
    figure, ((left, right),) = plain_axes(1, 2, 7, 2.7, sharex=True)
    left.plot(as_array(lam), color=BLUE, lw=1.4)
    if optimum is not None:
        left.axhline(optimum, color=BLACK, lw=1, ls="--", label="analytic optimum")
        left.legend(fontsize=8)
    right.plot(as_array(error) / target, color=ORANGE, lw=0.7, label="each batch")
    right.axhline(1, color=BLACK, lw=1, ls="--", label="target")
    left.set(xlabel="step", ylabel="λ")
    log_axes(left, "y")
    right.set(xlabel="step", ylabel="squared error / target", yscale="log")
    right.legend(fontsize=8)
    for axis in (left, right):
        axis.tick_params(labelsize=8)
    return figure
