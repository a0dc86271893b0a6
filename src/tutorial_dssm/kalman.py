"""Kalman filter, smoother and joint posterior sampler for linear and locally linear Gaussian models (floor 1).

The model, with n = dim z and A = dim a:

    z_1 ~ N(m1, P1),    z_{t+1} = F_t z_t + b_t + w_t,  w_t ~ N(0, Q_t),    a_t = H_t z_t + v_t,  v_t ~ N(0, R_t).

All functions are pure, batched and differentiable, in float32 or float64, on any device. Public tensors are batch-first [B, T, ...].
Inside, the batch is the *last* axis, [T, n, n, B]: every small matrix product is then a handful of long vector operations,
and a model that all series share has B = 1 there, so that its covariances are computed once and broadcast.

The filter conditions on one scalar observation at a time (after whitening by R), so nothing is ever inverted. The smoother and the
joint sampler both walk the same backward Markov chain p(z_t | z_{t+1}, a_{1:t}) = N(c_t + G_t z_{t+1}, C_t): the smoother pushes moments
through it, the sampler draws from it. Sources: Kalman (1960); Rauch, Tung & Striebel (1965); Carter & Kohn (1994) and Frühwirth-Schnatter
(1994) for backward sampling; Särkkä (2013), chapters 4, 5, 8 and 9.
"""

import math
from typing import Callable, NamedTuple, Optional

import torch
from torch import Tensor


class Filtered(NamedTuple):
    """What a forward pass knows. Moments of p(z_t | a_{1:t}) ("filtered") and of p(z_t | a_{1:t-1}) ("predicted"), and the transitions used."""

    filtered_mean: Tensor  # [B, T, n]
    filtered_cov: Tensor  # [B, T, n, n]
    predicted_mean: Tensor  # [B, T, n]; at t = 1 the prior m1
    predicted_cov: Tensor  # [B, T, n, n]; at t = 1 the prior P1
    log_likelihood: Tensor  # [B] log p(a_{1:T}) in nats, of the observed entries
    F: Tensor  # [B, T-1, n, n]
    b: Tensor  # [B, T-1, n]
    Q: Tensor  # [B, T-1, n, n]


class Backward(NamedTuple):
    """The backward Markov chain p(z_t | z_{t+1}, a_{1:t}) = N(c_t + G_t z_{t+1}, C_t), for t = 1 … T-1."""

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


# --- small dense algebra with the matrix axes in front of the batch axis: [..., i, j, B] -------------------------------------------------


def _first(x: Tensor) -> Tensor:
    """Batch-last -> batch-first (a view)."""
    return x.movedim(-1, 0)


def _last(x: Tensor) -> Tensor:
    """Batch-first -> batch-last (a view). An expanded batch (stride 0) is one shared value: keep it once."""
    x = x.movedim(0, -1)
    return x[..., :1] if x.shape[-1] > 1 and x.stride(-1) == 0 else x


def _mv(A: Tensor, v: Tensor) -> Tensor:
    """Matrix times vector: [..., i, j, B], [..., j, B] -> [..., i, B]."""
    return (A * v.unsqueeze(-3)).sum(-2)


def _mm(A: Tensor, M: Tensor) -> Tensor:
    """Matrix times matrix: [..., i, j, B], [..., j, k, B] -> [..., i, k, B]."""
    return (A.unsqueeze(-2) * M.unsqueeze(-4)).sum(-3)


def _mmt(A: Tensor, M: Tensor) -> Tensor:
    """A Mᵀ: [..., i, j, B], [..., k, j, B] -> [..., i, k, B]."""
    return (A.unsqueeze(-3) * M.unsqueeze(-4)).sum(-2)


def _symmetrise(P: Tensor) -> Tensor:
    return 0.5 * (P + P.transpose(-3, -2))


def _cholesky(P: Tensor) -> list[list[Tensor]]:
    """Lower Cholesky factor of [..., n, n, B] as rows of entries [..., B]; NaN where P is not positive definite.

    Written out because n is tiny and the batch long: n³/3 vector operations instead of one LAPACK call per matrix.
    """
    n = P.shape[-2]
    L: list[list[Tensor]] = []
    for i in range(n):
        row: list[Tensor] = []
        for j in range(i + 1):
            entry = P[..., i, j, :]
            for k in range(j):
                entry = entry - row[k] * (L[j][k] if j < i else row[k])
            row.append(torch.sqrt(entry) if i == j else entry / L[j][j])
        L.append(row)
    return L


