"""The figures of the chapter on rate and distortion: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008), which people with any colour vision can tell apart.
Information is in nats per frame. No function shows, saves or trains anything, and none touches
matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .ch08_balancing_the_elbo import small_ticks
from .style import (
    ANGLE_LABEL,
    ANGLE_MAP,
    ANGLE_TICKS,
    BLACK,
    BLUE,
    CYCLE,
    DPI,
    ORANGE,
    RED,
    SKY,
    as_array,
    as_images,
    new_figure,
    plain_log,
)

DISTORTION, RATE, ERROR = (
    "distortion D (nats a frame)",
    "rate R (nats a frame)",
    "squared error per pixel",
)


def frame_table(rows: Mapping[str, np.ndarray]) -> Figure:
    """Rows of grey frames with a name above each row. rows {name: [k, S²], grey values}."""
    images = {name: as_images(frames) for name, frames in rows.items()}
    columns = len(next(iter(images.values())))
    size = 6.2 / columns
    figure = Figure(figsize=(6.2, len(images) * (size + 0.26)), dpi=DPI, layout="constrained")
    for part, (name, frames) in zip(
        np.atleast_1d(figure.subfigures(len(images), 1)), images.items()
    ):
        part.suptitle(name, fontsize=9, x=0.01, ha="left")
        for axis, image in zip(part.subplots(1, columns, squeeze=False)[0], frames):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    return figure


def equal_elbo(total: float, points: Mapping[str, tuple[float, float]], bound) -> Figure:
    """Models on one line of equal ELBO, and the region below it. total = D + R; points {name: (D,
    R)}; bound: the (D [M], R [M]) of other models, above the line.
    """
    d, r = (as_array(v) for v in bound)
    figure = new_figure(6, 3.6)
    axis = figure.subplots()
    left, right = (
        min(min(x for x, _ in points.values()), d.min()),
        max(x for x, _ in points.values()) + 8,
    )
    line = np.array([left, total])
    axis.fill_between(line, line * 0 - 2, total - line, color="0.93", lw=0)
    axis.plot(
        line, total - line, color=BLACK, lw=1.6, label="D + R = cross-entropy of the best density"
    )
    axis.plot(d, r, color=SKY, lw=1.6, ls="--", label="linear VAEs, noise σ² I")
    for (name, (x, y)), colour, marker in zip(points.items(), CYCLE, "osD^v"):
        axis.plot(x, y, marker, color=colour, ms=8, mec="white", label=name)
    axis.set(
        xlabel=DISTORTION,
        ylabel=RATE,
        xlim=(left - 2, right),
        ylim=(-2, max(y for _, y in points.values()) * 1.15),
    )
    axis.text(
        0.03,
        0.05,
        "no linear model can be here",
        transform=axis.transAxes,
        fontsize=8.5,
        color="0.35",
    )
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.02, 0.1))
    small_ticks(axis)
    return figure


def _draw_walk(axes, curve, point, lam: float, title: str, frames, given_back, limits) -> None:
    plane, pictures = axes[0], axes[1:]
    d, r = curve
    plane.fill_between(d, 0, r, color="0.93", lw=0)
    plane.plot(d, r, color=BLACK, lw=1.6)
    x = np.array(limits[0])
    plane.plot(
        x,
        point[1] - lam * (x - point[0]),
        color=BLUE,
        lw=1.2,
        ls="--",
        label=f"slope −λ, λ = {lam:.2g}",
    )
    plane.plot(*point, "o", color=RED, ms=8, mec="white")
    plane.set(xlabel=DISTORTION, ylabel=RATE, xlim=limits[0], ylim=limits[1])
    plane.set_title(title, fontsize=9)
    plane.legend(fontsize=8, loc="upper right", frameon=False)
    small_ticks(plane)
    plane.xaxis.label.set_size(9), plane.yaxis.label.set_size(9)
    half = len(pictures) // 2
    for k, axis in enumerate(pictures):
        image = frames[k] if k < half else given_back[k - half]
        axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    pictures[0].set_title("frames", fontsize=9, loc="left")
    pictures[half].set_title("given back", fontsize=9, loc="left")


def _walk_axes(figure: Figure, columns: int) -> list:
    size, left = 0.5 / columns, 0.49
    axes = [figure.add_axes((0.085, 0.17, 0.37, 0.71))]
    for bottom in (0.52, 0.06):
        axes += [
            figure.add_axes((left + k * size, bottom, size * 0.95, 0.38)) for k in range(columns)
        ]
    return axes


def _limits(curve) -> tuple:
    d, r = curve
    return (d.min(), d.max() + 0.02 * (d.max() - d.min())), (0, r.max())


def point_on_the_curve(curve, point, lam: float, title: str, frames, given_back) -> Figure:
    """A point on the rate-distortion curve with its tangent, and frames as its model gives them
    back.

    curve (D [M], R [M]); point (D, R); frames, given_back [k, S²].
    """
    curve = [as_array(v) for v in curve]
    figure = Figure(figsize=(7, 2.6), dpi=DPI)
    _draw_walk(
        _walk_axes(figure, len(frames)),
        curve,
        point,
        lam,
        title,
        as_images(frames),
        as_images(given_back),
        _limits(curve),
    )
    return figure


def walk_on_the_curve(
    curve, points: Sequence[tuple], lams: Sequence[float], titles: Sequence[str], frames, given_back
) -> FuncAnimation:
    """`point_on_the_curve` along the curve: points [L] of (D, R), given_back [L, k, S²].

    For `figures.player`.
    """
    curve, frames, given_back = (
        [as_array(v) for v in curve],
        as_images(frames),
        as_images(given_back),
    )
    figure = Figure(figsize=(7, 2.6), dpi=80)
    axes, limits = _walk_axes(figure, len(frames)), _limits(curve)

    def draw(k: int):
        """One picture of the animation."""
        for axis in axes:
            axis.clear()
        _draw_walk(axes, curve, points[k], lams[k], titles[k], frames, given_back[k], limits)
        return []

    return FuncAnimation(figure, draw, frames=len(points), interval=350, blit=False)


def multipliers(
    paths: Mapping[str, Mapping[str, np.ndarray]], levels: Mapping[str, Mapping[str, float]]
) -> Figure:
    """λ over the steps, a panel each. paths {panel: {name:

    [steps]}}, levels {panel: {name: λ to mark}}.
    """
    figure = new_figure(7, 3.0)
    axes = figure.subplots(1, len(paths), squeeze=False)[0]
    for axis, (title, curves) in zip(axes, paths.items()):
        for (name, lam), colour, style in zip(curves.items(), CYCLE, ("-", "-.", ":")):
            axis.plot(as_array(lam), color=colour, lw=1.7, ls=style, label=name)
        for name, level in levels.get(title, {}).items():
            axis.axhline(level, color="0.4", lw=1, ls="--", label=name)
        axis.set(xlabel="step", ylabel="λ", yscale="log")
        plain_log(axis.yaxis)
        axis.set_title(title, fontsize=9)
        axis.legend(fontsize=7.5)
        small_ticks(axis)
    return figure


def codes(panels: Mapping[str, tuple]) -> Figure:
    """Codes of frames over the log density of the prior in grey, from its maximum down to 8 nats
    below.

    panels {title: (z [N, 2], angle [N], log p(z) [G, G] on the square ± extent, extent)}.
    """
    figure = new_figure(7, 3.5)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    drawn = None
    for axis, (title, (z, angle, log_p, extent)) in zip(axes, panels.items()):
        depth = as_array(log_p) - as_array(log_p).max()
        square = (-extent, extent, -extent, extent)
        axis.imshow(
            depth, cmap="Greys", origin="lower", extent=square, vmin=-8, vmax=5, aspect="auto"
        )  # light: 8 nats below the highest
        wrapped = np.remainder(as_array(angle) + np.pi, 2 * np.pi) - np.pi
        drawn = axis.scatter(
            *as_array(z).T, c=wrapped, cmap=ANGLE_MAP, vmin=-np.pi, vmax=np.pi, s=3, lw=0
        )
        axis.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(-extent, extent), ylim=(-extent, extent))
        axis.set_title(title, fontsize=9)
        small_ticks(axis)
    bar = figure.colorbar(drawn, ax=axes, label=ANGLE_LABEL, fraction=0.05)
    bar.set_ticks(ANGLE_TICKS[0], labels=ANGLE_TICKS[1])
    bar.outline.set_visible(False)
    return figure


def split_bars(rows: Sequence[Mapping]) -> Figure:
    """The rate of every run and seed as information and mismatch. rows as `information.frame_row`
    gives them.
    """
    runs = list(dict.fromkeys(row["run"] for row in rows))
    figure = new_figure(6.5, 3.0)
    axis = figure.subplots()
    ticks, position = [], 0.0
    for run in runs:
        seeds = [row for row in rows if row["run"] == run]
        ticks.append(position + (len(seeds) - 1) / 2)
        for row in seeds:
            first = position == 0
            axis.bar(
                position,
                row["information"],
                color=BLUE,
                width=0.8,
                label="information I(x; z)" if first else None,
            )
            axis.bar(
                position,
                row["mismatch"],
                bottom=row["information"],
                color=ORANGE,
                width=0.8,
                label="mismatch KL(q(z) ‖ p(z))" if first else None,
            )
            position += 1
        position += 0.8
    axis.set_xticks(ticks, runs)
    axis.set_xlim(-1.2, position - 0.6)
    axis.set(ylabel=RATE, ylim=(0, 1.28 * max(row["rate"] for row in rows)))
    axis.legend(fontsize=8, ncols=2, loc="upper center", frameon=False)
    small_ticks(axis)
    return figure


def runs_beside_the_curve(curve, rows: Sequence[Mapping]) -> Figure:
    """Trained models of frames beside the Gaussian rate-distortion function of the same covariance.
    curve (error [M], rate [M]).
    """
    figure = new_figure(6, 3.6)
    axis = figure.subplots()
    axis.plot(
        *(as_array(v) for v in curve), color=BLACK, lw=1.6, label="linear models; Gaussian source"
    )
    runs = list(dict.fromkeys(row["run"] for row in rows))
    for run, colour, marker in zip(runs, CYCLE, "osD^v"):
        points = np.array([(row["mse"], row["rate"]) for row in rows if row["run"] == run])
        axis.plot(*points.T, marker, color=colour, ms=7, mec="white", label=run)
    axis.set(xscale="log", xlabel=ERROR, ylabel=RATE, ylim=(0, as_array(curve[1]).max()))
    axis.legend(fontsize=8)
    small_ticks(axis)
    return figure
