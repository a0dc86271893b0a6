"""Rollouts, rates per step and the best start agree with the model's own methods and with closed
forms.
"""

import pytest
import torch

from instances import make
from tutorial_dssm.evaluation.diagnosis import best_start, forecasts_from_every_step
from tutorial_dssm.models.dks import DKS, DKSConfig
from tutorial_dssm.probability import gaussian


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DKS(
        DKSConfig(x_dim=9, z_dim=3, hidden=8, bases=4, mix_hidden=8, frame_path=False)
    ).double()


@pytest.fixture
def data():
    noise = torch.Generator().manual_seed(1)
    return torch.rand(4, 6, 9, generator=noise, dtype=torch.float64), torch.randn(
        4, 6, 1, generator=noise, dtype=torch.float64
    )


def test_rollouts_are_open_loop_predictions_from_every_step(model, data):
    x, u = data
    with torch.no_grad():
        z = model.infer(x, u, torch.Generator().manual_seed(0)).mean
        ahead = forecasts_from_every_step(model, z, u)
        for t in range(6):
            path = model.predict(z[:, t], u[:, t:])
            for k in range(6 - t):
                torch.testing.assert_close(ahead[k][:, t], path[:, k])
    assert [a.shape[1] for a in ahead] == [6, 5, 4, 3, 2, 1]


def test_rollouts_refuse_paths_that_do_not_fit(model, data):
    with pytest.raises(ValueError, match="same N and T"):
        forecasts_from_every_step(model, torch.zeros(4, 5, 3), data[1])


def test_step_rates_sum_to_the_rate_and_are_gaussian_divergences(model, data):
    rates = model.ancestral_pass(*data, torch.Generator().manual_seed(3)).kl().detach()
    assert rates.shape == (4, 6) and bool((rates >= 0).all())
    with torch.no_grad():
        torch.testing.assert_close(
            rates.sum(1), model.terms(*data, torch.Generator().manual_seed(3)).rate
        )
        posterior = model.infer(*data, torch.Generator().manual_seed(3))
    m, v = (
        posterior.mean[:, 0],
        posterior.var[:, 0],
    )  # z_1 has no state before it: these are the moments of q(z_1 | x, u)
    normal = gaussian.DiagonalGaussian
    torch.testing.assert_close(
        rates[:, 0], gaussian.kl(normal(m, v), normal(torch.zeros_like(m), torch.ones_like(v)))
    )


@pytest.mark.parametrize(
    "kind, why", [("kvae", "z alone is no state"), ("vae", "a model of single frames")]
)
def test_rollouts_need_a_transition(kind, why):
    model = make(kind)
    with pytest.raises(ValueError, match=why):
        forecasts_from_every_step(model, torch.zeros(2, 3, model.z_dim), torch.zeros(2, 3, 1))


def test_best_start_finds_the_state_a_film_began_with(model, data):
    x, u = data
    truth = torch.tensor([[0.5, -0.3, 0.1]], dtype=torch.float64).expand(4, 3)
    with torch.no_grad():
        film = model.decode(model.predict(truth, u))
    found = best_start(model, truth + 0.2, film, u, steps=200, learning_rate=0.05)
    with torch.no_grad():
        before = ((model.decode(model.predict(truth + 0.2, u)) - film) ** 2).mean((1, 2))
        again = ((model.decode(model.predict(found.z1, u)) - film) ** 2).mean((1, 2))
    torch.testing.assert_close(found.error, again)
    assert bool((found.error < 0.01 * before).all())
    assert all(p.grad is None for p in model.parameters())


def test_best_start_is_never_worse_than_where_it_began(model, data):
    x, u = data
    z1 = torch.zeros(4, 3, dtype=torch.float64)
    with torch.no_grad():
        before = ((model.decode(model.predict(z1, u)) - x) ** 2).mean((1, 2))
    assert bool((best_start(model, z1, x, u, steps=3, learning_rate=50.0).error <= before).all())
