"""The figures of the chapter on balancing the ELBO: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008), which people with any colour vision can tell apart.
Information is in nats. No function shows, saves or trains anything, and none touches matplotlib's
global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from ..learning.training import METRICS
from .style import BLACK, BLUE, CYCLE, DPI, ORANGE, RED, SKY, as_array, new_figure, plain_log

ERROR, RATE = "squared error per pixel", "rate R (nats)"


def small_ticks(axis) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def rate_distortion_plane(
    curve,
    points: Mapping[str, tuple[float, float]],
    totals: Sequence[float] = (),
    xlim=None,
    ylim=None,
) -> Figure:
    """The rate-distortion plane: the curve that no model passes, models as points, and lines of
    equal ELBO.

    curve (D [M], R [M]), points {name: (D, R)}, totals: values of D + R, each a dashed line of
    equal ELBO; all in nats.
    """
    d, r = (as_array(v) for v in curve)
    figure = new_figure(6, 3.9)
    axis = figure.subplots()
    axis.fill_between(d, 0, r, color="0.93", lw=0)
    axis.plot(d, r, color=BLACK, lw=1.8, label="least rate for each distortion")
    for k, total in enumerate(totals):
        axis.plot(
            d,
            np.where(total - d >= 0, total - d, np.nan),
            color="0.4",
            lw=1,
            ls="--",
            label="equal ELBO" if k == 0 else None,
        )
    for (name, (x, y)), colour, marker in zip(points.items(), CYCLE, "osD^v"):
        axis.plot(x, y, marker, color=colour, ms=8, mec="white", label=name)
    axis.set(
        xlabel="distortion D (nats)",
        ylabel=RATE,
        xlim=xlim or (d.min(), d.max()),
        ylim=ylim or (0, r.max()),
    )
    axis.text(
        0.06,
        0.06,
        "no linear model can be here",
        transform=axis.transAxes,
        fontsize=9,
        color="0.35",
    )
    axis.legend(fontsize=8, loc="upper right")
    small_ticks(axis)
    return figure


def spectra(variances: Mapping[str, np.ndarray], shown: int = 16) -> Figure:
    """Variances along the principal components, as shares of the total, on a logarithmic axis.
    variances {name: [n], falling}.
    """
    figure = new_figure(6, 2.9)
    axis = figure.subplots()
    for (name, values), colour, marker in zip(variances.items(), CYCLE, "osD^v"):
        values = as_array(values)
        axis.plot(
            np.arange(1, shown + 1),
            values[:shown] / values.sum(),
            marker + "-",
            color=colour,
            ms=6,
            lw=1,
            label=name,
        )
    axis.axvspan(0.5, 2.5, color="0.93", lw=0, zorder=0)
    axis.set(
        xlabel="principal component",
        ylabel="share of the variance",
        yscale="log",
        xlim=(0.5, shown + 0.5),
        xticks=range(1, shown + 1),
    )
    axis.legend(fontsize=9)
    small_ticks(axis)
    return figure


def _draw_water(axes, variances, level: float, curve, point, images, shown: int) -> None:
    """Bars under water, the point on the curve, and the frame that the linear model gives back."""
    bars, plane_axis, *pictures = axes
    s = variances[:shown]
    index = np.arange(1, shown + 1)
    bottom = s[s > 0].min() * 0.5
    bars.bar(index, s, color=SKY, width=0.8, label="lost")
    above = s > level
    bars.bar(index[above], s[above] - level, bottom=level, color=BLUE, width=0.8, label="told by z")
    bars.axhline(level, color=RED, lw=1.5)
    bars.set(
        yscale="log",
        ylim=(bottom, s[0] * 1.6),
        xlim=(0.3, shown + 0.7),
        xlabel="principal component",
        ylabel="variance",
    )
    bars.set_xticks([1, *range(4, shown + 1, 4)])
    bars.set_title(f"noise {level**0.5:.2f}: {point[2]} directions in use", fontsize=9)
    bars.legend(fontsize=7, loc="upper right", handlelength=1.0)
    plane_axis.plot(*curve, color=BLACK, lw=1.4)
    plane_axis.plot(point[0], point[1], "o", color=RED, ms=8)
    plane_axis.set(xscale="log", xlabel=ERROR, ylabel=RATE, ylim=(0, curve[1].max() * 1.02))
    plane_axis.set_title(f"R = {point[1]:.1f} nats a frame", fontsize=9)
    for axis in (bars, plane_axis):
        small_ticks(axis)
        axis.xaxis.label.set_size(8)
        axis.yaxis.label.set_size(8)
    for axis, image, title in zip(pictures, images, ("frame", "given back")):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9)


def _water_axes(figure: Figure) -> list:
    return [
        figure.add_axes((0.085, 0.19, 0.345, 0.68)),
        figure.add_axes((0.525, 0.19, 0.27, 0.68)),
        figure.add_axes((0.825, 0.55, 0.155, 0.33)),
        figure.add_axes((0.825, 0.08, 0.155, 0.33)),
    ]


def water(variances, level: float, curve, point, images, shown: int = 14) -> Figure:
    """Reverse water-filling at one level.

    variances [n] falling; curve (error [M], rate [M]); point (error, rate, directions in use);
    images: the frame and what is given back, [S, S] each.
    """
    figure = Figure(figsize=(7, 2.8), dpi=DPI)
    _draw_water(
        _water_axes(figure),
        as_array(variances),
        level,
        [as_array(v) for v in curve],
        point,
        [as_array(v) for v in images],
        shown,
    )
    return figure


def water_falls(
    variances,
    levels: Sequence[float],
    curve,
    points: Sequence[tuple],
    frame,
    given_back,
    shown: int = 14,
) -> FuncAnimation:
    """`water` for falling levels: points [L] of (error, rate, directions), given_back [L, S, S].

    For `figures.player`.
    """
    variances, curve, frame, given_back = (
        as_array(variances),
        [as_array(v) for v in curve],
        as_array(frame),
        as_array(given_back),
    )
    figure = Figure(figsize=(7, 2.8), dpi=72)
    axes = _water_axes(figure)

    def draw(k: int):
        """One picture of the animation."""
        for axis in axes:
            axis.clear()
        _draw_water(axes, variances, levels[k], curve, points[k], (frame, given_back[k]), shown)
        return []

    return FuncAnimation(figure, draw, frames=len(levels), interval=350, blit=False)


def objectives_on_the_toy(curve, paths: Mapping[str, np.ndarray], goal: float) -> Figure:
    """Where objectives lead: paths in the plane with the least rate as a wall, and the noise in
    force over the steps.

    curve (error [M], rate [M]); paths {name: rows (error, rate, σ in force) [steps, 3]}; goal: σ/√λ
    of the constrained optimum.
    """
    figure = new_figure(7, 3.6)
    left, right = figure.subplots(1, 2)
    error, rate = (as_array(v) for v in curve)
    left.fill_between(error, 1e-3, rate, color="0.93", lw=0)
    left.plot(error, rate, color=BLACK, lw=1.6)
    ends = []
    for (name, path), colour, marker in zip(paths.items(), CYCLE, "osD^v"):
        path = as_array(path)
        log = np.pad(np.log(path[:, :2]), ((10, 10), (0, 0)), "edge")
        smooth = np.exp(np.stack([np.convolve(v, np.ones(21) / 21, "valid") for v in log.T]))
        left.plot(*smooth, color=colour, lw=1.1, alpha=0.8)
        ends.append(path[-200:, :2].mean(0))
        left.plot(*ends[-1], marker, color=colour, ms=8, mec="white", zorder=3)
        right.plot(
            path[:, 2],
            marker + "-",
            color=colour,
            lw=1.4,
            ms=5,
            markevery=(0, len(path) // 5),
            label=name,
        )
    right.axhline(goal, color=BLACK, lw=1, ls="--", label="constrained, analytic")
    left.set(xscale="log", yscale="log", xlabel=ERROR, ylabel=RATE)
    left.set(
        xlim=(0.6 * min(e for e, _ in ends), 1.02 * error.max()),
        ylim=(0.4 * min(r for _, r in ends), 2.2 * max(r for _, r in ends)),
    )
    right.set(yscale="log", xlabel="step", ylabel="noise in force")
    for axis in (left, right):
        small_ticks(axis)
        plain_log(axis.yaxis)
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, ncols=3, loc="outside lower center", frameon=False)
    return figure


def training_curves(
    histories: Mapping[str, np.ndarray],
    columns: Sequence[str] = ("mse", "rate", "sigma"),
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Quantities of several runs over training, a panel each. histories {run: rows [step,
    *METRICS]}, levels {column: dashed}.
    """
    labels = {
        "mse": ERROR,
        "rate": "rate R (nats per sequence)",
        "sigma": "noise in force, σ or σ/√λ",
        "weight": "λ",
        "distortion": "D (nats per sequence)",
        "constraint": "Ĉ/C₀ − 1",
    }
    figure = new_figure(7, 2.9)
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for axis, column in zip(axes, columns):
        for (name, history), colour in zip(histories.items(), CYCLE):
            history = as_array(history)
            axis.plot(
                history[:, 0],
                history[:, 1 + METRICS.index(column)],
                color=colour,
                lw=1.3,
                label=name,
            )
        if column not in ("distortion", "constraint"):
            axis.set_yscale("log")
            plain_log(axis.yaxis)
        if levels and column in levels:
            axis.axhline(levels[column], color="0.4", lw=1, ls="--")
        axis.set_title(labels[column], fontsize=9)
        axis.set_xlabel("step", fontsize=9)
        small_ticks(axis)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, ncols=2, loc="outside lower center", frameon=False)
    return figure


