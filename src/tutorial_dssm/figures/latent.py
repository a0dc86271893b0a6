"""Latent spaces, coloured by the true angle and velocity."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from ..evaluation.calibration import wrap
from ..learning.training import METRICS
from .style import (
    ANGLE_LABEL,
    ANGLE_MAP,
    ANGLE_NORM,
    VELOCITY_LABEL,
    VELOCITY_MAP,
    Array,
    Look,
    as_array,
    colour_bar,
    log_axes,
    new_figure,
    plain,
    series_styles,
)

VIEW = {"elev": 22, "azim": -60}  # from where the 3-D axes are seen


class StateColour(NamedTuple):
    """How one coordinate of the true state is coloured."""

    values: np.ndarray  # [M]
    cmap: Colormap
    norm: Normalize
    label: str


def state_colours(state: Array) -> dict[str, StateColour]:
    """The colours of "angle" (wrapped to ±π) and "velocity"; state [..., 2] -> M values each."""
    state = as_array(state).reshape(-1, 2)
    limit = float(np.ceil(np.quantile(np.abs(state[:, 1]), 0.99))) or 1.0
    return {
        "angle": StateColour(wrap(state[:, 0]), ANGLE_MAP, ANGLE_NORM, ANGLE_LABEL),
        "velocity": StateColour(
            state[:, 1], VELOCITY_MAP, Normalize(-limit, limit), VELOCITY_LABEL
        ),
    }


def latent_view(z: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What of the latent space [M, Z] is drawn, [M, 2 or 3], with the names of its axes: the
    coordinates, or for Z > 3 three principal components.
    """
    if z.shape[1] > 3:
        centred = z - z.mean(0)
        components = np.linalg.svd(centred, full_matrices=False)[2][:3]
        return centred @ components.T, [f"component {k + 1}" for k in range(3)]
    return z, [f"$z_{{{k + 1}}}$" for k in range(z.shape[1])]


# Axes with three coordinates belong to mpl_toolkits, which has no types: hence Any.
def latent_axis(
    figure: Figure | SubFigure, position: Any, names: Sequence[str], zoom: float = 0.94
) -> Any:
    """An empty axis for the coordinates with these names: a plane, or a space for three of them."""
    if len(names) < 3:
        plane = figure.add_subplot(position)
        plane.set(xlabel=names[0], ylabel=names[1] if len(names) > 1 else "")
        plain(plane)
        return plane
    axis: Any = figure.add_subplot(position, projection="3d", computed_zorder=False)
    axis.view_init(**VIEW)
    axis.set_box_aspect((1, 1, 0.9), zoom=zoom)
    axis.set(xlabel=names[0], ylabel=names[1], zlabel=names[2])
    axis.tick_params(labelsize=7, pad=-3)
    axis.tick_params(axis="z", pad=0)
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.labelpad = -6
        side.set_pane_color((0.95, 0.95, 0.95, 1.0))
        side.set_major_locator(MaxNLocator(4))
        side._axinfo["grid"].update(color="white", linewidth=0.8)  # there is no public way
    return axis


def latent_points(axis: Any, z: np.ndarray, colour: Any, **kwargs: Any) -> PathCollection:
    """Scatter z [M, 1, 2 or 3] on an axis of `latent_axis`.

    colour: a `StateColour` of the same M states, or one of matplotlib's.
    """
    if z.shape[1] == 1:
        z = np.column_stack([z, np.zeros(len(z))])
    if z.shape[1] == 3:
        kwargs["depthshade"] = False
    if isinstance(colour, StateColour):
        kwargs |= {"cmap": colour.cmap, "norm": colour.norm}
        colour = colour.values
    return axis.scatter(*z.T, c=colour, **{"s": 4, "lw": 0, **kwargs})


