"""The figures of the chapter on latent variables: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008), which people with any colour vision can tell apart. Angles
are in rad, information in nats. No function shows or saves anything, or touches matplotlib's global
state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from .style import (
    ANGLE_LABEL,
    ANGLE_MAP,
    ANGLE_TICKS,
    BLACK,
    CYCLE,
    DPI,
    as_array,
    as_images,
    plain_axes,
    plain_log,
)

MARKERS_OF_LINES = "osD^vP"


_ANGLE_NORM = Normalize(-np.pi, np.pi)


def _wrapped(angle) -> np.ndarray:
    return np.remainder(as_array(angle) + np.pi, 2 * np.pi) - np.pi


def _latent_labels(axis) -> None:
    axis.set(xlabel="$z_1$", ylabel="$z_2$")
    axis.set_aspect("equal", adjustable="datalim")


def frames_on_the_map(z, angle, anchors, frames, size: float = 0.1) -> Figure:
    """Latent codes [N, 2] coloured by the angle [N] (rad); the frames [M, S²] of M points along
    them [M, 2], in order, stand around on a circle.
    """
    z, angle, anchors, images = as_array(z), _wrapped(angle), as_array(anchors), as_images(frames)
    centre, turn = (z.max(0) + z.min(0)) / 2, 2 * np.pi * np.arange(len(anchors)) / len(anchors)
    radius = 1.3 * np.abs(z - centre).max()
    circles = [
        centre
        + radius * np.column_stack([np.cos(sign * turn + shift), np.sin(sign * turn + shift)])
        for sign in (1, -1)
        for shift in turn
    ]
    places = min(
        circles, key=lambda c: ((c - anchors) ** 2).sum()
    )  # the shortest lines to the anchors
    figure = Figure(figsize=(7, 5.4), dpi=DPI, layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    for line in zip(anchors, places):
        axis.plot(*np.array(line).T, color="0.75", lw=0.8, zorder=0)
    axis.scatter(*z.T, c=angle, cmap=ANGLE_MAP, norm=_ANGLE_NORM, s=5, lw=0, rasterized=True)
    axis.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    reach = 1.2 * radius
    axis.set(
        xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach)
    )
    half = size * reach
    for place, image in zip(places, images):
        inset = axis.inset_axes((*(place - half), 2 * half, 2 * half), transform=axis.transData)
        inset.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        inset.set(xticks=[], yticks=[])
    bar = figure.colorbar(
        ScalarMappable(_ANGLE_NORM, ANGLE_MAP), ax=axis, label=ANGLE_LABEL, shrink=0.8
    )
    bar.set_ticks(ANGLE_TICKS[0], labels=ANGLE_TICKS[1])
    bar.outline.set_visible(False)
    return figure


def bounds_and_gaps(bounds: Mapping[str, float], evidence: float) -> Figure:
    """A bar for each q: its ELBO from below, and the gap up to log p(x), which is the same for all
    (nats).
    """
    names, values = list(bounds), np.array([float(v) for v in bounds.values()])
    figure, axes = plain_axes(1, 1, 7, 0.75 + 0.5 * len(names))
    axis, floor = axes[0, 0], min(values.min(), evidence) - 0.25 * (evidence - values.min())
    axis.barh(names, values - floor, left=floor, color=CYCLE[0], height=0.6, label="ELBO")
    axis.barh(
        names,
        evidence - values,
        left=values,
        color=CYCLE[4],
        height=0.6,
        label="gap KL(q ‖ p(z | x))",
    )
    axis.axvline(evidence, color=BLACK, lw=1.5, ls="--", label="log p(x)")
    axis.set(xlabel="nats", xlim=(floor, evidence + 0.06 * (evidence - floor)))
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def curves(
    x, lines: Mapping[str, Sequence[float]], xlabel: str, ylabel: str, dashed: Sequence[str] = ()
) -> Figure:
    """Lines with markers over x on logarithmic axes; those named in `dashed` (a formula) without
    markers.
    """
    figure, axes = plain_axes(1, 1, 7, 3.6)
    axis = axes[0, 0]
    for k, (name, values) in enumerate(lines.items()):
        style = (
            {"ls": "--", "color": BLACK}
            if name in dashed
            else {
                "marker": MARKERS_OF_LINES[k % len(MARKERS_OF_LINES)],
                "ms": 5,
                "color": CYCLE[k % len(CYCLE)],
            }
        )
        axis.plot(as_array(x), as_array(values), lw=1.4, label=name, **style)
    axis.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    plain_log(axis.xaxis)
    plain_log(axis.yaxis)
    axis.legend(fontsize=9)
    return figure


def marked_lines(x, values: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> Figure:
    """Lines with markers over x on plain axes."""
    figure, axes = plain_axes(1, 1, 7, 3.4)
    for k, (name, y) in enumerate(values.items()):
        axes[0, 0].plot(
            as_array(x),
            as_array(y),
            marker=MARKERS_OF_LINES[k % len(MARKERS_OF_LINES)],
            ms=5,
            lw=1.4,
            color=CYCLE[k % len(CYCLE)],
            label=name,
        )
    axes[0, 0].set(xlabel=xlabel, ylabel=ylabel)
    axes[0, 0].legend(fontsize=9)
    return figure


def posteriors(gaussians: Mapping[str, tuple], samples=None) -> Figure:
    """Two-dimensional Gaussians {name: (mean [2], covariance [2, 2])} as ellipses of two standard
    deviations; the first one filled.
    """
    figure, axes = plain_axes(1, 1, 6, 4.2)
    axis = axes[0, 0]
    if samples is not None:
        axis.plot(*as_array(samples).T, ".", color="0.75", ms=2.5, zorder=0)
    for k, (name, (mean, cov)) in enumerate(gaussians.items()):
        mean, cov = as_array(mean), as_array(cov)
        values, vectors = np.linalg.eigh(cov)
        tilt = np.degrees(np.arctan2(*vectors[::-1, 1]))
        fill = (
            {"fill": True, "alpha": 0.3}
            if k == 0
            else {"fill": False, "lw": 2, "ls": ("-", "--", ":")[(k - 1) % 3]}
        )
        axis.add_patch(
            Ellipse(
                mean,
                4 * values[1] ** 0.5,
                4 * values[0] ** 0.5,
                angle=tilt,
                color=CYCLE[k % len(CYCLE)],
                label=name,
                **fill,
            )
        )
    axis.autoscale_view()
    axis.set(xlabel="$z_1$", ylabel="$z_2$")
    axis.set_aspect("equal", adjustable="datalim")
    axis.legend(fontsize=9)
    return figure


def histograms(
    samples: Mapping[str, Sequence[float]],
    line: float,
    xlabel: str,
    label: str = "exact",
    clip: float = 0.995,
) -> Figure:
    """One histogram above the other on a common axis, with a line at the exact value; the axis
    holds a share `clip` of the widest.
    """
    values = {k: as_array(v) for k, v in samples.items()}
    reach = max(np.quantile(np.abs(v - line), clip) for v in values.values())
    figure, axes = plain_axes(len(values), 1, 7, 0.6 + 1.25 * len(values), sharex=True)
    bins = np.linspace(line - reach, line + reach, 80)
    for k, (axis, (name, v)) in enumerate(zip(axes[:, 0], values.items())):
        axis.hist(v, bins, color=CYCLE[k % len(CYCLE)], density=True)
        axis.axvline(
            line, color=BLACK, lw=1.3, ls="--", label=f"{label}: {line:.2f}" if k == 0 else None
        )
        axis.set(yticks=[], ylabel="density")
        axis.set_title(f"{name}: standard deviation {v.std():.2f}", fontsize=9, loc="left")
    axes[0, 0].legend(fontsize=9)
    axes[-1, 0].set(xlabel=xlabel)
    return figure


def image_rows(rows: Mapping[str, np.ndarray], titles: Sequence[str] = ()) -> Figure:
    """Rows of small images {name:

    [M, S²]}, each with its name at the left; titles above the first row.
    """
    images = {name: as_images(v) for name, v in rows.items()}
    columns = max(len(v) for v in images.values())
    figure = Figure(
        figsize=(7, 0.1 + (0.22 if titles else 0) + len(images) * 5.9 / columns),
        dpi=DPI,
        layout="constrained",
    )
    axes = figure.subplots(len(images), columns, squeeze=False)
    for row, (name, frames) in zip(axes, images.items()):
        for axis in row:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, frame in zip(row, frames):
            axis.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return figure


def by_label(z, label, images, reach: float = 3.0) -> Figure:
    """Left, latent codes [N, 2] as coloured numerals of their label 0-9; right, the decoded images
    [M, M, S²] on a grid over ± reach, z_2 upwards.
    """
    z, label, images = as_array(z), as_array(label), as_images(images)
    figure = Figure(figsize=(7, 3.5), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    hues = [*CYCLE, "#56B4E9", "#000000", "#8C564B", "#7F7F7F", "#6B8E23"]
    for k in np.unique(label):
        left.scatter(*z[label == k].T, marker=f"${k}$", s=16, color=hues[int(k) % 10], lw=0.2)
    left.spines[["top", "right"]].set_visible(False)
    side = images.shape[-1]
    framed = np.full(
        (*images.shape[:2], 8 * side + 6, 8 * side + 6), np.nan
    )  # every image 8 times as large, with a rim that stays empty
    framed[:, :, 3:-3, 3:-3] = images.repeat(8, -2).repeat(8, -1)
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in framed[::-1]], 0)
    right.imshow(
        sheet,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(-reach, reach, -reach, reach),
        interpolation="nearest",
    )
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    for axis, title in ((left, "codes of held-out digits"), (right, "decoded")):
        axis.set(
            xlabel="$z_1$",
            ylabel="$z_2$",
            xlim=(-reach, reach),
            ylim=(-reach, reach),
            aspect="equal",
        )
        axis.set_title(title, fontsize=10)
    return figure


def _map_and_screen(z, angle, frame):
    """A map of the codes z [N, 2] beside a screen with one frame; the figure, the trace, the point
    and the image, to be moved.
    """
    figure = Figure(figsize=(6.4, 3.1), dpi=72)
    plane, screen = (
        figure.add_axes((0.11, 0.17, 0.45, 0.73)),
        figure.add_axes((0.62, 0.17, 0.35, 0.73)),
    )
    plane.spines[["top", "right"]].set_visible(False)
    plane.scatter(*as_array(z).T, c=_wrapped(angle), cmap=ANGLE_MAP, norm=_ANGLE_NORM, s=4, lw=0)
    (trace,) = plane.plot([], [], "-", color=BLACK, lw=1)
    (point,) = plane.plot([], [], "o", color="white", mec=BLACK, mew=1.6, ms=9)
    plane.set_title("latent point", fontsize=9)
    _latent_labels(plane)
    image = screen.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    screen.set(xticks=[], yticks=[])
    screen.set_title("decoded frame", fontsize=9)
    return figure, trace, point, image


def walk_on_the_ring(z, angle, path, frames) -> FuncAnimation:
    """Animation: a point goes along a path [M, 2] through the codes z [N, 2], coloured by angle
    [N]; beside it its decoded frame [M, S²].
    """
    path, images = as_array(path), as_images(frames)
    figure, trace, point, image = _map_and_screen(z, angle, images[0])

    def draw(k: int):
        """One picture of the animation."""
        point.set_data(path[k : k + 1, 0], path[k : k + 1, 1])
        trace.set_data(path[: k + 1, 0], path[: k + 1, 1])
        image.set_data(images[k])
        return []

    return FuncAnimation(figure, draw, frames=len(path), interval=150, blit=False)


def decoded_frame(z, angle, place, frame) -> Figure:
    """The codes z [N, 2] coloured by angle [N], one place [2] among them, and its decoded frame
    [S²]: one picture of `walk`.
    """
    place = as_array(place)
    figure, _, point, _ = _map_and_screen(z, angle, as_images(frame))
    point.set_data(place[:1], place[1:])
    return figure
