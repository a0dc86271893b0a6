"""The figures of the chapter on the sequential ELBO."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator

from ..evaluation.calibration import wrap
from .style import (
    ANGLE_MAP,
    ANGLE_NORM,
    BLACK,
    BLUE,
    GREEN,
    LEVELS,
    ORANGE,
    RED,
    Array,
    as_array,
    as_images,
    grey_image,
    grid_behind,
    legend_outside,
    log_axes,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)

Moments = tuple[Array, Array]  # mean and variance, [T, 2] each


def weight_maps(
    maps: Mapping[str, Array], label: str = "weight, as a share of the largest"
) -> Figure:
    """How much the factor of step t (row) makes of the frame x_s (column). maps {name: [T, T], not
    negative}, each scaled to its largest.
    """
    figure = new_figure(7, 2.75)
    axes = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    for axis, (name, weights) in zip(axes, maps.items()):
        values = as_array(weights)
        ends = (0.5, len(values) + 0.5)
        shares = values / (values.max() or 1.0)
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, extent=(*ends, *ends[::-1]))
        axis.plot(ends, ends, color=RED, lw=0.8)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("frame $s$", fontsize=9)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(5, integer=True))
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("factor $t$", fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=18)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def look_ahead(
    ahead: Sequence[int], curves: Mapping[str, Array], levels: Mapping[str, float]
) -> Figure:
    """Gap of the bound against the number of future frames that a factor sees; dashed levels for
    posteriors outside this family.

    ahead [A]; curves {name: [A]} and levels {name: value} in nats per sequence.
    """
    values = {name: as_array(v) for name, v in curves.items()}
    figure, axis = plain_axis(6.4, 3.5)
    for (name, gaps), style in zip(values.items(), series_styles()):
        axis.plot(ahead, gaps, ms=6, lw=1.5, label=name, **style.marked)
    for (name, level), dashes in zip(levels.items(), LEVELS):
        axis.axhline(level, color="0.4", lw=1.2, ls=dashes, label=name)
    axis.set(xlabel="future frames seen by each factor")
    axis.set(ylabel="gap to log p(x) (nats per sequence)")
    axis.set_yscale("symlog", linthresh=1, linscale=0.6)
    ticks = [0, 0.5, 1, 2, 5, 10, 20, 50]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ylim(-0.1, 1.6 * max(*(v.max() for v in values.values()), *levels.values()))
    axis.minorticks_off()
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=8)
    return figure


def per_step(time: Array, panels: Mapping[str, Mapping[str, Array]], log: bool = False) -> Figure:
    """Quantities over time, one panel for each title. panels {title: {name: [T]}}; the first
    panel's names make the legend.
    """
    figure, axes = plain_axes(1, len(panels), 7, 3.1)
    for axis, (title, curves) in zip(axes[0], panels.items()):
        for (name, values), style in zip(curves.items(), series_styles()):
            axis.plot(as_array(time), as_array(values), ms=4.5, lw=1.3, label=name, **style.marked)
        log_axes(axis, "y" if log else "")
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("time (s)", fontsize=9)
        axis.tick_params(labelsize=8)
        grid_behind(axis, "y")
    legend_outside(figure, axes[0, 0])
    return figure


# ---------------------------------------------------------------- the ancestral pass


def _gaussian(axis: Axes, mean: np.ndarray, var: np.ndarray, colour: str, name: str) -> None:
    """An ellipse of ± 2 standard deviations and its centre; mean, var [2]."""
    x, y = mean
    size = 4 * np.sqrt(var)
    ellipse = Ellipse((x, y), *size, fc=colour, alpha=0.3, ec=colour, lw=1.5, zorder=3)
    axis.add_patch(ellipse)
    axis.plot(x, y, "x", color=colour, ms=6, mew=2, zorder=4, label=name)


def _price(axis: Axes, kl: np.ndarray, t: int) -> None:
    """Bars of the divergences [T] up to step t, and their sum; the first bar is green."""
    axis.bar(np.arange(1, t + 2), kl[: t + 1], color=[GREEN] + [BLUE] * t)
    axis.set(xlim=(0.3, len(kl) + 0.7), ylim=(0, 1.1 * kl.max()))
    axis.set_xlabel("step $t$", fontsize=9)
    axis.set_ylabel("KL (nats)", fontsize=9)
    axis.set_title(f"spent so far: {kl[: t + 1].sum():.1f} nats", fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    plain(axis, ticks=8)


def ancestral_walk(
    cloud: Array,
    angle: Array,
    z: Array,
    q: Moments,
    p: Moments,
    observed: Array,
    decoded: Array,
    kl: Array,
    *,
    dt: float,
) -> FuncAnimation:
    """Animation of an ancestral pass, in the first two latent coordinates: prior, posterior and
    draw of each step, with the frames beside it. Ellipses are ± 2 standard deviations.

    Args:
        cloud, angle: [M, 2] posterior means of many films, coloured by their true angle [M].
        z: [T, 2], the draw.
        q, p: (mean, var) [T, 2] each, of posterior and prior.
        observed, decoded: frames [T, S²].
        kl: [T] in nats.
        dt: between two frames, in s.
    """
    cloud, z, kl = (as_array(v) for v in (cloud, z, kl))
    (q_mean, q_var), (p_mean, p_var) = ([as_array(v) for v in pair] for pair in (q, p))
    films = {"frame $x_t$": as_images(observed), "decoded draw": as_images(decoded)}
    figure = new_figure(7, 3.5, dpi=72, layout=None)
    plane = figure.add_axes((0.08, 0.14, 0.46, 0.74))
    pictures = [figure.add_axes((left, 0.55, 0.17, 0.34)) for left in (0.60, 0.81)]
    bars = figure.add_axes((0.64, 0.14, 0.34, 0.26))
    low, high = cloud.min(0), cloud.max(0)
    (left, bottom), (right, top) = low - 0.12 * (high - low), high + 0.12 * (high - low)
    tone = ANGLE_MAP(ANGLE_NORM(wrap(as_array(angle))))

    def draw(t: int) -> list:
        """One picture of the animation."""
        for axis in (plane, *pictures, bars):
            axis.clear()
        plane.scatter(cloud[:, 0], cloud[:, 1], 3, tone, lw=0, alpha=0.35)
        _gaussian(plane, p_mean[t], p_var[t], ORANGE, "prior")
        _gaussian(plane, q_mean[t], q_var[t], BLUE, "posterior")
        plane.plot(*z[: t + 1].T, "-", color=BLACK, lw=1, zorder=5)
        plane.plot(*z[t], "o", color=BLACK, ms=6, zorder=6, label="draw $z_t$")
        plane.set(xlim=(left, right), ylim=(bottom, top))
        plane.set_xlabel("$z_{t,1}$", fontsize=9)
        plane.set_ylabel("$z_{t,2}$", fontsize=9)
        plane.set_title(f"step {t + 1} of {len(z)}, {t * dt:.1f} s", fontsize=10)
        plane.legend(fontsize=8, loc="upper right", framealpha=0.9, handlelength=1.0)
        plain(plane, ticks=8)
        for axis, (title, film) in zip(pictures, films.items()):
            grey_image(axis, film[t])
            axis.set_title(title, fontsize=9)
        _price(bars, kl, t)
        return []

    return FuncAnimation(figure, draw, frames=len(z), interval=700, blit=False)
