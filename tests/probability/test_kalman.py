"""Filter and smoother against a dense joint Gaussian, statsmodels and finite differences."""

import math

import numpy as np
import pytest
import torch
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

from lgssm_instances import (
    constant_velocity,
    each,
    entries,
    mask_of,
    positive,
    problem,
    random_covariance,
    seeded,
    simulate,
    spread,
)
from oracles import (
    Answers,
    assert_answers,
    dense_answers,
    relative_error,
    stack_answers,
)
from tutorial_dssm.probability.kalman import (
    StateSpaceModel,
    backward_chain,
    kalman_filter,
    sample_joint,
    smooth,
)

f64, f32 = torch.float64, torch.float32


def first(value):
    """Of the first series."""
    return value[0]


def statsmodels_answers(model, a, mask=None):
    """The same from statsmodels.

    A new object per series, because binding a second array of the same shape keeps the first.
    """
    T, A = a.shape[1:]
    rows = []
    for i in range(len(a)):
        F, Q, H, R, m1, P1, b = (v[i].double().numpy() for v in model)
        n = len(m1)
        y = a[i].double().numpy().copy()
        y[~entries(mask, a)[i].numpy()] = np.nan
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
        answers = Answers(
            filtered_mean=r.filtered_state.T,
            filtered_cov=r.filtered_state_cov.transpose(2, 0, 1),
            predicted_mean=r.predicted_state.T[:T],
            predicted_cov=r.predicted_state_cov.transpose(2, 0, 1)[:T],
            log_likelihood=r.llf_obs.sum(),
            mean=r.smoothed_state.T,
            cov=r.smoothed_state_cov.transpose(2, 0, 1),
            cross_cov=r.smoothed_state_autocov.transpose(2, 0, 1)[: T - 1],
        )
        rows.append(answers)
    return stack_answers(rows)


# --- filter and smoother against the oracles ------------------------------------------------------


@pytest.mark.parametrize("missing", [None, "frames", "entries"])
@pytest.mark.parametrize(
    "B, T, n, A",
    [(3, 6, 3, 2), (1, 6, 2, 1), (2, 1, 3, 2), (1, 1, 1, 1), (2, 5, 2, 4), (2, 2, 1, 1)],
)
def test_filter_and_smoother_equal_the_dense_gaussian(B, T, n, A, missing):
    """Equations: ssm-evidence, kf-ssm, kf-predict, kf-update, kf-loglik, kf-missing

    Equations: kf-rts, kf-cross
    """
    model, _, a = problem(B, T, n, A)
    mask = None if missing is None else torch.rand(B, T, A, generator=seeded(5)) > 0.4
    if missing == "frames":
        mask = mask[..., 0]
    filtered = kalman_filter(a, model, mask=mask)
    assert_answers(filtered, smooth(filtered), dense_answers(model, a, entries(mask, a)), 1e-9)


@pytest.mark.parametrize("missing", [None, "frames", "entries"])
@pytest.mark.parametrize("dtype, tolerance", [(f64, 1e-9), (f32, 1e-4)])
def test_filter_and_smoother_equal_statsmodels(missing, dtype, tolerance):
    """Equations: kf-predict, kf-update, kf-loglik, kf-missing, kf-rts, kf-cross"""
    model, _, a = problem(B=4, T=60, n=4, A=3, seed=1)
    mask = mask_of(missing, a)
    # the reference sees the same, rounded, numbers
    model, a = each(model, lambda v: v.to(dtype)), a.to(dtype)
    filtered = kalman_filter(a, model, mask=mask)
    assert filtered.filtered_cov.dtype == filtered.log_likelihood.dtype == dtype
    assert_answers(filtered, smooth(filtered), statsmodels_answers(model, a, mask), tolerance)


def test_a_thousand_steps_in_float32():
    model, _, a = problem(B=2, T=1000, n=4, A=2, seed=2)
    model, a = each(model, torch.Tensor.float), a.float()
    filtered = kalman_filter(a, model)
    smoothed = smooth(filtered)
    assert_answers(filtered, smoothed, statsmodels_answers(model, a), 1e-4)
    assert torch.linalg.eigvalsh(smoothed.cov.double()).min() > 0


def test_nearly_noiseless_dynamics_in_float32():
    model = constant_velocity()
    _, a = simulate(spread(model, 2, 1000), seeded())
    filtered = kalman_filter(a.float(), each(model, torch.Tensor.float))
    smoothed = smooth(filtered)
    reference = smooth(kalman_filter(a, model))
    assert relative_error(smoothed.mean, reference.mean) < 1e-4
    assert relative_error(smoothed.cov, reference.cov) < 1e-4
    assert torch.linalg.eigvalsh(smoothed.cov.double()).min() > 0


