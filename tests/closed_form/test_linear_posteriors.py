"""Posteriors of a linear-Gaussian model against the Kalman filter, Monte Carlo and an optimiser.

The optimiser knows nothing of conditioning.
"""

import pytest
import torch

from lgssm_instances import DOUBLE, normal, seeded
from tutorial_dssm.closed_form import lgssm_moments
from tutorial_dssm.closed_form import linear_posteriors as lp
from tutorial_dssm.probability import gaussian
from tutorial_dssm.probability.gaussian import log_normal


def model(T=4, n=2, X=3, seed=0):
    """Nothing special: no matrix is diagonal but R."""
    root, first = normal(n, n, seed=seed + 1), normal(n, n, seed=seed + 2)
    F = 0.9 * torch.linalg.qr(normal(n, n, seed=seed)).Q
    m = lgssm_moments.Matrices(
        F=F,
        B=normal(n, 1, seed=seed + 3),
        b=normal(n, seed=seed + 4),
        Q=0.2 * root @ root.T + 0.1 * torch.eye(n, **DOUBLE),
        C=normal(X, n, seed=seed + 5),
        d=normal(X, seed=seed + 6),
        r=0.3 + normal(X, seed=seed + 7) ** 2,
        m1=normal(n, seed=seed + 8),
        P1=first @ first.T + 0.2 * torch.eye(n, **DOUBLE),
    )
    return m, normal(T, 1, seed=seed + 9)


def films(m, u, N, seed=5):
    return lgssm_moments.draw_sequences(
        lgssm_moments.from_matrices(m), u.expand(N, *u.shape), seeded(seed)
    )[1]


@pytest.mark.parametrize("T", [1, 2, 5])
def test_joint_has_the_kalman_filters_likelihood(T):
    m, u = model(T)
    x, j = films(m, u, 6), lp.joint(m, u)
    exact = lgssm_moments.from_matrices(m).log_likelihood(x, u.expand(6, T, 1))
    assert torch.allclose(
        gaussian.log_density(j.part(j.x(*range(1, T + 1))), x.flatten(1)), exact, atol=1e-9
    )


@pytest.mark.parametrize("T", [1, 2, 5])
def test_exact_chain_is_the_exact_posterior_for_every_draw(T):
    m, u = model(T)
    x, j = films(m, u, 6), lp.joint(m, u)
    chain = lp.conditionals(j, lambda t: range(t, T + 1))
    z, log_q = lp.ancestral_sample(chain, x, normal(6, T, 2, seed=3))
    log_joint = gaussian.log_density(
        gaussian.Gaussian(j.mean, j.cov), torch.cat([z.flatten(1), x.flatten(1)], 1)
    )
    exact = lgssm_moments.from_matrices(m).log_likelihood(x, u.expand(6, T, 1))
    assert torch.allclose(log_joint - log_q, exact, atol=1e-9)
    assert torch.allclose(gaussian.log_density(lp.path(chain, x), z.flatten(1)), log_q, atol=1e-9)
    assert lp.average_gap(j, chain).abs() < 1e-9
    terms = lp.sequential_terms(m, u, chain, x)
    assert torch.allclose((terms.reconstruction - terms.kl).sum(1), exact, atol=1e-9)


@pytest.mark.parametrize("sees", [lambda t: (), lambda t: (t,), lambda t: range(1, t + 1)])
def test_gap_and_terms_agree_with_dense_divergences_and_draws(sees):
    T, N = 4, 20000
    m, u = model(T)
    x, j = films(m, u, N), lp.joint(m, u)
    chain, exact = lp.conditionals(j, sees), lp.conditionals(j, lambda t: range(t, T + 1))
    gaps = gaussian.kl(lp.path(chain, x), lp.path(exact, x))
    assert abs(gaps.mean() - lp.average_gap(j, chain)) < 4.5 * gaps.std() / N**0.5 + 1e-9
    log_p = lgssm_moments.from_matrices(m).log_likelihood(x, u.expand(N, T, 1))
    terms = lp.sequential_terms(m, u, chain, x)
    assert torch.allclose((terms.reconstruction - terms.kl).sum(1), log_p - gaps, atol=1e-8)
    one = x[:1].expand(N, T, 3)
    z, log_q = lp.ancestral_sample(chain, one, normal(N, T, 2, seed=3))
    fit = log_normal(one, z @ m.C.T + m.d, m.r.expand(3))
    assert ((fit.mean(0) - terms.reconstruction[0]).abs() < 4.5 * fit.std(0) / N**0.5).all()
    both = torch.cat([z.flatten(1), one.flatten(1)], 1)
    weight = gaussian.log_density(gaussian.Gaussian(j.mean, j.cov), both) - log_q
    assert abs(weight.mean() - (log_p - gaps)[0]) < 4.5 * weight.std() / N**0.5


