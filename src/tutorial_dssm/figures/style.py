"""What all figures share: palette, axes, legends, frames, colour bars, and the player of
animations.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from torch import Tensor

Array = np.ndarray | Tensor
Look = dict[str, Any]  # keyword arguments of a method of matplotlib
# distortion or error, and rate: [M] each
Curve = tuple[Array | Sequence[float], Array | Sequence[float]]

DPI = 110

# ---------------------------------------------------------------- palette and words

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"

# Periods without a common divisor: 56 series differ in colour and marker, 35 in colour and line.
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
LEVELS = ("--", ":", "-.")  # of thin grey lines across a panel

LABELS = ("angle φ (rad)", "angular velocity (rad/s)")
ERROR = "squared error per pixel"


class Series(NamedTuple):
    """How one of several series is drawn; the properties are arguments of `Axes.plot`."""

    colour: str
    marker: str
    line: Any  # a line style of matplotlib

    @property
    def points(self) -> Look:
        """Markers alone."""
        return {"color": self.colour, "marker": self.marker, "ls": "none"}

    @property
    def marked(self) -> Look:
        """A solid line with markers."""
        return {"color": self.colour, "marker": self.marker, "ls": "-"}

    @property
    def lined(self) -> Look:
        """A line in its own style, without markers."""
        return {"color": self.colour, "ls": self.line}


def series_styles() -> Iterator[Series]:
    """A colour, a marker and a line style for each series, without end: to be zipped with them."""
    return map(Series, cycle(COLOURS), cycle(MARKERS), cycle(LINES))


# ---------------------------------------------------------------- arrays


def as_array(x: Array | Sequence) -> np.ndarray:
    """A tensor (of any device, with or without gradients) or a sequence of numbers as an array."""
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)


def as_images(x: Array, batch: int | None = None) -> np.ndarray:
    """Flat frames [..., S²] -> square ones [..., S, S].

    Args:
        batch: how many axes stand before those of the pixels; frames that are [..., S, S] already
            are then left as they are.
    Raises:
        ValueError: the last axis is not a square number.
    """
    x = as_array(x)
    if batch is not None and x.ndim == batch + 2:
        return x
    side = round(x.shape[-1] ** 0.5)
    if side * side != x.shape[-1]:
        raise ValueError(f"the last axis must be a square number of pixels, got {list(x.shape)}")
    return x.reshape(*x.shape[:-1], side, side)


# ---------------------------------------------------------------- figures and axes


def new_figure(
    width: float,
    height: float,
    dpi: int = DPI,
    layout: Literal["constrained"] | None = "constrained",
) -> Figure:
    """An empty figure, in inches. `layout` None where axes are placed by hand: those of an
    animation must stay where they are.
    """
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def plain(axis: Axes, ticks: float | None = None) -> None:
    """No frame above and at the right; tick labels of size `ticks`."""
    axis.spines[["top", "right"]].set_visible(False)
    if ticks is not None:
        axis.tick_params(labelsize=ticks)


def plain_axes(
    rows: int, columns: int, width: float, height: float, **kwargs: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with plain axes [rows, columns]; further arguments as of `Figure.subplots`."""
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for axis in axes.flat:
        plain(axis)
    return figure, axes