def bar_below(figure: Figure, axis: Any, colour: StateColour) -> None:
    """The colour bar of `latent_points`, below its axis."""
    where: Look = {"location": "bottom", "shrink": 0.78, "aspect": 25, "pad": 0.02}
    colour_bar(figure, axis, colour.cmap, colour.norm, colour.label, **where)


def latent_space(z: Array, state: Array, title: str = "") -> Figure:
    """The latent space twice: coloured by the true angle, and by the true velocity.

    z [N, T, Z] (or [M, Z]) latent states, state [N, T, 2] (or [M, 2]) the true (φ, φ̇). Z = 3 is
    drawn in space, Z > 3 by three principal components.
    """
    z = as_array(z)
    shown, names = latent_view(z.reshape(-1, z.shape[-1]))
    figure = new_figure(7, 3.4)
    grid = figure.add_gridspec(1, 2)
    for k, colour in enumerate(state_colours(state).values()):
        axis = latent_axis(figure, grid[k], names)
        latent_points(axis, shown, colour)
        bar_below(figure, axis, colour)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def latent_over_training(
    snapshots: Array, steps: Array, state: Array, history: Array, columns: int = 6
) -> Figure:
    """The latent space at moments of training, coloured by angle (first row) and velocity (second
    row), and below them λ, D and R over the steps.

    snapshots [S, N, T, Z] latent means of the same sequences at `steps` [S], state [N, T, 2]
    theirs; history rows [step, *METRICS]. At most `columns` snapshots are drawn, evenly spaced,
    first and last included. D is drawn as the squared error per pixel, from which it differs by a
    factor and a constant that depend on the noise alone.
    """
    snapshots, steps = as_array(snapshots), as_array(steps)
    even = np.linspace(0, len(steps) - 1, min(columns, len(steps)))
    chosen = np.unique(even.round().astype(int))
    figure = new_figure(7, 4.7)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.8, 1.9])[:, 0]
    _snapshots(top, dict(zip(steps[chosen], snapshots[chosen])), state_colours(state))
    _balance(bottom, as_array(history), steps[chosen])
    return figure


def _snapshots(
    figure: SubFigure, clouds: Mapping[int, np.ndarray], colours: Mapping[str, StateColour]
) -> None:
    """A row for each colour, a column for each cloud {step: [N, T, Z]}."""
    grid = figure.add_gridspec(len(colours), len(clouds))
    for row, (name, colour) in enumerate(colours.items()):
        axes = []
        for column, (step, cloud) in enumerate(clouds.items()):
            shown, names = latent_view(cloud.reshape(-1, cloud.shape[-1]))
            axis = latent_axis(figure, grid[row, column], names)
            axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
            if len(names) == 3:
                axis.set(zticks=[], zlabel="")
                axis.set_box_aspect((1, 1, 0.9), zoom=1.45)
            latent_points(axis, shown, colour, s=1.5, rasterized=True)
            if row == 0:
                axis.set_title(f"{step}" if column else f"step {step}", fontsize=9)
            axes.append(axis)
        label = {"angle": "angle φ (rad)", "velocity": "velocity (rad/s)"}[name]
        colour_bar(figure, axes, colour.cmap, colour.norm, label, shrink=0.9, aspect=12, pad=0.01)


def _balance(figure: SubFigure, history: np.ndarray, marks: np.ndarray) -> None:
    """λ, D and R over the steps; the moments `marks` are thin lines."""
    titles = {
        "weight": "multiplier λ",
        "mse": "D, as squared error / pixel",
        "rate": "R (nats / sequence)",
    }
    axes = figure.subplots(1, 3, squeeze=False, sharex=True)[0]
    for axis, (metric, title), style in zip(axes, titles.items(), series_styles()):
        values = history[:, 1 + METRICS.index(metric)]
        axis.plot(history[:, 0], values, color=style.colour, lw=1.4)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=9)
        log_axes(axis, "y")
        for step in marks:
            axis.axvline(step, color="0.88", lw=0.8, zorder=0)
        plain(axis, ticks=8)
