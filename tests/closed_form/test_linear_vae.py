"""The linear VAE against numerical optimisers, scikit-learn's PCA and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.decomposition import PCA

from lgssm_instances import DOUBLE, random_covariance
from tutorial_dssm.closed_form import linear_vae
from tutorial_dssm.closed_form.linear_vae import (
    LinearPosterior,
    LinearVAE,
    best_decoder,
    exact_posterior,
    linear_terms,
    water_fill,
    water_level,
)
from tutorial_dssm.probability import gaussian

S = torch.tensor([3.0, 1.2, 0.7, 0.2, 0.05], **DOUBLE)


@pytest.mark.parametrize("budget", [0.2, 0.9, 2.0, 4.5])
def test_water_filling_is_the_least_rate_for_a_squared_error(budget):
    """Against a general optimiser that knows nothing of water.

    It minimises Σ ½ log s/d subject to Σ d = budget, 0 < d <= s.

    Equations: bal-water
    """
    s = S.numpy()
    result = minimize(
        lambda d: 0.5 * np.log(s / d).sum(),
        s * budget / s.sum(),
        bounds=[(1e-9, v) for v in s],
        constraints={"type": "eq", "fun": lambda d: d.sum() - budget},
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    point = water_fill(S, water_level(S, budget))
    assert point.squared_error == pytest.approx(budget, abs=1e-12)
    assert point.rate == pytest.approx(result.fun, abs=1e-5)
    assert point.active == int((result.x < s * (1 - 1e-4)).sum())


@pytest.mark.parametrize("k", [None, 1, 3, 5])
def test_water_level_inverts_water_fill_in_any_order(k):
    for level in (1e-4, 0.05, 0.1, 0.2, 0.69, 1.19, 2.9):
        shuffled = S[[3, 0, 4, 2, 1]]
        assert water_level(
            shuffled, water_fill(shuffled, level, k).squared_error, k
        ) == pytest.approx(level, rel=1e-9)


def test_components_beyond_k_keep_their_error_and_cost_nothing():
    point = water_fill(S, 0.1, 2)
    assert point.squared_error == pytest.approx(0.2 + 0.7 + 0.2 + 0.05)
    assert (
        point.rate == pytest.approx(0.5 * math.log(30) + 0.5 * math.log(12)) and point.active == 2
    )


def test_the_linear_vae_with_principal_axes_is_on_the_curve_and_no_other_passes_it(generator):
    """Equations: bal-linear"""
    cov = random_covariance(generator, n=5)
    values, vectors = torch.linalg.eigh(cov)
    level = 0.3
    W = vectors * (values - level).clamp(min=0).sqrt()
    on_curve = linear_terms(W, exact_posterior(W, level**0.5), cov)
    point = water_fill(values, level)
    assert float(on_curve.squared_error) == pytest.approx(point.squared_error, rel=1e-9)
    assert float(on_curve.rate) == pytest.approx(point.rate, rel=1e-9)
    for _ in range(50):
        W = torch.randn(5, 3, generator=generator, **DOUBLE)
        terms = linear_terms(W, exact_posterior(W, 0.5), cov)
        if float(terms.squared_error) < float(values.sum()):
            assert (
                float(terms.rate)
                >= water_fill(values, water_level(values, float(terms.squared_error))).rate - 1e-9
            )


def test_probabilistic_pca_is_the_fixed_point_of_the_learned_noise(generator):
    """scikit-learn's maximum-likelihood noise equals the level at which σ² = squared error / n with
    k latents.

    Equations: bal-sigma, vae-ppca
    """
    x = (
        torch.randn(400, 5, generator=generator, **DOUBLE)
        @ torch.linalg.cholesky(random_covariance(generator, n=5)).T
    )
    x = x - x.mean(0)
    values = torch.linalg.eigvalsh(x.T @ x / len(x)).flip(0)
    level = 1.0
    for _ in range(2000):
        level = water_fill(values, level, 2).squared_error / 5
    sklearn = PCA(2).fit(x.numpy())
    assert level == pytest.approx(sklearn.noise_variance_ * (len(x) - 1) / len(x), rel=1e-6)


def test_expected_terms_are_the_average_of_the_terms(generator):
    model = LinearVAE(4, 2, generator, scale=0.5)
    with torch.no_grad():
        model.log_var.copy_(torch.tensor([-1.0, 0.3]))
    cov = random_covariance(generator, n=4)
    x = torch.randn(400_000, 4, generator=generator, **DOUBLE) @ torch.linalg.cholesky(cov).T
    with torch.no_grad():
        drawn, expected = model.terms(x, generator), model.expected_terms(cov)
    for name in ("squared_error", "rate"):
        samples = getattr(drawn, name)
        assert (
            abs(float(samples.mean() - getattr(expected, name)))
            < 5 * float(samples.std()) / len(x) ** 0.5
        )


def test_the_exact_posterior_is_that_of_the_gaussian_module_and_makes_the_bound_tight(generator):
    """Equations: bal-gap"""
    sigma = 0.6
    W = torch.randn(4, 2, generator=generator, **DOUBLE)
    x = torch.randn(4, generator=generator, **DOUBLE)
    prior = gaussian.Gaussian(torch.zeros(2, **DOUBLE), torch.eye(2, **DOUBLE))
    noise = gaussian.Gaussian(torch.zeros(4, **DOUBLE), sigma**2 * torch.eye(4, **DOUBLE))
    bayes = gaussian.condition_on_observation(prior, x, W, noise)
    q = exact_posterior(W, sigma)
    torch.testing.assert_close(q.V @ x, bayes.gaussian.mean)
    torch.testing.assert_close(q.cov, bayes.gaussian.cov)
    terms = linear_terms(W, q, torch.outer(x, x))  # "data" that are this one point
    bound = -(
        terms.squared_error / (2 * sigma**2) + 2 * math.log(2 * math.pi * sigma**2) + terms.rate
    )
    torch.testing.assert_close(bound, bayes.log_normaliser)


def test_the_best_decoder_has_no_gradient_left(generator):
    cov = random_covariance(generator, n=4)
    V = torch.randn(2, 4, generator=generator, **DOUBLE)
    q = LinearPosterior(V, torch.diag(torch.rand(2, generator=generator, **DOUBLE)))
    W = best_decoder(q, cov).requires_grad_()
    linear_terms(W, q, cov).squared_error.backward()
    assert float(W.grad.abs().max()) < 1e-12


@pytest.mark.parametrize(
    "call",
    [
        lambda: water_fill(S, 0.0),
        lambda: water_fill(S[None], 0.1),
        lambda: water_fill(-S, 0.1),
        lambda: water_fill(S, 0.1, 6),
        lambda: water_fill(S[:0], 0.1),
        lambda: water_level(S, 0.0),
        lambda: water_level(S, 10.0),
        lambda: water_level(S, 0.9, 2),
        lambda: LinearVAE(4, 2, torch.Generator()).terms(torch.zeros(3, 5, **DOUBLE)),
    ],
)
def test_bad_input_is_one_clear_error(call):
    with pytest.raises(ValueError, match="must be"):
        call()


def test_module_names_no_objective():
    """Floor 2: a model never sees an objective."""
    assert "objectives" not in vars(linear_vae)
