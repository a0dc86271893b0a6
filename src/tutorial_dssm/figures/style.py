"""What all figures share: colours, labels, axes, and the player of animations."""

import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#000000",
)


CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE)


LABELS = ("angle φ (rad)", "angular velocity (rad/s)")


DPI = 110


def plain_axes(
    rows: int, columns: int, width: float, height: float, **kwargs
) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


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


def player(animation: FuncAnimation, alt: str) -> str:
    """The animation as HTML that plays without a kernel and loads nothing from another host; `alt`
    describes it in words.
    """
    html = animation.to_jshtml(default_mode="once")
    html = re.sub(
        r"<link\b[^>]*font-?awesome[^>]*>", "", html
    )  # matplotlib's icons come from another host: use characters
    for icon, character in _ICONS.items():
        html = html.replace(f'<i class="fa {icon}"></i>', character)
    return re.sub(r"<img\b", f'<img alt="{alt}"', html, count=1)


# Perceptually uniform maps, a little darker than matplotlib's own so that their light part stands
# out from a light background.
ANGLE_MAP, VELOCITY_MAP = (
    ListedColormap(
        np.column_stack([plt.get_cmap(name)(np.linspace(0, 1, 510))[:, :3] * share]), name
    )
    for name, share in (("twilight_shifted", 0.84), ("coolwarm", 0.9))
)


ANGLE_TICKS = ([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])


ANGLE_LABEL, VELOCITY_LABEL = "angle φ (rad), 0 = upright", "angular velocity (rad/s)"


DT = 0.1  # s between two frames of the book's pendulum


VIEW = {"elev": 22, "azim": -60}  # from where the 3-D axes are seen


def as_array(x) -> np.ndarray:
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def as_images(x) -> np.ndarray:
    """Flat frames [..., S²] -> square ones [..., S, S]; ValueError when the last axis is not a
    square number.
    """
    x = as_array(x)
    side = round(x.shape[-1] ** 0.5)
    if side * side != x.shape[-1]:
        raise ValueError(f"the last axis must be a square number of pixels, got {list(x.shape)}")
    return x.reshape(*x.shape[:-1], side, side)


def new_figure(
    width: float, height: float, dpi: int = DPI, layout: str | None = "constrained"
) -> Figure:
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def plain(axis) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def plain_number(value: float, _=None) -> str:
    """0.002, 50, but $2·10^{-5}$."""
    if 1e-4 <= value < 1e4 or value <= 0:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    factor = "" if mantissa == "1.0" else f"{float(mantissa):g}·"
    return f"${factor}10^{{{int(exponent)}}}$"


def plain_log(axis) -> None:
    """Ticks of a logarithmic axis as 0.02, 0.05, 0.1 …; fewer where it spans more."""
    low, high = axis.get_view_interval()
    span = high / low if low > 0 else np.inf
    axis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if span < 30 else (1.0, 3.0) if span < 1000 else (1.0,))
    )
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain_number))


def state_colours(state) -> dict[str, tuple]:
    """name -> (values [N·T], colour map, norm, label) of angle (wrapped to ±π) and velocity; state
    [..., 2].
    """
    state = as_array(state).reshape(-1, 2)
    angle = np.remainder(state[:, 0] + np.pi, 2 * np.pi) - np.pi
    limit = float(np.ceil(np.quantile(np.abs(state[:, 1]), 0.99))) or 1.0
    return {
        "angle": (angle, ANGLE_MAP, Normalize(-np.pi, np.pi), ANGLE_LABEL),
        "velocity": (state[:, 1], VELOCITY_MAP, Normalize(-limit, limit), VELOCITY_LABEL),
    }


def colour_bar(figure, axes, cmap, norm, label: str, **kwargs) -> None:
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=axes, label=label, **kwargs)
    if cmap is ANGLE_MAP:
        bar.set_ticks(ANGLE_TICKS[0], labels=ANGLE_TICKS[1])
    elif isinstance(norm, LogNorm):
        plain_log(bar.long_axis)
    bar.outline.set_visible(False)


def latent_view(z: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What of the latent space [M, Z] is drawn, [M, 2 or 3], with the names of its axes: the
    coordinates, or for Z > 3 three principal components.
    """
    if z.shape[1] > 3:
        centred = z - z.mean(0)
        return centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T, [
            f"component {k + 1}" for k in range(3)
        ]
    return z, [f"$z_{{{k + 1}}}$" for k in range(z.shape[1])]


def latent_axis(figure, position, names: Sequence[str], zoom: float = 0.94):
    """An empty axis for 2 or 3 latent coordinates."""
    if len(names) < 3:
        axis = figure.add_subplot(position)
        axis.set(xlabel=names[0], ylabel=names[1] if len(names) > 1 else "")
        plain(axis)
        return axis
    axis = figure.add_subplot(position, projection="3d", computed_zorder=False)
    axis.view_init(**VIEW)
    axis.set_box_aspect((1, 1, 0.9), zoom=zoom)
    axis.set(xlabel=names[0], ylabel=names[1], zlabel=names[2])
    axis.xaxis.labelpad = axis.yaxis.labelpad = axis.zaxis.labelpad = -6
    axis.tick_params(labelsize=7, pad=-3)
    axis.tick_params(axis="z", pad=0)
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.set_pane_color((0.95, 0.95, 0.95, 1.0))
        side.set_major_locator(MaxNLocator(4))
        side._axinfo["grid"].update(color="white", linewidth=0.8)
    return axis


def points(axis, z: np.ndarray, **kwargs):
    """Scatter [M, 1, 2 or 3] on an axis of `_latent_axis`."""
    if z.shape[1] == 1:
        z = np.column_stack([z, np.zeros(len(z))])
    extra = {"depthshade": False} if z.shape[1] == 3 else {}
    return axis.scatter(*z.T, **{"s": 4, "lw": 0, **extra, **kwargs})
