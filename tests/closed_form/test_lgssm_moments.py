"""EM in parts against `em.em_step`, dense Gaussians and each other; the scalar model against the
general one; the figures of the EM chapter.
"""

import copy

import numpy as np
import pytest
import torch

from test_lgssm import data, make, mask_of
from tutorial_dssm.closed_form import lgssm_moments, scalar_ssm
from tutorial_dssm.closed_form.em import em_step
from tutorial_dssm.figures import ch05_em_and_the_elbo
from tutorial_dssm.probability import gaussian

MISSING = pytest.mark.parametrize("missing", [None, "frames", "entries"])


def dense_q(model, q, mask, i, T):
    cov = torch.linalg.inv(lgssm_moments.posterior_precision(model, T, mask))
    cov = cov[i if len(cov) > 1 else 0]
    return gaussian.Gaussian(q.mean[i].flatten(), (cov + cov.T) / 2)


@MISSING
@torch.no_grad()
def test_bound_is_tight_at_the_posterior_and_misses_by_the_kl_elsewhere(missing):
    """Equations: kf-elbo, em-decomposition, em-elbo, em-estep, em-expected"""
    model, other = make(2, 1, 2), make(2, 1, 2, seed=3)
    x, u = data(model, T=5)
    mask = mask_of(missing, x)
    exact = lgssm_moments.exact_moments(model, x, u, mask)
    log_p = model.log_likelihood(x, u, mask)
    assert torch.allclose(lgssm_moments.moment_bound(model, exact, x, u, mask), log_p, atol=1e-9)
    for q, make_dense in (
        (
            lgssm_moments.exact_moments(other, x, u, mask),
            lambda q, i: dense_q(other, q, mask, i, 5),
        ),
        (
            lgssm_moments.factorised_moments(model, x, u, mask),
            lambda q, i: gaussian.Gaussian(q.mean[i].flatten(), torch.block_diag(*q.cov[i])),
        ),
    ):
        gap = torch.stack(
            [
                gaussian.kl(make_dense(q, i), dense_q(model, exact, mask, i, 5))
                for i in range(len(x))
            ]
        )
        assert gap.min() > 1e-3
        assert torch.allclose(
            lgssm_moments.moment_bound(model, q, x, u, mask), log_p - gap, atol=1e-8
        )


@MISSING
def test_m_step_and_variational_em_with_the_exact_posterior_are_em(missing):
    model = make(3, 1, 2)
    x, u = data(make(3, 1, 2, seed=1), B=6)
    mask, other = mask_of(missing, x), copy.deepcopy(model)
    values = lgssm_moments.variational_em(other, x, u, 2, mask=mask)
    for value in values[:2]:
        assert em_step(model, x, u, mask).item() == pytest.approx(value.item(), rel=1e-10)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters()))
    assert (
        lgssm_moments.variational_em(other, x, u, 5, lgssm_moments.factorised_moments, mask).diff()
        > -1e-9
    ).all()


@torch.no_grad()
def test_matrices_change_of_basis_and_simulation():
    """Equations: ssm-basis, em-basis"""
    model = make(3, 1, 2)
    x, u = data(model)
    again = lgssm_moments.from_matrices(lgssm_moments.matrices(model))
    for p, q in zip(lgssm_moments.matrices(model), lgssm_moments.matrices(again)):
        assert torch.allclose(p, q, atol=1e-12)
    other = lgssm_moments.change_basis(
        model, torch.tensor([[1.0, 2.0], [-0.5, 0.7]], dtype=torch.float64)
    )
    assert torch.allclose(model.log_likelihood(x, u), other.log_likelihood(x, u), atol=1e-9)
    many = torch.zeros(4000, 2, 1, dtype=torch.float64)
    z, x = lgssm_moments.draw_sequences(model, many, torch.Generator().manual_seed(0))
    m = lgssm_moments.matrices(model)
    assert torch.allclose(z[:, 0].T.cov(), m.P1, atol=0.15 * m.P1.abs().max().item())
    assert torch.allclose((x - model.decode(z)).var((0, 1)), m.r, rtol=0.1)


