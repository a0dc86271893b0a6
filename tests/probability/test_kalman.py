"""kalman.py against a dense joint Gaussian, statsmodels, a slow textbook filter and finite
differences.
"""

import math
import warnings

import numpy as np
import pytest
import torch
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

import oracles
from oracles import Model, dense_answers, random_covariance, random_model, simulate
from tutorial_dssm.models.ekvae import EKVAE, EKVAEConfig
from tutorial_dssm.probability import kalman, small_matrices
from tutorial_dssm.probability.kalman import (
    backward_chain,
    extended_kalman_filter,
    kalman_filter,
    sample_joint,
    smooth,
)

f64, f32 = torch.float64, torch.float32
FILTER = ("filtered_mean", "filtered_cov", "predicted_mean", "predicted_cov", "log_likelihood")
SMOOTHER = ("mean", "cov", "cross_cov")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(B=3, T=6, n=3, A=2, seed=0):
    """A random model with one path of states and observations per series."""
    generator = seeded(seed)
    model = random_model(generator, B, T, n, A)
    return model, *simulate(model, generator)


def mask_of(kind, a):
    """Some frames, or some coordinates, or both are missing; the first and the last frame among
    them.
    """
    if kind is None:
        return None
    mask = torch.rand(a.shape, generator=seeded(7)) > 0.4
    if kind == "frames":
        mask = mask[..., 0]
        mask[0, 0], mask[1, -1], mask[-1] = (
            False,
            False,
            False,
        )  # the last series is never seen at all
    return mask


def entrywise(mask, a):
    return None if mask is None else mask if mask.ndim == 3 else mask.unsqueeze(-1).expand_as(a)


def error(ours, reference):
    """Largest deviation relative to the largest value."""
    reference = reference.to(f64)
    if reference.numel() == 0:
        return 0.0 if ours.shape == reference.shape else math.inf
    assert ours.shape == reference.shape
    return float((ours.to(f64) - reference).abs().max() / reference.abs().max().clamp(min=1.0))


def assert_answers(filtered, smoothed, answers, tolerance):
    for name in FILTER:
        assert error(getattr(filtered, name), getattr(answers, name)) < tolerance, name
    for name in SMOOTHER:
        assert error(getattr(smoothed, name), getattr(answers, name)) < tolerance, name


def statsmodels_answers(model, a, mask=None):
    """The same from statsmodels; a new object per series, because binding a second array of the
    same shape keeps the first.
    """
    B, T, A = a.shape
    rows = []
    for i in range(B):
        F, b, Q, H, R, m1, P1 = model.series(i)
        n = len(m1)
        y = a[i].double().numpy().copy()
        if mask is not None:
            y[~entrywise(mask, a)[i].numpy()] = np.nan
        one_more = np.zeros((1, n, n))  # statsmodels also steps past the last observation
        smoother = KalmanSmoother(k_endog=A, k_states=n, k_posdef=n)
        smoother.bind(y)
        smoother["selection"] = np.eye(n)
        smoother["transition"] = np.concatenate([F, one_more]).transpose(1, 2, 0)
        smoother["state_intercept"] = np.concatenate([b, np.zeros((1, n))]).T
        smoother["state_cov"] = np.concatenate([Q, one_more]).transpose(1, 2, 0)
        smoother["design"] = H.transpose(1, 2, 0)
        smoother["obs_cov"] = R.transpose(1, 2, 0)
        smoother.initialize_known(m1, P1)
        r = smoother.smooth()
        rows.append(
            oracles.Answers(
                r.filtered_state.T,
                r.filtered_state_cov.transpose(2, 0, 1),
                r.predicted_state.T[:T],
                r.predicted_state_cov.transpose(2, 0, 1)[:T],
                r.llf_obs.sum(),
                r.smoothed_state.T,
                r.smoothed_state_cov.transpose(2, 0, 1),
                r.smoothed_state_autocov.transpose(2, 0, 1)[: T - 1],
            )
        )
    return oracles.Answers(*(torch.as_tensor(np.stack(v)) for v in zip(*rows)))


