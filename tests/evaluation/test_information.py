"""The split of a rate: against exact linear-Gaussian information, its ceiling log N, and the exact
rate of a hierarchical prior.
"""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from instances import LinearGaussian, generator, make, normal, rotation
from tutorial_dssm import experiments, files
from tutorial_dssm.evaluation import information

NONE = torch.zeros(2, dtype=torch.float64)


@pytest.fixture
def vae():
    """Of frames of three pixels, with two latents."""
    return make("vae", x_dim=3, z_dim=2)


def test_log_aggregate_is_a_mixture_density():
    z, mean, var = normal(7, 3), normal(5, 3, seed=1), normal(5, 3, seed=2).exp()
    each = Normal(mean, var.sqrt()).log_prob(z[:, None]).sum(-1)
    expected = each.logsumexp(1) - math.log(5)
    for chunk in (1, 3, 100):
        found = information.log_aggregate(z, mean, var, chunk)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="z must be"):
        information.log_aggregate(z[:, :2], mean, var)


def test_the_split_of_a_linear_model_is_the_exact_one(vae):
    """Many Gaussian frames: q(z) is then nearly one Gaussian, and both parts have a closed form."""
    V = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.3, -1.2]]).double()
    v = torch.tensor([0.3, 0.6]).double()
    vae.encoder = LinearGaussian(V, NONE, v)
    split = information.split_rate(vae, normal(4000, 3, seed=3), generator())
    assert abs(split.rate - split.information - split.mismatch) < 1e-9
    prior = MultivariateNormal(NONE, torch.eye(2).double())
    aggregate = MultivariateNormal(NONE, V @ V.T + torch.diag(v))
    exact = 0.5 * (torch.logdet(aggregate.covariance_matrix) - v.log().sum())
    assert abs(split.information - exact) < 0.05
    assert abs(split.mismatch - kl_divergence(aggregate, prior)) < 0.06


@pytest.mark.parametrize("spread", [1e3, 1e4])
def test_the_information_has_the_ceiling_log_n_and_the_rate_has_none(vae, spread):
    V, v = spread * torch.eye(3)[:2].double(), torch.tensor([1e-3, 1e-3]).double()
    vae.encoder = LinearGaussian(V, NONE, v)
    split = information.split_rate(vae, normal(50, 3), generator())
    assert abs(split.information - math.log(50)) < 1e-4  # three large terms cancel
    assert split.rate > 100


def test_a_hierarchical_prior_with_exact_posterior_gives_the_exact_rate():
    """z = A ζ + c + noise with A a rotation times 1.2: then q(ζ | z) has a diagonal covariance."""
    A, noise = 1.2 * rotation(0.6), torch.tensor(0.4, dtype=torch.float64)
    c, total = torch.tensor([0.5, -1.0]).double(), 1.2**2 + noise
    model = make("vhp", x_dim=4, z_dim=2)
    model.prior.p = LinearGaussian(A, c, noise)
    model.prior.q = LinearGaussian(A.T / total, -c @ A / total, noise / total)
    W, v = normal(2, 4, seed=5), torch.tensor([0.2, 0.3]).double()
    model.encoder = LinearGaussian(W, NONE, v)
    x = normal(40, 4, seed=6)
    split = information.split_rate(model, x, generator(2), prior_draws=3)
    z = model.infer(x[:, None], torch.zeros(40, 1, 1).double(), generator(2)).sample[:, 0]
    log_q = Normal(x @ W.T, v.sqrt()).log_prob(z).sum(-1)
    log_p = MultivariateNormal(c, total * torch.eye(2).double()).log_prob(z)
    assert abs(split.rate - (log_q - log_p).mean()) < 1e-9


def test_the_door(vae):
    with pytest.raises(ValueError, match="x must be"):
        information.split_rate(vae, normal(3, 2, 3), generator())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae-rewo", "vhp-rewo"])
def test_the_shipped_table_says_what_the_shipped_weights_do(name):
    rows = files.read_json(experiments.PRETRAINED / "frames.json")
    (row,) = (row for row in rows if (row["run"], row["seed"]) == (name, 0))
    frames = experiments.make_data("pendulum").test.x.flatten(0, 1)
    trained = experiments.load_pretrained(name)
    noise = float(trained.objective.noise())
    fresh = information.frame_measures(trained.model, frames, noise, row["sigma"])
    assert fresh.keys() <= row.keys()
    assert fresh == pytest.approx({key: row[key] for key in fresh}, rel=0.01, abs=0.02)