def test_scalar_model_is_the_general_one():
    s = scalar_ssm.scalar(0.7, 1.3, 0.3, 0.6, 0.8)
    x = scalar_ssm.draw_observations(s, 5, 7, torch.Generator().manual_seed(0))
    one = torch.ones(1, 1, dtype=x.dtype)
    zero = torch.zeros(1, dtype=x.dtype)
    model = lgssm_moments.from_matrices(
        lgssm_moments.Matrices(
            s.f * one,
            one[:, :0],
            zero,
            s.q * one,
            s.c * one,
            zero,
            s.r.reshape(1),
            zero,
            s.p1 * one,
        )
    )
    u = x.new_zeros(5, 7, 0)
    with torch.no_grad():
        assert torch.allclose(
            scalar_ssm.log_likelihood(s, x), model.log_likelihood(x[..., None], u).mean()
        )
        for factorised, posterior in (
            (False, lgssm_moments.exact_moments),
            (True, lgssm_moments.factorised_moments),
        ):
            value = lgssm_moments.moment_bound(
                model, posterior(model, x[..., None], u), x[..., None], u
            ).mean()
            assert torch.allclose(scalar_ssm.bound(s, scalar_ssm.e_step(s, x, factorised)), value)
        grid = scalar_ssm.log_likelihood(
            s._replace(
                f=torch.tensor([[0.2, 0.7]]).double(), r=torch.tensor([[0.6], [1.0]]).double()
            ),
            x,
        )
        assert grid.shape == (2, 2) and torch.allclose(grid[0, 1], scalar_ssm.log_likelihood(s, x))


@pytest.mark.parametrize("learn", ["f", "c", "q", "r", "fqcr"])
def test_scalar_m_step_is_a_maximum(learn):
    """Equations: em-mstep, em-monotone"""
    s = scalar_ssm.scalar(0.3, 0.8, 0.5, 1.0)
    x = scalar_ssm.draw_observations(scalar_ssm.scalar(), 6, 9, torch.Generator().manual_seed(0))
    e = scalar_ssm.e_step(s, x)
    new = scalar_ssm.Scalar(
        *(v.clone().requires_grad_() for v in scalar_ssm.scalar_m_step(s, e, learn))
    )
    gradients = torch.autograd.grad(scalar_ssm.bound(new, e), [getattr(new, k) for k in learn])
    assert max(g.abs() for g in gradients) < 1e-9
    values = [scalar_ssm.log_likelihood(v, x) for v in scalar_ssm.em_path(s, x, 4, learn)]
    assert (torch.stack(values).diff() > 0).all()
    up = scalar_ssm.gradient_ascent(s, x, 2, learn, 1e-3)
    assert scalar_ssm.log_likelihood(up[-1], x) > values[0]


def test_scalar_m_step_refuses_an_unknown_parameter():
    s = scalar_ssm.scalar()
    with pytest.raises(ValueError, match="learn must name"):
        scalar_ssm.scalar_m_step(s, scalar_ssm.e_step(s, torch.zeros(2, 3).double()), "x")


@pytest.mark.filterwarnings("error")
def test_figures_are_labelled_and_show_what_they_get():
    grid = np.linspace(0.1, 1, 9)
    values = -((grid[None] - 0.5) ** 2) - (grid[:, None] - 0.4) ** 2
    drawn = [
        ch05_em_and_the_elbo.likelihood_plane(
            grid, grid, 50 * values, {"EM": [(0.2, 0.9), (0.5, 0.4)]}, (0.5, 0.4)
        ),
        ch05_em_and_the_elbo.climb({"EM": [-3.0, -2.0]}, -1.0),
        ch05_em_and_the_elbo.rates(grid, {"f": grid}, {"f": grid}),
        ch05_em_and_the_elbo.two_curves(grid, values[0], values[1], "f", 0.5),
        ch05_em_and_the_elbo.eigenvalues({"truth": torch.tensor([0.5 + 0.5j]), "EM": [0.4 + 0.5j]}),
    ]
    for figure in drawn:
        figure.canvas.draw()
        assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
    np.testing.assert_allclose(drawn[1].axes[0].lines[0].get_ydata(), [2.0, 1.0])
    animation = ch05_em_and_the_elbo.lower_bounds(
        grid, values[0], [values[0], values[1]], [0.2, 0.4, 0.5], "f"
    )
    assert animation.to_jshtml().count("data:image/png") == 4