# --- filter and smoother against the oracles ------------------------------------------------------


@pytest.mark.parametrize("missing", [None, "frames", "coordinates"])
@pytest.mark.parametrize(
    "B, T, n, A",
    [(3, 6, 3, 2), (1, 6, 2, 1), (2, 1, 3, 2), (1, 1, 1, 1), (2, 5, 2, 4), (2, 2, 1, 1)],
)
def test_filter_and_smoother_equal_the_dense_gaussian(B, T, n, A, missing):
    """Equations: ssm-evidence, kf-ssm, kf-predict, kf-update, kf-loglik, kf-missing, kf-rts,
    kf-cross
    """
    model, _, a = problem(B, T, n, A)
    mask = None if missing is None else torch.rand(B, T, A, generator=seeded(5)) > 0.4
    if missing == "frames":
        mask = mask[..., 0]
    filtered = kalman_filter(a, *model, mask=mask)
    assert_answers(filtered, smooth(filtered), dense_answers(model, a, entrywise(mask, a)), 1e-9)


@pytest.mark.parametrize("missing", [None, "frames", "coordinates"])
@pytest.mark.parametrize("dtype, tolerance", [(f64, 1e-9), (f32, 1e-4)])
def test_filter_and_smoother_equal_statsmodels(missing, dtype, tolerance):
    """Equations: kf-predict, kf-update, kf-loglik, kf-missing, kf-rts, kf-cross"""
    model, _, a = problem(B=4, T=60, n=4, A=3, seed=1)
    mask = mask_of(missing, a)
    model, a = model.to(dtype), a.to(dtype)  # the reference sees the same, rounded, numbers
    filtered = kalman_filter(a, *model, mask=mask)
    assert filtered.filtered_cov.dtype == filtered.log_likelihood.dtype == dtype
    assert_answers(filtered, smooth(filtered), statsmodels_answers(model, a, mask), tolerance)


def test_a_thousand_steps_in_float32():
    model, _, a = problem(B=2, T=1000, n=4, A=2, seed=2)
    model, a = model.to(f32), a.to(f32)
    filtered = kalman_filter(a, *model)
    smoothed = smooth(filtered)
    assert_answers(filtered, smoothed, statsmodels_answers(model, a), 1e-4)
    assert torch.linalg.eigvalsh(smoothed.cov.double()).min() > 0


def constant_velocity(T, dtype=f64):
    """A slow, nearly undriven motion seen through strong noise: little is forgotten, so rounding
    errors pile up.
    """
    F = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=dtype)
    Q = 1e-4 * torch.tensor([[0.1**3 / 3, 0.1**2 / 2], [0.1**2 / 2, 0.1]], dtype=dtype)
    H, R = torch.tensor([[1.0, 0.0]], dtype=dtype), torch.tensor([[1.0]], dtype=dtype)
    return (
        F,
        torch.zeros(2, dtype=dtype),
        Q,
        H,
        R,
        torch.zeros(2, dtype=dtype),
        10 * torch.eye(2, dtype=dtype),
    )


def spread(model, B, T):
    """A shared model written out for every series and step."""
    F, b, Q, H, R, m1, P1 = model
    over = [v.expand(B, T - 1, *v.shape).contiguous() for v in (F, b, Q)] + [
        v.expand(B, T, *v.shape).contiguous() for v in (H, R)
    ]
    return Model(*over, m1.expand(B, -1).contiguous(), P1.expand(B, -1, -1).contiguous())


def test_nearly_noiseless_dynamics_in_float32():
    model = constant_velocity(1000)
    _, a = simulate(spread(model, 2, 1000), seeded())
    filtered = kalman_filter(a.to(f32), *(v.to(f32) for v in model))
    smoothed = smooth(filtered)
    reference = smooth(kalman_filter(a, *model))
    assert error(smoothed.mean, reference.mean) < 1e-4 and error(smoothed.cov, reference.cov) < 1e-4
    assert torch.linalg.eigvalsh(smoothed.cov.double()).min() > 0


