"""The figures of the chapter on models that fail in spite of a high bound: data in, matplotlib
`Figure` out.

Colours are those of Okabe & Ito (2008), with a marker or line style each. Times are in s,
information in nats per sequence, errors squared and per pixel. No function shows or saves anything,
or touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .shared import MARKERS
from .style import (
    ANGLE_MAP,
    BLUE,
    CYCLE,
    DPI,
    as_array,
    as_images,
    latent_axis,
    plain,
    plain_axes,
    plain_log,
)

ERROR = "squared error per pixel"


def step_bars(values: Mapping[str, np.ndarray], ylabel: str) -> Figure:
    """One number for each step of a sequence, a group of bars for each name. values {name: [T]}."""
    figure, axes = plain_axes(1, 1, 7, 3.0)
    axis, width = axes[0, 0], 0.8 / len(values)
    for k, ((name, value), colour) in enumerate(zip(values.items(), CYCLE)):
        value = as_array(value)
        axis.bar(
            np.arange(1, len(value) + 1) + (k - (len(values) - 1) / 2) * width,
            value,
            width,
            color=colour,
            label=name,
        )
    axis.set(xlabel="step t", ylabel=ylabel)
    axis.set_xticks(range(1, len(value) + 1))
    axis.legend(fontsize=8)
    return figure


def curve_in_space(z, phi, titles: Sequence[str] = ("",)) -> Figure:
    """Closed curves in space, coloured by the angle that runs along them. z [K, M, 3], phi [M] in
    rad.
    """
    z, phi = as_array(z), as_array(phi)
    figure = Figure(figsize=(7, 3.2), dpi=DPI, layout="constrained")
    for k, (curve, title) in enumerate(zip(z, titles)):
        axis = latent_axis(
            figure, figure.add_gridspec(1, len(z))[k], ["$z_1$", "$z_2$", "$z_3$"], zoom=0.9
        )
        axis.scatter(
            *curve.T, c=phi, cmap=ANGLE_MAP, vmin=-np.pi, vmax=np.pi, s=10, lw=0, depthshade=False
        )
        axis.set_title(title, fontsize=10)
    return figure


def three_films(observed, reconstructed, predicted, dt: float = 0.1) -> FuncAnimation:
    """Animation over time: an observed frame, its reconstruction, its prediction, and the error of
    both so far. Each film is [T, S²] or [T, S, S].
    """
    films = [as_array(film) for film in (observed, reconstructed, predicted)]
    films = [film if film.ndim == 3 else as_images(film) for film in films]
    errors = [((film - films[0]) ** 2).mean((1, 2)) for film in films[1:]]
    time = dt * np.arange(len(films[0]))
    figure = Figure(figsize=(7, 2.5), dpi=80)
    pictures = []
    for k, (film, title) in enumerate(zip(films, ("observed", "reconstructed", "predicted"))):
        axis = figure.add_axes((0.015 + 0.155 * k, 0.26, 0.145, 0.5))
        pictures.append(axis.imshow(film[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest"))
        axis.set(xticks=[], yticks=[])
        axis.set_title(title, fontsize=9)
    axis = figure.add_axes((0.585, 0.22, 0.4, 0.68))
    kinds = zip(("o-", "s--"), CYCLE, ("reconstructed", "predicted"))
    curves = [
        axis.plot([], [], style, color=colour, ms=4, lw=1.4, label=name)[0]
        for style, colour, name in kinds
    ]
    axis.set(
        xlim=(-0.5 * dt, time[-1] + 0.5 * dt),
        yscale="log",
        ylim=(0.5 * min(e.min() for e in errors), 2 * max(e.max() for e in errors)),
    )
    axis.set_xlabel("time (s)", fontsize=9)
    axis.set_title(ERROR, fontsize=9)
    axis.tick_params(labelsize=8)
    plain_log(axis.yaxis)
    axis.legend(fontsize=8, loc="center right")
    plain(axis)
    label = figure.text(0.24, 0.12, "", fontsize=9, ha="center")

    def draw(k: int):
        """One picture of the animation."""
        for picture, film in zip(pictures, films):
            picture.set_data(film[k])
        for curve, error in zip(curves, errors):
            curve.set_data(time[: k + 1], error[: k + 1])
        label.set_text(f"{time[k]:.1f} s after the start")
        return []

    return FuncAnimation(figure, draw, frames=len(time), interval=500, blit=False)


def training_outcome(steps, elbo, outcome: Mapping[str, np.ndarray], at) -> Figure:
    """A bound over training above, and below what the model knew at some moments. steps, elbo [L];
    outcome {name: [S]} at the steps `at` [S].
    """
    figure, axes = plain_axes(2, 1, 7, 4.2, sharex=True)
    axes[0, 0].plot(as_array(steps), as_array(elbo), color=BLUE, lw=1.4)
    axes[0, 0].set_ylabel("ELBO (nats per sequence)", fontsize=9)
    for (name, value), colour, marker in zip(outcome.items(), CYCLE[1:], MARKERS):
        axes[1, 0].plot(
            as_array(at), as_array(value), marker + "-", color=colour, ms=4, lw=1.3, label=name
        )
    axes[1, 0].set_ylabel("$R^2$", fontsize=9)
    axes[1, 0].set(xlabel="training step", ylim=(-0.03, 1.03))
    axes[1, 0].legend(fontsize=8)
    for axis in axes[:, 0]:
        axis.grid(color="0.93")
    return figure
