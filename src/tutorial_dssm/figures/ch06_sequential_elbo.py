"""The figures of the chapter on the sequential ELBO: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008). Times are in s, information in nats. No function trains,
shows or saves anything, or touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator

from .style import (
    ANGLE_MAP,
    BLACK,
    BLUE,
    CYCLE,
    DPI,
    GREEN,
    ORANGE,
    RED,
    as_array,
    as_images,
    plain,
    plain_log,
)


def weight_maps(
    maps: Mapping[str, np.ndarray], label: str = "weight, as a share of the largest"
) -> Figure:
    """How much the factor of step t (row) makes of the frame x_s (column). maps {name:

    [T, T] not negative}, each scaled to its largest.
    """
    figure = Figure(figsize=(7, 2.75), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    for axis, (name, values) in zip(axes, maps.items()):
        values = as_array(values)
        T = len(values)
        image = axis.imshow(
            values / (values.max() or 1.0),
            cmap="Blues",
            vmin=0,
            vmax=1,
            extent=(0.5, T + 0.5, T + 0.5, 0.5),
        )
        axis.plot([0.5, T + 0.5], [0.5, T + 0.5], color=RED, lw=0.8)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("frame $s$", fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("factor $t$", fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=18)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def look_ahead(
    ahead: Sequence[int], curves: Mapping[str, np.ndarray], levels: Mapping[str, float]
) -> Figure:
    """Gap of the bound against the number of future frames that a factor sees; dashed levels for
    posteriors outside this family.

    ahead [A]; curves {name: [A]} and levels {name: value} in nats per sequence.
    """
    figure = Figure(figsize=(6.4, 3.5), dpi=DPI, layout="constrained")
    axis = figure.subplots()
    for (name, values), colour, marker in zip(curves.items(), CYCLE, "osD^"):
        axis.plot(ahead, as_array(values), marker + "-", color=colour, ms=6, lw=1.5, label=name)
    for (name, value), style in zip(levels.items(), ("--", ":", "-.")):
        axis.axhline(value, color="0.4", lw=1.2, ls=style, label=name)
    axis.set(
        xlabel="future frames seen by each factor", ylabel="gap to log p(x) (nats per sequence)"
    )
    axis.set_yscale("symlog", linthresh=1, linscale=0.6)
    axis.set_yticks([0, 0.5, 1, 2, 5, 10, 20, 50], ["0", "0.5", "1", "2", "5", "10", "20", "50"])
    axis.set_ylim(-0.1, 1.6 * max(*(max(as_array(v)) for v in curves.values()), *levels.values()))
    axis.minorticks_off()
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=8)
    plain(axis)
    return figure


def per_step(time, panels: Mapping[str, Mapping[str, np.ndarray]], log: bool = False) -> Figure:
    """Quantities over time, one panel for each title. panels {title: {name:

    [T]}}; the first panel's names make the legend.
    """
    figure = Figure(figsize=(7, 3.1), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, curves) in zip(axes, panels.items()):
        for (name, values), colour, marker in zip(curves.items(), CYCLE, "osD^v"):
            axis.plot(
                time, as_array(values), marker + "-", color=colour, ms=4.5, lw=1.3, label=name
            )
        if log:
            axis.set_yscale("log")
            plain_log(axis.yaxis)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("time (s)", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", color="0.93")
        plain(axis)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        fontsize=8,
        ncols=min(4, len(names)),
        loc="outside lower center",
        frameon=False,
    )
    return figure


def ancestral_walk(cloud, angle, z, q, p, observed, decoded, kl, dt: float = 0.1) -> FuncAnimation:
    """Animation of an ancestral pass, in the first two latent coordinates: prior, posterior and
    draw of each step, with the frames beside it.

    cloud [M, 2] posterior means of many films with their true angle [M] as colour; z [T, 2] the
    draw; q, p: (mean, var) [T, 2] each; observed, decoded [T, S²]; kl [T] in nats. Ellipses are ± 2
    standard deviations. For `figures.player`.
    """
    cloud, angle, z, kl = (as_array(v) for v in (cloud, angle, z, kl))
    (q_mean, q_var), (p_mean, p_var) = ([as_array(v) for v in pair] for pair in (q, p))
    observed, decoded, T = as_images(observed), as_images(decoded), len(z)
    figure = Figure(figsize=(7, 3.5), dpi=72)
    plane = figure.add_axes((0.08, 0.14, 0.46, 0.74))
    pictures = [figure.add_axes((left, 0.55, 0.17, 0.34)) for left in (0.60, 0.81)]
    bars = figure.add_axes((0.64, 0.14, 0.34, 0.26))
    low, high = cloud.min(0), cloud.max(0)
    room = 0.12 * (high - low)
    tone = ANGLE_MAP((np.remainder(angle + np.pi, 2 * np.pi)) / (2 * np.pi))

    def draw(t: int):
        """One picture of the animation."""
        for axis in (plane, *pictures, bars):
            axis.clear()
        plane.scatter(*cloud.T, c=tone, s=3, lw=0, alpha=0.35)
        for (mean, var), colour, name in (
            ((p_mean, p_var), ORANGE, "prior"),
            ((q_mean, q_var), BLUE, "posterior"),
        ):
            size = 4 * np.sqrt(var[t])
            plane.add_patch(
                Ellipse(mean[t], *size, fc=colour, alpha=0.3, ec=colour, lw=1.5, zorder=3)
            )
            plane.plot(*mean[t], "x", color=colour, ms=6, mew=2, zorder=4, label=name)
        plane.plot(*z[: t + 1].T, "-", color=BLACK, lw=1, zorder=5)
        plane.plot(*z[t], "o", color=BLACK, ms=6, zorder=6, label="draw $z_t$")
        plane.set(
            xlim=(low[0] - room[0], high[0] + room[0]),
            ylim=(low[1] - room[1], high[1] + room[1]),
            xlabel="$z_{t,1}$",
            ylabel="$z_{t,2}$",
        )
        plane.set_title(f"step {t + 1} of {T}, {t * dt:.1f} s", fontsize=10)
        plane.legend(fontsize=8, loc="upper right", framealpha=0.9, handlelength=1.0)
        for axis, image, title in zip(
            pictures, (observed[t], decoded[t]), ("frame $x_t$", "decoded draw")
        ):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(title, fontsize=9)
        bars.bar(np.arange(1, t + 2), kl[: t + 1], color=[GREEN] + [BLUE] * t)
        bars.set(
            xlim=(0.3, T + 0.7), ylim=(0, 1.1 * kl.max()), xlabel="step $t$", ylabel="KL (nats)"
        )
        bars.set_title(f"spent so far: {kl[: t + 1].sum():.1f} nats", fontsize=9)
        bars.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for axis in (plane, bars):
            axis.tick_params(labelsize=8)
            axis.xaxis.label.set_size(9)
            axis.yaxis.label.set_size(9)
            plain(axis)
        return []

    return FuncAnimation(figure, draw, frames=T, interval=700, blit=False)