def optimise(j, last):
    """The least average gap over all chains whose step t has weights on x_1 … x_last only.

    L-BFGS on A, K, c and Cholesky factors.
    """
    T, n, X = j.T, j.n, j.X
    allowed = torch.stack([(torch.arange(T * X) < k * X).double() for k in last])[:, None]
    start = [torch.zeros(T, n, *shape, **DOUBLE) for shape in ((n,), (T * X,), ())]
    start.append(0.5 * torch.eye(n, **DOUBLE).expand(T, n, n))
    free = [v.clone().requires_grad_() for v in start]
    settings = {
        "tolerance_grad": 1e-7,
        "tolerance_change": 1e-10,
        "history_size": 50,
        "line_search_fn": "strong_wolfe",
    }
    optimiser = torch.optim.LBFGS(free, max_iter=300, max_eval=400, **settings)

    def gap():
        A, K, c, L = free
        A = torch.cat([torch.zeros_like(A[:1]), A[1:]])
        L = torch.tril(L)
        return lp.average_gap(j, lp.Chain(A, K * allowed, c, L @ L.mT))

    def closure():
        optimiser.zero_grad()
        value = gap()
        value.backward()
        return value

    optimiser.step(closure)
    return gap().item()


@pytest.mark.slow
@pytest.mark.parametrize("last", [(1, 2, 3), (0, 0, 0), (2, 3, 3), (0, 0, 2), (3, 3, 3)])
def test_best_conditionals_are_the_best(last):
    m, u = model(3)
    j = lp.joint(m, u)
    best = lp.average_gap(j, lp.best_conditionals(j, last))
    assert best == pytest.approx(lp.price(j, last).sum().item(), abs=1e-9)
    assert best == pytest.approx(optimise(j, last), abs=1e-4)


def test_best_filter_beats_the_exact_filter_conditionals():
    m, u = model(5)
    j = lp.joint(m, u)
    exact = lp.conditionals(j, lambda t: range(1, t + 1))
    best = lp.best_conditionals(j, (1, 2, 3, 4, 5))
    assert lp.average_gap(j, best) < lp.average_gap(j, exact) - 1e-3


def test_diagonal_chain_is_the_best_diagonal_one():
    m, u = model(3)
    j = lp.joint(m, u)
    exact = lp.conditionals(j, lambda t: range(t, 4))
    diagonal = lp.diagonal_chain(exact)
    least = lp.average_gap(j, diagonal)
    P = torch.linalg.inv(exact.S)
    formula = 0.5 * (P.diagonal(dim1=-2, dim2=-1).log().sum(-1) - torch.logdet(P)).sum()
    assert least == pytest.approx(formula.item(), abs=1e-9) and least > 1e-3
    for k in range(6):
        factor = torch.ones(6, **DOUBLE)
        factor[k] = 1.05
        other = diagonal._replace(S=diagonal.S * torch.diag_embed(factor.reshape(3, 2)))
        assert lp.average_gap(j, other) > least


def test_without_nesting_the_bound_is_too_high():
    m, u = model(4)
    x, j = films(m, u, 5), lp.joint(m, u)
    chain = lp.conditionals(j, lambda t: range(t, 5))
    exact = lgssm_moments.from_matrices(m).log_likelihood(x, u.expand(5, 4, 1))
    terms = lp.sequential_terms(m, u, chain, x, nested=False)
    assert ((terms.reconstruction - terms.kl).sum(1) > exact + 1e-3).all()


@pytest.mark.parametrize("last", [(1, 2), (2, 1, 3), (1, 2, 4)])
def test_the_door(last):
    m, u = model(3)
    with pytest.raises(ValueError, match="never fall"):
        lp.best_conditionals(lp.joint(m, u), last)
