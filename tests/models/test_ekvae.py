"""Extended Kalman VAE: bounds against exact likelihoods of linear-Gaussian instances, identities of
every draw, unbiased weights, the hierarchical prior of z_1.
"""

import math

import numpy as np
import pytest
import torch

from instances import (
    LinearGaussian,
    dense,
    elbo,
    generator,
    kl_gaussian,
    linear_ekvae,
    linear_layer,
    linear_prior,
    log_evidence,
    make,
    normal,
    within,
)
from tutorial_dssm.probability import kalman
from tutorial_dssm.probability.gaussian import log_normal


@pytest.mark.parametrize("T", [1, 4])
def test_ekvae_bound_misses_the_exact_likelihood_by_the_kl_of_its_encoder(T):
    """Equations: ek-bound, ek-gap"""
    sigma = 0.7
    model, D, d = linear_ekvae(sigma)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    exact, mean, cov = log_evidence(model, D, d, sigma, x, u)
    q_mean, q_var = model.encoder(x)
    gap = kl_gaussian(q_mean.flatten().numpy(), np.diag(q_var.flatten().numpy()), mean, cov)
    draws = elbo(model, x, u, sigma, 4000)
    assert gap > 0.1 and draws.mean() < exact
    within(draws, exact - gap, se_below=0.07)


@pytest.mark.parametrize("T", [1, 5])
def test_ekvae_bound_is_tight_for_every_draw_with_the_exact_posterior(T):
    """No dynamics (F = B = 0, Q = I): the posterior factorises over frames, and a diagonal encoder
    can be exact.
    """
    sigma = 0.7
    model, D, d = linear_ekvae(sigma, F_scale=0.0)
    with torch.no_grad():
        model.transition.B.zero_()
        model.transition.log_q.fill_(math.log(1 - model.transition.floor))
    v = 1 / (1 / (1 + model.r.detach()) + (D**2).sum(0) / sigma**2)
    W = v[:, None] * D.T / sigma**2
    model.encoder = LinearGaussian(W, -W @ d, v)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    exact, *_ = log_evidence(model, D, d, sigma, x, u)
    assert torch.allclose(
        elbo(model, x, u, sigma, 50), torch.tensor(exact).expand(50), rtol=0, atol=1e-9
    )
    model.encoder.var = 2 * v
    within(elbo(model, x, u, sigma, 8000), exact - T * 2 * 0.5 * (1 - math.log(2)), se_below=0.05)


def test_ekvae_bound_is_tight_with_dynamics_when_frames_tell_a_exactly():
    """An invertible decoder and noise -> 0: q(a | x) contains the posterior, and only z remains to
    be inferred.
    """
    model, D, d = linear_ekvae(1e-5, X=2)
    x, u = normal(6, 2, seed=11), normal(6, 1, seed=12)
    exact, *_ = log_evidence(model, D, d, 1e-5, x, u)
    assert (elbo(model, x, u, 1e-5, 50) - exact).abs().max() < 2e-3
    model.H[0, 0] = 0.9  # a model that is not the one of the oracle
    assert (elbo(model, x, u, 1e-5, 50) - exact).abs().min() > 2e-3


def test_ekvae_identity_of_every_draw():
    """log p(a | z) + log p(z) - log q(z | a) = log p(a) for every z of the joint posterior; and the
    rate contains exactly that.

    Equations: ek-every-draw, ek-prior, ek-rate
    """
    model, D, d = linear_ekvae(0.7)
    B, T = 20, 5
    x, u = normal(B, T, 4, seed=11), normal(B, T, 1, seed=12)
    with torch.no_grad():
        mean, var = model.encoder(x)
        a = mean + var.sqrt() * normal(
            B, T, 2, seed=3
        )  # the first numbers that `terms` draws from this seed
        draw = kalman.sample_joint(model.filter(a, u), normal(B, T, 3, seed=4))
        joint = (
            log_normal(a, draw.z @ model.H.T, model.r).sum(-1)
            + model.log_prior(draw.z, u)
            - draw.log_density
        )
        exact = torch.tensor(
            [
                dense(model, u[i], model.H, torch.diag(model.r)).log_likelihood(a[i].numpy())
                for i in range(B)
            ]
        )
        assert torch.allclose(joint, exact, rtol=0, atol=1e-9)
        rate = model.terms(x, u, generator(3)).rate
        assert torch.allclose(rate, log_normal(a, mean, var).sum(-1) - exact, rtol=0, atol=1e-9)


