"""Figures of runs over seeds show the numbers they are given; bands follow angles around the
circle.
"""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from figures.helpers import curves, drawn, labelled, legend
from tutorial_dssm.evaluation.calibration import wrap
from tutorial_dssm.experiments import measures
from tutorial_dssm.figures import study as drawings

pytestmark = pytest.mark.filterwarnings("error")
LEVELS = np.array([0.1, 0.3, 0.5, 0.8, 0.9])


# --- seeds ----------------------------------------------------------------------------------------


def test_results_table_figure_shows_seeds_and_their_mean():
    rows = [
        {"run": run, "seed": s, "r2_velocity": 0.1 * s, "mse_open_loop": 0.01 * (s + 1)}
        for run in ("a", "b")
        for s in range(3)
    ]
    velocity, error = drawn(drawings.results_table_figure(rows)).axes
    seeds, mean = velocity.lines[:2]
    np.testing.assert_allclose(seeds.get_xdata(), [0, 0.1, 0.2])
    np.testing.assert_allclose(mean.get_xdata(), 0.1)
    assert (velocity.get_xscale(), error.get_xscale()) == ("linear", "log")
    assert [text.get_text() for text in velocity.get_yticklabels()] == ["a", "b"]
    assert velocity.get_xlabel().replace("\n", " ") == measures.label("r2_velocity")
    assert error.get_xlabel().replace("\n", " ") == measures.label("mse_open_loop")


OUTCOMES = {
    ("dks", "elbo-learned-noise"): [(0.01, 0.06), (0.02, 0.05), (None, None)],
    ("dks", "constrained"): [(0.99, 0.002), (0.98, 0.003), (0.97, math.inf)],
    ("dvbf-smoothing", "constrained"): [(-0.5, 0.004)],
}
ROWS = [
    {"model": model, "objective": objective, "seed": seed, "r2_velocity": r2, "mse_open_loop": mse}
    for (model, objective), pairs in OUTCOMES.items()
    for seed, (r2, mse) in enumerate(pairs)
]


def seeds_of(axis, objective: str, row: int) -> list[float]:
    """Numbers that are drawn in the row of a model with the colour and marker of an objective."""
    colour, marker = drawings.STYLE[objective]
    found = [
        line.get_xdata()
        for line in axis.lines
        if (to_hex(line.get_color()), line.get_marker()) == (colour.lower(), marker)
        and len(line.get_xdata())
        and abs(line.get_ydata()[0] - row) < 0.5
    ]
    assert len(found) == 1
    return sorted(found[0])


@pytest.mark.parametrize("panel", [0, 1])
@pytest.mark.parametrize("run", OUTCOMES)
def test_study_shows_every_seed_in_the_row_of_its_model_and_the_look_of_its_objective(panel, run):
    model, objective = run
    axis = drawn(drawings.study(ROWS)).axes[panel]
    values = [pair[panel] for pair in OUTCOMES[run]]
    finite = sorted(v for v in values if v is not None and math.isfinite(v))
    row = ("dks", "dvbf-smoothing").index(model)
    np.testing.assert_allclose(seeds_of(axis, objective, row), finite)


def test_study_counts_what_is_missing_and_names_rows_and_objectives():
    figure = drawn(drawings.study(ROWS))
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["dks", "dvbf-smoothing"]
    assert (left.get_xscale(), right.get_xscale()) == ("linear", "log")
    assert left.get_xlim()[0] < -0.5, "a negative R² is shown"
    assert [text.get_text() for text in left.texts] == ["1 NaN"]
    assert [text.get_text() for text in right.texts] == ["1 NaN", "1 NaN"]
    assert legend(figure) == ["elbo learned noise", "constrained"]


def test_colours_and_markers_of_objectives_are_one_to_one():
    looks = [*drawings.STYLE.values(), drawings.OTHER]
    assert len({c for c, _ in looks}) == len({m for _, m in looks}) == len(looks)


def test_study_takes_a_measure_that_no_run_has():
    rows = [{"model": "dks", "objective": "constrained", "seed": 0, "mse_open_loop": None}]
    for axis in drawn(drawings.study(rows, ["mse_open_loop", "rate"])).axes:
        assert [text.get_text() for text in axis.texts] == ["1 NaN"]