def test_singular_noise_in_companion_form():
    """An autoregression of order 3: only the first state is driven, Q has rank one.

    The start is known exactly but for one state.
    """
    model = StateSpaceModel(
        F=torch.tensor([[0.5, 0.2, 0.2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=f64),
        Q=torch.diag(torch.tensor([1.0, 0.0, 0.0], dtype=f64)),
        H=torch.tensor([[1.0, 0.0, 0.0]], dtype=f64),
        R=torch.tensor([[0.3]], dtype=f64),
        m1=torch.zeros(3, dtype=f64),
        P1=random_covariance(seeded(), n=3),
    )
    full = spread(model, 2, 30)
    a = torch.randn(2, 30, 1, generator=seeded(), dtype=f64)
    filtered = kalman_filter(a, model)
    assert_answers(filtered, smooth(filtered), dense_answers(full, a), 1e-9)
    assert_answers(filtered, smooth(filtered), statsmodels_answers(full, a), 1e-9)


@pytest.mark.parametrize("missing", [None, "entries"])
def test_shared_model_equals_a_model_per_series(missing):
    model, _, a = problem(B=5, T=8, n=3, A=2)
    mask = mask_of(missing, a)
    shared = kalman_filter(a, each(model, first), mask=mask)
    expanded = each(model, lambda v: v[:1].expand(5, *v.shape[1:]))
    per_series = kalman_filter(a, each(expanded, torch.clone), mask=mask)
    expanded = kalman_filter(a, expanded, mask=mask)
    for other in (per_series, expanded):
        for ours, theirs in zip([*shared, *smooth(shared)], [*other, *smooth(other)]):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_shared_covariances_are_computed_once():
    model, _, a = problem(B=5, T=4, n=3, A=2)
    shared = each(model, first)
    filtered = kalman_filter(a, shared)
    for cov in (filtered.filtered_cov, filtered.predicted_cov, smooth(filtered).cov):
        assert cov.stride(0) == 0, "one matrix stands for all series"
    filtered = kalman_filter(a, shared, mask=torch.ones(5, 4, dtype=torch.bool))
    whole = each(model, lambda v: v[:1].expand(5, *v.shape[1:]))
    assert_answers(filtered, smooth(filtered), dense_answers(whole, a), 1e-9)


def test_constant_model_means_the_same_at_every_step():
    model = constant_velocity()
    a = torch.randn(2, 9, 1, generator=seeded(), dtype=f64)
    short, long = kalman_filter(a, model), kalman_filter(a, spread(model, 2, 9))
    for ours, theirs in zip([*short, *smooth(short)], [*long, *smooth(long)]):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_prior_per_series_and_model_shared():
    model, _, a = problem(B=3, T=5, n=2, A=2)
    start = {"m1": model.m1, "P1": model.P1}
    filtered = kalman_filter(a, each(model, first)._replace(**start))
    whole = each(model, lambda v: v[:1].expand(3, *v.shape[1:]))._replace(**start)
    assert_answers(filtered, smooth(filtered), dense_answers(whole, a), 1e-9)
    # means differ, covariances are shared
    filtered = kalman_filter(a, each(model, first)._replace(m1=model.m1))
    whole = whole._replace(P1=model.P1[:1].expand(3, -1, -1))
    assert_answers(filtered, smooth(filtered), dense_answers(whole, a), 1e-9)


def test_series_do_not_touch_each_other():
    model, _, a = problem(B=6, T=7, n=3, A=2)
    noise = torch.randn(6, 7, 3, generator=seeded(), dtype=f64)
    mask = mask_of("entries", a)
    order = torch.tensor([4, 2, 0, 5, 1, 3])

    def everything(select):
        filtered = kalman_filter(a[select], each(model, lambda v: v[select]), mask=mask[select])
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
    mask = mask_of("entries", a)
    for filler in (math.nan, math.inf, 1e30):
        spoilt = torch.where(mask, a, torch.full_like(a, filler)).requires_grad_()
        clean = torch.where(mask, a, torch.zeros_like(a)).requires_grad_()
        for values in (spoilt, clean):
            filtered = kalman_filter(values, model, mask=mask)
            (filtered.log_likelihood.sum() + smooth(filtered).mean.sum()).backward()
        again = kalman_filter(clean, model, mask=mask)
        assert torch.equal(filtered.log_likelihood, again.log_likelihood)
        assert torch.equal(spoilt.grad, clean.grad)
        assert (spoilt.grad[~mask] == 0).all() and torch.isfinite(spoilt.grad).all()


def test_same_input_same_output():
    model, _, a = problem()
    noise = torch.randn(3, 6, 3, generator=seeded(), dtype=f64)

    def run():
        filtered = kalman_filter(a, model)
        return [*filtered, *smooth(filtered), *sample_joint(filtered, noise)]

    assert all(torch.equal(x, y) for x, y in zip(run(), run()))


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("what", ["log_likelihood", "smoother", "sampler"])
@pytest.mark.parametrize("shared", [False, True])
def test_gradients(what, masked, shared):
    model, _, a = problem(B=2, T=3, n=2, A=2)
    if shared:
        model = each(model, first)
    noise = torch.randn(2, 3, 2, generator=seeded(), dtype=f64)
    mask = None
    if masked:
        mask = torch.tensor([[[1, 0], [0, 0], [1, 1]], [[1, 1], [0, 1], [1, 0]]]).bool()

    def run(a, noise, *tensors):
        model = StateSpaceModel(*tensors)
        covariances = {k: positive(getattr(model, k)) for k in ("Q", "R", "P1")}
        filtered = kalman_filter(a, model._replace(**covariances), mask=mask)
        if what == "log_likelihood":
            return (filtered.log_likelihood,)
        return smooth(filtered) if what == "smoother" else sample_joint(filtered, noise)

    arguments = [v.clone().requires_grad_() for v in (a, noise, *model)]
    assert torch.autograd.gradcheck(lambda *v: tuple(run(*v)), arguments)
