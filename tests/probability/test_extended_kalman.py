"""The extended filter against the textbook, the linear filter and finite differences."""

import warnings

import numpy as np
import pytest
import torch

from lgssm_instances import (
    as_extended,
    entries,
    mask_of,
    normal,
    positive,
    problem,
    random_covariance,
    seeded,
)
from oracles import log_normal, relative_error, textbook_filter_step
from tutorial_dssm.probability import kalman, small_matrices
from tutorial_dssm.probability.kalman import (
    ExtendedModel,
    extended_kalman_filter,
    kalman_filter,
    sample_joint,
    smooth,
)

f64 = torch.float64


def pendulum(z):
    """A step of a damped pendulum z = (angle, velocity) [2], its Jacobian and its noise.

    The noise depends on the state.
    """
    angle, velocity = z
    step = np.array(
        [angle + 0.1 * velocity, velocity + 0.1 * (9.81 * np.sin(angle) - 0.5 * velocity)]
    )
    jacobian = np.array([[1.0, 0.1], [0.981 * np.cos(angle), 0.95]])
    return step, jacobian, np.diag([0.01, 0.02 + 0.01 * angle**2])


def linearise_pendulum(z, push):
    """The same for states z [B, 2], with push [B] added to the velocity."""
    rows = zip(*(pendulum(row) for row in z.numpy()))
    steps, jacobians, noises = (torch.as_tensor(np.stack(v)) for v in rows)
    b = steps - (jacobians @ z.unsqueeze(-1)).squeeze(-1)
    return jacobians, b + torch.stack([torch.zeros_like(push), push], -1), noises


def crooked_model(W, mean, root):
    """z_{t+1} = tanh(z_t W) + noise that depends on the state; W and root [2, 2], mean [2]."""

    def linearise(z, _):
        F = torch.diag_embed(1 - torch.tanh(z @ W) ** 2) @ W.mT
        b = torch.tanh(z @ W) - (F @ z.unsqueeze(-1)).squeeze(-1)
        return F, b, positive(root) * (1 + z[:, :1, None] ** 2)

    H = torch.tensor([[0.7, -0.4]]).to(root)
    return ExtendedModel(linearise, H, positive(root)[:1, :1], mean, positive(root))


def textbook_filter(a, push, model, seen):
    """The extended filter of one series, frame by frame: a [T, A], push [T], seen bool [T, A]."""
    mean, cov = model.m1[None], model.P1[None]
    means, covs, log_likelihood = [], [], 0.0
    for t, i in enumerate(seen):
        H, R = model.H[i], model.R[i][:, i]
        predicted = (H @ mean[0]).numpy(), (H @ cov[0] @ H.mT + R).numpy()
        log_likelihood += log_normal(a[t][i].numpy(), *predicted)
        now_mean, now_cov, mean, cov, *_ = textbook_filter_step(
            model.linearise, mean, cov, H, R, a[None, t, i], push[t : t + 1]
        )
        means.append(now_mean[0])
        covs.append(now_cov[0])
    return torch.stack(means), torch.stack(covs), log_likelihood


@pytest.mark.parametrize("missing", [None, "frames", "entries"])
@pytest.mark.parametrize("T", [1, 12])
def test_extended_filter_equals_the_textbook(missing, T):
    """Equations: kf-ekf"""
    generator = seeded()
    B = 3
    a = torch.randn(B, T, 2, generator=generator, dtype=f64)
    push = torch.randn(T, B, generator=generator, dtype=f64)
    model = ExtendedModel(
        linearise_pendulum,
        H=torch.randn(2, 2, generator=generator, dtype=f64),
        R=random_covariance(generator, n=2),
        m1=torch.randn(B, 2, generator=generator, dtype=f64),
        P1=random_covariance(generator, B, n=2),
    )
    mask = mask_of(missing, a)
    filtered = extended_kalman_filter(a, push, model, mask=mask)
    for i in range(B):
        one = model._replace(m1=model.m1[i], P1=model.P1[i])
        mean, cov, log_p = textbook_filter(a[i], push[:, i], one, entries(mask, a)[i])
        assert relative_error(filtered.filtered_mean[i], mean) < 1e-9
        assert relative_error(filtered.filtered_cov[i], cov) < 1e-9
        assert abs(filtered.log_likelihood[i] - log_p) < 1e-9


