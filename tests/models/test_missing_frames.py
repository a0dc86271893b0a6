"""Missing frames against oracles: dense Gaussians of what is observed, priors where nothing is.
What holds for every model (masked values do not count) is in test_every_model.py, the recurrent
posteriors are in test_ancestral.py and test_rssm.py.
"""

import math

import numpy as np
import pytest
import torch

from instances import (
    MASK,
    SIGMA,
    dense,
    elbo,
    generator,
    hide,
    kl_gaussian,
    linear_ekvae,
    linear_kvae,
    log_evidence,
    make,
    normal,
    within,
)
from tutorial_dssm.probability.gaussian import log_normal

AUXILIARY = pytest.mark.parametrize("kind", ["kvae", "ekvae"])


def instance(kind):
    return linear_kvae() if kind == "kvae" else linear_ekvae(SIGMA)


@AUXILIARY
@pytest.mark.parametrize("T", [1, 6])
def test_missing_frames_of_a_linear_instance_are_imputed_as_the_dense_gaussian_says(kind, T):
    model, _, _ = instance(kind)
    x, u, mask = normal(4, T, 4, seed=11), normal(4, T, 1, seed=12), MASK[:, :T]
    with torch.no_grad():
        posterior = model.infer(hide(x, mask), u, generator(), mask)
        for i in range(4):
            a = model.encoder(x[i])[0].numpy()
            mean, cov = dense(model, u[i], model.H, torch.diag(model.r)).posterior(
                a, np.repeat(mask[i, :, None].numpy(), 2, 1)
            )
            assert np.allclose(posterior.mean[i], mean, atol=1e-9)
            assert np.allclose(posterior.var[i], np.einsum("tntn->tn", cov), atol=1e-9)


@AUXILIARY
def test_rate_of_observed_frames_is_exact_given_a(kind):
    """log q(a | x) - log p(a) of the observed a, for every draw, by the dense Gaussian."""
    model, _, _ = instance(kind)
    x, u = normal(4, 6, 4, seed=11), normal(4, 6, 1, seed=12)
    with torch.no_grad():
        terms = model.terms(hide(x, MASK), u, generator(3), mask=MASK)
        mean, var = model.encoder(x)
        a = mean + var.sqrt() * normal(4, 6, 2, seed=3)  # what `terms` draws from this seed
        log_q = (log_normal(a, mean, var) * MASK).sum(1)
        error = (((x - model.decoder(a)) ** 2).sum(-1) * MASK).sum(1)
    for i in range(4):
        oracle = dense(model, u[i], model.H, torch.diag(model.r))
        log_p = oracle.log_likelihood(a[i].numpy(), np.repeat(MASK[i, :, None].numpy(), 2, 1))
        assert terms.rate[i].item() == pytest.approx(log_q[i].item() - log_p, abs=1e-9)
    assert torch.allclose(terms.squared_error, error)


@AUXILIARY
@pytest.mark.parametrize("gaps", [[1, 0, 0, 1], [0, 1, 1, 0]])
def test_bound_misses_the_likelihood_of_observed_frames_by_the_kl_of_the_encoder(kind, gaps):
    model, D, d = instance(kind)
    x, u, mask = normal(4, 4, seed=11), normal(4, 1, seed=12), torch.tensor(gaps, dtype=torch.bool)
    with torch.no_grad():
        exact, mean, cov = log_evidence(model, D, d, SIGMA, x, u, mask)
        q_mean, q_var = (v[mask].flatten().numpy() for v in model.encoder(x))
    gap = kl_gaussian(q_mean, np.diag(q_var), mean, cov)
    draws = elbo(model, hide(x, mask), u, SIGMA, 4000, mask=mask)
    assert gap > 0.1
    within(draws, exact - gap, se_below=0.07)


@pytest.mark.parametrize("kind", ["vae", "vhp", "lgssm", "dvbf", "kvae", "rssm"])
def test_where_nothing_is_observed_nothing_is_paid(kind):
    """The posterior of these models is then the prior."""
    model, mask = make(kind), torch.zeros(3, 4, dtype=torch.bool)
    x, u = torch.full((3, 4, 5), math.nan, dtype=torch.float64), normal(3, 4, 1)
    terms = model.terms(x, u, generator(), mask=mask)
    assert (terms.squared_error == 0).all() and terms.rate.abs().max() < 1e-9


def test_ekvae_pays_nothing_where_nothing_is_observed_and_the_dynamics_are_linear():
    model, _, _ = linear_ekvae(SIGMA)
    x, u = torch.full((3, 4, 4), math.nan, dtype=torch.float64), normal(3, 4, 1)
    terms = model.terms(x, u, generator(), mask=torch.zeros(3, 4, dtype=torch.bool))
    assert (terms.squared_error == 0).all() and terms.rate.abs().max() < 1e-9


def test_vae_and_vhp_infer_their_prior_for_a_missing_frame():
    """N(0, I), and the moments of the draws."""
    x, u, mask = normal(2, 3, 5), normal(2, 3, 1), torch.tensor([[1, 0, 1], [0, 1, 1]]).bool()
    posterior = make("vae").infer(hide(x, mask), u, generator(), mask)
    assert (posterior.mean[~mask] == 0).all() and (posterior.var[~mask] == 1).all()
    model, N = make("vhp"), 20000
    with torch.no_grad():
        model.prior.p[-1].linear.weight.mul_(20)
        nothing = torch.zeros(N, 1, dtype=torch.bool)
        mean, sample, var = model.infer(normal(N, 1, 5), normal(N, 1, 1), generator(), nothing)
    mean, sample, var = mean[0, 0], sample[:, 0], var[0, 0]
    assert ((mean.abs() > 0.1) | ((var - 1).abs() > 0.1)).any(), "the test needs another prior"
    spread = (var / 1000).sqrt()  # of moments from 1000 draws of ζ
    assert ((sample.mean(0) - mean).abs() < 5 * spread).all()
    assert ((sample.var(0) / var - 1).abs() < 0.25).all()
