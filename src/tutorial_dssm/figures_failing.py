"""The figures of the chapter on models that fail in spite of a high bound: data in, matplotlib `Figure` out (floor 4).

Colours are those of Okabe & Ito (2008), with a marker or line style each. Times are in s, information in nats per sequence, errors squared and
per pixel. No function shows or saves anything, or touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .figures import ANGLE_MAP, _array, _latent_axis, _plain, _plain_log, as_images
from .figures_filtering import BLACK, BLUE, CYCLE, DPI, _axes
from .figures_filtering import player as player  # the chapter uses it from here

MARKERS, STYLES = "osD^v", ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
ERROR = "squared error per pixel"


def scatter(groups: Mapping[str, tuple], xlabel: str, ylabel: str, log_y: bool = True) -> Figure:
    """Points of several groups in one plane, a colour and a marker each. groups {name: (x [N], y [N])}."""
    figure, axes = _axes(1, 1, 7, 3.4)
    axis = axes[0, 0]
    for (name, (x, y)), colour, marker in zip(groups.items(), CYCLE, MARKERS):
        axis.plot(_array(x), _array(y), marker, color=colour, ms=7, alpha=0.85, mec="white", mew=0.6, label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if log_y:
        axis.set_yscale("log")
        _plain_log(axis.yaxis)
    axis.grid(color="0.93")
    axis.set_axisbelow(True)
    axis.legend(fontsize=8, ncols=min(3, len(groups)), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure


def lines(
    x, curves: Mapping[str, np.ndarray], xlabel: str, ylabel: str, log: str = "", levels: Mapping[str, float] | None = None, mark: float | None = None
) -> Figure:
    """Curves over a common axis, a colour and a line style each. x [K], curves {name: [K]}; log: "", "x", "y" or "xy".

    levels {name: value} are thin horizontal lines; `mark` is a vertical one.
    """
    figure, axes = _axes(1, 1, 7, 3.2)
    axis = axes[0, 0]
    for (name, y), colour, style in zip(curves.items(), CYCLE, STYLES):
        axis.plot(_array(x), _array(y), color=colour, ls=style, lw=1.8, label=name)
    for (name, value), style in zip((levels or {}).items(), ("--", ":", "-.")):
        axis.axhline(value, color="0.45", lw=1.1, ls=style, label=name)
    if mark is not None:
        axis.axvline(mark, color=BLACK, lw=1)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if "x" in log:
        axis.set_xscale("log")
        _plain_log(axis.xaxis)
    if "y" in log:
        axis.set_yscale("log")
        _plain_log(axis.yaxis)
    axis.grid(color="0.93")
    if len(curves) + len(levels or {}) > 1:
        axis.legend(fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, columnspacing=1.2)
    return figure


def step_bars(values: Mapping[str, np.ndarray], ylabel: str) -> Figure:
    """One number for each step of a sequence, a group of bars for each name. values {name: [T]}."""
    figure, axes = _axes(1, 1, 7, 3.0)
    axis, width = axes[0, 0], 0.8 / len(values)
    for k, ((name, value), colour) in enumerate(zip(values.items(), CYCLE)):
        value = _array(value)
        axis.bar(np.arange(1, len(value) + 1) + (k - (len(values) - 1) / 2) * width, value, width, color=colour, label=name)
    axis.set(xlabel="step t", ylabel=ylabel)
    axis.set_xticks(range(1, len(value) + 1))
    axis.legend(fontsize=8)
    return figure


def curve_in_space(z, phi, titles: Sequence[str] = ("",)) -> Figure:
    """Closed curves in space, coloured by the angle that runs along them. z [K, M, 3], phi [M] in rad."""
    z, phi = _array(z), _array(phi)
    figure = Figure(figsize=(7, 3.2), dpi=DPI, layout="constrained")
    for k, (curve, title) in enumerate(zip(z, titles)):
        axis = _latent_axis(figure, figure.add_gridspec(1, len(z))[k], ["$z_1$", "$z_2$", "$z_3$"], zoom=0.9)
        axis.scatter(*curve.T, c=phi, cmap=ANGLE_MAP, vmin=-np.pi, vmax=np.pi, s=10, lw=0, depthshade=False)
        axis.set_title(title, fontsize=10)
    return figure


def three_films(observed, reconstructed, predicted, dt: float = 0.1) -> FuncAnimation:
    """Animation over time: an observed frame, its reconstruction, its prediction, and the error of both so far. Each film is [T, S²] or [T, S, S]."""
    films = [_array(film) for film in (observed, reconstructed, predicted)]
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
    curves = [axis.plot([], [], style, color=colour, ms=4, lw=1.4, label=name)[0] for style, colour, name in kinds]
    axis.set(xlim=(-0.5 * dt, time[-1] + 0.5 * dt), yscale="log", ylim=(0.5 * min(e.min() for e in errors), 2 * max(e.max() for e in errors)))
    axis.set_xlabel("time (s)", fontsize=9)
    axis.set_title(ERROR, fontsize=9)
    axis.tick_params(labelsize=8)
    _plain_log(axis.yaxis)
    axis.legend(fontsize=8, loc="center right")
    _plain(axis)
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
    """A bound over training above, and below what the model knew at some moments. steps, elbo [L]; outcome {name: [S]} at the steps `at` [S]."""
    figure, axes = _axes(2, 1, 7, 4.2, sharex=True)
    axes[0, 0].plot(_array(steps), _array(elbo), color=BLUE, lw=1.4)
    axes[0, 0].set_ylabel("ELBO (nats per sequence)", fontsize=9)
    for (name, value), colour, marker in zip(outcome.items(), CYCLE[1:], MARKERS):
        axes[1, 0].plot(_array(at), _array(value), marker + "-", color=colour, ms=4, lw=1.3, label=name)
    axes[1, 0].set_ylabel("$R^2$", fontsize=9)
    axes[1, 0].set(xlabel="training step", ylim=(-0.03, 1.03))
    axes[1, 0].legend(fontsize=8)
    for axis in axes[:, 0]:
        axis.grid(color="0.93")
    return figure
