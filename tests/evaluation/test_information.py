"""The split of a rate: against exact linear-Gaussian information, its ceiling log N, and the exact
rate of a hierarchical prior.
"""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tutorial_dssm import experiments, files
from tutorial_dssm.evaluation import information
from tutorial_dssm.models.vae import VAE, VAEConfig
from tutorial_dssm.models.vhp import VHP, VHPConfig


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


class LinearGaussian(nn.Module):
    """N(W x + b, diag(v)): stands in for an encoder, and for the densities of a prior."""

    def __init__(self, W, v, b=0.0):
        super().__init__()
        self.W, self.v, self.b = W, v, b

    def forward(self, x):
        mean = x @ self.W.mT + self.b
        return mean, self.v.expand_as(mean)


@pytest.fixture
def vae():
    """Of frames of three pixels, with two latents."""
    return VAE(VAEConfig(x_dim=3, z_dim=2, hidden=4)).double()


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
    vae.encoder = LinearGaussian(V, v)
    split = information.split_rate(vae, normal(4000, 3, seed=3), generator())
    assert abs(split.rate - split.information - split.mismatch) < 1e-9
    zero, identity = torch.zeros(2).double(), torch.eye(2).double()
    aggregate = MultivariateNormal(zero, V @ V.T + torch.diag(v))
    exact = 0.5 * (torch.logdet(aggregate.covariance_matrix) - v.log().sum())
    assert abs(split.information - exact) < 0.05
    assert abs(split.mismatch - kl_divergence(aggregate, MultivariateNormal(zero, identity))) < 0.06


@pytest.mark.parametrize("spread", [1e3, 1e4])
def test_the_information_has_the_ceiling_log_n_and_the_rate_has_none(vae, spread):
    V, v = spread * torch.eye(3)[:2].double(), torch.tensor([1e-3, 1e-3]).double()
    vae.encoder = LinearGaussian(V, v)
    split = information.split_rate(vae, normal(50, 3), generator())
    assert abs(split.information - math.log(50)) < 1e-4  # three large terms cancel
    assert split.rate > 100


def test_a_hierarchical_prior_with_exact_posterior_gives_the_exact_rate():
    """z = A ζ + c + noise with A a rotation times 1.2: then q(ζ | z) has a diagonal covariance."""
    turn, noise = torch.tensor([0.6, 0.4], dtype=torch.float64)
    A = 1.2 * torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).view(2, 2)
    c, total = torch.tensor([0.5, -1.0]).double(), 1.2**2 + noise
    model = VHP(VHPConfig(x_dim=4, z_dim=2, hidden=4, prior_hidden=4)).double()
    model.prior.p = LinearGaussian(A, noise, c)
    model.prior.q = LinearGaussian(A.T / total, noise / total, -c @ A / total)
    W, v = normal(2, 4, seed=5), torch.tensor([0.2, 0.3]).double()
    model.encoder = LinearGaussian(W, v)
    x = normal(40, 4, seed=6)
    split = information.split_rate(model, x, generator(2), prior_draws=3)
    z = model.infer(x[:, None], torch.zeros(40, 1, 1).double(), generator(2)).sample[:, 0]
    log_q = Normal(x @ W.T, v.sqrt()).log_prob(z).sum(-1)
    log_p = MultivariateNormal(c, total * torch.eye(2).double()).log_prob(z)
    assert abs(split.rate - (log_q - log_p).mean()) < 1e-9


def test_the_door(vae):
    with pytest.raises(ValueError, match="x must be"):
        information.split_rate(vae, normal(3, 2, 3), generator())


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