def test_singular_noise_in_companion_form():
    """An autoregression of order 3: only the first state is driven, Q has rank one.

    The start is known exactly but for one state.
    """
    F = torch.tensor([[0.5, 0.2, 0.2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=f64)
    Q = torch.diag(torch.tensor([1.0, 0.0, 0.0], dtype=f64))
    H, R = torch.tensor([[1.0, 0.0, 0.0]], dtype=f64), torch.tensor([[0.3]], dtype=f64)
    b, m1, P1 = (
        torch.zeros(3, dtype=f64),
        torch.zeros(3, dtype=f64),
        random_covariance(seeded(), n=3),
    )
    full = spread((F, b, Q, H, R, m1, P1), 2, 30)
    a = torch.randn(2, 30, 1, generator=seeded(), dtype=f64)
    filtered = kalman_filter(a, F, None, Q, H, R, m1, P1)
    assert_answers(filtered, smooth(filtered), dense_answers(full, a), 1e-9)
    assert_answers(filtered, smooth(filtered), statsmodels_answers(full, a), 1e-9)


@pytest.mark.parametrize("missing", [None, "coordinates"])
def test_shared_model_equals_a_model_per_series(missing):
    model, _, a = problem(B=5, T=8, n=3, A=2)
    first = Model(*(v[0] for v in model))
    mask = mask_of(missing, a)
    shared = kalman_filter(a, *first, mask=mask)
    per_series = kalman_filter(a, *(v[:1].repeat(5, *[1] * (v.ndim - 1)) for v in model), mask=mask)
    expanded = kalman_filter(a, *(v[:1].expand(5, *v.shape[1:]) for v in model), mask=mask)
    for other in (per_series, expanded):
        for ours, theirs in zip([*shared, *smooth(shared)], [*other, *smooth(other)]):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_shared_covariances_are_computed_once():
    model, _, a = problem(B=5, T=4, n=3, A=2)
    first = [v[0] for v in model]
    filtered = kalman_filter(a, *first)
    for cov in (filtered.filtered_cov, filtered.predicted_cov, smooth(filtered).cov):
        assert cov.stride(0) == 0, "one matrix stands for all series"
    filtered = kalman_filter(a, *first, mask=torch.ones(5, 4, dtype=torch.bool))
    assert_answers(
        filtered,
        smooth(filtered),
        dense_answers(Model(*(v[:1].expand(5, *v.shape[1:]) for v in model)), a),
        1e-9,
    )


def test_constant_model_means_the_same_at_every_step():
    model = constant_velocity(9)
    a = torch.randn(2, 9, 1, generator=seeded(), dtype=f64)
    short, long = kalman_filter(a, *model), kalman_filter(a, *spread(model, 2, 9))
    for ours, theirs in zip([*short, *smooth(short)], [*long, *smooth(long)]):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_prior_per_series_and_model_shared():
    model, _, a = problem(B=3, T=5, n=2, A=2)
    shared = [v[0] for v in model[:5]]
    filtered = kalman_filter(a, *shared, model.m1, model.P1)
    whole = Model(*(v[:1].expand(3, *v.shape[1:]) for v in model[:5]), model.m1, model.P1)
    assert_answers(filtered, smooth(filtered), dense_answers(whole, a), 1e-9)
    filtered = kalman_filter(
        a, *shared, model.m1, model.P1[0]
    )  # means differ, covariances are shared
    whole = whole._replace(P1=model.P1[:1].expand(3, -1, -1))
    assert_answers(filtered, smooth(filtered), dense_answers(whole, a), 1e-9)


def test_series_do_not_touch_each_other():
    model, _, a = problem(B=6, T=7, n=3, A=2)
    noise = torch.randn(6, 7, 3, generator=seeded(), dtype=f64)
    mask = mask_of("coordinates", a)
    order = torch.tensor([4, 2, 0, 5, 1, 3])

    def everything(select):
        filtered = kalman_filter(a[select], *(v[select] for v in model), mask=mask[select])
        return [
            *filtered,
            *smooth(filtered),
            *sample_joint(filtered, noise[select]),
            *backward_chain(filtered),
        ]

    whole = everything(torch.arange(6))
    for permuted, original in zip(everything(order), whole):
        torch.testing.assert_close(permuted, original[order], rtol=0, atol=0)
    for alone, original in zip(everything(torch.tensor([2])), whole):
        torch.testing.assert_close(alone, original[2:3], rtol=1e-13, atol=1e-13)


def test_what_is_masked_does_not_matter():
    """Equations: kf-missing"""
    model, _, a = problem()
    mask = mask_of("coordinates", a)
    for filler in (math.nan, math.inf, 1e30):
        spoilt = torch.where(mask, a, torch.full_like(a, filler)).requires_grad_()
        clean = torch.where(mask, a, torch.zeros_like(a)).requires_grad_()
        for values in (spoilt, clean):
            filtered = kalman_filter(values, *model, mask=mask)
            (filtered.log_likelihood.sum() + smooth(filtered).mean.sum()).backward()
        again = kalman_filter(clean, *model, mask=mask)
        assert torch.equal(filtered.log_likelihood, again.log_likelihood)
        assert torch.equal(spoilt.grad, clean.grad)
        assert (spoilt.grad[~mask] == 0).all() and torch.isfinite(spoilt.grad).all()


def test_same_input_same_output():
    model, _, a = problem()
    noise = torch.randn(3, 6, 3, generator=seeded(), dtype=f64)

    def run():
        filtered = kalman_filter(a, *model)
        return [*filtered, *smooth(filtered), *sample_joint(filtered, noise)]

    assert all(torch.equal(x, y) for x, y in zip(run(), run()))


# --- gradients ------------------------------------------------------------------------------------


def covariance(root):
    return root @ root.mT + 0.3 * torch.eye(root.shape[-1], dtype=root.dtype)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("what", ["log_likelihood", "smoother", "sampler"])
@pytest.mark.parametrize("shared", [False, True])
def test_gradients(what, masked, shared):
    model, _, a = problem(B=2, T=3, n=2, A=2)
    arguments = [
        a,
        *(v[0] if shared else v for v in model),
        torch.randn(2, 3, 2, generator=seeded(), dtype=f64),
    ]
    mask = (
        torch.tensor([[[1, 0], [0, 0], [1, 1]], [[1, 1], [0, 1], [1, 0]]], dtype=torch.bool)
        if masked
        else None
    )

    def run(a, F, b, Q, H, R, m1, P1, noise):
        filtered = kalman_filter(
            a, F, b, covariance(Q), H, covariance(R), m1, covariance(P1), mask=mask
        )
        if what == "log_likelihood":
            return filtered.log_likelihood
        return (
            tuple(smooth(filtered)) if what == "smoother" else tuple(sample_joint(filtered, noise))
        )

    assert torch.autograd.gradcheck(run, [v.clone().requires_grad_() for v in arguments])


def test_large_products_equal_small_ones():
    """Products are summed in another order when they are large; values and gradients are the same."""
    shapes = [(40, 3, 4, 300), (1, 4, 2, 300)]
    A, M = (torch.randn(s, generator=seeded(), dtype=f64).requires_grad_() for s in shapes)
    assert not small_matrices.fits_cache(A, M) and small_matrices.fits_cache(A[:1], M)
    for product in (small_matrices.mm(A, M), small_matrices.mmt(A, M.transpose(-3, -2))):
        expected = torch.einsum("tijb,tjkb->tikb", A, M.expand(40, -1, -1, -1))
        weight = torch.randn(product.shape, generator=seeded(1), dtype=f64)
        torch.testing.assert_close(product, expected, rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(
            torch.autograd.grad((product * weight).sum(), (A, M)),
            torch.autograd.grad((expected * weight).sum(), (A, M)),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradients_of_the_extended_filter():
    generator = seeded()
    a, W, mean, root = (
        torch.randn(s, generator=generator, dtype=f64).requires_grad_()
        for s in [(2, 3, 1), (2, 2), (2,), (2, 2)]
    )
    H, noise = (
        torch.randn(1, 2, generator=generator, dtype=f64),
        torch.randn(2, 3, 2, generator=generator, dtype=f64),
    )

    def run(a, W, mean, root):
        def linearise(z, _):
            F = torch.diag_embed(1 - torch.tanh(z @ W) ** 2) @ W.mT
            return (
                F,
                torch.tanh(z @ W) - (F @ z.unsqueeze(-1)).squeeze(-1),
                covariance(root) * (1 + z[:, :1, None] ** 2),
            )

        filtered = extended_kalman_filter(
            a, range(2), linearise, H, covariance(root)[:1, :1], mean, covariance(root)
        )
        return filtered.log_likelihood, *smooth(filtered), *sample_joint(filtered, noise)

    assert torch.autograd.gradcheck(run, (a, W, mean, root))


# --- the extended filter --------------------------------------------------------------------------


def pendulum(z):
    """A step of a damped pendulum z = (angle, velocity), its Jacobian and a noise that depends on
    the state. Works on one state [2].
    """
    angle, velocity = z
    step = np.array(
        [angle + 0.1 * velocity, velocity + 0.1 * (9.81 * np.sin(angle) - 0.5 * velocity)]
    )
    jacobian = np.array([[1.0, 0.1], [0.981 * np.cos(angle), 0.95]])
    return step, jacobian, np.diag([0.01, 0.02 + 0.01 * angle**2])


def linearise_pendulum(z, push):
    """The same in the batched form that the package takes: z [B, 2], push [B] added to the
    velocity.
    """
    steps, jacobians, noises = (
        torch.as_tensor(np.stack(v)) for v in zip(*(pendulum(row) for row in z.numpy()))
    )
    b = steps - (jacobians @ z.unsqueeze(-1)).squeeze(-1)
    return jacobians, b + torch.stack([torch.zeros_like(push), push], -1), noises


def slow_extended_filter(a, push, H, R, m, P, mask):
    """Textbook extended Kalman filter of one series: np.linalg.inv, Joseph form, one frame at a
    time. Särkkä (2013), algorithm 5.4.
    """
    means, covs, log_likelihood = [], [], 0.0
    for t in range(len(a)):
        seen = mask[t]
        h, r, e = H[seen], R[np.ix_(seen, seen)], a[t][seen] - H[seen] @ m
        S = h @ P @ h.T + r
        K = P @ h.T @ np.linalg.inv(S)
        log_likelihood += -0.5 * (
            e @ np.linalg.inv(S) @ e + np.log(np.linalg.det(S)) + len(e) * np.log(2 * np.pi)
        )
        keep = np.eye(2) - K @ h
        m, P = m + K @ e, keep @ P @ keep.T + K @ r @ K.T
        means.append(m), covs.append(P)
        if t < len(a) - 1:
            m, F, Q = pendulum(m)
            m = m + np.array([0.0, push[t]])
            P = F @ P @ F.T + Q
    return np.stack(means), np.stack(covs), log_likelihood


@pytest.mark.parametrize("missing", [None, "frames", "coordinates"])
@pytest.mark.parametrize("T", [1, 12])
def test_extended_filter_equals_the_slow_one(missing, T):
    """Equations: kf-ekf"""
    generator = seeded()
    B = 3
    a = torch.randn(B, T, 2, generator=generator, dtype=f64)
    push = torch.randn(T, B, generator=generator, dtype=f64)
    H, R = torch.randn(2, 2, generator=generator, dtype=f64), random_covariance(generator, n=2)
    m1, P1 = torch.randn(B, 2, generator=generator, dtype=f64), random_covariance(generator, B, n=2)
    mask = mask_of(missing, a)
    filtered = extended_kalman_filter(a, push, linearise_pendulum, H, R, m1, P1, mask=mask)
    seen = torch.ones_like(a, dtype=torch.bool) if mask is None else entrywise(mask, a)
    for i in range(B):
        arguments = [v.numpy() for v in (a[i], push[:, i], H, R, m1[i], P1[i], seen[i])]
        mean, cov, log_likelihood = slow_extended_filter(*arguments)
        assert error(filtered.filtered_mean[i], torch.as_tensor(mean)) < 1e-9
        assert error(filtered.filtered_cov[i], torch.as_tensor(cov)) < 1e-9
        assert abs(filtered.log_likelihood[i] - log_likelihood) < 1e-9


@pytest.mark.parametrize("missing", [None, "frames", "coordinates"])
@pytest.mark.parametrize("T", [1, 2, 7])
def test_extended_filter_of_a_linear_model_is_the_kalman_filter(missing, T):
    """Equations: kf-scalar, ek-filter"""
    model, _, a = problem(B=3, T=T)
    mask = mask_of(missing, a)
    F, b, Q, H, R, m1, P1 = model
    extended = extended_kalman_filter(
        a, range(T - 1), lambda z, t: (F[:, t], b[:, t], Q[:, t]), H, R, m1, P1, mask=mask
    )
    linear = kalman_filter(a, *model, mask=mask)
    for name, ours, theirs in zip(linear._fields, extended, linear):
        assert ours.shape == theirs.shape, name
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


# --- the joint sampler ----------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, "frames", "coordinates"])
@pytest.mark.parametrize("T", [1, 2, 15])
def test_every_joint_sample_gives_the_evidence(T, missing):
    """log p(a | z) + log p(z) - log q(z | a) = log p(a) for EVERY z, if q is the joint posterior.

    Equations: kf-joint, kf-every-draw
    """
    model, _, a = problem(B=3, T=T)
    mask = entrywise(mask_of(missing, a), a)
    filtered = kalman_filter(a, *model, mask=mask)
    for seed in range(5):
        draw = sample_joint(
            filtered, 3 * torch.randn(3, T, 3, generator=seeded(seed), dtype=f64)
        )  # far from the mean as well
        for i in range(3):
            dense, z = oracles.DenseGaussian(*model.series(i)), draw.z[i].numpy()
            seen = np.flatnonzero(np.ones((T, 2), bool) if mask is None else mask[i].numpy())
            log_prior = oracles._log_normal(z.ravel(), dense.z_mean, dense.z_cov)
            log_seen = oracles._log_normal(
                a[i].numpy().ravel()[seen],
                (dense.observe @ z.ravel())[seen],
                dense.R[np.ix_(seen, seen)],
            )
            evidence = log_prior + log_seen - float(draw.log_density[i])
            assert abs(evidence - float(filtered.log_likelihood[i])) < 1e-9


def test_independent_marginals_break_the_identity():
    model = constant_velocity(15)
    full = spread(model, 1, 15)
    _, a = simulate(full, seeded())
    filtered = kalman_filter(a, *model)
    smoothed, dense = smooth(filtered), oracles.DenseGaussian(*full.series(0))
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
    """Mean, covariance and lag-one cross-covariance of N draws lie within 5 standard errors of the
    smoother's (tested at about 200 numbers).

    Equations: kf-joint, kf-cross
    """
    model, _, a = problem(B=1, T=4, n=2, A=1)
    N = 100_000
    filtered = kalman_filter(a.expand(N, -1, -1), *(v[0] for v in model))
    smoothed = smooth(filtered)
    z = sample_joint(filtered, torch.randn(N, 4, 2, generator=seeded(), dtype=f64)).z.flatten(1)
    _, cov = oracles.DenseGaussian(*model.series(0)).posterior(a[0].numpy())
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
    chain = backward_chain(kalman_filter(a, *model))
    for i in range(2):
        mean, cov = oracles.DenseGaussian(*model.series(i)).posterior(a[i].numpy())
        for t in range(4):  # condition z_t on z_{t+1} in the joint posterior
            G = np.linalg.solve(cov[t + 1, :, t + 1], cov[t + 1, :, t]).T
            assert error(chain.G[i, t], torch.as_tensor(G)) < 1e-9
            assert error(chain.c[i, t], torch.as_tensor(mean[t] - G @ mean[t + 1])) < 1e-9
            assert error(chain.C[i, t], torch.as_tensor(cov[t, :, t] - G @ cov[t + 1, :, t])) < 1e-9


def test_zero_noise_gives_the_smoothed_mean():
    model, _, a = problem()
    filtered = kalman_filter(a, *model)
    draw = sample_joint(filtered, torch.zeros(3, 6, 3, dtype=f64))
    torch.testing.assert_close(draw.z, smooth(filtered).mean, rtol=1e-10, atol=1e-10)


# --- the compiled filter step ---------------------------------------------------------------------


def ekvae_loss_and_gradients(step):
    torch.manual_seed(0)
    model = EKVAE(EKVAEConfig(x_dim=4, a_dim=1, z_dim=2, hidden=4, bases=2, mix_hidden=3))
    model.step = step
    terms = model.terms(
        torch.rand(8, 4, 4, generator=seeded(1)),
        torch.randn(8, 4, 1, generator=seeded(2)),
        seeded(3),
    )
    loss = (500 * terms.squared_error + terms.rate).mean()
    return [loss.detach(), *torch.autograd.grad(loss, model.parameters())]


@pytest.mark.slow
def test_compiled_step_equals_the_plain_one():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = ekvae_loss_and_gradients(kalman.compiled_filter_step())
    refused = [str(w.message) for w in caught if "could not be compiled" in str(w.message)]
    if refused:
        pytest.skip(refused[0])
    for ours, theirs in zip(compiled, ekvae_loss_and_gradients(kalman.filter_step)):
        assert error(ours, theirs) < 1e-4


def test_without_a_compiler_the_plain_step_runs_after_one_warning(monkeypatch):
    def broken(function, **options):
        def call(*arguments):
            raise RuntimeError("no working C++ compiler found\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(
        UserWarning, match=r"runs uncompiled \(no working C\+\+ compiler found\)$"
    ) as caught:
        values = ekvae_loss_and_gradients(kalman.compiled_filter_step())
    assert len(caught) == 1
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(values, ekvae_loss_and_gradients(kalman.filter_step))
    )


# --- the door -------------------------------------------------------------------------------------


def replaced(model, **changes):
    return model._replace(**changes)


BAD = {
    "a without time": (dict(a=lambda a: a[:, 0]), "a must be"),
    "T = 0": (dict(a=lambda a: a[:, :0]), "T >= 1"),
    "NaN observed": (dict(a=lambda a: a.index_fill(1, torch.tensor(2), math.nan)), "finite|NaN"),
    "infinity observed": (
        dict(a=lambda a: a.index_fill(1, torch.tensor(2), math.inf)),
        "finite|NaN",
    ),
    "F of another size": (dict(F=lambda F: F[..., :2, :2]), "^F must be"),
    "F for T steps": (dict(F=lambda F: torch.cat([F, F[:, :1]], 1)), "^F must be"),
    "F for another batch": (dict(F=lambda F: F[:2]), "^F must be"),
    "F not square": (dict(F=lambda F: F[..., :2]), "^F must be"),
    "F with too many axes": (dict(F=lambda F: F.unsqueeze(0)), "^F must be"),
    "b too short": (dict(b=lambda b: b[..., :2]), "^b must be"),
    "Q of another size": (dict(Q=lambda Q: Q[..., :2, :2]), "^Q must be"),
    "H of another size": (dict(H=lambda H: H[..., :2]), "^H must be"),
    "R of another size": (dict(R=lambda R: R[..., :1, :1]), "^R must be"),
    "m1 of another size": (dict(m1=lambda m: m[..., :2]), "to go with m1"),
    "m1 a number": (dict(m1=lambda m: m[0, 0]), "^m1 must be"),
    "m1 for another batch": (dict(m1=lambda m: m[:2]), "^m1 must be"),
    "P1 of another size": (dict(P1=lambda P: P[..., :2]), "^P1 must be"),
    "P1 a vector": (dict(P1=lambda P: P[0, 0]), "^P1 must be"),
    "mask of floats": (dict(mask=lambda a: torch.ones(a.shape)), "mask must be"),
    "mask of another shape": (
        dict(mask=lambda a: torch.ones(3, 5, dtype=torch.bool)),
        "mask must be",
    ),
    "NaN in F": (dict(F=lambda F: F * math.nan), "finite"),
    "R negative": (dict(R=lambda R: -R), "R.*positive"),
    "R singular": (dict(R=lambda R: R * 0), "R.*positive"),
    "R not symmetric": (
        dict(R=lambda R: R + torch.tensor([[0.0, 0.1], [0.0, 0.0]], dtype=f64)),
        "R.*symmetric",
    ),
    "Q with a negative eigenvalue": (
        dict(Q=lambda Q: Q - 0.3 * torch.eye(3, dtype=f64)),
        "Q.*positive",
    ),
    "P1 with a negative eigenvalue": (
        dict(P1=lambda P: P - 0.5 * torch.eye(3, dtype=f64)),
        "P1.*positive",
    ),
    "P1 not symmetric": (dict(P1=lambda P: P.tril()), "P1.*symmetric"),
    "another dtype": (dict(H=lambda H: H.float()), "dtype|float"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    changes, message = BAD[case]
    model, _, a = problem()
    arguments = {"a": a, "mask": None, **model._asdict()}
    for name, change in changes.items():
        arguments[name] = change(a if name == "mask" else arguments[name])
    with pytest.raises(ValueError, match=message):
        kalman_filter(**arguments)
    if set(changes) & {"F", "b", "Q"}:
        return
    kept = {k: v for k, v in arguments.items() if k not in ("F", "b", "Q")}
    linearise = lambda z, t: (model.F[:, t], model.b[:, t], model.Q[:, t])  # noqa: E731
    with pytest.raises(ValueError, match=message):
        extended_kalman_filter(inputs=range(5), linearise=linearise, **kept)


def test_noise_of_another_shape():
    model, _, a = problem()
    with pytest.raises(ValueError, match="noise must be"):
        sample_joint(kalman_filter(a, *model), torch.zeros(3, 5, 3, dtype=f64))


def test_no_density_where_the_posterior_is_singular():
    """With a singular Q the path lies in a plane: it has no density, and the sampler says so."""
    F, Q = (
        torch.tensor([[0.5, 0.2], [1.0, 0.0]], dtype=f64),
        torch.diag(torch.tensor([1.0, 0.0], dtype=f64)),
    )
    H, eye = torch.tensor([[1.0, 0.0]], dtype=f64), torch.eye(2, dtype=f64)
    filtered = kalman_filter(
        torch.zeros(1, 4, 1, dtype=f64), F, None, Q, H, eye[:1, :1], torch.zeros(2, dtype=f64), eye
    )
    with pytest.raises(ValueError, match="not positive definite"):
        sample_joint(filtered, torch.ones(1, 4, 2, dtype=f64))


def test_without_validation_nothing_is_read_back():
    """`validate=False` lets NaN pass (an accelerator need not wait), and the shapes are still
    checked.
    """
    model, _, a = problem()
    filtered = kalman_filter(a * math.nan, *model, validate=False)
    assert torch.isnan(filtered.filtered_mean).any()
    with pytest.raises(ValueError, match="F must be"):
        kalman_filter(a, model.F[:2], *model[1:], validate=False)


def test_a_training_step_on_the_meta_device():
    """A tensor made on the CPU by mistake raises here, as it would on a GPU."""
    model, _, a = problem()
    model, a = Model(*(v.to("meta").requires_grad_() for v in model)), a.to("meta")
    mask = torch.ones(3, 6, dtype=torch.bool, device="meta")
    filtered = kalman_filter(a, *model, mask=mask)
    draw = sample_joint(filtered, torch.zeros(3, 6, 3, dtype=f64, device="meta"))
    (draw.log_density.sum() + smooth(filtered).mean.sum()).backward()
    assert all(v.grad.device.type == "meta" for v in model)
    F, b, Q, H, R, m1, P1 = model
    extended = extended_kalman_filter(
        a, range(5), lambda z, t: (F[:, t], b[:, t], Q[:, t]), H, R, m1, P1, mask=mask
    )
    assert smooth(extended).cross_cov.shape == (3, 5, 3, 3)
