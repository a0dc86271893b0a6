"""The figures of the chapter on filtering and smoothing."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import (
    BLACK,
    BLUE,
    GREEN,
    LABELS,
    ORANGE,
    Array,
    as_array,
    new_figure,
    plain,
    plain_axes,
    plain_axis,
    series_styles,
)

Band = tuple[Array, Array]  # mean and standard deviation, [T, 2] each


def _band(axis: Axes, time: np.ndarray, band: Band, k: int, colour: str, label: str) -> None:
    """Coordinate k of a mean with ± 2 sd."""
    mean, sd = (as_array(v)[:, k] for v in band)
    axis.fill_between(time, mean - 2 * sd, mean + 2 * sd, color=colour, alpha=0.22, lw=0)
    axis.plot(time, mean, color=colour, lw=1.8, label=label)


def _missing(axis: Axes, time: np.ndarray, observed: np.ndarray) -> None:
    """Shade the steps without a measurement."""
    half = 0.5 * (time[1] - time[0])
    label = "not measured"
    for t in time[~observed]:
        axis.axvspan(t - half, t + half, color="0.92", lw=0, zorder=0, label=label)
        label = ""


def state_panels(
    time: Array,
    truth: Array,
    measured: Array,
    estimates: Mapping[str, Band],
    observed: Array | None = None,
    differences: bool = False,
    labels: Sequence[str] = LABELS,
) -> Figure:
    """Angle and velocity over time: the truth, the measurements, and each estimate as a mean with a
    band of ± 2 sd.

    Args:
        time: [T].
        truth: [T, 2].
        measured: [T] angles.
        estimates: {name: (mean [T, 2], sd [T, 2])}.
        observed: bool [T], False where a measurement is missing.
        differences: add finite differences of the measurements to the velocity panel.
    """
    time, truth, measured = (as_array(v) for v in (time, truth, measured))
    observed = np.ones(len(time), bool) if observed is None else as_array(observed)
    figure, axes = plain_axes(2, 1, 7, 5.4, sharex=True)
    angle, velocity = axes[:, 0]
    for k, axis in enumerate((angle, velocity)):
        _missing(axis, time, observed)
        for (name, band), style in zip(estimates.items(), series_styles()):
            _band(axis, time, band, k, style.colour, f"{name} (± 2 sd)")
        axis.plot(time, truth[:, k], color=BLACK, lw=1.4, ls="--", label="truth")
        axis.set_ylabel(labels[k])
    dots = {"color": ORANGE, "label": "measured angle"}
    angle.plot(time[observed], measured[observed], "o", mec="white", ms=6, **dots)
    if differences:
        slope, middle = np.diff(measured) / np.diff(time), 0.5 * (time[1:] + time[:-1])
        velocity.plot(middle, slope, "x", color=ORANGE, ms=7, mew=2, label="finite differences")
    velocity.set_xlabel("time (s)")
    for axis in (angle, velocity):
        axis.legend(fontsize=8, ncols=2, framealpha=0.9)
    return figure


def covariance_map(cov: Array, boundaries: Sequence[int], names: Sequence[str]) -> Figure:
    """A covariance matrix as correlations, in named blocks. cov [n, n]; boundaries: where each
    block but the first starts.
    """
    cov = as_array(cov)
    sd = np.sqrt(np.diag(cov))
    figure, axis = plain_axis(5, 4.2)
    image = axis.imshow(cov / np.outer(sd, sd), cmap="RdBu_r", vmin=-1, vmax=1)
    for edge in boundaries:
        axis.axhline(edge - 0.5, color=BLACK, lw=1)
        axis.axvline(edge - 0.5, color=BLACK, lw=1)
    edges = [0, *boundaries, len(cov)]
    middles = [(a + b) / 2 - 0.5 for a, b in zip(edges, edges[1:])]
    axis.set_xticks(middles, names)
    axis.set_yticks(middles, names)
    figure.colorbar(image, label="correlation")
    return figure


def paths(time: Array, joint: Array, independent: Array, label: str = LABELS[1]) -> Figure:
    """Draws of whole paths from the joint posterior beside draws from its marginals. joint,
    independent [draws, T].
    """
    panels = {"from the joint posterior": joint, "from the marginals": independent}
    figure, axes = plain_axes(1, 2, 7, 3, sharey=True)
    for axis, (title, draws) in zip(axes[0], panels.items()):
        for draw, style in zip(as_array(draws), series_styles()):
            axis.plot(as_array(time), draw, color=style.colour, lw=1.3)
        axis.set(title=title, xlabel="time (s)")
    axes[0, 0].set_ylabel(label)
    return figure


def gap_bars(gaps: Mapping[str, float]) -> Figure:
    """Gap of the bound in nats per sequence for each posterior, on a scale that is linear up to 1
    nat and logarithmic beyond.
    """
    names, values = list(gaps), np.array(list(gaps.values()))
    figure, axis = plain_axis(7, 0.45 * len(gaps) + 0.9)
    axis.barh(names, values, color=[GREEN if v < 1e-6 else BLUE for v in values], height=0.6)
    for k, value in enumerate(values):
        note = axis.annotate(f"{abs(value):.1f}", (value, k), (4, 0), textcoords="offset points")
        note.set(va="center", fontsize=9)
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xlim(0, 4 * values.max())
    axis.set_xlabel("gap to log p(a) (nats per sequence)")
    axis.invert_yaxis()
    return figure


def error_per_step(
    time: Array, errors: Mapping[str, Array], claimed: Mapping[str, Array], label: str
) -> Figure:
    """Root mean squared error over sequences at each step (markers), and the error the method
    expects of itself (lines).

    time [T]; errors {name: [T] or the last steps of it}; claimed {name: [T]} for some of them.
    """
    time = as_array(time)
    figure, axis = plain_axis(7, 3.4)
    for (name, error), style in zip(errors.items(), series_styles()):
        if name in claimed:
            axis.plot(time, as_array(claimed[name]), color=style.colour, lw=1.5)
        axis.plot(time[-len(error) :], as_array(error), ms=5, label=name, **style.points)
    axis.plot([], [], color="0.4", lw=1.5, label="expected by the method itself")
    axis.set(xlabel="time (s)", ylabel=label, yscale="log")
    axis.set_yticks([0.3, 0.5, 1, 2, 5], ["0.3", "0.5", "1", "2", "5"])
    axis.minorticks_off()
    axis.legend(fontsize=9)
    return figure


def information_arrives(
    time: Array,
    truth: Array,
    measured: Array,
    frames: Sequence[Band],
    last_seen: Sequence[int],
    labels: Sequence[str] = LABELS,
) -> FuncAnimation:
    """Animation: what is known of all states while measurements arrive.

    Args:
        time: [T].
        truth: [T, 2].
        measured: [T].
        frames: pairs (mean [T, 2], sd [T, 2]) of p(z_t | the measurements so far) for every t.
        last_seen: for each frame the index of the last measurement it knows.
    """
    time, truth, measured = (as_array(v) for v in (time, truth, measured))
    bands = [(as_array(mean), as_array(sd)) for mean, sd in frames]
    figure = new_figure(6.4, 4.2, dpi=80, layout=None)
    axes = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.12, right=0.98, top=0.92, bottom=0.12, hspace=0.1)
    low = np.min([(m - 2.2 * s).min(0) for m, s in bands], 0)
    high = np.max([(m + 2.2 * s).max(0) for m, s in bands], 0)

    def draw(k: int) -> list:
        """One picture of the animation."""
        seen = int(last_seen[k]) + 1
        for j, axis in enumerate(axes):
            axis.clear()
            plain(axis)
            axis.axvspan(time[0], time[seen - 1], color="0.92", lw=0)
            _band(axis, time, bands[k], j, BLUE, "mean ± 2 sd")
            axis.plot(time, truth[:, j], color=BLACK, lw=1.2, ls="--", label="truth")
            axis.set(ylabel=labels[j], ylim=(low[j], high[j]), xlim=(time[0], time[-1]))
        dots = {"color": ORANGE, "mec": "white", "ms": 5, "label": "measured"}
        axes[0].plot(time[:seen], measured[:seen], "o", **dots)
        axes[0].set_title(f"after {seen} measurement{'s' if seen > 1 else ''}", fontsize=10)
        axes[0].legend(fontsize=8, ncols=3, loc="upper right")
        axes[1].set_xlabel("time (s)")
        return []

    return FuncAnimation(figure, draw, frames=len(bands), interval=600, blit=False)
