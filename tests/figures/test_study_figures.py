"""The figures of the study show the arrays they are given; coverage is that of the closed form;
angles know no edge at ±π.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from tutorial_dssm.data.sequences import SequenceData
from tutorial_dssm.evaluation import calibration
from tutorial_dssm.experiments import comparisons
from tutorial_dssm.figures import study as drawings
from tutorial_dssm.models.dks import DKS, DKSConfig

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("nothing_stays_open")]
LEVELS = np.array([0.1, 0.3, 0.5, 0.8, 0.9])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- calibration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed, draws", [(1.0, 199), (1.0, 19), (0.5, 399), (2.0, 399)])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_coverage_is_that_of_the_closed_form(claimed, draws, as_tensor, rng):
    """Truth ~ N(μ, s²) and draws ~ N(μ, (c s)²) around directions all over the circle: coverage 2
    Φ(c Φ⁻¹((1 + p)/2)) - 1. Calibrated for c = 1.
    """
    N, T, sd = 40, 50, 0.5
    centre = rng.uniform(-np.pi, np.pi, (N, T))
    truth = centre + sd * rng.normal(size=(N, T))
    samples = centre + claimed * sd * rng.normal(size=(draws, N, T))
    samples, truth = calibration.wrap(samples), calibration.wrap(truth)
    if as_tensor:
        samples, truth = torch.tensor(samples), torch.tensor(truth)
    coverage = calibration.coverage(samples, truth, LEVELS)
    normal = NormalDist()
    exact = np.array([2 * normal.cdf(claimed * normal.inv_cdf((1 + p) / 2)) - 1 for p in LEVELS])
    slack = 4.5 * np.sqrt(exact * (1 - exact) / (N * T)) + (
        0.002 if draws > 50 else 0.012
    )  # the centre is of the same draws: O(1/S)
    assert (np.abs(coverage - exact) < slack).all(), (coverage, exact)
    if claimed < 1:
        assert (coverage[1:] < LEVELS[1:] - 0.1).all()


def test_coverage_does_not_depend_on_the_branch_or_the_direction_of_upright(rng):
    samples, truth = rng.normal(size=(50, 20, 10)), rng.normal(size=(20, 10))
    reference = calibration.coverage(samples, truth, LEVELS)
    turns = 2 * np.pi * rng.integers(-3, 4, (20, 10))
    assert np.allclose(calibration.coverage(samples + turns, truth, LEVELS), reference)
    for turn in (np.pi, 2.5, turns):
        assert np.allclose(
            calibration.coverage(
                calibration.wrap(samples + turn), calibration.wrap(truth + turn), LEVELS
            ),
            reference,
        )


def test_a_wrong_direction_is_outside():
    samples = np.random.default_rng(0).normal(0, 0.1, (100, 5, 4))
    assert (calibration.coverage(samples, np.full((5, 4), np.pi), LEVELS) == 0).all()
    assert (calibration.coverage(samples, np.full((5, 4), 2 * np.pi), [0.8, 0.9]) == 1).all()


@pytest.mark.parametrize(
    "samples, truth, levels, message",
    [
        ((3, 4, 5), (4, 6), [0.5], "samples must be"),
        ((1, 4, 5), (4, 5), [0.5], "S >= 2"),
        ((3, 4, 5), (4, 5), [1.0], "levels must be"),
        ((3, 4, 5), (4, 5), [0.5, math.nan], "levels must be"),
    ],
)
def test_the_door_of_calibration(samples, truth, levels, message):
    with pytest.raises(ValueError, match=message):
        calibration.coverage(np.zeros(samples), np.zeros(truth), levels)


def test_calibration_refuses_what_is_not_finite():
    samples = np.zeros((3, 4, 5))
    samples[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        calibration.coverage(samples, np.zeros((4, 5)), [0.5])


def test_calibration_curve_shows_the_coverages():
    figure = drawings.calibration_curve(LEVELS, {"dks": LEVELS**2, "ekvae": LEVELS})
    figure.canvas.draw()
    (axis,) = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    assert np.allclose(lines["dks"], np.column_stack([LEVELS, LEVELS**2])) and np.allclose(
        lines["calibrated"], [[0, 0], [1, 1]]
    )
    assert axis.get_xlabel() and axis.get_ylabel()
    assert axis.get_xlim() == axis.get_ylim() == (0, 1)


# --- angles and rollouts --------------------------------------------------------------------------


@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_angle_of_a_linear_image_of_sine_and_cosine_is_found(as_tensor, rng):
    phi = rng.uniform(-4, 4, (30, 6))
    state = np.stack([phi, rng.normal(size=phi.shape)], -1)
    z = np.stack([np.sin(phi), np.cos(phi), state[..., 1]], -1) @ rng.normal(
        size=(3, 3)
    ) + rng.normal(size=3)
    given = [torch.tensor(v) for v in (z, state)] if as_tensor else [z, state]
    angle = calibration.fit_angle(*given)(given[0])
    assert angle.shape == phi.shape and np.allclose(calibration.wrap(angle - phi), 0, atol=1e-9)


def test_fit_angle_refuses_shapes_that_do_not_go_together():
    with pytest.raises(ValueError, match="z and state"):
        calibration.fit_angle(np.zeros((3, 4, 3)), np.zeros((3, 5, 2)))


def test_rollouts_are_draws_of_the_predictive_distribution():
    """First states are posterior draws given the frames seen alone; without noise in the
    transition, each path is the mean path from there.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DKS(DKSConfig(x_dim=4, hidden=8, bases=2, mix_hidden=4)).double()
    g = torch.Generator().manual_seed(1)
    x, u = (
        torch.rand(3, 6, 4, generator=g, dtype=torch.float64),
        torch.rand(3, 6, 1, generator=g, dtype=torch.float64),
    )
    data = SequenceData(x, u, torch.zeros(3, 6, 2))
    with torch.no_grad():
        z = calibration.sampled_rollouts(model, data, 4, 5, torch.Generator().manual_seed(2))
        start = model.infer(x[:, :4], u[:, :4], torch.Generator().manual_seed(2)).sample[:, -1]
        assert z.shape == (5, 3, 3, 3) and torch.equal(z[0, :, 0], start)
        assert (z.std(0) > 0).all() and len(z.flatten(1).unique(dim=0)) == 5
        model.transition.log_q.fill_(-math.inf)
        model.transition.floor = 0.0
        z = calibration.sampled_rollouts(model, data, 4, 2, torch.Generator().manual_seed(2))
        assert torch.equal(z[1], model.predict(z[1, :, 0], u[:, 3:]))
    for frames, draws in ((0, 1), (7, 1), (3, 0)):
        with pytest.raises(ValueError, match="frames must be"):
            calibration.sampled_rollouts(model, data, frames, draws)


