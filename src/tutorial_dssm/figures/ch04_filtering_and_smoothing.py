"""The figures of the chapter on filtering and smoothing: data in, matplotlib `Figure` out.

Colours are those of Okabe & Ito (2008), which people with any colour vision can tell apart. Angles
are in rad, angular velocities in rad/s, times in s, information in nats. No function shows or saves
anything, or touches matplotlib's global state.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from .style import BLACK, BLUE, CYCLE, GREEN, LABELS, ORANGE, plain_axes


def _missing(axis, time: np.ndarray, observed: np.ndarray | None) -> None:
    """Shade the steps without a measurement."""
    if observed is None or observed.all():
        return
    half = 0.5 * (time[1] - time[0])
    for k, t in enumerate(time[~observed]):
        axis.axvspan(
            t - half,
            t + half,
            color="0.92",
            lw=0,
            zorder=0,
            label="not measured" if k == 0 else None,
        )


def state_panels(
    time,
    truth,
    measured,
    estimates: Mapping[str, tuple],
    observed=None,
    differences: bool = False,
    labels: Sequence[str] = LABELS,
) -> Figure:
    """Angle and velocity over time: the truth, the measurements, and each estimate as a mean with a
    band of ± 2 sd.

    time [T]; truth [T, 2]; measured [T] angles; estimates {name: (mean [T, 2], sd [T, 2])};
    observed bool [T], False where a measurement is missing; `differences` adds finite differences
    of the measurements to the velocity panel.
    """
    time, truth, measured = (np.asarray(v) for v in (time, truth, measured))
    observed = np.ones(len(time), bool) if observed is None else np.asarray(observed)
    figure, axes = plain_axes(2, 1, 7, 5.4, sharex=True)
    for k, axis in enumerate(axes[:, 0]):
        _missing(axis, time, observed)
        for colour, (name, (mean, sd)) in zip(CYCLE, estimates.items()):
            mean, sd = np.asarray(mean)[:, k], np.asarray(sd)[:, k]
            axis.fill_between(time, mean - 2 * sd, mean + 2 * sd, color=colour, alpha=0.2, lw=0)
            axis.plot(time, mean, color=colour, lw=1.8, label=f"{name} (± 2 sd)")
        axis.plot(time, truth[:, k], color=BLACK, lw=1.4, ls="--", label="truth")
        axis.set_ylabel(labels[k])
    axes[0, 0].plot(
        time[observed],
        measured[observed],
        "o",
        color=ORANGE,
        mec="white",
        ms=6,
        label="measured angle",
    )
    if differences:
        middle = 0.5 * (time[1:] + time[:-1])
        axes[1, 0].plot(
            middle,
            np.diff(measured) / np.diff(time),
            "x",
            color=ORANGE,
            ms=7,
            mew=2,
            label="finite differences",
        )
    axes[1, 0].set_xlabel("time (s)")
    for axis in axes[:, 0]:
        axis.legend(fontsize=8, ncols=2, framealpha=0.9)
    return figure


def covariance_map(cov, boundaries: Sequence[int], names: Sequence[str]) -> Figure:
    """A covariance matrix as correlations, in named blocks. cov [n, n]; boundaries: where each
    block but the first starts.
    """
    cov = np.asarray(cov)
    sd = np.sqrt(np.diag(cov))
    figure, axes = plain_axes(1, 1, 5, 4.2)
    axis = axes[0, 0]
    image = axis.imshow(cov / np.outer(sd, sd), cmap="RdBu_r", vmin=-1, vmax=1)
    edges = [0, *boundaries, len(cov)]
    for edge in boundaries:
        axis.axhline(edge - 0.5, color=BLACK, lw=1)
        axis.axvline(edge - 0.5, color=BLACK, lw=1)
    middles = [(a + b) / 2 - 0.5 for a, b in zip(edges, edges[1:])]
    axis.set_xticks(middles, names)
    axis.set_yticks(middles, names)
    figure.colorbar(image, label="correlation")
    return figure


def paths(time, joint, independent, label: str = LABELS[1]) -> Figure:
    """Draws of whole paths from the joint posterior beside draws from its marginals. joint,
    independent [draws, T].
    """
    figure, axes = plain_axes(1, 2, 7, 3, sharey=True)
    for axis, draws, title in zip(
        axes[0], (joint, independent), ("from the joint posterior", "from the marginals")
    ):
        for colour, draw in zip(CYCLE, np.asarray(draws)):
            axis.plot(time, draw, color=colour, lw=1.3)
        axis.set(title=title, xlabel="time (s)")
    axes[0, 0].set_ylabel(label)
    return figure


def gap_bars(gaps: Mapping[str, float]) -> Figure:
    """Gap of the bound in nats per sequence for each posterior, on a scale that is linear up to 1
    nat and logarithmic beyond.
    """
    figure, axes = plain_axes(1, 1, 7, 0.45 * len(gaps) + 0.9)
    axis = axes[0, 0]
    names, values = list(gaps), np.array(list(gaps.values()))
    axis.barh(names, values, color=[GREEN if v < 1e-6 else BLUE for v in values], height=0.6)
    for k, value in enumerate(values):
        axis.annotate(
            f"{abs(value):.1f}",
            (value, k),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xlim(0, 4 * values.max())
    axis.set_xlabel("gap to log p(a) (nats per sequence)")
    axis.invert_yaxis()
    return figure


def error_per_step(
    time, errors: Mapping[str, np.ndarray], claimed: Mapping[str, np.ndarray], label: str
) -> Figure:
    """Root mean squared error over sequences at each step (markers), and the error the method
    expects of itself (lines).
    """
    figure, axes = plain_axes(1, 1, 7, 3.4)
    axis = axes[0, 0]
    for (name, error), colour, marker in zip(errors.items(), CYCLE, "osD^v"):
        if name in claimed:
            axis.plot(time, claimed[name], color=colour, lw=1.5)
        axis.plot(time[-len(error) :], error, marker, color=colour, ms=5, label=name)
    axis.plot([], [], color="0.4", lw=1.5, label="expected by the method itself")
    axis.set(xlabel="time (s)", ylabel=label, yscale="log")
    axis.set_yticks([0.3, 0.5, 1, 2, 5], ["0.3", "0.5", "1", "2", "5"])
    axis.minorticks_off()
    axis.legend(fontsize=9)
    return figure


def coverage_of_levels(levels, coverage: Mapping[str, np.ndarray]) -> Figure:
    """How often the truth lies in the central interval of each level. levels [L] in (0, 1);
    coverage {name: [L]}.
    """
    figure, axes = plain_axes(1, 1, 4.6, 3.8)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--", label="perfect")
    for (name, values), colour, marker in zip(coverage.items(), CYCLE, "osD^v"):
        axis.plot(levels, values, marker + "-", color=colour, ms=5, lw=1.2, label=name)
    axis.set(
        xlabel="level of the interval", ylabel="share of truths inside", xlim=(0, 1), ylim=(0, 1)
    )
    axis.legend(fontsize=9)
    return figure


def information_arrives(
    time,
    truth,
    measured,
    frames: Sequence[tuple],
    last_seen: Sequence[int],
    labels: Sequence[str] = LABELS,
) -> FuncAnimation:
    """Animation: what is known of all states while measurements arrive.

    time [T]; truth [T, 2]; measured [T]; frames: pairs (mean [T, 2], sd [T, 2]) of p(z_t | the
    measurements so far) for every t;
    last_seen: for each frame the index of the last measurement it knows.
    """
    time, truth, measured = (np.asarray(v) for v in (time, truth, measured))
    frames = [(np.asarray(m), np.asarray(s)) for m, s in frames]
    # No constrained layout here: every frame must have the same axes.
    figure = Figure(figsize=(6.4, 4.2), dpi=80)
    axes = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.12, right=0.98, top=0.92, bottom=0.12, hspace=0.1)
    low = np.min([(m - 2.2 * s).min(0) for m, s in frames], 0)
    high = np.max([(m + 2.2 * s).max(0) for m, s in frames], 0)

    def draw(k: int):
        """One picture of the animation."""
        (mean, sd), last = frames[k], int(last_seen[k])
        for j, axis in enumerate(axes):
            axis.clear()
            axis.spines[["top", "right"]].set_visible(False)
            axis.axvspan(time[0], time[last], color="0.92", lw=0)
            axis.fill_between(
                time,
                mean[:, j] - 2 * sd[:, j],
                mean[:, j] + 2 * sd[:, j],
                color=BLUE,
                alpha=0.25,
                lw=0,
            )
            axis.plot(time, mean[:, j], color=BLUE, lw=1.8, label="mean ± 2 sd")
            axis.plot(time, truth[:, j], color=BLACK, lw=1.2, ls="--", label="truth")
            axis.set(ylabel=labels[j], ylim=(low[j], high[j]), xlim=(time[0], time[-1]))
        axes[0].plot(
            time[: last + 1],
            measured[: last + 1],
            "o",
            color=ORANGE,
            mec="white",
            ms=5,
            label="measured",
        )
        axes[0].set_title(f"after {last + 1} measurement{'s' if last else ''}", fontsize=10)
        axes[0].legend(fontsize=8, ncols=3, loc="upper right")
        axes[1].set_xlabel("time (s)")
        return []

    return FuncAnimation(figure, draw, frames=len(frames), interval=600, blit=False)
