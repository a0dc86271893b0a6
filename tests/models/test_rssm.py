"""Recurrent state-space model: the closed-form bound of a linear instance, the recurrence written
out, which gradient goes where.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from instances import (
    SIGMA,
    elbo,
    generator,
    linear_decoder,
    linear_layer,
    make,
    normal,
    orthogonal,
    within,
)
from oracles import DenseGaussian
from tutorial_dssm.probability.gaussian import log_normal


class LinearCell(nn.Module):
    """Stands in for the GRU: h' = F s + b u."""

    def __init__(self, F, b):
        super().__init__()
        self.F, self.b = F, b

    def forward(self, s_u, h):
        return s_u[..., :2] @ self.F.mT + s_u[..., 2:] * self.b


class Spread(nn.Module):
    """Stands in for a head: N(features, var)."""

    def __init__(self, var):
        super().__init__()
        self.var = var

    def forward(self, features):
        return features, self.var.expand_as(features)


def linear_rssm(scale=1.0, seed=0):
    """(RSSM that is s_{t+1} = F s_t + b u_t + w_t with the exact p(s_t | s_{t-1}, x_t) as
    posterior, its variance times `scale`; its numbers).
    """
    model = make("rssm", seed, x_dim=4, deterministic=2, stochastic=2, frame_path=False)
    D, d = linear_decoder(4, seed)
    F, b, q = (
        0.9 * orthogonal(2, 2, seed + 3),
        normal(2, seed=seed + 4),
        (normal(2, seed=seed + 5) - 1).exp(),
    )
    V = 1 / (1 / q + (D**2).sum(0) / SIGMA**2)
    model.gru, model.prior, model.posterior_head = LinearCell(F, b), Spread(q), Spread(scale * V)
    W = V[:, None] * D.T / SIGMA**2
    model.encoder = linear_layer(W, -W @ d)
    model.decoder = linear_layer(torch.cat([torch.zeros_like(D), D], 1), d)  # it sees s alone
    model.from_h = linear_layer(torch.diag(V / q), torch.zeros_like(V))
    return model, (F, b, q, D, d, V)


def rssm_expected_bound(numbers, x, u, scale, seen):
    """E of the bound in closed form: moments of s_t under q, a linear-Gaussian chain; then E log
    p(x_t | s_{t-1}) and the price of `scale`, both of the frames seen; elsewhere q is the prior.
    """
    F, b, q, D, d, V = (v.numpy() for v in numbers)
    S = D @ np.diag(q) @ D.T + SIGMA**2 * np.eye(4)  # of x_t given s_{t-1}
    mean, cov, total = np.zeros(2), np.zeros((2, 2)), 0.0  # of F s_{t-1} + b u_{t-1}
    for t in range(len(x)):
        if seen[t]:
            e = x[t].numpy() - d - D @ mean
            spread = np.trace(np.linalg.solve(S, D @ cov @ D.T))
            log_det = np.linalg.slogdet(2 * np.pi * S)[1]
            total -= 0.5 * (e @ np.linalg.solve(S, e) + spread + log_det)
            total -= 0.5 * 2 * (scale - 1 - math.log(scale))
            mean = V / q * mean + V * (D.T @ (x[t].numpy() - d)) / SIGMA**2
            cov = np.diag(V / q) @ cov @ np.diag(V / q) + scale * np.diag(V)
        else:
            cov = cov + np.diag(q)
        mean, cov = F @ mean + b * u[t].numpy(), F @ cov @ F.T
    return total


@pytest.mark.parametrize("scale", [1.0, 1.6])
@pytest.mark.parametrize("seen", [[1], [1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0]])
def test_rssm_bound_of_the_linear_instance(seen, scale):
    """Its mean is the closed form, below the exact likelihood of the observed frames: a filter's
    posterior is exact only for one frame.
    """
    T, mask = len(seen), torch.tensor(seen, dtype=torch.bool)
    model, numbers = linear_rssm(scale)
    F, b, q, D, d, _ = (v.numpy() for v in numbers)
    x, u = normal(T, 4, seed=11), normal(T, 1, seed=12)
    drift = [F] * (T - 1), u[:-1].numpy() * b, [np.diag(q)] * (T - 1)
    oracle = DenseGaussian(
        *drift, np.stack([D] * T), np.stack([SIGMA**2 * np.eye(4)] * T), np.zeros(2), np.diag(q)
    )
    frames = np.repeat(mask[:, None].numpy(), 4, 1)
    exact = oracle.log_likelihood((x - numbers[4]).numpy(), frames)
    expected = rssm_expected_bound(numbers, x, u, scale, seen)
    hidden = x.masked_fill(~mask[:, None], math.nan)
    draws = elbo(model, hidden, u, SIGMA, 8000, mask=None if all(seen) else mask)
    if T == 1 and scale == 1:
        assert expected == pytest.approx(exact, abs=1e-9)
    else:
        assert expected < exact - 0.05
    within(draws, expected, se_below=0.07)