def test_the_band_holds_its_share_of_the_draws_and_follows_the_truth_around(rng):
    """A pendulum that turns over: the truth is one unbroken line, and the band stays beside it
    across ±π.
    """
    N, T, seen, S = 2, 30, 10, 400
    truth = np.stack([0.4 * np.arange(T), -0.3 * np.arange(T)])
    samples = calibration.wrap(truth[:, seen - 1 :] + 0.3 * rng.normal(size=(S, N, T - seen + 1)))
    figure = drawings.rollout_panels(
        samples, calibration.wrap(truth), seen, level=0.9, titles=("one", "two")
    )
    figure.canvas.draw()
    assert len(figure.axes) == N
    for k, axis in enumerate(figure.axes):
        lines = {line.get_label(): line.get_xydata() for line in axis.lines}
        drawn = lines["truth"]
        assert np.allclose(drawn[:, 0], 0.1 * np.arange(T)) and np.allclose(
            np.diff(drawn[:, 1]), np.diff(truth[k])
        )
        mean = lines["their circular mean"]
        assert (
            np.allclose(mean[:, 0], drawn[seen - 1 :, 0])
            and np.abs(mean[:, 1] - drawn[seen - 1 :, 1]).max() < 0.1
        )
        (band,) = axis.collections
        polygon = band.get_paths()[0].vertices
        for t, when in enumerate(mean[:, 0]):
            low, high = (f(polygon[np.isclose(polygon[:, 0], when), 1]) for f in (np.min, np.max))
            inside = (calibration.wrap(samples[:, k, t] - low) >= 0) & (
                calibration.wrap(samples[:, k, t] - high) <= 0
            )
            assert abs(inside.mean() - 0.9) < 0.01 and high - low < 1.3
        assert axis.get_ylabel() and axis.get_title(loc="left") == ("one", "two")[k]
        assert np.allclose(lines["last frame seen"][:, 0], 0.1 * (seen - 1))


