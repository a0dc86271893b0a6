"""The figures of the chapter on rate and distortion; information is in nats per frame."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.calibration import wrap
from .style import (
    ANGLE_LABEL,
    ANGLE_MAP,
    ANGLE_NORM,
    BLACK,
    BLUE,
    ERROR,
    ORANGE,
    RED,
    SKY,
    Array,
    Curve,
    as_array,
    as_images,
    colour_bar,
    grey_image,
    log_axes,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)

DISTORTION_LABEL, RATE_LABEL = "distortion D (nats a frame)", "rate R (nats a frame)"


def frame_table(rows: Mapping[str, Array]) -> Figure:
    """Rows of grey frames with a name above each row. rows {name: [k, S²], grey values}."""
    images = {name: as_images(frames) for name, frames in rows.items()}
    columns = len(next(iter(images.values())))
    figure = new_figure(6.2, len(images) * (6.2 / columns + 0.26))
    parts = figure.subfigures(len(images), 1, squeeze=False)[:, 0]
    for part, (name, frames) in zip(parts, images.items()):
        part.suptitle(name, fontsize=9, x=0.01, ha="left")
        for axis, image in zip(part.subplots(1, columns, squeeze=False)[0], frames):
            grey_image(axis, image)
    return figure


def equal_elbo(total: float, points: Mapping[str, tuple[float, float]], bound: Curve) -> Figure:
    """Models on one line of equal ELBO, and the region below it. total = D + R; points {name: (D,
    R)}; bound: the (D [M], R [M]) of other models, above the line.
    """
    d, r = (as_array(v) for v in bound)
    distortions, rates = zip(*points.values())
    left, right = min(*distortions, d.min()), max(distortions) + 8
    line = np.array([left, total])
    figure, axis = plain_axis(6, 3.6)
    axis.fill_between(line, line * 0 - 2, total - line, color="0.93", lw=0)
    best = "D + R = cross-entropy of the best density"
    axis.plot(line, total - line, color=BLACK, lw=1.6, label=best)
    axis.plot(d, r, color=SKY, lw=1.6, ls="--", label="linear VAEs, noise σ² I")
    for (name, (x, y)), style in zip(points.items(), series_styles()):
        axis.plot(x, y, ms=8, mec="white", label=name, **style.points)
    axis.set(xlabel=DISTORTION_LABEL, ylabel=RATE_LABEL)
    axis.set(xlim=(left - 2, right), ylim=(-2, max(rates) * 1.15))
    words = axis.text(0.03, 0.05, "no linear model can be here", transform=axis.transAxes)
    words.set(fontsize=8.5, color="0.35")
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.02, 0.1))
    axis.tick_params(labelsize=8)
    return figure


# ---------------------------------------------------------------- along the curve


def _draw_point(
    axes: Sequence[Axes],
    curve: Curve,
    point: tuple[float, float],
    lam: float,
    title: str,
    images: Sequence[np.ndarray],
) -> None:
    """The plane with the curve, the point and its tangent; beside it frames [k, S, S] and what is
    given back of them [k, S, S].
    """
    plane, pictures = axes[0], axes[1:]
    d, r = (as_array(v) for v in curve)
    ends = np.array([d.min(), d.max() + 0.02 * np.ptp(d)])
    plane.fill_between(d, 0, r, color="0.93", lw=0)
    plane.plot(d, r, color=BLACK, lw=1.6)
    tangent = point[1] - lam * (ends - point[0])
    plane.plot(ends, tangent, color=BLUE, lw=1.2, ls="--", label=f"slope −λ, λ = {lam:.2g}")
    plane.plot(*point, "o", color=RED, ms=8, mec="white")
    plane.set(xlim=ends, ylim=(0, r.max()))
    plane.set_xlabel(DISTORTION_LABEL, fontsize=9)
    plane.set_ylabel(RATE_LABEL, fontsize=9)
    plane.set_title(title, fontsize=9)
    plane.legend(fontsize=8, loc="upper right", frameon=False)
    plain(plane, ticks=8)
    for axis, image in zip(pictures, np.concatenate(images)):
        grey_image(axis, image)
    pictures[0].set_title("frames", fontsize=9, loc="left")
    pictures[len(pictures) // 2].set_title("given back", fontsize=9, loc="left")


def _point_axes(figure: Figure, columns: int) -> list[Axes]:
    """A plane at the left, two rows of frames at the right."""
    size = 0.5 / columns
    places = [
        (0.49 + k * size, bottom, size * 0.95, 0.38)
        for bottom in (0.52, 0.06)
        for k in range(columns)
    ]
    return [figure.add_axes(place) for place in ((0.085, 0.17, 0.37, 0.71), *places)]


def point_on_the_curve(
    curve: Curve,
    point: tuple[float, float],
    lam: float,
    title: str,
    frames: Array,
    given_back: Array,
) -> Figure:
    """A point on the rate-distortion curve with its tangent, and frames as its model gives them
    back.

    curve (D [M], R [M]); point (D, R); frames, given_back [k, S²].
    """
    images = (as_images(frames), as_images(given_back))
    figure = new_figure(7, 2.6, layout=None)
    _draw_point(_point_axes(figure, len(frames)), curve, point, lam, title, images)
    return figure


def walk_on_the_curve(
    curve: Curve,
    points: Sequence[tuple[float, float]],
    lams: Sequence[float],
    titles: Sequence[str],
    frames: Array,
    given_back: Array,
) -> FuncAnimation:
    """Animation: `point_on_the_curve` along the curve; points [L] of (D, R), given_back
    [L, k, S²].
    """
    frames, given_back = as_images(frames), as_images(given_back)
    figure = new_figure(7, 2.6, dpi=80, layout=None)
    axes = _point_axes(figure, len(frames))

    def draw(k: int) -> list:
        """One picture of the animation."""
        for axis in axes:
            axis.clear()
        _draw_point(axes, curve, points[k], lams[k], titles[k], (frames, given_back[k]))
        return []

    return FuncAnimation(figure, draw, frames=len(points), interval=350, blit=False)


def multipliers(
    paths: Mapping[str, Mapping[str, Array]], levels: Mapping[str, Mapping[str, float]]
) -> Figure:
    """λ over the steps, a panel each. paths {panel: {name: [steps]}}, levels {panel: {name: λ to
    mark}}.
    """
    figure, axes = plain_axes(1, len(paths), 7, 3.0)
    for axis, (title, curves) in zip(axes[0], paths.items()):
        for (name, lam), style in zip(curves.items(), series_styles()):
            axis.plot(as_array(lam), lw=1.7, label=name, **style.lined)
        for name, level in levels.get(title, {}).items():
            axis.axhline(level, color="0.4", lw=1, ls="--", label=name)
        axis.set(xlabel="step", ylabel="λ")
        log_axes(axis, "y")
        axis.set_title(title, fontsize=9)
        axis.legend(fontsize=7.5)
        axis.tick_params(labelsize=8)
    return figure


# ---------------------------------------------------------------- trained models of frames


def codes(panels: Mapping[str, tuple[Array, Array, Array, float]]) -> Figure:
    """Codes of frames over the log density of the prior in grey, from its maximum down to 8 nats
    below.

    panels {title: (z [N, 2], angle [N], log p(z) [G, G] on the square ± extent, extent)}.
    """
    figure, axes = plain_axes(1, len(panels), 7, 3.5)
    for axis, (title, (z, angle, log_p, extent)) in zip(axes[0], panels.items()):
        depth = as_array(log_p) - as_array(log_p).max()
        square = (-extent, extent, -extent, extent)
        # from -8, white, to 5: the darkest grey is not reached, and the codes stand out
        axis.imshow(depth, cmap="Greys", origin="lower", extent=square, vmin=-8, vmax=5)
        x, y = as_array(z).T
        colours = wrap(as_array(angle))
        axis.scatter(x, y, 3, colours, cmap=ANGLE_MAP, norm=ANGLE_NORM, lw=0)
        axis.set(xlabel="$z_1$", ylabel="$z_2$", xlim=square[:2], ylim=square[2:], aspect="auto")
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
    colour_bar(figure, axes[0], ANGLE_MAP, ANGLE_NORM, ANGLE_LABEL, fraction=0.05)
    return figure


def split_bars(rows: Sequence[Mapping]) -> Figure:
    """The rate of every run and seed as information and mismatch; rows of the table of frame
    models.
    """
    figure, axis = plain_axis(6.5, 3.0)
    ticks: dict[str, float] = {}
    position = 0.0
    for run in dict.fromkeys(row["run"] for row in rows):
        seeds = [row for row in rows if row["run"] == run]
        at = position + np.arange(len(seeds))
        information, mismatch = ([row[key] for row in seeds] for key in ("information", "mismatch"))
        words = ("", "") if ticks else ("information I(x; z)", "mismatch KL(q(z) ‖ p(z))")
        axis.bar(at, information, color=BLUE, width=0.8, label=words[0])
        axis.bar(at, mismatch, bottom=information, color=ORANGE, width=0.8, label=words[1])
        ticks[run] = at.mean()
        position += len(seeds) + 0.8
    axis.set_xticks(list(ticks.values()), list(ticks))
    axis.set_xlim(-1.2, position - 0.6)
    axis.set(ylabel=RATE_LABEL, ylim=(0, 1.28 * max(row["rate"] for row in rows)))
    axis.legend(fontsize=8, ncols=2, loc="upper center", frameon=False)
    axis.tick_params(labelsize=8)
    return figure


def runs_beside_the_curve(curve: Curve, rows: Sequence[Mapping]) -> Figure:
    """Trained models of frames beside the Gaussian rate-distortion function of the same covariance.
    curve (error [M], rate [M]).
    """
    error, rate = (as_array(v) for v in curve)
    figure, axis = plain_axis(6, 3.6)
    axis.plot(error, rate, color=BLACK, lw=1.6, label="linear models; Gaussian source")
    for run, style in zip(dict.fromkeys(row["run"] for row in rows), series_styles()):
        points = np.array([(row["mse"], row["rate"]) for row in rows if row["run"] == run])
        axis.plot(*points.T, ms=7, mec="white", label=run, **style.points)
    axis.set(xscale="log", xlabel=ERROR, ylabel=RATE_LABEL, ylim=(0, rate.max()))
    axis.legend(fontsize=8)
    axis.tick_params(labelsize=8)
    return figure
