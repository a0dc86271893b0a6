"""Evaluation: against scikit-learn, against latents made by hand, and against a model that is the
true pendulum.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from tutorial_dssm import evaluation
from tutorial_dssm.data import SequenceData, pendulum
from tutorial_dssm.evaluation.scores import (
    error_by_step,
    evaluate,
    forecast,
    forecast_error,
    knn_r2,
    linear_r2,
    names,
    open_loop_error,
)
from tutorial_dssm.models.base import Posterior, Terms

IMAGE = pendulum.PendulumConfig(image_size=6)
DATA = pendulum.make_sequences(60, 8, torch.Generator().manual_seed(0), IMAGE, torch.float64)
LONG = pendulum.make_sequences(7, 110, torch.Generator().manual_seed(1), IMAGE, torch.float64)
PHI, VELOCITY = DATA.state.unbind(-1)
TARGETS = torch.stack([PHI.sin(), PHI.cos(), VELOCITY], -1)
ONES = {"sin": 1, "cos": 1, "velocity": 1}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator():
    return torch.Generator().manual_seed(0)


# --- R² of the state ------------------------------------------------------------------------------


def test_linear_r2_is_that_of_scikit_learn():
    z = torch.cat([TARGETS @ noise(3, 3) + 0.7 * noise(60, 8, 3, seed=1), PHI[..., None]], -1)
    features, y = z.reshape(-1, 4).numpy(), TARGETS.reshape(-1, 3).numpy()
    expected = [
        LinearRegression().fit(features, y[:, i]).score(features, y[:, i]) for i in range(3)
    ]
    assert list(linear_r2(z, DATA.targets).values()) == pytest.approx(expected, abs=1e-12)
    assert max(expected) < 0.99 and list(linear_r2(z, DATA.targets)) == list(DATA.targets)


def test_a_linear_latent_has_r2_one():
    """Also in any basis, shifted, in float32."""
    z = TARGETS @ noise(3, 3) + 5
    assert linear_r2(z, DATA.targets) == pytest.approx(ONES, abs=1e-10)
    rough = {name: value.float() for name, value in DATA.targets.items()}
    assert linear_r2(z.float(), rough) == pytest.approx(ONES, abs=1e-5)


def test_knn_r2_is_that_of_scikit_learn():
    z = TARGETS @ noise(3, 3) * torch.tensor([1.0, 100.0, 1e-3]) + 0.3 * noise(60, 8, 3, seed=1)
    features, y = z.reshape(-1, 3).numpy(), TARGETS.reshape(-1, 3).numpy()
    features = (features - features.mean(0)) / features.std(0, ddof=1)
    split = PredefinedSplit(np.repeat(np.arange(60) * 5 // 60, 8))
    prediction = cross_val_predict(KNeighborsRegressor(10), features, y, cv=split)
    expected = 1 - ((y - prediction) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    assert list(knn_r2(z, DATA.targets).values()) == pytest.approx(expected, abs=1e-12)


def test_knn_tells_bent_from_not_encoded():
    """A ring that is rolled up like a snail: linear regression sees little of it, its neighbours
    see all. Noise: nobody sees anything.
    """
    data = pendulum.make_sequences(250, 8, torch.Generator().manual_seed(2), IMAGE, torch.float64)
    state, targets = data.state, data.targets
    phi = torch.remainder(state[..., 0], 2 * math.pi)
    bent = torch.stack(
        [(1 + phi) * torch.cos(3 * phi), (1 + phi) * torch.sin(3 * phi), state[..., 1]], -1
    )
    linear, knn = linear_r2(bent, targets), knn_r2(bent, targets)
    assert max(linear["sin"], linear["cos"]) < 0.4 and min(knn["sin"], knn["cos"]) > 0.9
    assert linear["velocity"] == pytest.approx(1) and knn["velocity"] > 0.9
    nothing = noise(250, 8, 3)
    assert max(linear_r2(nothing, targets).values()) < 0.02
    assert max(knn_r2(nothing, targets).values()) < 0.02


def test_knn_leaves_whole_sequences_out():
    """A latent that only tells which sequence it is: with other frames of the sequence at hand,
    everything would seem encoded.
    """
    targets = pendulum.pendulum_targets(noise(100, 1, 2).expand(100, 8, 2))
    z = noise(100, 1, 3, seed=5).expand(100, 8, 3) + 1e-3 * noise(100, 8, 3, seed=6)
    assert max(knn_r2(z, targets, neighbours=4).values()) < 0.2
    with pytest.raises(ValueError, match="at least 5 sequences"):
        knn_r2(z[:4], {name: value[:4] for name, value in targets.items()})


def test_a_constant_latent_encodes_nothing():
    z = torch.zeros(60, 8, 2, dtype=torch.float64)
    assert linear_r2(z, DATA.targets) == pytest.approx(dict.fromkeys(ONES, 0), abs=1e-9)
    assert max(knn_r2(z, DATA.targets).values()) < 0.1


def test_without_targets_there_is_nothing_to_regress():
    assert linear_r2(TARGETS, {}) == {} == knn_r2(TARGETS, {})


# --- prediction -----------------------------------------------------------------------------------


class TruePendulum:
    """The interface of a model with the true state as its latent state: only `infer` cheats, it
    looks the state up.
    """

    def __init__(self, lag=0, **physics):
        self.lag, self.config = lag, pendulum.PendulumConfig(image_size=6, **physics)

    def eval(self):
        return self

    def infer(self, x, u, generator=None, mask=None):
        data = DATA if len(x) == len(DATA.x) else LONG
        assert torch.equal(x, data.x[:, : x.shape[1]]) and torch.equal(u, data.u[:, : x.shape[1]])
        state = data.state[:, : x.shape[1]]
        return Posterior(state, state, torch.zeros_like(state))

    def terms(self, x, u, generator=None, mask=None):
        return Terms(torch.arange(len(x)).double(), 2 * torch.arange(len(x)).double() ** 2)

    def predict(self, z1, u, sample=False, generator=None):
        return pendulum.simulate(z1, torch.roll(u, self.lag, 1), self.config)

    def decode(self, z):
        return pendulum.render(z[..., 0], IMAGE)


def test_the_true_pendulum_predicts_without_error():
    error = open_loop_error(TruePendulum(), DATA, generator())
    assert error.shape == (8,) and error.max() < 1e-20
    error = forecast_error(TruePendulum(), LONG, 10, generator())
    assert error.shape == (100,) and error.max() < 1e-20
    assert forecast(TruePendulum(), LONG, 10, generator()).shape == (7, 101, 2)
    assert torch.equal(forecast(TruePendulum(), LONG, 110, generator())[:, 0], LONG.state[:, -1])


@pytest.mark.parametrize(
    "wrong", [dict(lag=1), dict(lag=-1), dict(friction=0.6), dict(max_torque=2.0, gravity=9.0)]
)
def test_an_error_shows_at_the_step_where_it_belongs(wrong):
    """Wrong physics, or a control used one step early or late: the first frame is right, then the
    error grows.
    """
    model = TruePendulum(**wrong)
    for error in (
        open_loop_error(model, DATA, generator()),
        forecast_error(model, LONG, 10, generator()),
    ):
        assert error.mean() > 1e-5 and error[-1] > error[1]
    error = open_loop_error(model, DATA, generator())
    expected = (
        (pendulum.render(model.predict(DATA.state[:, 0], DATA.u)[:, 5, 0], IMAGE) - DATA.x[:, 5])
        ** 2
    ).mean()
    assert error[0] < 1e-20 and error[5] == pytest.approx(float(expected))


@pytest.mark.parametrize("frames", [0, 110, -1])
def test_forecast_refuses_lengths_without_meaning(frames):
    with pytest.raises(ValueError, match="frames must be between 1 and 109"):
        forecast_error(TruePendulum(), LONG, frames, generator())
    with pytest.raises(ValueError, match="frames must be between 1 and 110"):
        forecast(TruePendulum(), LONG, 111 if frames == 110 else frames, generator())


# --- everything together --------------------------------------------------------------------------


def test_evaluate_the_true_pendulum():
    sigma = 0.3
    result = evaluate(TruePendulum(), sigma, DATA, LONG)
    assert max(result.mse_smoothed, result.mse_open_loop, result.mse_forecast) < 1e-20
    squared_error, rate = np.arange(60.0), 2 * np.arange(60.0) ** 2
    d = squared_error / (2 * sigma**2) + 0.5 * 8 * 36 * math.log(2 * math.pi * sigma**2)
    assert result.distortion == pytest.approx(d.mean()) and result.rate == pytest.approx(
        rate.mean()
    )
    assert result.distortion_se == pytest.approx(
        d.std(ddof=1) / 60**0.5
    ) and result.rate_se == pytest.approx(rate.std(ddof=1) / 60**0.5)
    assert result.elbo == -(result.distortion + result.rate)
    assert result.elbo_se == pytest.approx((d + rate).std(ddof=1) / 60**0.5)
    assert result.sigma == sigma
    assert result.r2 == linear_r2(DATA.state, DATA.targets)
    assert result.r2_knn == knn_r2(DATA.state, DATA.targets)
    assert result.r2["velocity"] == pytest.approx(1)
    numbers = result.to_dict()
    assert list(numbers) == names(DATA.targets)
    assert all(type(v) is float for v in numbers.values())
    assert numbers["r2_sin"] == result.r2["sin"]
    assert numbers["r2_velocity_knn"] == result.r2_knn["velocity"]


def test_data_without_targets_are_evaluated_all_the_same():
    """What needs no truth is there, and equal."""
    bare = SequenceData(DATA.x, DATA.u, DATA.dt)
    assert bare.state is None and bare.targets == {}
    result, whole = (
        evaluate(TruePendulum(), 0.3, bare, LONG),
        evaluate(TruePendulum(), 0.3, DATA, LONG),
    )
    assert result.r2 == {} == result.r2_knn and "r2_sin" not in result.to_dict()
    assert result.to_dict().items() <= whole.to_dict().items()


def test_missing_frames_are_not_counted():
    """Errors are means over the frames that were observed, whatever stands in the others."""
    mask = torch.rand(60, 8, generator=generator()) > 0.3
    x = DATA.x.masked_fill(~mask.unsqueeze(-1), math.nan)
    error = error_by_step(torch.full_like(DATA.x, 0.5), replace(DATA, x=x, mask=mask))
    for t in range(8):
        seen = DATA.x[mask[:, t], t]
        assert error[t] == pytest.approx(float(((0.5 - seen) ** 2).mean()))


def test_evaluate_takes_the_noise_as_an_objective_gives_it():
    sigma = torch.tensor(0.3, requires_grad=True)
    assert evaluate(TruePendulum(), sigma, DATA, LONG) == evaluate(
        TruePendulum(), float(sigma.detach()), DATA, LONG
    )


def test_evaluate_forecasts_from_the_frames_it_says(monkeypatch):
    seen = []
    model = TruePendulum()
    infer = model.infer
    model.infer = lambda x, u, g=None, mask=None: seen.append(x.shape[1]) or infer(x, u, g)
    evaluate(model, 0.1, DATA, LONG)
    assert seen[-1] == evaluation.FORECAST_FRAMES == 10 and evaluation.FORECAST_STEPS == 100
