"""Kalman filter, smoother and joint posterior sampler for linear and locally linear Gaussian
models.

The model, with n = dim z and A = dim a:

    z_1 ~ N(m1, P1),    z_{t+1} = F_t z_t + b_t + w_t,  w_t ~ N(0, Q_t),    a_t = H_t z_t + v_t,
    v_t ~ N(0, R_t).

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

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .small_matrices import (
    affine,
    all_finite,
    batch_first,
    batch_last,
    cholesky,
    from_the_end,
    identity,
    log_diagonal,
    mm,
    mmt,
    mv,
    plus_symmetric,
    solve_lower,
    solve_upper,
)


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
    """The backward Markov chain p(z_t | z_{t+1}, a_{1:t}) = N(c_t + G_t z_{t+1}, C_t), for t = 1 …
    T-1.
    """

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


# --- the door -------------------------------------------------------------------------------------


def _same_kind(name: str, x: Tensor, a: Tensor) -> None:
    if x.dtype != a.dtype or x.device != a.device:
        raise ValueError(
            f"{name} must have the dtype and device of a ({a.dtype}, {a.device}), got {x.dtype}, {x.device}"
        )


def _over_time(name: str, x: Tensor, a: Tensor, steps: int, core: tuple[int, ...]) -> Tensor:
    """[*core], [steps, *core] or [B, steps, *core] -> [steps or 1, *core, B or 1].

    An axis of size 1 stands for all of its values.
    """
    _same_kind(name, x, a)
    B, lead = a.shape[0], x.shape[: x.ndim - len(core)]
    if (
        x.shape[len(lead) :] != core
        or len(lead) > 2
        or any(got not in (1, want) for got, want in zip(lead[::-1], (steps, B)))
    ):
        raise ValueError(
            f"{name} must be {list(core)}, {[steps, *core]} or {[B, steps, *core]}, got {list(x.shape)}"
        )
    return batch_last(x[(None,) * (2 - len(lead))]).contiguous()


def _prior(m1: Tensor, P1: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """m1 [n] or [B, n] and P1 [n, n] or [B, n, n] -> [n, B or 1] and [n, n, B or 1]."""
    _same_kind("m1", m1, a)
    _same_kind("P1", P1, a)
    B, n = a.shape[0], m1.shape[-1] if m1.ndim else 0
    if n == 0 or m1.shape[:-1] not in ((), (1,), (B,)):
        raise ValueError(f"m1 must be [n] or [{B}, n], got {list(m1.shape)}")
    if P1.shape[-2:] != (n, n) or P1.shape[:-2] not in ((), (1,), (B,)):
        raise ValueError(f"P1 must be {[n, n]} or {[B, n, n]} to go with m1, got {list(P1.shape)}")
    return tuple(
        batch_last(v if v.ndim > rank else v.unsqueeze(0)).contiguous()
        for v, rank in ((m1, 1), (P1, 2))
    )


def _check_covariance(name: str, P: Tensor, validate: bool, definite: bool = False) -> None:
    """Raise ValueError unless every [..., n, n, B] matrix is finite, symmetric and positive
    (semi)definite, up to rounding.
    """
    if not validate or P.device.type == "meta":
        return
    if not all_finite(P):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    scale = P.diagonal(dim1=-3, dim2=-2).abs().amax(-1)  # [..., B]
    if ((P - P.transpose(-3, -2)).abs().amax((-3, -2)) > 1e-4 * scale).any():
        raise ValueError(f"{name} must be symmetric")
    room = (
        0 * scale
        if definite
        else 100 * torch.finfo(P.dtype).eps * scale + torch.finfo(P.dtype).tiny
    )
    root = cholesky(P + room[..., None, None, :] * identity(P.shape[-2], P))
    if not all((row[-1] > 0).all() for row in root):
        raise ValueError(f"{name} must be positive {'definite' if definite else 'semidefinite'}")


def _check_observations(a: Tensor, mask: Tensor | None, validate: bool) -> Tensor | None:
    """Shape and value checks of a and mask; the mask comes back as [B, T, A] (or None)."""
    if a.ndim != 3 or 0 in a.shape or not a.is_floating_point():
        raise ValueError(
            f"a must be [B, T, A] of floats with T >= 1, got {a.dtype} {list(a.shape)}"
        )
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape not in (a.shape[:2], a.shape):
            raise ValueError(
                f"mask must be bool, {list(a.shape[:2])} or {list(a.shape)} (True = observed), got {mask.dtype} {list(mask.shape)}"
            )
        mask = mask.unsqueeze(-1).expand_as(a) if mask.ndim == 2 else mask
    if validate and a.device.type != "meta":
        seen = a if mask is None else a[mask]
        if not all_finite(seen):
            raise ValueError(
                "a holds NaN or infinite values where it is observed; mask missing observations instead"
            )
    return mask


def _check_result(validate: bool, what: str, *values: Tensor) -> None:
    if validate and values[0].device.type != "meta" and not all(all_finite(v) for v in values):
        raise ValueError(
            f"{what} is not finite: a covariance (Q, R, P1 or one computed from them) is not positive definite in {values[0].dtype}"
        )


def _whiten(a, H, R, mask):
    """Observations with unit noise: rows h [T, A, n, B|1], values y [T, A, B], and the constant of
    log p(a_t | z_t) [T|1, B|1].

    A missing entry becomes an observation of 0 = 0·z with unit noise: it changes nothing, whatever
    R couples it to.
    """
    y, count = batch_last(a).contiguous(), a.shape[-1]
    if mask is not None:
        seen = batch_last(mask)  # [T, A, B]
        y = torch.where(seen, y, torch.zeros_like(y))
        H = torch.where(seen.unsqueeze(-2), H, torch.zeros_like(H))
        R = torch.where(seen.unsqueeze(-2) & seen.unsqueeze(-3), R, identity(R.shape[-2], R))
        count = seen.sum(-2).to(a.dtype)
    L = cholesky(R)
    h, y = solve_lower(L, H), solve_lower(L, y.unsqueeze(-2)).squeeze(-2)
    return (
        h.expand(a.shape[1], *h.shape[1:]),
        y,
        -log_diagonal(L) - 0.5 * math.log(2 * math.pi) * count,
    )


def _log_likelihood(mean, cov, h, y, constant) -> Tensor:
    """Sum over t of log N(y_t; h mean, h cov hᵀ + I) and the constants, all steps at once -> [B]."""
    L = cholesky(mmt(mm(h, cov), h) + identity(h.shape[-3], h))
    e = solve_lower(L, (y - mv(h, mean)).unsqueeze(-2)).squeeze(-2)  # [T, A, B]
    return (-0.5 * (e**2).sum(-2) - log_diagonal(L) + constant).sum(0)


# --- forward --------------------------------------------------------------------------------------


def _observe_cov(P: Tensor, h: Tensor) -> Tensor:
    """Covariance after observing every row of h [A, n, B] with unit noise, one scalar at a time.

    P [n, n, B].
    """
    for row in h.unbind(0):
        Ph = mv(P, row)
        k = Ph / ((row * Ph).sum(0) + 1.0)
        P = torch.addcmul(P, Ph, k.unsqueeze(1), value=-1)
    return P


def kalman_filter(a, F, b, Q, H, R, m1, P1, mask=None, validate: bool = True) -> Filtered:
    """Filter for the linear model.

    a [B, T, A]; F, Q [n, n], [T-1, n, n] or [B, T-1, n, n]; b [n], [T-1, n] or [B, T-1, n], or None
    for 0; H [A, n] and R [A, A], or with leading [T] or [B, T]; m1 [n] or [B, n]; P1 [n, n] or [B,
    n, n]; mask bool [B, T] or [B, T, A], True = observed (what is masked may be NaN). A B or T of 1
    stands for all. Q and P1 may be singular. Covariances of a fully observed model that all series
    share are computed once. Särkkä (2013), theorem 4.2.

    Raises ValueError for shapes that do not fit and, with `validate`, for values that are not
    finite or covariances that are none (`validate=False` spares a GPU the wait).

    Equations: ssm-evidence, ssm-start, kf-ssm, kf-predict, kf-update, kf-loglik, kf-missing
    """
    mask = _check_observations(a, mask, validate)
    m1, P1 = _prior(m1, P1, a)
    (B, T, A), n = a.shape, m1.shape[0]
    F, Q = _over_time("F", F, a, T - 1, (n, n)), _over_time("Q", Q, a, T - 1, (n, n))
    b = F.new_zeros(1, n, 1) if b is None else _over_time("b", b, a, T - 1, (n,))
    H, R = _over_time("H", H, a, T, (A, n)), _over_time("R", R, a, T, (A, A))
    _check_covariance("P1", P1, validate)
    _check_covariance("Q", Q, validate)
    _check_covariance("R", R, validate, definite=True)
    h, y, constant = _whiten(a, H, R, mask)
    F, b, Q = (v.expand(T - 1, *v.shape[1:]) for v in (F, b, Q))

    # Covariances first: they do not depend on the data.
    P, predicted_cov, filtered_cov = P1, [P1], []
    for F_t, Q_t, h_t in zip(F, Q, h):
        filtered_cov.append(_observe_cov(P, h_t))
        P = plus_symmetric(Q_t, mmt(mm(F_t, filtered_cov[-1]), F_t))
        predicted_cov.append(P)
    filtered_cov.append(_observe_cov(P, h[-1]))
    Pp, Pf = (
        torch.stack(torch.broadcast_tensors(*v)) for v in (predicted_cov, filtered_cov)
    )  # [T, n, n, B|1]
    K = mmt(Pf, h)  # gains P_f Hᵀ R⁻¹ [T, n, A, B|1]

    # Then the means, one affine map per step: predicted_{t+1} = F (I - K h) predicted_t + F K y +
    # b.
    step_F = mm(F, identity(n, a) - mm(K[:-1], h[:-1]))
    step_b = mv(F, mv(K[:-1], y[:-1])) + b
    means = [m1.expand(n, B)]
    for A_t, c_t in zip(step_F, step_b):
        means.append(affine(A_t, means[-1], c_t))
    mp = torch.stack(means)  # [T, n, B]
    mf = mp + mv(K, y - mv(h, mp))
    return _as_filtered(validate, mf, Pf, mp, Pp, _log_likelihood(mp, Pp, h, y, constant), F, b, Q)


def _as_filtered(validate, mf, Pf, mp, Pp, log_likelihood, F, b, Q) -> Filtered:
    """Batch-first views of batch-last tensors; what is shared is expanded, not copied."""
    _check_result(validate, "the filter's result", mf, log_likelihood)
    B = mf.shape[-1]
    moments = (batch_first(v.expand(*v.shape[:-1], B)) for v in (mf, Pf, mp, Pp))
    model = (batch_first(v.expand(*v.shape[:-1], B)) for v in (F, b, Q))
    return Filtered(*moments, log_likelihood.expand(B), *model)


def filter_step(
    linearise: Callable, mean: Tensor, cov: Tensor, h: Tensor, y: Tensor, inputs
) -> tuple[Tensor, ...]:
    """One step of the extended filter, batch-last: condition on y_t, linearise at the filtered
    mean, predict.

    mean [n, B], cov [n, n, B], h [A, n, B|1], y [A, B] with unit noise -> (filtered mean, filtered
    cov, next mean, next cov, F, b, Q). The one function worth compiling: see
    `compiled_filter_step`.

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
    a,
    inputs,
    linearise: Callable,
    H,
    R,
    m1,
    P1,
    mask=None,
    validate: bool = True,
    step: Callable = filter_step,
) -> Filtered:
    """Filter for a locally linear model: F_t, b_t, Q_t are read off at the filtered mean.

    linearise(mean [B, n], inputs[t]) -> F [B, n, n], b [B, n], Q [B, n, n], so that z_{t+1} ≈ F z_t
    + b. `inputs` is indexed by t = 0 … T-2 (a list, or a tensor with time first). Other arguments
    as in `kalman_filter`. With F, b, Q that do not depend on the mean, it is the Kalman filter.
    `step` may be a compiled `filter_step`. Särkkä (2013), algorithm 5.4, with the linearisation
    left to the caller.

    Equations: kf-ekf, ek-filter
    """
    mask = _check_observations(a, mask, validate)
    m1, P1 = _prior(m1, P1, a)
    (B, T, A), n = a.shape, m1.shape[0]
    H, R = _over_time("H", H, a, T, (A, n)), _over_time("R", R, a, T, (A, A))
    if len(inputs) < T - 1:
        raise ValueError(
            f"inputs must hold one entry for each of the {T - 1} transitions, got {len(inputs)}"
        )
    _check_covariance("P1", P1, validate)
    _check_covariance("R", R, validate, definite=True)
    h, y, constant = _whiten(a, H, R, mask)

    predicted, steps = [(m1.expand(n, B), P1.expand(n, n, B))], []
    for h_t, y_t, input_t in zip(h, y, inputs[: T - 1]):
        steps.append(step(linearise, *predicted[-1], h_t, y_t, input_t))
        predicted.append(steps[-1][2:4])
    mean, cov = predicted[-1]
    cov_after = _observe_cov(cov, h[-1])
    mean_after = mean + mv(mmt(cov_after, h[-1]), y[-1] - mv(h[-1], mean))
    mp, Pp = (torch.stack(v) for v in zip(*predicted))
    mf = torch.stack([*(s[0] for s in steps), mean_after])
    Pf = torch.stack([*(s[1] for s in steps), cov_after])
    if steps:
        F, b, Q = (torch.stack(v) for v in list(zip(*steps))[4:])
    else:
        F, b, Q = (v.new_zeros(0, *v.shape) for v in (cov, mean, cov))
    return _as_filtered(validate, mf, Pf, mp, Pp, _log_likelihood(mp, Pp, h, y, constant), F, b, Q)


