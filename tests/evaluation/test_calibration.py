"""Coverage is that of the closed form and angles know no edge at ±π; sampled paths are draws of the
predictive distribution.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from tutorial_dssm.data.sequences import SequenceData
from tutorial_dssm.evaluation import calibration
from tutorial_dssm.models.dks import DKS, DKSConfig

LEVELS = np.array([0.1, 0.3, 0.5, 0.8, 0.9])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- coverage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed, draws", [(1.0, 199), (1.0, 19), (0.5, 399), (2.0, 399)])
@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_coverage_is_that_of_the_closed_form(claimed, draws, convert, rng):
    """Truth ~ N(μ, s²) and draws ~ N(μ, (c s)²) around directions all over the circle: coverage 2
    Φ(c Φ⁻¹((1 + p)/2)) - 1. Calibrated for c = 1.
    """
    N, T, sd = 40, 50, 0.5
    centre = rng.uniform(-np.pi, np.pi, (N, T))
    truth = calibration.wrap(centre + sd * rng.normal(size=(N, T)))
    samples = calibration.wrap(centre + claimed * sd * rng.normal(size=(draws, N, T)))
    coverage = calibration.coverage(convert(samples), convert(truth), convert(LEVELS))
    normal = NormalDist()
    exact = np.array([2 * normal.cdf(claimed * normal.inv_cdf((1 + p) / 2)) - 1 for p in LEVELS])
    # the centre is of the same draws, which costs O(1/S)
    slack = 4.5 * np.sqrt(exact * (1 - exact) / (N * T)) + (0.002 if draws > 50 else 0.012)
    assert (np.abs(coverage - exact) < slack).all(), (coverage, exact)


def test_coverage_does_not_depend_on_the_branch_or_the_direction_of_upright(rng):
    samples, truth = rng.normal(size=(50, 20, 10)), rng.normal(size=(20, 10))
    reference = calibration.coverage(samples, truth, LEVELS)
    turns = 2 * np.pi * rng.integers(-3, 4, (20, 10))
    np.testing.assert_allclose(calibration.coverage(samples + turns, truth, LEVELS), reference)
    for turn in (np.pi, 2.5, turns):
        turned = [calibration.wrap(v + turn) for v in (samples, truth)]
        np.testing.assert_allclose(calibration.coverage(*turned, LEVELS), reference)


def test_a_wrong_direction_is_outside(rng):
    samples = rng.normal(0, 0.1, (100, 5, 4))
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


# --- angles and paths -----------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_the_angle_of_a_linear_image_of_sine_and_cosine_is_found(convert, rng):
    phi = rng.uniform(-4, 4, (30, 6))
    state = np.stack([phi, rng.normal(size=phi.shape)], -1)
    known = np.stack([np.sin(phi), np.cos(phi), state[..., 1]], -1)
    z = known @ rng.normal(size=(3, 3)) + rng.normal(size=3)
    angle = calibration.fit_angle(convert(z), convert(state))(convert(z))
    assert angle.shape == phi.shape
    np.testing.assert_allclose(calibration.wrap(angle - phi), 0, atol=1e-9)


def test_fit_angle_refuses_shapes_that_do_not_go_together():
    with pytest.raises(ValueError, match="z and state"):
        calibration.fit_angle(np.zeros((3, 4, 3)), np.zeros((3, 5, 2)))


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DKS(DKSConfig(x_dim=4, hidden=8, bases=2, mix_hidden=4)).double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    x, u = (torch.rand(3, 6, n, generator=generator, dtype=torch.float64) for n in (4, 1))
    return SequenceData(x, u, dt=0.1)


def test_rollouts_do_not_see_missing_frames(model, data):
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[:, 2] = False

    def rollouts(fill):
        x = data.x.masked_fill(~mask.unsqueeze(-1), fill)
        hidden = SequenceData(x, data.u, dt=0.1, mask=mask)
        return calibration.sampled_rollouts(model, hidden, 4, 2, torch.Generator().manual_seed(2))

    assert torch.equal(rollouts(math.nan), rollouts(0.5))


def test_rollouts_are_draws_of_the_predictive_distribution(model, data):
    """First states are posterior draws given the frames seen alone; without noise in the
    transition, each path is the mean path from there.
    """
    seeded = [torch.Generator().manual_seed(2) for _ in range(3)]
    z = calibration.sampled_rollouts(model, data, 4, 5, seeded[0])
    seen = model.infer(data.x[:, :4], data.u[:, :4], seeded[1])
    assert z.shape == (5, 3, 3, 3) and torch.equal(z[0, :, 0], seen.sample[:, -1])
    assert (z.std(0) > 0).all() and len(z.flatten(1).unique(dim=0)) == 5
    with torch.no_grad():
        model.transition.log_q.fill_(-math.inf)
        model.transition.floor = 0.0
        z = calibration.sampled_rollouts(model, data, 4, 2, seeded[2])
        assert torch.equal(z[1], model.predict(z[1, :, 0], data.u[:, 3:]))


@pytest.mark.parametrize("frames, draws", [(0, 1), (7, 1), (3, 0)])
def test_the_door_of_rollouts(model, data, frames, draws):
    with pytest.raises(ValueError, match="frames must be"):
        calibration.sampled_rollouts(model, data, frames, draws)