def test_a_prediction_that_falls_on_the_other_side_breaks_its_line():
    truth = np.zeros((1, 8))
    away = np.linspace(2.0, 4.4, 8)  # passes the point opposite to the truth
    samples = away + np.linspace(-0.05, 0.05, 9)[:, None, None]
    axis = drawings.rollout_panels(samples, truth).axes[0]
    mean = next(
        line for line in axis.lines if line.get_label() == "their circular mean"
    ).get_ydata()
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
        drawings.rollout_panels(np.zeros(samples), np.zeros(truth), level=level)


# --- the study ------------------------------------------------------------------------------------


def rows():
    values = {
        "dks-elbo-learned-noise": [(0.01, 0.06), (0.02, 0.05), (None, None)],
        "dks-constrained": [(0.99, 0.002), (0.98, 0.003), (0.97, math.inf)],
        "dvbf-smoothing-constrained": [(-0.5, 0.004)],
    }
    return [
        {"run": run, "seed": seed, "r2_velocity": r2, "mse_open_loop": mse}
        for run, pairs in values.items()
        for seed, (r2, mse) in enumerate(pairs)
    ]


def test_study_shows_every_seed_in_the_row_of_its_model_and_the_colour_of_its_objective():
    figure = drawings.study(rows())
    figure.canvas.draw()
    left, right = figure.axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["dks", "dvbf-smoothing"]
    assert (
        left.get_xscale() == "linear"
        and right.get_xscale() == "log"
        and left.get_xlabel()
        and right.get_xlabel()
    )
    assert left.get_xlim()[0] < -0.5, "a negative R² is shown"
    for axis, key in ((left, "r2_velocity"), (right, "mse_open_loop")):
        for run, y in (
            ("dks-elbo-learned-noise", 0),
            ("dks-constrained", 0),
            ("dvbf-smoothing-constrained", 1),
        ):
            colour, marker = drawings.STYLE[comparisons.split(run)[1]]
            expected = sorted(
                r[key]
                for r in rows()
                if r["run"] == run and r[key] is not None and math.isfinite(r[key])
            )
            found = [
                line
                for line in axis.lines
                if line.get_marker() == marker
                and to_hex(line.get_color()) == colour.lower()
                and len(line.get_xdata())
                and abs(line.get_ydata()[0] - y) < 0.5
            ]
            assert len(found) == 1 and np.allclose(sorted(found[0].get_xdata()), expected), (
                run,
                key,
            )
    assert [t.get_text() for t in left.texts] == ["1 NaN"] and [
        t.get_text() for t in right.texts
    ] == ["1 NaN", "1 NaN"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "elbo learned noise",
        "constrained",
    ]


def test_colours_and_markers_are_one_to_one():
    assert (
        len({c for c, _ in drawings.STYLE.values()})
        == len({m for _, m in drawings.STYLE.values()})
        == len(drawings.STYLE)
    )


def test_study_takes_a_measure_that_no_run_has_and_refuses_no_rows():
    drawings.study(
        [{"run": "dks-constrained", "seed": 0, "mse_open_loop": None}], ["mse_open_loop", "rate"]
    ).canvas.draw()
    drawings.study([{"run": "my-own-run", "seed": 0, "rate": 3.0}], ["rate"]).canvas.draw()
    with pytest.raises(ValueError, match="no rows"):
        drawings.study([])