def compiled_filter_step() -> Callable:
    """`filter_step`, compiled for the shapes it meets; where it cannot be compiled, `filter_step`
    itself after one warning.

    The first call takes about 20 s (2 s from a warm cache). Only the step is compiled, never the
    loop over time.
    """
    compiled, works = torch.compile(filter_step, dynamic=False), [True]

    def step(*arguments):
        """The compiled step; `filter_step` from the first failure on."""
        if works[0]:
            try:
                return compiled(*arguments)
            except Exception as error:  # the compiler raises all kinds of exceptions
                works[0] = False
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(
                    f"the filter step could not be compiled and runs uncompiled ({reason})",
                    stacklevel=2,
                )
        return filter_step(*arguments)

    return step


# --- backward -------------------------------------------------------------------------------------


def _backward(f: Filtered):
    """Batch-last G [T-1, n, n, B], c [T-1, n, B], C [T-1, n, n, B] of the backward chain, all t at
    once (no sample enters).
    """
    F, Q = batch_last(f.F), batch_last(f.Q)
    Pf, Pp = batch_last(f.filtered_cov)[:-1], batch_last(f.predicted_cov)[1:]
    mf, mp = batch_last(f.filtered_mean)[:-1], batch_last(f.predicted_mean)[1:]
    L = cholesky(Pp)
    G = solve_upper(L, solve_lower(L, mm(F, Pf))).transpose(-3, -2)  # P_f Fᵀ P_p⁻¹
    c = mf - mv(G, mp)
    keep = identity(F.shape[-2], F) - mm(G, F)
    C = mmt(mm(keep, Pf), keep) + mmt(
        mm(G, Q), G
    )  # Joseph form: a sum of squares, so it stays positive
    return G, c, C


