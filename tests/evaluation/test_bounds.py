"""The importance-weighted bound against exact likelihoods and closed-form moments of the weights,
on linear-Gaussian models.
"""

import math

import pytest
import torch

from instances import (
    SIGMA,
    dense,
    elbo,
    generator,
    linear_dks,
    linear_ekvae,
    log_evidence,
    make,
    normal,
    within,
)
from tutorial_dssm.evaluation import bounds
from tutorial_dssm.models import MODELS


def instance(T=4, scale=1.0):
    """A linear DKS whose conditionals are exact but for variances times `scale`, one sequence, and
    its exact log-likelihood.
    """
    model, D, d = linear_dks(scale)
    x, u = normal(1, T, 4, seed=11), normal(1, T, 1, seed=12)
    return (
        model,
        x,
        u,
        dense(model, u[0], D, SIGMA**2 * torch.eye(4)).log_likelihood((x[0] - d).numpy()),
    )


def many(v, n):
    return v.expand(n, *v.shape[1:])


@pytest.mark.parametrize(
    "kind", [k for k, r in MODELS.items() if "log_weights" not in r.model.cannot]
)
def test_the_log_ratio_of_a_draw_has_the_mean_of_the_rate(kind):
    model = make(kind)
    x, u = normal(1, 3, 5, seed=1).expand(20000, 3, 5), normal(1, 3, 1, seed=2).expand(20000, 3, 1)
    with torch.no_grad():
        drawn = model.terms(x, u, generator(3), analytic=False)
        closed = model.terms(x, u, generator(3))
    assert torch.equal(drawn.squared_error, closed.squared_error), "the same draw"
    if not torch.equal(drawn.rate, closed.rate):
        within(drawn.rate - closed.rate, 0.0)


def test_a_model_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="E2C has no answer here: its loss is one of pairs"):
        bounds.iwae(make("e2c"), normal(1, 3, 5), normal(1, 3, 1), SIGMA)


@pytest.mark.parametrize("K, chunk", [(7, 3), (6, 10)])
def test_weights_of_the_observed_frames(K, chunk):
    """Two sequences that miss different frames, a linear-Gaussian model and its exact posterior:
    every draw has the likelihood of what is observed, of each sequence its own.
    """
    model = make("lgssm", x_dim=4, z_dim=2)
    with torch.no_grad():
        model.log_r.fill_(2 * math.log(SIGMA))
    x, u = normal(2, 5, 4, seed=11), normal(2, 5, 1, seed=12)
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 1, 1]], dtype=torch.bool)
    hidden = x.masked_fill(~mask[..., None], math.nan)
    log_w = bounds.log_weights(model, hidden, u, SIGMA, K, generator(), chunk, mask)
    exact = model.log_likelihood(hidden, u, mask)
    assert torch.allclose(log_w, exact.expand(K, 2), rtol=0, atol=1e-9)
    assert torch.allclose(bounds.iwae(model, hidden, u, SIGMA, K, generator(), chunk, mask), exact)


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("K, chunk", [(1, 1), (7, 3), (6, 10)])
def test_the_exact_posterior_gives_the_likelihood_with_every_draw(T, K, chunk):
    """Also that no sequence gets another's weights: each has its own likelihood.

    Equations: vae-iwae
    """
    model, D, d = linear_dks()
    x, u = normal(3, T, 4, seed=11), normal(3, T, 1, seed=12)
    exact = torch.tensor(
        [
            dense(model, u[i], D, SIGMA**2 * torch.eye(4)).log_likelihood((x[i] - d).numpy())
            for i in range(3)
        ]
    )
    log_w = bounds.log_weights(model, x, u, SIGMA, K, generator(), chunk)
    assert log_w.shape == (K, 3) and torch.allclose(log_w, exact.expand(K, 3), rtol=0, atol=1e-5)
    assert torch.allclose(
        bounds.iwae(model, x, u, torch.tensor(SIGMA), K, generator(), chunk),
        exact,
        rtol=0,
        atol=1e-5,
    )
    assert torch.allclose(
        bounds.effective_draws(log_w), torch.tensor(float(K), dtype=torch.float64)
    )


def test_weights_have_the_mean_and_the_second_moment_of_the_closed_form():
    """q has the variances of p(z | x) times s in 2 T coordinates:

    E w = p(x), E w² = p(x)² (s / √(2 s - 1))^(2 T).
    """
    T, s = 4, 1.6
    model, x, u, exact = instance(T, s)
    w = (
        (
            bounds.log_weights(model, many(x, 100), many(u, 100), SIGMA, 200, generator(1), 100)
            - exact
        )
        .exp()
        .flatten()
    )
    within(w, 1.0, se_below=0.01)
    within(w**2, (s / math.sqrt(2 * s - 1)) ** (2 * T), se_below=0.03)