def test_study_takes_an_objective_of_the_reader():
    rows = [{"model": "dks", "objective": "my-own", "seed": 0, "rate": 3.0}]
    figure = drawn(drawings.study(rows, ["rate"]))
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [3.0])
    assert legend(figure) == ["my own"]


def test_study_refuses_no_rows():
    with pytest.raises(ValueError, match="no rows"):
        drawings.study([])


def test_scaling_shows_every_time_that_was_measured():
    rows = [
        {"model": model, "varied": "T", "T": t, "step_ms": k * t}
        for model, k in (("ekvae", 1.0), ("dks", 2.0))
        for t in (5, 10)
    ]
    (axis,) = drawn(drawings.scaling(rows)).axes
    np.testing.assert_array_equal(curves(axis)["ekvae"], [[5, 5], [10, 10]])
    np.testing.assert_array_equal(curves(axis)["dks"], [[5, 10], [10, 20]])
    assert "ms" in axis.get_ylabel() and "T" in axis.get_xlabel()


# --- calibration and rollouts ---------------------------------------------------------------------


def test_calibration_curve_shows_the_coverages():
    (axis,) = drawn(drawings.calibration_curve(LEVELS, {"dks": LEVELS**2, "ekvae": LEVELS})).axes
    lines = curves(axis)
    np.testing.assert_array_equal(lines["dks"], np.column_stack([LEVELS, LEVELS**2]))
    np.testing.assert_array_equal(lines["calibrated"], [[0, 0], [1, 1]])
    assert labelled(axis) and axis.get_xlim() == axis.get_ylim() == (0, 1)


def test_the_band_holds_its_share_of_the_draws_and_follows_the_truth_around(rng):
    """A pendulum that turns over: the truth is one unbroken line, and the band stays beside it
    across ±π.
    """
    T, seen = 30, 10
    truth = np.stack([0.4 * np.arange(T), -0.3 * np.arange(T)])
    samples = wrap(truth[:, seen - 1 :] + 0.3 * rng.normal(size=(400, 2, T - seen + 1)))
    look = {"seen": seen, "level": 0.9, "titles": ("one", "two")}
    figure = drawn(drawings.rollout_panels(samples, wrap(truth), dt=0.1, **look))
    for k, axis in enumerate(figure.axes):
        lines = curves(axis)
        (time, angle), (when, mean) = (lines[n].T for n in ("truth", "their circular mean"))
        np.testing.assert_allclose(time, 0.1 * np.arange(T))
        np.testing.assert_allclose(np.diff(angle), np.diff(truth[k]))
        np.testing.assert_allclose(when, time[seen - 1 :])
        assert np.abs(mean - angle[seen - 1 :]).max() < 0.1
        np.testing.assert_allclose(lines["last frame seen"][:, 0], 0.1 * (seen - 1))
        polygon = axis.collections[0].get_paths()[0].vertices
        for t, moment in enumerate(when):
            heights = polygon[np.isclose(polygon[:, 0], moment), 1]
            low, high = heights.min(), heights.max()
            draws = samples[:, k, t]
            inside = (wrap(draws - low) >= 0) & (wrap(draws - high) <= 0)
            assert abs(inside.mean() - 0.9) < 0.01 and high - low < 1.3
        assert axis.get_ylabel() and axis.get_title(loc="left") == ("one", "two")[k]


def test_a_prediction_that_falls_on_the_other_side_breaks_its_line():
    truth = np.zeros((1, 8))
    away = np.linspace(2.0, 4.4, 8)  # passes the point opposite to the truth
    samples = away + np.linspace(-0.05, 0.05, 9)[:, None, None]
    (axis,) = drawn(drawings.rollout_panels(samples, truth, dt=0.1)).axes
    mean = curves(axis)["their circular mean"][:, 1]
    assert np.isnan(mean).sum() == 1 and np.nanmax(np.abs(np.diff(mean))) < np.pi


@pytest.mark.parametrize(
    "samples, truth, level",
    [
        ((5, 2, 9), (2, 8), 0.9),
        ((5, 2, 8), (3, 8), 0.9),
        ((1, 2, 8), (2, 8), 0.9),
        ((5, 2, 8), (2, 8), 1.0),
        ((5, 8), (8,), 0.9),
    ],
)
def test_the_door_of_rollouts(samples, truth, level):
    with pytest.raises(ValueError, match="must be"):
        drawings.rollout_panels(np.zeros(samples), np.zeros(truth), dt=0.1, level=level)
