"""Balanced KL and free nats: value and gradient against what is worked out on paper."""

import math

import pytest
import torch

from instances import normal
from tutorial_dssm.learning.objectives import (
    BalancedConfig,
    LearnedNoiseConfig,
    make_objective,
)
from tutorial_dssm.models import StepRates, Terms
from tutorial_dssm.probability.gaussian import kl_diagonal

N = 60  # values in a sequence


def leaves(seed=0):
    """Mean and variance of q and of p, [B, T, Z] = [3, 4, 2]; rows of T with a small and a large
    KL.
    """
    mean, p_mean = normal(3, 4, 2, seed=seed), normal(3, 4, 2, seed=seed + 1)
    mean = torch.where(torch.tensor([True, False, True, False])[:, None], mean, p_mean + 0.01)
    var = (0.3 * normal(3, 4, 2, seed=seed + 2)).exp()
    p_var = torch.where(
        torch.tensor([True, False, True, False])[:, None],
        (0.3 * normal(3, 4, 2, seed=seed + 3)).exp(),
        1.02 * var,
    )
    return [v.clone().requires_grad_() for v in (mean, var, p_mean, p_var)]


def by_hand(mean, var, p_mean, p_var):
    """KL [B, T] by torch.distributions, and its gradient by mean, var, p_mean, p_var, worked out on
    paper.
    """
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, var.sqrt()),
        torch.distributions.Normal(p_mean, p_var.sqrt()),
    ).sum(-1)
    e = mean - p_mean
    return kl.detach(), [
        e / p_var,
        0.5 * (1 / p_var - 1 / var),
        -e / p_var,
        0.5 * (1 / p_var - (var + e**2) / p_var**2),
    ]


def terms_of(error, q, p):
    """Terms of a model whose rate is the sum of the steps'."""
    return Terms(error, kl_diagonal(*q, *p).sum(1), StepRates.of_gaussians(q, p))


@pytest.mark.parametrize("balance", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("free", [0.0, 0.4])
def test_balanced_value_and_gradient(balance, free):
    """Balancing leaves the value alone; the prior gets α, the posterior 1 - α of the KL's gradient;
    below the free nats there is none.
    """
    error, inputs = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), leaves()
    terms = terms_of(error, tuple(inputs[:2]), tuple(inputs[2:]))
    kl, gradient = by_hand(*inputs)
    assert (kl < 0.4).any() and (kl > 0.4).any()
    report = make_objective(BalancedConfig(sigma0=0.2, balance=balance, free_nats=free)).double()(
        terms, N
    )
    reference = make_objective(LearnedNoiseConfig(sigma0=0.2)).double()(Terms(error, kl.sum(1)), N)
    price = (torch.maximum(kl, torch.tensor(free)).sum(1) - kl.sum(1)).mean()
    assert torch.allclose(report.loss, reference.loss + price, rtol=0, atol=1e-6) and (
        price > 0
    ) == (free > 0)
    assert all(torch.allclose(a, b) for a, b in zip(report[1:], reference[1:])), (
        "what is reported is the true rate"
    )
    grads = torch.autograd.grad(report.loss, inputs, materialize_grads=True)
    counts = (kl > free).double().unsqueeze(-1) / 3  # a mean over three sequences
    for got, full, share in zip(grads, gradient, (1 - balance, 1 - balance, balance, balance)):
        assert torch.allclose(got, share * counts * full, rtol=1e-9, atol=1e-12)


def test_kl_diagonal():
    """Equations: vae-kl-one, vae-kl"""
    q, p = (
        torch.distributions.Normal(normal(3, 2, seed=s), normal(3, 2, seed=s + 1).exp())
        for s in (0, 2)
    )
    assert torch.allclose(
        kl_diagonal(q.mean, q.variance, p.mean, p.variance),
        torch.distributions.kl_divergence(q, p).sum(-1),
    )


def test_balanced_learns_its_noise():
    objective = make_objective(BalancedConfig(sigma0=0.3)).double()
    terms = terms_of(
        torch.full((3,), 0.02 * N, dtype=torch.float64),
        *(tuple(leaves()[i : i + 2]) for i in (0, 2)),
    )
    objective(terms, N).loss.backward()
    assert objective.log_sigma.grad.item() == pytest.approx(N - 0.02 * N / 0.3**2, rel=1e-6)
    assert float(objective.noise().detach()) == pytest.approx(0.3)


def test_balanced_says_which_models_it_takes():
    with pytest.raises(ValueError, match="rate of every step"):
        make_objective(BalancedConfig())(Terms(torch.ones(3), torch.ones(3)), N)


@pytest.mark.parametrize(
    "field, value",
    [
        ("sigma0", 0.0),
        ("balance", 1.1),
        ("balance", -0.1),
        ("free_nats", -1.0),
        ("free_nats", math.nan),
    ],
)
def test_balanced_refuses_settings_without_meaning(field, value):
    with pytest.raises(ValueError, match=field):
        BalancedConfig(**{field: value})