def test_a_closed_form_kl_is_no_log_ratio():
    """What `analytic=False` is for: with the exact posterior the two rates agree in the mean, and
    one of them makes weights that vary.
    """
    model, x, u, exact = instance(4)
    x, u = many(x, 4000), many(u, 4000)
    with torch.no_grad():
        closed, drawn = (model.terms(x, u, generator(2), analytic=a) for a in (True, False))
    assert torch.equal(closed.squared_error, drawn.squared_error)
    within(closed.rate - drawn.rate, 0.0, se_below=0.1)
    log_w = [
        -t.squared_error / (2 * SIGMA**2)
        - x[0].numel() / 2 * math.log(2 * math.pi * SIGMA**2)
        - t.rate
        for t in (closed, drawn)
    ]
    assert log_w[0].std() > 0.5 and log_w[1].std() < 1e-5
    assert ((log_w[0] - exact).exp().mean() - 1) > 0.2, "not even unbiased"


@pytest.mark.parametrize("scale", [1.0, 1.6])
def test_one_draw_is_the_elbo(scale):
    T = 4
    model, x, u, exact = instance(T, scale)
    gap = T * 2 * 0.5 * (scale - 1 - math.log(scale))
    one = bounds.iwae(model, many(x, 8000), many(u, 8000), SIGMA, 1, generator(3))
    assert abs(one.mean() - (exact - gap)) < 1e-5 + 4.5 * one.std() / 8000**0.5
    usual = elbo(model, x[0], u[0], SIGMA, 8000, seed=4)
    assert abs(one.mean() - usual.mean()) < 4.5 * ((one.var() + usual.var()) / 8000) ** 0.5


def test_the_bound_grows_with_the_number_of_draws_and_stays_below():
    """Equations: vae-iwae, vae-iwae-gap"""
    T, s, N = 4, 1.6, 400
    model, x, u, exact = instance(T, s)
    log_w = bounds.log_weights(model, many(x, N), many(u, N), SIGMA, 100, generator(5), 50)
    means = {}
    for K in (1, 5, 100):
        estimates = (
            torch.logsumexp(log_w.unflatten(0, (100 // K, K)), 1) - math.log(K)
        ).flatten() - exact
        means[K] = (float(estimates.mean()), float(estimates.std() / len(estimates) ** 0.5))
    for few, more in zip(list(means), list(means)[1:]):
        assert means[more][0] - means[few][0] > 4.5 * (means[few][1] + means[more][1]) / 2, means
    assert all(mean < 4.5 * se for mean, se in means.values())
    assert means[1][0] < -0.4 and means[100][0] > -0.01
    # to first order in 1/K the gap is the variance of w over 2 K; W - 1, of mean zero, takes most
    # of the noise out of log W
    W = (log_w - exact).exp().mean(0)
    expected = ((s / math.sqrt(2 * s - 1)) ** (2 * T) - 1) / 200
    gap = W - 1 - W.log()
    assert abs(gap.mean() - expected) < 4.5 * gap.std() / N**0.5 + 0.05 * expected
    few, many_ = (bounds.effective_draws(v).mean() for v in (log_w[:10], log_w))
    assert 1 < few < 10 and 40 < many_ < 70  # 1/E w² of them: 55 of 100


def test_ekvae_weights_are_unbiased_and_its_bound_tightens():
    """Here the latents are a and z, and the encoder is too wide: the one-draw bound is loose, the
    weights are bounded.
    """
    sigma = 0.35
    model, D, d = linear_ekvae(sigma)
    x, u = normal(4, 4, seed=11), normal(4, 1, seed=12)
    exact, *_ = log_evidence(model, D, d, sigma, x, u)
    log_w = bounds.log_weights(
        model, x.expand(400, 4, 4), u.expand(400, 4, 1), sigma, 50, generator(6), 50
    )
    within((log_w - exact).exp().flatten(), 1.0, se_below=0.05)
    one, fifty = log_w.flatten() - exact, torch.logsumexp(log_w, 0) - math.log(50) - exact
    assert one.mean() < -0.1 and one.mean() + 0.1 < fifty.mean() < 4.5 * fifty.std() / 400**0.5
    a, b = (bounds.iwae(model, x[None], u[None], sigma, 9, generator(7), 4) for _ in range(2))
    assert torch.equal(a, b), "the generator decides"


def test_weights_are_float64_and_carry_no_gradient():
    model = make("dks").float()
    log_w = bounds.log_weights(model, torch.rand(2, 3, 5), torch.rand(2, 3, 1), 0.1, 4)
    assert log_w.dtype == torch.float64 and not log_w.requires_grad


@pytest.mark.parametrize(
    "what, message",
    [
        ({"K": 0}, "K and chunk"),
        ({"chunk": 0}, "K and chunk"),
        ({"sigma": 0.0}, "sigma must be"),
        ({"sigma": math.nan}, "sigma must be"),
        ({"x": normal(1, 4, 3)}, "x must be"),
        ({"x": normal(1, 4, 4) * math.nan}, "finite"),
    ],
)
def test_the_door(what, message):
    model, x, u, _ = instance()
    with pytest.raises(ValueError, match=message):
        bounds.iwae(
            **{"model": model, "x": x, "u": u, "sigma": SIGMA, "generator": generator(), **what}
        )