def backward_chain(f: Filtered) -> Backward:
    """The backward Markov chain p(z_t | z_{t+1}, a_{1:t}) of a filtered model: what smoother and
    sampler share.

    Equations: kf-future, kf-backward, ek-chain
    """
    B = f.filtered_mean.shape[0]
    return Backward(*(batch_first(v.expand(*v.shape[:-1], B)) for v in _backward(f)))


def smooth(f: Filtered, validate: bool = True) -> Smoothed:
    """Rauch-Tung-Striebel smoother from a filter's result; exact for the linear model.

    Särkkä (2013), theorem 8.2.

    Equations: kf-rts, kf-rts-classic, kf-cross, em-estep, ek-forward
    """
    B = f.filtered_mean.shape[0]
    G, c, C = _backward(f)
    means, covs = [batch_last(f.filtered_mean)[-1]], [batch_last(f.filtered_cov)[-1]]
    for G_t, c_t, C_t in zip(*map(from_the_end, (G, c, C))):
        means.append(affine(G_t, means[-1], c_t))
        covs.append(C_t + mmt(mm(G_t, covs[-1]), G_t))
    mean, cov = (
        torch.stack(torch.broadcast_tensors(*means[::-1])),
        torch.stack(torch.broadcast_tensors(*covs[::-1])),
    )
    cov = 0.5 * (
        cov + cov.transpose(-3, -2)
    )  # once is enough: products of G are bounded, so rounding errors do not grow
    cross = mmt(cov[1:], G)  # Cov(z_{t+1}, z_t) = P_{t+1} G_tᵀ
    _check_result(validate, "the smoother's result", mean, cov)
    return Smoothed(*(batch_first(v.expand(*v.shape[:-1], B)) for v in (mean, cov, cross)))


