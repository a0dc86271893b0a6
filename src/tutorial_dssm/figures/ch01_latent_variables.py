"""The figures of the chapter on latent variables."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from ..evaluation.calibration import wrap
from .style import (
    ANGLE_LABEL,
    ANGLE_MAP,
    ANGLE_NORM,
    BLACK,
    BLUE,
    COLOURS,
    LINES,
    ORANGE,
    Array,
    Look,
    as_array,
    as_images,
    colour_bar,
    grey_image,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)

# ---------------------------------------------------------------- maps of the codes


def _codes(axis: Axes, z: Array, angle: Array, size: float) -> None:
    """Codes [N, 2] in the colours of their angles [N]."""
    x, y = as_array(z).T
    look: Look = {"cmap": ANGLE_MAP, "norm": ANGLE_NORM, "rasterized": True}
    axis.scatter(x, y, size, wrap(as_array(angle)), lw=0, **look)
    axis.set(xlabel="$z_1$", ylabel="$z_2$")


def _around(anchors: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Places [M, 2], evenly on a circle, in the sense and at the turn that make the lines to the
    anchors [M, 2] shortest.
    """
    turn = 2 * np.pi * np.arange(len(anchors)) / len(anchors)
    circles = [
        centre + radius * np.column_stack([np.cos(angles), np.sin(angles)])
        for shift in turn
        for angles in (shift + turn, shift - turn)
    ]
    return min(circles, key=lambda places: ((places - anchors) ** 2).sum())


def frames_on_the_map(
    z: Array, angle: Array, anchors: Array, frames: Array, size: float = 0.1
) -> Figure:
    """Latent codes [N, 2] coloured by the angle [N] (rad); the frames [M, S²] of M points along
    them [M, 2], in order, stand around on a circle.
    """
    z, anchors = as_array(z), as_array(anchors)
    centre = (z.max(0) + z.min(0)) / 2
    radius = 1.3 * np.abs(z - centre).max()
    places = _around(anchors, centre, radius)
    figure, axis = plain_axis(7, 5.4)
    for line in zip(anchors, places):
        axis.plot(*np.array(line).T, color="0.75", lw=0.8, zorder=0)
    _codes(axis, z, angle, 5)
    (x, y), reach = centre, 1.2 * radius
    axis.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), aspect="equal")
    half = size * reach
    for place, image in zip(places, as_images(frames)):
        corner = place - half
        inset = axis.inset_axes((*corner, 2 * half, 2 * half), transform=axis.transData)
        grey_image(inset, image)
    colour_bar(figure, axis, ANGLE_MAP, ANGLE_NORM, ANGLE_LABEL, shrink=0.8)
    return figure


def by_label(z: Array, label: Array, images: Array, reach: float = 3.0) -> Figure:
    """Left, latent codes [N, 2] as coloured numerals of their label 0-9; right, the decoded images
    [M, M, S²] on a grid over ± reach, z_2 upwards.
    """
    z, label, images = as_array(z), as_array(label), as_images(images)
    figure, ((left, right),) = plain_axes(1, 2, 7, 3.5)
    hues = [*COLOURS, "#8C564B", "#7F7F7F", "#6B8E23"]
    for k in np.unique(label):
        left.scatter(*z[label == k].T, marker=f"${k}$", s=16, color=hues[int(k) % 10], lw=0.2)
    # every image 8 times as large, with a rim that stays empty
    side = 8 * images.shape[-1] + 6
    framed = np.full((*images.shape[:2], side, side), np.nan)
    framed[:, :, 3:-3, 3:-3] = images.repeat(8, -2).repeat(8, -1)
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in framed[::-1]], 0)
    square = (-reach, reach, -reach, reach)
    right.imshow(sheet, cmap="gray", vmin=0, vmax=1, extent=square, interpolation="nearest")
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    for axis, title in ((left, "codes of held-out digits"), (right, "decoded")):
        axis.set(xlabel="$z_1$", ylabel="$z_2$", xlim=square[:2], ylim=square[2:], aspect="equal")
        axis.set_title(title, fontsize=10)
    return figure


def _map_and_screen(
    z: Array, angle: Array, frame: np.ndarray
) -> tuple[Figure, Line2D, Line2D, AxesImage]:
    """A map of the codes z [N, 2] beside a screen with one frame; the figure, the trace, the point
    and the image, to be moved.
    """
    figure = new_figure(6.4, 3.1, dpi=72, layout=None)
    plane = figure.add_axes((0.11, 0.17, 0.45, 0.73))
    screen = figure.add_axes((0.62, 0.17, 0.35, 0.73))
    plain(plane)
    _codes(plane, z, angle, 4)
    (trace,) = plane.plot([], [], "-", color=BLACK, lw=1)
    (point,) = plane.plot([], [], "o", color="white", mec=BLACK, mew=1.6, ms=9)
    plane.set_title("latent point", fontsize=9)
    plane.set_aspect("equal", adjustable="datalim")
    image = grey_image(screen, frame)
    screen.set_title("decoded frame", fontsize=9)
    return figure, trace, point, image