def plain_axis(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one plain axis."""
    figure, axes = plain_axes(1, 1, width, height)
    return figure, axes[0, 0]


def grid_behind(axis: Axes, which: Literal["x", "y", "both"] = "both") -> None:
    """Pale grid lines behind everything else; which: "x", "y" or "both"."""
    axis.grid(axis=which, color="0.93")
    axis.set_axisbelow(True)


def plain_number(value: float, _: object = None) -> str:
    """0.002, 50, but $2·10^{-5}$."""
    if 1e-4 <= value < 1e4 or value <= 0:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    factor = "" if mantissa == "1.0" else f"{float(mantissa):g}·"
    return f"${factor}10^{{{int(exponent)}}}$"


def plain_log(side: Axis) -> None:
    """Ticks of a logarithmic axis as 0.02, 0.05, 0.1 …; fewer where it spans more."""
    low, high = side.get_view_interval()
    span = high / low if low > 0 else np.inf
    subs = (1.0, 2.0, 5.0) if span < 30 else (1.0, 3.0) if span < 1000 else (1.0,)
    side.set_major_locator(LogLocator(subs=subs))
    side.set_minor_locator(NullLocator())
    side.set_major_formatter(FuncFormatter(plain_number))


def log_axes(axis: Axes, which: str) -> None:
    """Logarithmic axes with plain ticks, after the data are drawn; which: "x", "y", "xy" or ""."""
    if "x" in which:
        axis.set_xscale("log")
        plain_log(axis.xaxis)
    if "y" in which:
        axis.set_yscale("log")
        plain_log(axis.yaxis)


def legend_outside(
    figure: Figure,
    axis: Axes,
    side: Literal["outside lower center", "outside upper center"] = "outside lower center",
) -> None:
    """A legend of `axis` below the figure or above it, in as many columns as its names leave room
    for.
    """
    handles, names = axis.get_legend_handles_labels()
    # in inches: a name in letters of size 8, and its line with the space around it
    column = 0.6 + max(TextPath((0, 0), name, size=8).get_extents().width for name in names) / 72
    columns = max(1, min(len(names), int(figure.get_figwidth() / column)))
    figure.legend(handles, names, loc=side, fontsize=8, ncols=columns, frameon=False)


# ---------------------------------------------------------------- frames


def grey_image(axis: Axes, image: np.ndarray, **kwargs: Any) -> AxesImage:
    """One frame [S, S] of grey values in [0, 1], without ticks."""
    axis.set(xticks=[], yticks=[])
    return axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", **kwargs)


def film_strip(axis: Axes, frames: np.ndarray, aspect: str = "auto") -> list[AxesImage]:
    """Frames [T, S, S] side by side; frame k is in the middle of k - 0.5 and k + 0.5."""
    images = [
        grey_image(axis, frame, extent=(k - 0.47, k + 0.47, -0.47, 0.47))
        for k, frame in enumerate(frames)
    ]
    axis.set(xlim=(-0.5, len(frames) - 0.5), ylim=(-0.5, 0.5), aspect=aspect)
    axis.spines[:].set_visible(False)
    return images


# ---------------------------------------------------------------- colours of angles and velocities


def _darker(name: str, share: float) -> ListedColormap:
    """A map of matplotlib, darker, so that its light part stands out from a light background."""
    return ListedColormap(plt.get_cmap(name)(np.linspace(0, 1, 510))[:, :3] * share, name)


ANGLE_MAP, VELOCITY_MAP = _darker("twilight_shifted", 0.84), _darker("coolwarm", 0.9)
ANGLE_NORM = Normalize(-np.pi, np.pi)
ANGLE_TICKS = ([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
ANGLE_LABEL, VELOCITY_LABEL = "angle φ (rad), 0 = upright", "angular velocity (rad/s)"


def colour_bar(
    figure: Figure | SubFigure,
    axes: Any,
    cmap: Colormap | str,
    norm: Normalize,
    label: str,
    **kwargs: Any,
) -> Colorbar:
    """A colour bar beside one axis or several; further arguments are those of `Figure.colorbar`."""
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=axes, label=label, **kwargs)
    if cmap is ANGLE_MAP:
        bar.set_ticks(ANGLE_TICKS[0], labels=ANGLE_TICKS[1])
    elif isinstance(norm, LogNorm):
        plain_log(bar.long_axis)
    bar.outline.set_visible(False)
    return bar


# ---------------------------------------------------------------- animations

_ICONS = {
    "fa-minus": "−",
    "fa-plus": "+",
    "fa-fast-backward": "|◂",
    "fa-step-backward": "‹",
    "fa-play fa-flip-horizontal": "◂",
    "fa-pause": "❚❚",
    "fa-play": "▸",
    "fa-step-forward": "›",
    "fa-fast-forward": "▸|",
}


def player(animation: FuncAnimation, alt: str, start: int = 0) -> str:
    """The animation as HTML that plays without a kernel and loads nothing from another host.

    Args:
        alt: describes it in words.
        start: the picture it opens on, -1 for the last one. From the last one it plays from the
            beginning.
    Raises:
        ValueError: there is no such picture.
    """
    html = animation.to_jshtml(default_mode="once")
    pictures = html.count("data:image/")
    if not -pictures <= start < pictures:
        raise ValueError(f"start must be one of {pictures} pictures, got {start}")
    # matplotlib's icons come from another host: use characters
    html = re.sub(r"<link\b[^>]*font-?awesome[^>]*>", "", html)
    for icon, character in _ICONS.items():
        html = html.replace(f'<i class="fa {icon}"></i>', character)
    rewind = r"\1.current_frame == \1.frames.length - 1 &amp;&amp; \1.first_frame(); "
    html = re.sub(r'(?<=onclick=")(anim\w+)(?=\.play_animation\(\)")', rewind + r"\1", html)
    show = rf"\g<0> \1.set_frame({start % pictures});"
    html = re.sub(r"(anim\w+) = new Animation\([^)]*\);", show, html)
    return re.sub(r"<img\b", f'<img alt="{alt}"', html, count=1)