def test_filter_step_is_the_textbooks():
    """Values and gradients of the fast form, with respect to everything that goes in.

    Equations: kf-scalar, ek-filter
    """
    B, n, A = 4, 3, 2
    shapes = [(B, n), (B, n, n), (A, n), (A, A), (B, A), (n, n)]
    free = [normal(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    mean, root, H, root_R, a, W = free
    cov, R = positive(root), positive(root_R)

    def linearise(z, scale):
        F = torch.diag_embed(1 - torch.tanh(z @ W) ** 2) @ W.mT * scale
        return F, torch.tanh(z @ W), positive(root) * (1 + z[:, :1, None] ** 2)

    L = torch.linalg.cholesky(R)
    white = torch.linalg.solve(L, torch.cat([H, a.mT], 1))  # h and y: unit noise
    h, y = white[:, :n, None], white[:, n:]
    last = (small_matrices.batch_last(v) for v in (mean, cov))
    fast = kalman.filter_step(linearise, *last, h, y, 0.7)
    slow = textbook_filter_step(linearise, mean, cov, H, R, a, 0.7)
    assert len(fast) == len(slow) == 7
    for i, (ours, theirs) in enumerate(zip(map(small_matrices.batch_first, fast), slow)):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        weight = normal(*theirs.shape, seed=10 + i)
        pair = [
            torch.autograd.grad(
                (v * (weight + weight.mT if v.ndim == 3 else weight)).sum(),
                free,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for v in (ours, theirs)
        ]
        torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("missing", [None, "frames", "entries"])
@pytest.mark.parametrize("T", [1, 2, 7])
def test_extended_filter_of_a_linear_model_is_the_kalman_filter(missing, T):
    """Equations: kf-scalar, ek-filter"""
    model, _, a = problem(B=3, T=T)
    mask = mask_of(missing, a)
    extended = extended_kalman_filter(a, range(T - 1), as_extended(model), mask=mask)
    linear = kalman_filter(a, model, mask=mask)
    for name, ours, theirs in zip(linear._fields, extended, linear):
        assert ours.shape == theirs.shape, name
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_gradients_of_the_extended_filter():
    generator = seeded()
    shapes = [(2, 3, 1), (2, 2), (2,), (2, 2)]
    free = [torch.randn(s, generator=generator, dtype=f64).requires_grad_() for s in shapes]
    noise = torch.randn(2, 3, 2, generator=generator, dtype=f64)

    def run(a, W, mean, root):
        filtered = extended_kalman_filter(a, range(2), crooked_model(W, mean, root))
        return filtered.log_likelihood, *smooth(filtered), *sample_joint(filtered, noise)

    assert torch.autograd.gradcheck(run, free)


# --- the compiled filter step ---------------------------------------------------------------------


def loss_and_gradients(step):
    """A loss of filter, smoother and sampler in float32, and its gradients."""
    shapes = [(8, 4, 1), (2, 2), (2,), (2, 2)]
    free = [normal(*s, seed=i).float().requires_grad_() for i, s in enumerate(shapes)]
    a, *parameters = free
    filtered = extended_kalman_filter(a, range(3), crooked_model(*parameters), step=step)
    draw = sample_joint(filtered, normal(8, 4, 2).float())
    loss = filtered.log_likelihood.sum() + draw.log_density.sum() + (draw.z**2).sum()
    return [loss.detach(), *torch.autograd.grad(loss, free)]


@pytest.mark.slow
def test_compiled_step_equals_the_plain_one():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = loss_and_gradients(kalman.compiled_filter_step())
    refused = [str(w.message) for w in caught if "could not be compiled" in str(w.message)]
    if refused:
        pytest.skip(refused[0])
    for ours, theirs in zip(compiled, loss_and_gradients(kalman.filter_step)):
        assert relative_error(ours, theirs) < 1e-4


def test_without_a_compiler_the_plain_step_runs_after_one_warning(monkeypatch):
    def broken(function, **options):
        def call(*arguments):
            raise RuntimeError("no working C++ compiler found\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    message = r"runs uncompiled \(no working C\+\+ compiler found\)$"
    with pytest.warns(UserWarning, match=message) as caught:
        values = loss_and_gradients(kalman.compiled_filter_step())
    assert len(caught) == 1
    plain = loss_and_gradients(kalman.filter_step)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(values, plain))