def test_rssm_path_is_the_recurrence_written_out():
    """Deterministic path, posterior at [h_t, x_t], KL to the prior at h_t (torch.distributions),
    squared error from all of z.
    """
    model, B, T = make("rssm"), 6, 5
    x, u, noise = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12), normal(B, T, 3, seed=9)
    with torch.no_grad():
        model.frame_path.areas.weight.fill_(0.7)
        terms, h, kl, frames = (
            model.terms(x, u, generator(9)),
            torch.zeros(B, 4, dtype=torch.float64),
            [],
            [],
        )
        a = model.frame_path.linear(x)
        for t in range(T):
            mean, var = model.posterior_head(model.encoder(x[:, t]) + h @ model.from_h.weight.T)
            area = (
                0.7 * (a[:, t - 1, 0] * a[:, t, 1] - a[:, t - 1, 1] * a[:, t, 0])
                if t
                else torch.zeros(B, dtype=torch.float64)
            )
            of_q = torch.distributions.Normal(
                mean + torch.cat([a[:, t], area[:, None]], 1), var.sqrt()
            )
            p_mean, p_var = model.prior(h)
            kl.append(
                torch.distributions.kl_divergence(
                    of_q, torch.distributions.Normal(p_mean, p_var.sqrt())
                ).sum(-1)
            )
            s = of_q.mean + of_q.stddev * noise[:, t]
            frames.append(model.decoder(torch.cat([h, s], -1)))
            h = model.gru(torch.cat([s, u[:, t]], -1), h)
    kl = torch.stack(kl, 1)
    assert (
        torch.allclose(terms.rate, kl.sum(1))
        and torch.allclose(terms.step_rates.prior, kl)
        and torch.allclose(terms.step_rates.posterior, kl)
    )
    assert torch.allclose(terms.squared_error, ((x - torch.stack(frames, 1)) ** 2).sum((1, 2)))


def test_rssm_rate_is_the_mean_log_ratio_of_its_draws():
    """`log_prior` at the draws against the closed-form KL: the two have the same mean."""
    model, B, T = make("rssm", 1), 20000, 3
    x, u = normal(T, 5, seed=11).expand(B, T, 5), normal(T, 1, seed=12).expand(B, T, 1)
    with torch.no_grad():
        rate = model.terms(x, u, generator(9)).rate
        drawn = model.follow(x, u, normal(B, T, 3, seed=9))
        log_q = log_normal(drawn.s, drawn.mean, drawn.var).sum(-1)
        ratio = log_q - model.log_prior(drawn.z(), u)
    within(rate - ratio, 0.0, se_below=0.05)


def test_rssm_infers_at_the_mean_and_predicts_from_the_prior():
    model, B, T, N = make("rssm"), 3, 4, 20000
    x, u = normal(B, T, 5, seed=11), normal(B, T, 1, seed=12)
    with torch.no_grad():
        posterior = model.infer(x, u, generator(2))
        h, s = posterior.mean.split([4, 3], -1)
        assert (h[:, 0] == 0).all() and (posterior.var[..., :4] == 0).all()
        for t in range(T):
            assert torch.allclose(
                model.infer(x[:, : t + 1], u[:, : t + 1], generator()).mean,
                posterior.mean[:, : t + 1],
            ), "a filter"
            if t:
                assert torch.allclose(
                    h[:, t], model.gru(torch.cat([s[:, t - 1], u[:, t - 1]], -1), h[:, t - 1])
                )
        path, z = model.predict(posterior.mean[:, 1], u), posterior.mean[:, 1]
        for t in range(T):
            assert torch.allclose(path[:, t], z, atol=1e-12)
            h = model.gru(torch.cat([z[:, 4:], u[:, t]], -1), z[:, :4])
            z = torch.cat([h, model.prior(h)[0]], -1)
        drawn = model.predict(
            posterior.mean[:1, 1].expand(N, 7),
            u[:1].expand(N, T, 1),
            sample=True,
            generator=generator(),
        )
        mean, var = model.prior(path[0, 1, :4])
        assert torch.allclose(drawn[:, 1, :4], path[0, 1, :4].expand(N, 4)), "h is certain"
        h = model.gru(torch.cat([drawn[:, 1, 4:], u[:1, 1].expand(N, 1)], -1), drawn[:, 1, :4])
        assert torch.allclose(drawn[:, 2, :4], h), "and follows from what was drawn"
    for i in range(3):
        within(drawn[:, 1, 4 + i], mean[i])
        within((drawn[:, 1, 4 + i] - mean[i]) ** 2, var[i])
    draw = posterior.sample
    assert torch.allclose(
        draw[:, 0, 4:], s[:, 0] + posterior.var[:, 0, 4:].sqrt() * normal(B, T, 3, seed=2)[:, 0]
    )


def test_rssm_balances_the_networks_it_should():
    """One frame: no gradient of the one KL reaches the posterior, none of the other the prior."""
    model, x, u = make("rssm"), normal(4, 1, 5), normal(4, 1, 1)
    prior = list(model.prior.parameters())
    posterior = [
        *model.encoder.parameters(),
        *model.posterior_head.parameters(),
        *model.frame_path.linear.parameters(),
    ]
    for name, reached, spared in (
        ("prior", prior, posterior),
        ("posterior", posterior, prior),
    ):
        kl = getattr(model.terms(x, u, generator()).step_rates, name).sum()
        grads = torch.autograd.grad(
            kl, [*reached, *spared], allow_unused=True, materialize_grads=True
        )
        assert all((g == 0).all() for g in grads[len(reached) :]) and any(
            (g != 0).any() for g in grads[: len(reached)]
        )


def test_rssm_starts_from_the_principal_components():
    """The frame path's map whitens the training frames."""
    model, frames = (
        make("rssm"),
        normal(50, 4, 5, seed=3)
        @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64)),
    )
    model.initialise(frames)
    a = model.frame_path.linear(frames.flatten(0, 1)).detach()
    assert (
        torch.allclose(torch.cov(a.T), torch.eye(2, dtype=torch.float64), atol=1e-9)
        and (a.mean(0).abs() < 1e-9).all()
    )
