"""Kalman filter, smoother and joint posterior sampler.

The model is linear or locally linear and Gaussian. With n = dim z and A = dim a:

    z_1 ~ N(m1, P1)
    z_{t+1} = F_t z_t + b_t + w_t,  w_t ~ N(0, Q_t)
    a_t = H_t z_t + v_t,            v_t ~ N(0, R_t)

All functions are pure, batched and differentiable, in float32 or float64, on any device. Public
tensors are batch-first [B, T, ...]. Inside, the batch is the *last* axis, [T, n, n, B]: every small
matrix product is then a handful of long vector operations, and a model that all series share has B
= 1 there, so that its covariances are computed once and broadcast.

The filter conditions on one scalar observation at a time (after whitening by R), so nothing is ever
inverted. The smoother and the joint sampler both walk the same backward Markov chain p(z_t |
z_{t+1}, a_{1:t}) = N(c_t + G_t z_{t+1}, C_t): the smoother pushes moments through it, the sampler
draws from it. Sources: Kalman (1960); Rauch, Tung & Striebel (1965); Carter & Kohn (1994) and
Frühwirth-Schnatter (1994) for backward sampling; Särkkä (2013), chapters 4, 5, 8 and 9.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .gaussian import LOG_2PI
from .kalman_checks import check_covariance, check_result, first_state, observed_entries, over_time
from .small_matrices import (
    affine,
    batch_first,
    batch_last,
    cholesky,
    expanded_first,
    from_the_end,
    identity,
    log_diagonal,
    lower_times,
    mm,
    mmt,
    mv,
    plus_symmetric,
    solve_lower,
    solve_upper,
    stack_shared,
    transpose,
)
from .whitening import Whitened, observe_cov, whiten

Linearise = Callable[[Tensor, Any], tuple[Tensor, Tensor, Tensor]]


class StateSpaceModel(NamedTuple):
    """A linear-Gaussian state-space model.

    What has no batch axis [B] all series share, what has no axis over time [T] stays the same; an
    axis of size 1 stands for all of its values.
    """

    F: Tensor  # transition: [n, n], [T-1, n, n] or [B, T-1, n, n]
    Q: Tensor  # its noise covariance: [n, n], [T-1, n, n] or [B, T-1, n, n]; may be singular
    H: Tensor  # observation: [A, n], [T, A, n] or [B, T, A, n]
    R: Tensor  # its noise covariance: [A, A], [T, A, A] or [B, T, A, A]; positive definite
    m1: Tensor  # mean of z_1: [n] or [B, n]
    P1: Tensor  # covariance of z_1: [n, n] or [B, n, n]; may be singular
    b: Tensor | None = None  # offset of the transition: [n], [T-1, n], [B, T-1, n], or None for 0


class ExtendedModel(NamedTuple):
    """A locally linear Gaussian state-space model: F_t, b_t and Q_t depend on the state.

    H, R, m1 and P1 are as in `StateSpaceModel`.
    """

    # (mean [B, n], inputs[t]) -> F [B, n, n], b [B, n], Q [B, n, n], so that z_{t+1} ≈ F z_t + b
    # near the mean
    linearise: Linearise
    H: Tensor
    R: Tensor
    m1: Tensor
    P1: Tensor


class Filtered(NamedTuple):
    """What a forward pass knows.

    Moments of p(z_t | a_{1:t}) ("filtered") and of p(z_t | a_{1:t-1}) ("predicted"), and the
    transitions used.
    """

    filtered_mean: Tensor  # [B, T, n]
    filtered_cov: Tensor  # [B, T, n, n]
    predicted_mean: Tensor  # [B, T, n]; at t = 1 the prior m1
    predicted_cov: Tensor  # [B, T, n, n]; at t = 1 the prior P1
    log_likelihood: Tensor  # [B] log p(a_{1:T}) in nats, of the observed entries
    F: Tensor  # [B, T-1, n, n]
    b: Tensor  # [B, T-1, n]
    Q: Tensor  # [B, T-1, n, n]


class Backward(NamedTuple):
    """The chain p(z_t | z_{t+1}, a_{1:t}) = N(c_t + G_t z_{t+1}, C_t), for t = 1 … T-1."""

    G: Tensor  # [B, T-1, n, n]
    c: Tensor  # [B, T-1, n]
    C: Tensor  # [B, T-1, n, n]


class Smoothed(NamedTuple):
    """Moments of p(z_t | a_{1:T})."""

    mean: Tensor  # [B, T, n]
    cov: Tensor  # [B, T, n, n]
    cross_cov: Tensor  # [B, T-1, n, n] Cov(z_{t+1}, z_t | a_{1:T})


class JointSample(NamedTuple):
    """A draw of the whole path from p(z_{1:T} | a_{1:T})."""

    z: Tensor  # [B, T, n]
    log_density: Tensor  # [B] log p(z_{1:T} | a_{1:T}) at the draw, nats


# --- forward --------------------------------------------------------------------------------------


def _enter(
    a: Tensor, model: StateSpaceModel | ExtendedModel, mask: Tensor | None, validate: bool
) -> tuple[Tensor, Tensor, Whitened]:
    """What both filters check and start from: m1 [n, B or 1], P1 [n, n, B or 1], observations."""
    mask = observed_entries(a, mask, validate)
    m1, P1 = first_state(model.m1, model.P1, a)
    _, T, A = a.shape
    H = over_time("H", model.H, a, T, (A, m1.shape[0]))
    R = over_time("R", model.R, a, T, (A, A))
    check_covariance("P1", P1, validate)
    check_covariance("R", R, validate, definite=True)
    return m1, P1, whiten(a, H, R, mask)


def kalman_filter(
    a: Tensor, model: StateSpaceModel, mask: Tensor | None = None, validate: bool = True
) -> Filtered:
    """Filter for the linear model. Särkkä (2013), theorem 4.2.

    Covariances of a fully observed model that all series share are computed once.

    Args:
        a: observations [B, T, A].
        model: its tensors have the dtype and device of a.
        mask: bool [B, T] or [B, T, A], True = observed; what is masked may be NaN.
        validate: look at values, not only at shapes; False spares a GPU the wait.
    Returns:
        `Filtered`, batch-first; what all series share is expanded, not copied.
    Raises:
        ValueError: shapes, dtypes or devices do not fit; with `validate` also values that are not
            finite, or covariances that are none.

    Equations: ssm-evidence, ssm-start, kf-ssm, kf-predict, kf-update, kf-loglik, kf-missing
    """
    m1, P1, seen = _enter(a, model, mask, validate)
    B, T, _ = a.shape
    n = m1.shape[0]
    F = over_time("F", model.F, a, T - 1, (n, n))
    Q = over_time("Q", model.Q, a, T - 1, (n, n))
    b = F.new_zeros(1, n, 1)
    if model.b is not None:
        b = over_time("b", model.b, a, T - 1, (n,))
    check_covariance("Q", Q, validate)
    F, Q, b = (v.expand(T - 1, *v.shape[1:]) for v in (F, Q, b))
    h, y = seen.h, seen.y

    # Covariances first: they do not depend on the data.
    predicted, filtered = [P1], []
    for F_t, Q_t, h_t in zip(F, Q, h):
        filtered.append(observe_cov(predicted[-1], h_t))
        predicted.append(plus_symmetric(Q_t, mmt(mm(F_t, filtered[-1]), F_t)))
    filtered.append(observe_cov(predicted[-1], h[-1]))
    predicted_cov, filtered_cov = stack_shared(predicted), stack_shared(filtered)
    K = mmt(filtered_cov, h)  # gains P_f Hᵀ R⁻¹ [T, n, A, B|1]

    # Then the means, one affine map per step:
    # predicted_{t+1} = F (I - K h) predicted_t + F K y + b.
    step_F = mm(F, identity(n, a) - mm(K[:-1], h[:-1]))
    step_b = mv(F, mv(K[:-1], y[:-1])) + b
    means = [m1.expand(n, B)]
    for A_t, c_t in zip(step_F, step_b):
        means.append(affine(A_t, means[-1], c_t))
    predicted_mean = torch.stack(means)  # [T, n, B]
    filtered_mean = predicted_mean + mv(K, y - mv(h, predicted_mean))
    log_likelihood = seen.log_likelihood(predicted_mean, predicted_cov)
    check_result("the filter's result", validate, filtered_mean, log_likelihood)
    moments = (filtered_mean, filtered_cov, predicted_mean, predicted_cov)
    return Filtered(*(expanded_first(v, B) for v in (*moments, log_likelihood, F, b, Q)))


def filter_step(
    linearise: Linearise, mean: Tensor, cov: Tensor, h: Tensor, y: Tensor, inputs: Any
) -> tuple[Tensor, ...]:
    """One step of the extended filter, batch-last.

    Condition on y_t, linearise at the filtered mean, predict. The one function worth
    compiling: see `compiled_filter_step`.

    Args:
        linearise: as in `ExtendedModel`, batch-first.
        mean, cov: predicted moments of z_t, [n, B] and [n, n, B].
        h, y: observations with unit noise, [A, n, B or 1] and [A, B].
        inputs: the second argument of `linearise`.
    Returns:
        Filtered mean and cov, predicted mean and cov of z_{t+1}, and F, b, Q.

    Equations: kf-scalar, ek-filter
    """
    for row, value in zip(h.unbind(0), y.unbind(0)):
        Ph = mv(cov, row)
        k = Ph / ((row * Ph).sum(0) + 1.0)
        mean = torch.addcmul(mean, k, value - (row * mean).sum(0))
        cov = torch.addcmul(cov, Ph, k.unsqueeze(1), value=-1)
    F, b, Q = (v.movedim(0, -1) for v in linearise(mean.movedim(-1, 0), inputs))
    return mean, cov, mv(F, mean) + b, plus_symmetric(Q, mmt(mm(F, cov), F)), F, b, Q


def extended_kalman_filter(
    a: Tensor,
    inputs: Sequence[Any] | Tensor,
    model: ExtendedModel,
    mask: Tensor | None = None,
    validate: bool = True,
    step: Callable[..., tuple[Tensor, ...]] = filter_step,
) -> Filtered:
    """Filter for a locally linear model: F_t, b_t, Q_t are read off at the filtered mean.

    Särkkä (2013), algorithm 5.4, with the linearisation left to the caller. With F, b, Q that do
    not depend on the mean, it is the Kalman filter.

    Args:
        a, mask, validate: as in `kalman_filter`.
        inputs: what `model.linearise` gets, for t = 1 … T-1: a sequence, or a tensor with time
            first. More entries are not looked at.
        model: its tensors have the dtype and device of a.
        step: `filter_step`, or what `compiled_filter_step` returns.
    Returns:
        `Filtered`, batch-first.
    Raises:
        ValueError: as in `kalman_filter`, or too few inputs.

    Equations: kf-ekf, ek-filter
    """
    m1, P1, seen = _enter(a, model, mask, validate)
    B, T, _ = a.shape
    n = m1.shape[0]
    if len(inputs) < T - 1:
        raise ValueError(
            f"inputs must hold one entry for each of the {T - 1} transitions, got {len(inputs)}"
        )
    mean, cov = m1.expand(n, B), P1.expand(n, n, B)
    predicted, filtered, transitions = [(mean, cov)], [], []
    h, y = seen.h, seen.y
    for h_t, y_t, input_t in zip(h, y, inputs[: T - 1]):
        *now, mean, cov, F, b, Q = step(model.linearise, mean, cov, h_t, y_t, input_t)
        filtered.append(tuple(now))
        predicted.append((mean, cov))
        transitions.append((F, b, Q))
    cov_after = observe_cov(cov, h[-1])
    mean_after = mean + mv(mmt(cov_after, h[-1]), y[-1] - mv(h[-1], mean))
    filtered.append((mean_after, cov_after))

    predicted_mean, predicted_cov = (torch.stack(v) for v in zip(*predicted))
    filtered_mean, filtered_cov = (torch.stack(v) for v in zip(*filtered))
    F, b, Q = (v.new_zeros(0, *v.shape) for v in (cov, mean, cov))
    if transitions:
        F, b, Q = (torch.stack(v) for v in zip(*transitions))
    log_likelihood = seen.log_likelihood(predicted_mean, predicted_cov)
    check_result("the filter's result", validate, filtered_mean, log_likelihood)
    moments = (filtered_mean, filtered_cov, predicted_mean, predicted_cov)
    return Filtered(*(expanded_first(v, B) for v in (*moments, log_likelihood, F, b, Q)))


def compiled_filter_step() -> Callable[..., tuple[Tensor, ...]]:
    """`filter_step`, compiled for the shapes it meets.

    Where it cannot be compiled, `filter_step` itself runs after one warning. The first
    call takes about 20 s (2 s from a warm cache). Only the step is compiled, never the
    loop over time.
    """
    current = torch.compile(filter_step, dynamic=False)

    def step(*arguments: Any) -> tuple[Tensor, ...]:
        """The compiled step; `filter_step` from the first failure on."""
        nonlocal current
        if current is filter_step:
            return filter_step(*arguments)
        try:
            return current(*arguments)
        except Exception as error:  # the compiler raises all kinds of exceptions
            current = filter_step
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(
                f"the filter step could not be compiled and runs uncompiled ({reason})",
                stacklevel=2,
            )
            return filter_step(*arguments)

    return step


# --- backward -------------------------------------------------------------------------------------


def _backward(f: Filtered) -> tuple[Tensor, Tensor, Tensor]:
    """Batch-last G [T-1, n, n, B], c [T-1, n, B], C [T-1, n, n, B] of the backward chain."""
    F, Q = batch_last(f.F), batch_last(f.Q)
    filtered_mean = batch_last(f.filtered_mean)[:-1]
    filtered_cov = batch_last(f.filtered_cov)[:-1]
    predicted_mean = batch_last(f.predicted_mean)[1:]
    L = cholesky(batch_last(f.predicted_cov)[1:])
    G = transpose(solve_upper(L, solve_lower(L, mm(F, filtered_cov))))  # P_f Fᵀ P_p⁻¹
    c = filtered_mean - mv(G, predicted_mean)
    keep = identity(F.shape[-2], F) - mm(G, F)
    # Joseph form: a sum of squares, so it stays positive
    C = mmt(mm(keep, filtered_cov), keep) + mmt(mm(G, Q), G)
    return G, c, C


def backward_chain(f: Filtered) -> Backward:
    """The backward Markov chain of a filtered model: what smoother and sampler share.

    Equations: kf-future, kf-backward, ek-chain
    """
    B = f.filtered_mean.shape[0]
    return Backward(*(expanded_first(v, B) for v in _backward(f)))


def smooth(f: Filtered, validate: bool = True) -> Smoothed:
    """Rauch-Tung-Striebel smoother from a filter's result; exact for the linear model.

    Särkkä (2013), theorem 8.2. With `validate`, ValueError for a result that is not
    finite.

    Equations: kf-rts, kf-rts-classic, kf-cross, em-estep, ek-forward
    """
    G, c, C = _backward(f)
    means, covs = [batch_last(f.filtered_mean)[-1]], [batch_last(f.filtered_cov)[-1]]
    for G_t, c_t, C_t in zip(from_the_end(G), from_the_end(c), from_the_end(C)):
        means.append(affine(G_t, means[-1], c_t))
        covs.append(C_t + mmt(mm(G_t, covs[-1]), G_t))
    mean, cov = stack_shared(means[::-1]), stack_shared(covs[::-1])
    # once is enough: products of G are bounded, so rounding errors do not grow
    cov = 0.5 * (cov + transpose(cov))
    cross = mmt(cov[1:], G)  # Cov(z_{t+1}, z_t) = P_{t+1} G_tᵀ
    check_result("the smoother's result", validate, mean, cov)
    B = f.filtered_mean.shape[0]
    return Smoothed(*(expanded_first(v, B) for v in (mean, cov, cross)))


def sample_joint(f: Filtered, noise: Tensor, validate: bool = True) -> JointSample:
    """Draw z_{1:T} from the *joint* posterior p(z_{1:T} | a_{1:T}), with its log density.

    Backward sampling: Carter & Kohn (1994). Neighbouring states of one draw are
    correlated as the posterior says; draws from the smoothing marginals would not be.

    Args:
        f: a filter's result.
        noise: [B, T, n] standard normal, from an explicit generator.
        validate: look for NaN in the result.
    Raises:
        ValueError: noise of another shape; with `validate`, a posterior without density.

    Equations: kf-joint, kf-every-draw, ek-chain
    """
    if noise.shape != f.filtered_mean.shape:
        shape = list(f.filtered_mean.shape)
        raise ValueError(f"noise must be [B, T, n] = {shape}, got {list(noise.shape)}")
    _, T, n = noise.shape
    G, c, C = _backward(f)
    last_cov = batch_last(f.filtered_cov)[-1:]
    shared = max(C.shape[-1], last_cov.shape[-1])
    L = cholesky(torch.cat([v.expand(*v.shape[:-1], shared) for v in (C, last_cov)]))
    eps = batch_last(noise)
    shock = lower_times(L, eps)  # [T, n, B]
    path = [batch_last(f.filtered_mean)[-1] + shock[-1]]
    for G_t, c_t in zip(from_the_end(G), from_the_end(c + shock[:-1])):
        path.append(affine(G_t, path[-1], c_t))
    log_density = -(0.5 * (eps**2).sum((0, 1)) + log_diagonal(L).sum(0) + 0.5 * T * n * LOG_2PI)
    check_result("the joint sample", validate, log_density)
    return JointSample(batch_first(torch.stack(path[::-1])), log_density)