def sample_joint(f: Filtered, noise: Tensor, validate: bool = True) -> JointSample:
    """Draw z_{1:T} from the *joint* posterior p(z_{1:T} | a_{1:T}) by backward sampling, with its
    log density.

    noise [B, T, n] standard normal (drawn by the caller, from an explicit generator). Neighbouring
    states of one draw are correlated as the posterior says; draws from the smoothing marginals
    would not be. Carter & Kohn (1994).

    Equations: kf-joint, kf-every-draw, ek-chain
    """
    if noise.shape != f.filtered_mean.shape:
        raise ValueError(
            f"noise must be [B, T, n] = {list(f.filtered_mean.shape)}, got {list(noise.shape)}"
        )
    T, n = noise.shape[1:]
    G, c, C = _backward(f)
    last_cov = batch_last(f.filtered_cov)[-1:]
    shared = max(C.shape[-1], last_cov.shape[-1])
    L = cholesky(torch.cat([v.expand(*v.shape[:-1], shared) for v in (C, last_cov)]))
    eps = batch_last(noise)
    shock = torch.stack(
        [sum(L[i][k] * eps[:, k] for k in range(i + 1)) for i in range(n)], 1
    )  # L ε [T, n, B]
    path = [batch_last(f.filtered_mean)[-1] + shock[-1]]
    for G_t, c_t in zip(*map(from_the_end, (G, c + shock[:-1]))):
        path.append(affine(G_t, path[-1], c_t))
    log_density = -(
        0.5 * (eps**2).sum((0, 1)) + log_diagonal(L).sum(0) + 0.5 * T * n * math.log(2 * math.pi)
    )
    _check_result(validate, "the joint sample", log_density)
    return JointSample(batch_first(torch.stack(path[::-1])), log_density)
