"""The split of a rate: against exact linear-Gaussian information, its ceiling log N, and quadrature
of the aggregated posterior.
"""

import math

import pytest
import torch
from test_models import generator, normal
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from test_frame_models import LinearGaussian, linear_vhp, make
from tutorial_dssm import experiments, files
from tutorial_dssm.evaluation import information


def test_log_aggregate_is_a_mixture_density():
    z, mean, var = normal(7, 3), normal(5, 3, seed=1), normal(5, 3, seed=2).exp()
    expected = Normal(mean, var.sqrt()).log_prob(z[:, None]).sum(-1).logsumexp(1) - math.log(5)
    for chunk in (1, 3, 100):
        assert torch.allclose(
            information.log_aggregate(z, mean, var, chunk), expected, rtol=0, atol=1e-10
        )
    with pytest.raises(ValueError, match="z must be"):
        information.log_aggregate(z[:, :2], mean, var)


def test_the_split_of_a_linear_model_is_the_exact_one():
    """Many Gaussian frames: q(z) is then nearly one Gaussian, and both parts have a closed form."""
    N, V, v = (
        4000,
        torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.3, -1.2]]).double(),
        torch.tensor([0.3, 0.6]).double(),
    )
    model = make("vae", x_dim=3, z_dim=2)
    zero = torch.zeros(2, dtype=torch.float64)
    model.encoder = LinearGaussian(V, torch.zeros(3, dtype=torch.float64), zero, v)
    split = information.split_rate(model, normal(N, 3, seed=3), generator())
    aggregate = MultivariateNormal(zero, V @ V.T + torch.diag(v))
    assert abs(split.rate - split.information - split.mismatch) < 1e-9
    assert (
        abs(split.information - 0.5 * (torch.logdet(aggregate.covariance_matrix) - v.log().sum()))
        < 0.05
    )
    assert (
        abs(
            split.mismatch
            - kl_divergence(aggregate, MultivariateNormal(zero, torch.eye(2).double()))
        )
        < 0.06
    )


def test_the_information_has_the_ceiling_log_n_and_the_rate_has_none():
    model = make("vae", x_dim=3, z_dim=2)
    zero = torch.zeros(2, dtype=torch.float64)
    for spread in (1e3, 1e4):
        model.encoder = LinearGaussian(
            spread * torch.eye(3)[:2].double(),
            torch.zeros(3).double(),
            zero,
            torch.tensor([1e-3, 1e-3]).double(),
        )
        split = information.split_rate(model, normal(50, 3), generator())
        assert (
            abs(split.information - math.log(50)) < 1e-4 and split.rate > 100
        )  # three large terms cancel


def test_a_hierarchical_prior_with_exact_posterior_gives_the_exact_rate():
    model, _, log_pz = linear_vhp()
    x = normal(40, 4, seed=6)
    split = information.split_rate(model, x, generator(2), prior_draws=3)
    mean, z, var = (
        v[:, 0] for v in model.infer(x[:, None], torch.zeros(40, 1, 1).double(), generator(2))
    )
    log_q = Normal(mean, var.sqrt()).log_prob(z).sum(-1)
    assert abs(split.rate - (log_q - log_pz(z)).mean()) < 1e-9


def test_the_door():
    with pytest.raises(ValueError, match="x must be"):
        information.split_rate(make("vae"), normal(3, 2, 5), generator())


@pytest.mark.parametrize("name", ["vae-rewo", "vhp-rewo"])
def test_the_shipped_table_says_what_the_shipped_weights_do(name):
    row = next(
        r
        for r in files.read_json(experiments.PRETRAINED / "frames.json")
        if (r["run"], r["seed"]) == (name, 0)
    )
    frames = experiments.make_data("pendulum").test.x.flatten(0, 1)
    fresh = information.frame_row(experiments.load_pretrained(name), frames, row["sigma"])
    assert fresh.keys() <= row.keys() and all(
        fresh[k] == pytest.approx(row[k], rel=0.01, abs=0.02) for k in fresh if k != "run"
    )