def _solve_lower(L: list[list[Tensor]], M: Tensor) -> Tensor:
    """L⁻¹ M for M [..., n, k, B]."""
    rows: list[Tensor] = []
    for i in range(len(L)):
        row = M[..., i, :, :]
        for k in range(i):
            row = row - L[i][k].unsqueeze(-2) * rows[k]
        rows.append(row / L[i][i].unsqueeze(-2))
    return torch.stack(rows, -3)


def _solve_upper(L: list[list[Tensor]], M: Tensor) -> Tensor:
    """L⁻ᵀ M for M [..., n, k, B]."""
    n = len(L)
    rows: list[Tensor] = [M] * n
    for i in reversed(range(n)):
        row = M[..., i, :, :]
        for k in range(i + 1, n):
            row = row - L[k][i].unsqueeze(-2) * rows[k]
        rows[i] = row / L[i][i].unsqueeze(-2)
    return torch.stack(rows, -3)


def _log_diagonal(L: list[list[Tensor]]) -> Tensor:
    """Sum of the log diagonal, [..., B]: half the log determinant of L Lᵀ."""
    return sum(torch.log(L[i][i]) for i in range(len(L)))


# --- the door -----------------------------------------------------------------------------------------------------------------------------


def _over_time(name: str, x: Tensor, batch: int, steps: int, core: tuple[int, ...]) -> Tensor:
    """[*core], [steps, *core] or [B, steps, *core] -> [steps, *core, B or 1]. Axes of size 1 stand for all of theirs."""
    if x.shape[x.ndim - len(core) :] != core or x.ndim - len(core) not in (0, 1, 2):
        raise ValueError(f"{name} must be {list(core)}, [{steps}, …] or [{batch}, {steps}, …] before {list(core)}, got {list(x.shape)}")
    while x.ndim < len(core) + 2:
        x = x.unsqueeze(0)
    if x.shape[0] not in (1, batch) or x.shape[1] not in (1, steps):
        raise ValueError(f"{name} must be [{batch} or 1, {steps} or 1, …] before {list(core)}, got {list(x.shape)}")
    return _last(x.expand(x.shape[0], steps, *core))


def _prior(name: str, x: Tensor, batch: int, core: tuple[int, ...]) -> Tensor:
    """[*core] or [B, *core] -> [*core, B or 1]."""
    if x.shape == core:
        return x.unsqueeze(-1)
    if x.ndim == len(core) + 1 and x.shape[1:] == core and x.shape[0] in (1, batch):
        return _last(x)
    raise ValueError(f"{name} must be {list(core)} or {[batch, *core]}, got {list(x.shape)}")


def _check_observations(a: Tensor, mask: Optional[Tensor], validate: bool) -> Optional[Tensor]:
    """Shape and value checks of a and mask; the mask comes back as [B, T, A] (or None)."""
    if a.ndim != 3 or a.shape[1] == 0:
        raise ValueError(f"a must be [B, T, A] with T >= 1, got {list(a.shape)}")
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape not in (a.shape[:2], a.shape):
            raise ValueError(
                f"mask must be bool, {list(a.shape[:2])} or {list(a.shape)} (True = observed), got {mask.dtype} {list(mask.shape)}"
            )
        mask = mask.unsqueeze(-1).expand_as(a) if mask.ndim == 2 else mask
    if validate and a.device.type != "meta":
        seen = a if mask is None else torch.where(mask, a, torch.zeros_like(a))
        if not torch.isfinite(seen).all():
            raise ValueError("a holds NaN or infinite values where it is observed; mask missing observations instead")
    return mask


def _check_result(validate: bool, what: str, *values: Tensor) -> None:
    if validate and values[0].device.type != "meta" and not all(torch.isfinite(v).all() for v in values):
        raise ValueError(f"{what} is not finite: a covariance (Q, R, P1 or one computed from them) is not positive definite in {values[0].dtype}")


