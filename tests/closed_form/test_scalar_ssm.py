"""The model with one number as its state: against the general one, and its M-step at a maximum."""

import pytest
import torch

from lgssm_instances import seeded
from tutorial_dssm.closed_form import lgssm_moments, scalar_ssm


def test_scalar_model_is_the_general_one():
    s = scalar_ssm.scalar(0.7, 1.3, 0.3, 0.6, 0.8)
    x = scalar_ssm.draw_observations(s, 5, 7, seeded())
    one = torch.ones(1, 1, dtype=x.dtype)
    zero = torch.zeros(1, dtype=x.dtype)
    general = lgssm_moments.Matrices(
        F=s.f * one,
        B=one[:, :0],
        b=zero,
        Q=s.q * one,
        C=s.c * one,
        d=zero,
        r=s.r.reshape(1),
        m1=zero,
        P1=s.p1 * one,
    )
    model = lgssm_moments.from_matrices(general)
    u = x.new_zeros(5, 7, 0)
    frames = x[..., None]
    with torch.no_grad():
        log_p = scalar_ssm.log_likelihood(s, x)
        assert torch.allclose(log_p, model.log_likelihood(frames, u).mean())
        for factorised, posterior in (
            (False, lgssm_moments.exact_moments),
            (True, lgssm_moments.factorised_moments),
        ):
            q = posterior(model, frames, u)
            value = lgssm_moments.moment_bound(model, q, frames, u).mean()
            assert torch.allclose(
                scalar_ssm.bound_of_sums(s, scalar_ssm.e_step(s, x, factorised)), value
            )
        columns = torch.tensor([[0.2, 0.7]], dtype=x.dtype)
        rows = torch.tensor([[0.6], [1.0]], dtype=x.dtype)
        grid = scalar_ssm.log_likelihood(s._replace(f=columns, r=rows), x)
        assert grid.shape == (2, 2) and torch.allclose(grid[0, 1], log_p)


@pytest.mark.parametrize("learn", ["f", "c", "q", "r", "fqcr"])
def test_scalar_m_step_is_a_maximum(learn):
    """Equations: em-mstep, em-monotone"""
    s = scalar_ssm.scalar(0.3, 0.8, 0.5, 1.0)
    x = scalar_ssm.draw_observations(scalar_ssm.scalar(), 6, 9, seeded())
    e = scalar_ssm.e_step(s, x)
    best = scalar_ssm.scalar_m_step(s, e, learn)
    new = scalar_ssm.Scalar(*(v.clone().requires_grad_() for v in best))
    gradients = torch.autograd.grad(
        scalar_ssm.bound_of_sums(new, e), [getattr(new, k) for k in learn]
    )
    assert max(g.abs() for g in gradients) < 1e-9
    values = [scalar_ssm.log_likelihood(v, x) for v in scalar_ssm.em_path(s, x, 4, learn)]
    assert (torch.stack(values).diff() > 0).all()
    up = scalar_ssm.gradient_ascent(s, x, 2, learn, 1e-3)
    assert scalar_ssm.log_likelihood(up[-1], x) > values[0]


def test_scalar_m_step_refuses_an_unknown_parameter():
    s = scalar_ssm.scalar()
    with pytest.raises(ValueError, match="learn must name"):
        scalar_ssm.scalar_m_step(s, scalar_ssm.e_step(s, torch.zeros(2, 3).double()), "x")