def walk_on_the_ring(z: Array, angle: Array, path: Array, frames: Array) -> FuncAnimation:
    """Animation: a point goes along a path [M, 2] through the codes z [N, 2], coloured by angle
    [N]; beside it its decoded frame [M, S²].
    """
    path, images = as_array(path), as_images(frames)
    figure, trace, point, image = _map_and_screen(z, angle, images[0])

    def draw(k: int) -> list:
        """One picture of the animation."""
        point.set_data(*path[k : k + 1].T)
        trace.set_data(*path[: k + 1].T)
        image.set_data(images[k])
        return []

    return FuncAnimation(figure, draw, frames=len(path), interval=150, blit=False)


def decoded_frame(z: Array, angle: Array, place: Array, frame: Array) -> Figure:
    """The codes z [N, 2] coloured by angle [N], one place [2] among them, and its decoded frame
    [S²]: one picture of `walk_on_the_ring`.
    """
    figure, _, point, _ = _map_and_screen(z, angle, as_images(frame))
    point.set_data(*as_array(place)[:, None])
    return figure


# ---------------------------------------------------------------- bounds, posteriors, estimates


def bounds_and_gaps(bounds: Mapping[str, float], evidence: float) -> Figure:
    """A bar for each q: its ELBO from below, and the gap up to log p(x), which is the same for all
    (nats).
    """
    names, values = list(bounds), np.array([float(v) for v in bounds.values()])
    floor = min(values.min(), evidence) - 0.25 * (evidence - values.min())
    figure, axis = plain_axis(7, 0.75 + 0.5 * len(names))
    axis.barh(names, values - floor, left=floor, color=BLUE, height=0.6, label="ELBO")
    gap = axis.barh(names, evidence - values, left=values, color=ORANGE, height=0.6)
    gap.set_label("gap KL(q ‖ p(z | x))")
    axis.axvline(evidence, color=BLACK, lw=1.5, ls="--", label="log p(x)")
    axis.set(xlabel="nats", xlim=(floor, evidence + 0.06 * (evidence - floor)))
    axis.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return figure


def posteriors(
    gaussians: Mapping[str, tuple[Array, Array]], samples: Array | None = None
) -> Figure:
    """Two-dimensional Gaussians {name: (mean [2], covariance [2, 2])} as ellipses of two standard
    deviations, the first one filled; samples [N, 2] are points behind them.
    """
    figure, axis = plain_axis(6, 4.2)
    if samples is not None:
        axis.plot(*as_array(samples).T, ".", color="0.75", ms=2.5, zorder=0)
    for k, ((name, (mean, cov)), style) in enumerate(zip(gaussians.items(), series_styles())):
        values, vectors = np.linalg.eigh(as_array(cov))
        tilt = np.degrees(np.arctan2(*vectors[::-1, 1]))
        width, height = 4 * values[::-1] ** 0.5
        x, y = as_array(mean)
        ellipse = Ellipse((x, y), width, height, angle=tilt, color=style.colour, label=name)
        if k == 0:
            ellipse.set(fill=True, alpha=0.3)
        else:
            ellipse.set(fill=False, lw=2, ls=LINES[(k - 1) % len(LINES)])
        axis.add_patch(ellipse)
    axis.autoscale_view()
    axis.set(xlabel="$z_1$", ylabel="$z_2$")
    axis.set_aspect("equal", adjustable="datalim")
    axis.legend(fontsize=9)
    return figure


def histograms(
    samples: Mapping[str, Array],
    line: float,
    xlabel: str,
    label: str = "exact",
    clip: float = 0.995,
) -> Figure:
    """One histogram above the other on a common axis, with a line at the exact value; the axis
    holds a share `clip` of the widest. samples {name: [N]}.
    """
    values = {name: as_array(v) for name, v in samples.items()}
    reach = max(np.quantile(np.abs(v - line), clip) for v in values.values())
    bins = np.linspace(line - reach, line + reach, 80)
    figure, axes = plain_axes(len(values), 1, 7, 0.6 + 1.25 * len(values), sharex=True)
    for axis, (name, v), style in zip(axes[:, 0], values.items(), series_styles()):
        axis.hist(v, bins, color=style.colour, density=True)
        axis.axvline(line, color=BLACK, lw=1.3, ls="--", label=f"{label}: {line:.2f}")
        axis.set(yticks=[], ylabel="density")
        axis.set_title(f"{name}: standard deviation {v.std():.2f}", fontsize=9, loc="left")
    axes[0, 0].legend(fontsize=9)
    axes[-1, 0].set(xlabel=xlabel)
    return figure


def image_rows(rows: Mapping[str, Array], titles: Sequence[str] = ()) -> Figure:
    """Rows of small images {name: [M, S²]}, each with its name at the left; titles above the first
    row.
    """
    images = {name: as_images(v) for name, v in rows.items()}
    columns = max(len(v) for v in images.values())
    height = 0.1 + (0.22 if titles else 0) + len(images) * 5.9 / columns
    figure, axes = plain_axes(len(images), columns, 7, height)
    for row, (name, frames) in zip(axes, images.items()):
        for axis in row:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, frame in zip(row, frames):
            grey_image(axis, frame)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9)
    return figure