def _whiten(a, H, R, mask):
    """Observations with unit noise: rows h [T, A, n, B|1], values y [T, A, B], half log det R [T, B|1], number of values observed [T, B|1].

    A missing entry becomes an observation of 0 = 0·z with unit noise: it changes nothing, whatever R couples it to.
    """
    y = _last(a)
    y = y if y.shape[-1] == a.shape[0] else y.expand(*y.shape[:-1], a.shape[0])
    if mask is not None:
        seen = _last(mask.contiguous())  # [T, A, B]
        y = torch.where(seen, y, torch.zeros_like(y))
        H = torch.where(seen.unsqueeze(-2), H, torch.zeros_like(H))
        eye = torch.eye(R.shape[-2], dtype=R.dtype, device=R.device).unsqueeze(-1)
        R = torch.where(seen.unsqueeze(-2) & seen.unsqueeze(-3), R, eye)
        count = seen.to(a.dtype).sum(-2)
    else:
        count = torch.full((1, 1), float(a.shape[-1]), dtype=a.dtype, device=a.device)
    L = _cholesky(R)
    return _solve_lower(L, H), _solve_lower(L, y.unsqueeze(-2)).squeeze(-2), _log_diagonal(L), count


def _log_likelihood(mean, cov, h, y, half_log_det_R, count) -> Tensor:
    """Sum over t of log N(y_t; h mean, h cov hᵀ + I), all steps at once -> [B]."""
    S = _mmt(_mm(h, cov), h) + torch.eye(h.shape[-3], dtype=h.dtype, device=h.device).unsqueeze(-1)
    L = _cholesky(S)
    e = _solve_lower(L, (y - _mv(h, mean)).unsqueeze(-2)).squeeze(-2)  # [T, A, B]
    terms = -0.5 * (e**2).sum(-2) - _log_diagonal(L) - half_log_det_R - 0.5 * math.log(2 * math.pi) * count
    return terms.sum(0)


# --- forward ------------------------------------------------------------------------------------------------------------------------------


def _observe_cov(P: Tensor, h: Tensor) -> Tensor:
    """Covariance after observing every row of h [A, n, B] with unit noise, one scalar at a time. P [n, n, B]."""
    for row in h.unbind(0):
        Ph = _mv(P, row)
        s = (row * Ph).sum(0) + 1.0
        P = P - Ph.unsqueeze(0) * (Ph / s).unsqueeze(1)
    return P


def kalman_filter(a, F, b, Q, H, R, m1, P1, mask=None, validate: bool = True) -> Filtered:
    """Filter for the linear model.

    a [B, T, A]; F, Q [n, n], [T-1, n, n] or [B, T-1, n, n]; b [n], [T-1, n] or [B, T-1, n], or None for 0; H [A, n] and R [A, A], or with
    leading [T] or [B, T]; m1 [n] or [B, n]; P1 [n, n] or [B, n, n]; mask bool [B, T] or [B, T, A], True = observed (what is masked may be NaN).
    Covariances of a fully observed model that all series share are computed once. Särkkä (2013), theorem 4.2.

    Raises ValueError for shapes that do not fit and, with `validate`, for values that are not finite or covariances not positive definite
    (`validate=False` spares a GPU the wait).
    """
    mask = _check_observations(a, mask, validate)
    (B, T, A), n = a.shape, P1.shape[-1]
    F, Q = _over_time("F", F, B, T - 1, (n, n)), _over_time("Q", Q, B, T - 1, (n, n))
    b = F.new_zeros(T - 1, n, 1) if b is None else _over_time("b", b, B, T - 1, (n,))
    H, R = _over_time("H", H, B, T, (A, n)), _over_time("R", R, B, T, (A, A))
    m1, P1 = _prior("m1", m1, B, (n,)), _prior("P1", P1, B, (n, n))
    h, y, half_log_det_R, count = _whiten(a, H, R, mask)

    # Covariances first: they do not depend on the data.
    P, predicted_cov, filtered_cov = P1, [], []
    for t in range(T):
        predicted_cov.append(P)
        P = _observe_cov(P, h[t])
        filtered_cov.append(P)
        if t < T - 1:
            P = _symmetrise(_mmt(_mm(F[t], P), F[t])) + Q[t]
    Pp, Pf = (torch.stack(torch.broadcast_tensors(*v)) for v in (predicted_cov, filtered_cov))  # [T, n, n, B|1]
    K = _mmt(Pf, h)  # [T, n, A, B|1] gains: P_f Hᵀ R⁻¹

    # Then the means, one affine map per step: predicted_{t+1} = F (I - K h) predicted_t + F K y + b.
    eye = torch.eye(n, dtype=a.dtype, device=a.device).unsqueeze(-1)
    step_F = _mm(F, eye - _mm(K[:-1], h[:-1]))
    step_b = _mv(F, _mv(K[:-1], y[:-1])) + b
    m, means = m1.expand(n, B), [m1.expand(n, B)]
    for t in range(T - 1):
        m = _mv(step_F[t], m) + step_b[t]
        means.append(m)
    mp = torch.stack(means)  # [T, n, B]
    mf = mp + _mv(K, y - _mv(h, mp))
    log_likelihood = _log_likelihood(mp, Pp, h, y, half_log_det_R, count)
    _check_result(validate, "the filter's result", mf, log_likelihood)
    return _as_filtered(B, mf, Pf, mp, Pp, log_likelihood, F, b, Q)


