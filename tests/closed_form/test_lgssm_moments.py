"""EM in parts against `em.em_step`, dense Gaussians and each other."""

import copy

import pytest
import torch

from lgssm_instances import lgssm_sequences, make_lgssm, mask_of, seeded
from tutorial_dssm.closed_form import lgssm_moments
from tutorial_dssm.closed_form.em import em_step
from tutorial_dssm.probability import gaussian

MISSING = pytest.mark.parametrize("missing", [None, "frames", "entries"])


def chain_of(model, mask):
    """(moments q, series i) -> the exact posterior of a model as one Gaussian over the path."""

    def dense(q, i):
        cov = torch.linalg.inv(lgssm_moments.posterior_precision(model, q.mean.shape[1], mask))
        cov = cov[i if len(cov) > 1 else 0]
        return gaussian.Gaussian(q.mean[i].flatten(), (cov + cov.T) / 2)

    return dense


def independent(q, i):
    """The same for moments that are independent over time."""
    return gaussian.Gaussian(q.mean[i].flatten(), torch.block_diag(*q.cov[i]))


@MISSING
@torch.no_grad()
def test_bound_is_tight_at_the_posterior_and_misses_by_the_kl_elsewhere(missing):
    """Equations: kf-elbo, em-decomposition, em-elbo, em-estep, em-expected"""
    model, other = make_lgssm(2, 1, 2), make_lgssm(2, 1, 2, seed=3)
    x, u = lgssm_sequences(model, T=5)
    mask = mask_of(missing, x)
    exact = lgssm_moments.exact_moments(model, x, u, mask)
    log_p = model.log_likelihood(x, u, mask)
    assert torch.allclose(lgssm_moments.moment_bound(model, exact, x, u, mask), log_p, atol=1e-9)
    of_other = lgssm_moments.exact_moments(other, x, u, mask)
    factorised = lgssm_moments.factorised_moments(model, x, u, mask)
    for q, make_dense in ((of_other, chain_of(other, mask)), (factorised, independent)):
        p = chain_of(model, mask)
        kl = [gaussian.kl(make_dense(q, i), p(exact, i)) for i in range(len(x))]
        gap = torch.stack(kl)
        assert gap.min() > 1e-3
        bound = lgssm_moments.moment_bound(model, q, x, u, mask)
        assert torch.allclose(bound, log_p - gap, atol=1e-8)


@MISSING
def test_m_step_and_variational_em_with_the_exact_posterior_are_em(missing):
    model = make_lgssm(3, 1, 2)
    x, u = lgssm_sequences(make_lgssm(3, 1, 2, seed=1), B=6)
    mask, other = mask_of(missing, x), copy.deepcopy(model)
    values = lgssm_moments.variational_em(other, x, u, 2, mask=mask)
    for value in values[:2]:
        assert em_step(model, x, u, mask).item() == pytest.approx(value.item(), rel=1e-10)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters()))
    posterior = lgssm_moments.factorised_moments
    values = lgssm_moments.variational_em(other, x, u, 5, posterior, mask)
    assert (values.diff() > -1e-9).all()


@torch.no_grad()
def test_matrices_change_of_basis_and_simulation():
    """Equations: ssm-basis, em-basis"""
    model = make_lgssm(3, 1, 2)
    x, u = lgssm_sequences(model)
    again = lgssm_moments.from_matrices(lgssm_moments.matrices(model))
    for p, q in zip(lgssm_moments.matrices(model), lgssm_moments.matrices(again)):
        assert torch.allclose(p, q, atol=1e-12)
    S = torch.tensor([[1.0, 2.0], [-0.5, 0.7]], dtype=torch.float64)
    other = lgssm_moments.change_basis(model, S)
    assert torch.allclose(model.log_likelihood(x, u), other.log_likelihood(x, u), atol=1e-9)
    many = torch.zeros(4000, 2, 1, dtype=torch.float64)
    z, x = lgssm_moments.draw_sequences(model, many, seeded())
    m = lgssm_moments.matrices(model)
    assert torch.allclose(z[:, 0].T.cov(), m.P1, atol=0.15 * m.P1.abs().max().item())
    assert torch.allclose((x - model.decode(z)).var((0, 1)), m.r, rtol=0.1)
