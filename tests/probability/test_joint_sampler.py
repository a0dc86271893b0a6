"""The joint sampler and the backward chain: every draw, many draws, the dense Gaussian."""

import numpy as np
import pytest
import torch

from lgssm_instances import (
    constant_velocity,
    each,
    entries,
    mask_of,
    problem,
    seeded,
    simulate,
    spread,
)
from oracles import DenseGaussian, log_normal, relative_error
from tutorial_dssm.probability.kalman import (
    StateSpaceModel,
    backward_chain,
    kalman_filter,
    sample_joint,
    smooth,
)

f64 = torch.float64


@pytest.mark.parametrize("missing", [None, "frames", "entries"])
@pytest.mark.parametrize("T", [1, 2, 15])
def test_every_joint_sample_gives_the_evidence(T, missing):
    """log p(a | z) + log p(z) - log q(z | a) = log p(a) for EVERY z, if q is the joint posterior.

    Equations: kf-joint, kf-every-draw
    """
    model, _, a = problem(B=3, T=T)
    mask = entries(mask_of(missing, a), a)
    filtered = kalman_filter(a, model, mask=mask)
    for seed in range(5):
        # far from the mean as well
        draw = sample_joint(filtered, 3 * torch.randn(3, T, 3, generator=seeded(seed), dtype=f64))
        for i in range(3):
            dense, z = DenseGaussian.of_series(model, i), draw.z[i].numpy()
            seen = np.flatnonzero(mask[i].numpy())
            log_prior = log_normal(z.ravel(), dense.z_mean, dense.z_cov)
            log_seen = log_normal(
                a[i].numpy().ravel()[seen],
                (dense.observe @ z.ravel())[seen],
                dense.R[np.ix_(seen, seen)],
            )
            evidence = log_prior + log_seen - float(draw.log_density[i])
            assert abs(evidence - float(filtered.log_likelihood[i])) < 1e-9


def test_independent_marginals_break_the_identity():
    model = constant_velocity()
    full = spread(model, 1, 15)
    _, a = simulate(full, seeded())
    filtered = kalman_filter(a, model)
    smoothed, dense = smooth(filtered), DenseGaussian.of_series(full, 0)
    noise = torch.randn(200, 15, 2, generator=seeded(), dtype=f64)
    root = torch.linalg.cholesky(smoothed.cov[0])
    z = smoothed.mean[0] + (root @ noise.unsqueeze(-1)).squeeze(-1)
    log_q = (
        torch.distributions.MultivariateNormal(smoothed.mean[0], scale_tril=root)
        .log_prob(z)
        .sum(-1)
    )
    evidence = [dense.log_joint(z[i].numpy(), a[0].numpy()) - float(log_q[i]) for i in range(200)]
    assert np.mean(evidence) < float(filtered.log_likelihood[0]) - 100  # nats


def test_moments_of_joint_samples():
    """Means, covariances and lag-one cross-covariances are within 5 standard errors.

    Equations: kf-joint, kf-cross
    """
    model, _, a = problem(B=1, T=4, n=2, A=1)
    N = 100_000
    filtered = kalman_filter(a.expand(N, -1, -1), each(model, lambda v: v[0]))
    smoothed = smooth(filtered)
    z = sample_joint(filtered, torch.randn(N, 4, 2, generator=seeded(), dtype=f64)).z.flatten(1)
    _, cov = DenseGaussian.of_series(model, 0).posterior(a[0].numpy())
    cov = torch.as_tensor(cov).flatten(2).flatten(0, 1)
    var = cov.diagonal()
    assert ((z.mean(0) - smoothed.mean[0].flatten()).abs() < 5 * (var / N).sqrt()).all()
    error_of_cov = ((var.outer(var) + cov**2) / N).sqrt()  # of an empirical covariance of Gaussians
    empirical = torch.cov(z.T)
    assert ((empirical - cov).abs() < 5 * error_of_cov).all()
    for t in range(3):
        now, then = slice(2 * t, 2 * t + 2), slice(2 * t + 2, 2 * t + 4)
        assert (
            (empirical[then, now] - smoothed.cross_cov[0, t]).abs() < 5 * error_of_cov[then, now]
        ).all()


def test_backward_chain_is_the_posterior_of_the_dense_gaussian():
    """Equations: kf-future, kf-backward"""
    model, _, a = problem(B=2, T=5)
    chain = backward_chain(kalman_filter(a, model))
    for i in range(2):
        mean, cov = DenseGaussian.of_series(model, i).posterior(a[i].numpy())
        for t in range(4):  # condition z_t on z_{t+1} in the joint posterior
            G = np.linalg.solve(cov[t + 1, :, t + 1], cov[t + 1, :, t]).T
            assert relative_error(chain.G[i, t], torch.as_tensor(G)) < 1e-9
            assert relative_error(chain.c[i, t], torch.as_tensor(mean[t] - G @ mean[t + 1])) < 1e-9
            assert (
                relative_error(chain.C[i, t], torch.as_tensor(cov[t, :, t] - G @ cov[t + 1, :, t]))
                < 1e-9
            )


def test_zero_noise_gives_the_smoothed_mean():
    model, _, a = problem()
    filtered = kalman_filter(a, model)
    draw = sample_joint(filtered, torch.zeros(3, 6, 3, dtype=f64))
    torch.testing.assert_close(draw.z, smooth(filtered).mean, rtol=1e-10, atol=1e-10)


def test_noise_of_another_shape():
    model, _, a = problem()
    with pytest.raises(ValueError, match="noise must be"):
        sample_joint(kalman_filter(a, model), torch.zeros(3, 5, 3, dtype=f64))


def test_no_density_where_the_posterior_is_singular():
    """With a singular Q the path lies in a plane: it has no density, and the sampler says so."""
    eye = torch.eye(2, dtype=f64)
    model = StateSpaceModel(
        F=torch.tensor([[0.5, 0.2], [1.0, 0.0]], dtype=f64),
        Q=torch.diag(torch.tensor([1.0, 0.0], dtype=f64)),
        H=eye[:1],
        R=eye[:1, :1],
        m1=torch.zeros(2, dtype=f64),
        P1=eye,
    )
    filtered = kalman_filter(torch.zeros(1, 4, 1, dtype=f64), model)
    with pytest.raises(ValueError, match="not positive definite"):
        sample_joint(filtered, torch.ones(1, 4, 2, dtype=f64))