def _as_filtered(B, mf, Pf, mp, Pp, log_likelihood, F, b, Q) -> Filtered:
    """Batch-first views of batch-last tensors; what is shared is expanded, not copied."""
    moments = (_first(v.expand(*v.shape[:-1], B)) for v in (mf, Pf, mp, Pp))
    model = (_first(v.expand(*v.shape[:-1], B)) for v in (F, b, Q))
    return Filtered(*moments, log_likelihood.expand(B), *model)


def filter_step(linearise: Callable, mean: Tensor, cov: Tensor, h: Tensor, y: Tensor, inputs) -> tuple[Tensor, ...]:
    """One step of the extended filter, batch-last: condition on y_t, linearise at the filtered mean, predict.

    mean [n, B], cov [n, n, B], h [A, n, B|1], y [A, B] with unit noise -> (filtered mean, filtered cov, next mean, next cov, F, b, Q).
    The one function worth compiling: `torch.compile(filter_step, dynamic=False)`.
    """
    for row, value in zip(h.unbind(0), y.unbind(0)):
        Ph = _mv(cov, row)
        k = Ph / ((row * Ph).sum(0) + 1.0)
        mean = mean + k * (value - (row * mean).sum(0))
        cov = cov - Ph.unsqueeze(0) * k.unsqueeze(1)
    F, b, Q = (v.movedim(0, -1) for v in linearise(mean.movedim(-1, 0), inputs))
    next_cov = _symmetrise(_mmt(_mm(F, cov), F)) + Q
    return mean, cov, _mv(F, mean) + b, next_cov, F, b, Q


def extended_kalman_filter(a, inputs, linearise: Callable, H, R, m1, P1, mask=None, validate: bool = True, step: Callable = filter_step) -> Filtered:
    """Filter for a locally linear model: F_t, b_t, Q_t are read off at the filtered mean.

    linearise(mean [B, n], inputs[t]) -> F [B, n, n], b [B, n], Q [B, n, n], so that z_{t+1} ≈ F z_t + b. `inputs` is indexed by t = 0 … T-2
    (a sequence, or a tensor with time first). Other arguments as in `kalman_filter`. With F, b, Q that do not depend on the mean, it is the
    Kalman filter. `step` may be a compiled `filter_step`. Särkkä (2013), algorithm 5.4, with the linearisation left to the caller.
    """
    mask = _check_observations(a, mask, validate)
    (B, T, A), n = a.shape, P1.shape[-1]
    H, R = _over_time("H", H, B, T, (A, n)), _over_time("R", R, B, T, (A, A))
    mean = _prior("m1", m1, B, (n,)).expand(n, B)
    cov = _prior("P1", P1, B, (n, n)).expand(n, n, B)
    h, y, half_log_det_R, count = _whiten(a, H, R, mask)

    predicted, steps = [(mean, cov)], []
    for t in range(T - 1):
        steps.append(step(linearise, mean, cov, h[t], y[t], inputs[t]))
        mean, cov = steps[-1][2:4]
        predicted.append((mean, cov))
    mp, Pp = (torch.stack(v) for v in zip(*predicted))
    K = _mmt(_observe_cov(cov, h[T - 1]), h[T - 1])
    last_mean, last_cov = mean + _mv(K, y[T - 1] - _mv(h[T - 1], mean)), _observe_cov(cov, h[T - 1])
    if steps:
        mf, Pf, _, _, F, b, Q = (torch.stack(v) for v in zip(*steps))
        mf, Pf = torch.cat([mf, last_mean.unsqueeze(0)]), torch.cat([Pf, last_cov.unsqueeze(0)])
    else:
        mf, Pf = last_mean.unsqueeze(0), last_cov.unsqueeze(0)
        F, b, Q = cov.new_zeros(0, n, n, B), cov.new_zeros(0, n, B), cov.new_zeros(0, n, n, B)
    log_likelihood = _log_likelihood(mp, Pp, h, y, half_log_det_R, count)
    _check_result(validate, "the filter's result", mf, log_likelihood)
    return _as_filtered(B, mf, Pf, mp, Pp, log_likelihood, F, b, Q)