def test_ekvae_infers_the_exact_smoothed_state_of_the_linear_instance():
    """Equations: ek-chain"""
    model, *_ = linear_ekvae(0.7)
    x, u = normal(3, 5, 4, seed=11), normal(3, 5, 1, seed=12)
    with torch.no_grad():
        posterior = model.infer(x, u, generator())
    for i in range(3):
        mean, cov = dense(model, u[i], model.H, torch.diag(model.r)).posterior(
            model.encoder(x[i])[0].numpy()
        )
        assert np.allclose(posterior.mean[i], mean, atol=1e-9)
        assert np.allclose(posterior.var[i], np.einsum("tntn->tn", cov), atol=1e-9)


def test_ekvae_weights_are_unbiased_whatever_the_linearisation():
    """Nonlinear dynamics:

    E over z ~ q(z | a) of p(a, z) / q(z | a) must be p(a), here by quadrature on a grid.

    Equations: ek-bound
    """
    T, draws = 4, 20000
    model = make("ekvae", 3, a_dim=1, z_dim=1, bases=4)
    with torch.no_grad():
        model.transition.F.copy_(1.5 * normal(4, 1, 1, seed=5))
        model.transition.from_z.weight *= 5
        model.transition.mix[3].weight *= 5
        model.transition.log_q.fill_(-1.5)
        model.log_r.fill_(-1.0)
        a, u, v = (
            normal(T, 1, seed=6),
            normal(T, 1, seed=7),
            torch.tensor([1e-12], dtype=torch.float64),
        )
        one = torch.eye(1, dtype=torch.float64)
        model.encoder, model.decoder = LinearGaussian(one, 0 * one[0], v), linear_layer(one, one[0])
        model.x_dim = 1  # the frame is a itself

        z = torch.linspace(-12, 12, 1201, dtype=torch.float64)[:, None]
        dz = float(z[1] - z[0])
        alpha = log_normal(z, torch.zeros_like(z), torch.ones_like(z)).exp()  # p(z_t, a_{1:t-1})
        for t in range(T):
            alpha = alpha * log_normal(a[t], z, model.r).exp()
            if t < T - 1:
                mean, var = model.transition(z, u[t].expand(len(z), 1))
                alpha = (log_normal(z[:, None], mean[None], var[None]).exp() * alpha[None]).sum(
                    1
                ) * dz
        exact = torch.log(alpha.sum() * dz)

        slopes = (mean[2:] - mean[:-2]) / (2 * dz)
        assert slopes.max() - slopes.min() > 1, "the test needs dynamics that are not linear"
        rate = model.terms(a.expand(draws, T, 1), u.expand(draws, T, 1), generator(8)).rate
        noise = torch.randn(draws, T, 1, generator=generator(8), dtype=torch.float64)
        log_q = (-0.5 * noise**2 - 0.5 * math.log(2 * math.pi * 1e-12)).sum((1, 2))
        log_weight = log_q - rate
    weight = (log_weight - exact).exp()
    within(weight, 1.0, se_below=0.02)
    assert log_weight.mean() < exact - 0.01, "the bound is not tight here"


def test_ekvae_with_the_hierarchical_prior_changes_p_of_z1_and_nothing_else():
    """Same weights, same draws: the rate moves by log N(z_1; 0, I) - log p(z_1), here for a prior
    whose p(z_1) is a known Gaussian.
    """
    plain, model, B, T = make("ekvae"), make("ekvae", vhp=True), 20, 4
    own = plain.state_dict()
    assert all(
        torch.equal(v, own[k]) for k, v in model.state_dict().items() if not k.startswith("vhp.")
    ) and not any("vhp" in k for k in own)
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    a_noise, z_noise = normal(B, T, 2, seed=3), normal(B, T, 3, seed=4)
    for scale, var in ((0.6, 0.64), (1.3, 0.2)):
        model.vhp, total = linear_prior(
            *(torch.full((3,), v, dtype=torch.float64) for v in (scale, var, scale - 0.6))
        )
        rates = []
        for m in (plain, model):
            rows = iter([a_noise, z_noise, normal(B, 1, 3, seed=5)])
            m.noise = lambda like, *shape, generator, rows=rows: next(rows)
            rates.append(m.terms(x, u).rate)
        mean, v = plain.encoder(x)
        z1 = kalman.sample_joint(plain.filter(mean + v.sqrt() * a_noise, u), z_noise).z[:, 0]
        by = torch.distributions.Normal(0, 1).log_prob(z1) - torch.distributions.Normal(
            scale - 0.6, total.sqrt()
        ).log_prob(z1)
        assert torch.allclose(rates[1] - rates[0], by.sum(-1), rtol=0, atol=1e-10)
        assert (by.sum(-1).abs().max() < 1e-9) == (scale == 0.6), (
            "0.6² + 0.64 = 1 is N(0, I), the other is not"
        )