def noise_against_error(history, root_mean_square: str = "√(squared error per pixel)") -> Figure:
    """The learned noise of a run and the root of its squared error, over the steps. history rows
    [step, *METRICS].
    """
    history = as_array(history)
    figure = new_figure(6, 2.9)
    axis = figure.subplots()
    axis.plot(
        history[:, 0],
        np.sqrt(history[:, 1 + METRICS.index("mse")]),
        color=ORANGE,
        lw=2.4,
        label=root_mean_square,
    )
    axis.plot(
        history[:, 0],
        history[:, 1 + METRICS.index("sigma")],
        color=BLUE,
        lw=1.4,
        label="learned noise σ",
    )
    axis.set(xlabel="step", ylabel="grey values (black 0, white 1)", yscale="log")
    plain_log(axis.yaxis)
    axis.legend(fontsize=9)
    small_ticks(axis)
    return figure


def multiplier(lam, error, target: float, optimum: float | None = None) -> Figure:
    """λ over the steps beside the squared error over its target. lam, error [steps]."""
    figure = new_figure(7, 2.7)
    left, right = figure.subplots(1, 2, sharex=True)
    left.plot(as_array(lam), color=BLUE, lw=1.4)
    if optimum is not None:
        left.axhline(optimum, color=BLACK, lw=1, ls="--", label="analytic optimum")
        left.legend(fontsize=8)
    right.plot(as_array(error) / target, color=ORANGE, lw=0.7, label="each batch")
    right.axhline(1, color=BLACK, lw=1, ls="--", label="target")
    left.set(xlabel="step", ylabel="λ", yscale="log")
    plain_log(left.yaxis)
    right.set(xlabel="step", ylabel="squared error / target", yscale="log")
    right.legend(fontsize=8)
    for axis in (left, right):
        small_ticks(axis)
    return figure