# --- backward -----------------------------------------------------------------------------------------------------------------------------


def _backward(f: Filtered):
    """Batch-last G [T-1, n, n, B], c [T-1, n, B], C [T-1, n, n, B] of the backward chain, all t at once (no sample enters)."""
    F, Q = _last(f.F), _last(f.Q)
    Pf, Pp = _last(f.filtered_cov)[:-1], _last(f.predicted_cov)[1:]
    mf, mp = _last(f.filtered_mean)[:-1], _last(f.predicted_mean)[1:]
    L = _cholesky(Pp)
    G = _solve_upper(L, _solve_lower(L, _mm(F, Pf))).transpose(-3, -2)  # P_f Fᵀ P_p⁻¹
    c = mf - _mv(G, mp)
    keep = torch.eye(F.shape[-2], dtype=F.dtype, device=F.device).unsqueeze(-1) - _mm(G, F)
    C = _mmt(_mm(keep, Pf), keep) + _mmt(_mm(G, Q), G)  # Joseph form: a sum of squares, so it stays positive
    return G, c, _symmetrise(C)


def backward_chain(f: Filtered) -> Backward:
    """The backward Markov chain p(z_t | z_{t+1}, a_{1:t}) of a filtered model: what smoother and sampler share."""
    B = f.filtered_mean.shape[0]
    return Backward(*(_first(v.expand(*v.shape[:-1], B)) for v in _backward(f)))


def smooth(f: Filtered, validate: bool = True) -> Smoothed:
    """Rauch-Tung-Striebel smoother from a filter's result; exact for the linear model. Särkkä (2013), theorem 8.2."""
    B, T = f.filtered_mean.shape[:2]
    G, c, C = _backward(f)
    m, P = _last(f.filtered_mean)[-1], _last(f.filtered_cov)[-1]
    means, covs = [m], [P]
    for t in reversed(range(T - 1)):
        m = c[t] + _mv(G[t], m)
        P = C[t] + _mmt(_mm(G[t], P), G[t])
        means.append(m)
        covs.append(P)
    mean, cov = torch.stack(torch.broadcast_tensors(*means[::-1])), torch.stack(torch.broadcast_tensors(*covs[::-1]))
    cross = _mmt(cov[1:], G)  # Cov(z_{t+1}, z_t) = P_{t+1} G_tᵀ
    _check_result(validate, "the smoother's result", mean, cov)
    return Smoothed(*(_first(v.expand(*v.shape[:-1], B)) for v in (mean, cov, cross)))


def sample_joint(f: Filtered, noise: Tensor, validate: bool = True) -> JointSample:
    """Draw z_{1:T} from the *joint* posterior p(z_{1:T} | a_{1:T}) by backward sampling, with its log density.

    noise [B, T, n] standard normal (drawn by the caller, from an explicit generator). Neighbouring states of one draw are correlated as the
    posterior says; draws from the smoothing marginals would not be. Carter & Kohn (1994).
    """
    if noise.shape != f.filtered_mean.shape:
        raise ValueError(f"noise must be [B, T, n] = {list(f.filtered_mean.shape)}, got {list(noise.shape)}")
    T, n = noise.shape[1:]
    G, c, C = _backward(f)
    last_cov = _last(f.filtered_cov)[-1:]
    shared = max(C.shape[-1], last_cov.shape[-1])
    L = _cholesky(torch.cat([v.expand(*v.shape[:-1], shared) for v in (C, last_cov)]))
    eps = _last(noise)
    shock = torch.stack([sum(L[i][k] * eps[:, k] for k in range(i + 1)) for i in range(n)], 1)  # L ε [T, n, B]
    start = c + shock[:-1]
    z = _last(f.filtered_mean)[-1] + shock[-1]
    path = [z]
    for t in reversed(range(T - 1)):
        z = start[t] + _mv(G[t], z)
        path.append(z)
    log_density = -(0.5 * (eps**2).sum((0, 1)) + _log_diagonal(L).sum(0) + 0.5 * T * n * math.log(2 * math.pi))
    _check_result(validate, "the joint sample", log_density)
    return JointSample(_first(torch.stack(path[::-1])), log_density)
