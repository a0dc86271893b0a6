"""The state-space model with one number as its state, for pictures of EM.

Every quantity is a sum that fits in a line:

    z_1 ~ N(0, p1),    z_{t+1} = f z_t + N(0, q),    x_t = c z_t + N(0, r).

Parameters may be tensors [G], a grid of models. Averages are over sequences: nats per sequence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..probability import kalman
from ..probability.gaussian import LOG_2PI


class Scalar(NamedTuple):
    """Parameters, each a number or [G]; q, r, p1 are variances."""

    f: Tensor
    c: Tensor
    q: Tensor
    r: Tensor
    p1: Tensor


class Sums(NamedTuple):
    """What the M-step needs of a posterior: sums over steps, averaged over sequences.

    E is the posterior average.
    """

    first: Tensor  # E z_1²
    now: Tensor  # Σ E z_t², t = 1 … T-1
    then: Tensor  # Σ E z_t², t = 2 … T
    lag: Tensor  # Σ E z_{t+1} z_t
    every: Tensor  # Σ E z_t², t = 1 … T
    xz: Tensor  # Σ x_t E z_t
    xx: Tensor  # Σ x_t²
    steps: int  # T
    entropy: Tensor  # of the posterior, nats


def scalar(
    f: float = 0.9, c: float = 1.0, q: float = 0.2, r: float = 0.5, p1: float = 1.0
) -> Scalar:
    """Float64 parameters from numbers."""
    return Scalar(*(torch.as_tensor(v, dtype=torch.float64) for v in (f, c, q, r, p1)))


def draw_observations(s: Scalar, sequences: int, steps: int, generator: torch.Generator) -> Tensor:
    """Observations x [N, T] of one model."""
    noise = torch.randn(2, steps, sequences, generator=generator, dtype=s.f.dtype)
    z = [s.p1.sqrt() * noise[0, 0]]
    for e in noise[0, 1:]:
        z.append(s.f * z[-1] + s.q.sqrt() * e)
    return s.c * torch.stack(z, 1) + s.r.sqrt() * noise[1].T


def _filter(s: Scalar, x: Tensor) -> kalman.Filtered:
    """All sequences under all models of a grid: batch G·N."""
    grid = [v.reshape(-1, 1, 1, 1) for v in torch.broadcast_tensors(*s)]
    if len(grid[0]) > 1:
        grid, x = [v.repeat_interleave(len(x), 0) for v in grid], x.repeat(len(grid[0]), 1)
    f, c, q, r, p1 = grid
    model = kalman.StateSpaceModel(F=f, Q=q, H=c, R=r, m1=x.new_zeros(1), P1=p1.squeeze(1))
    return kalman.kalman_filter(x.unsqueeze(-1), model, validate=False)


def log_likelihood(s: Scalar, x: Tensor) -> Tensor:
    """Mean of log p(x_{1:T}) over sequences x [N, T]: a number, or [G] for a grid.

    Exact and differentiable.

    Equations: em-rate
    """
    grid = torch.broadcast_shapes(*(v.shape for v in s))
    return _filter(s, x).log_likelihood.reshape(-1, len(x)).mean(1).reshape(grid)


def e_step(s: Scalar, x: Tensor, factorised: bool = False) -> Sums:
    """The sums under a posterior of one model; x [N, T].

    The exact posterior, or with `factorised` the best one that is independent over time.

    Equations: em-estep
    """
    N, T = x.shape
    smoothed = kalman.smooth(_filter(s, x), validate=False)
    mean, cov, cross = smoothed.mean[..., 0], smoothed.cov[..., 0, 0], smoothed.cross_cov[..., 0, 0]
    if factorised:
        cov = (1 / _precision(s, T)).expand(N, T)
        cross = torch.zeros_like(cross)
    second = mean**2 + cov
    return Sums(
        first=second[:, 0].mean(),
        now=second[:, :-1].sum(1).mean(),
        then=second[:, 1:].sum(1).mean(),
        lag=(mean[:, 1:] * mean[:, :-1] + cross).sum(1).mean(),
        every=second.sum(1).mean(),
        xz=(x * mean).sum(1).mean(),
        xx=(x**2).sum(1).mean(),
        steps=T,
        entropy=_chain_entropy(cov, cross).mean(),
    )


def _precision(s: Scalar, T: int) -> Tensor:
    """Diagonal [T] of the inverse covariance of p(z_{1:T} | x): by x_t, from before, from after."""
    before = torch.cat([1 / s.p1.reshape(1), (1 / s.q).expand(T - 1)])
    after = s.f**2 / s.q * (torch.arange(1, T + 1) < T)
    return s.c**2 / s.r + before + after


def _chain_entropy(cov: Tensor, cross: Tensor) -> Tensor:
    """Entropy [N] of chains with variances [N, T] and covariances of neighbours [N, T-1].

    Pairs of neighbours minus the inner steps they share.
    """
    pairs = (cov[:, :-1] * cov[:, 1:] - cross**2).log().sum(1)
    inner = cov[:, 1:-1].log().sum(1)
    return 0.5 * (pairs - inner) + 0.5 * cov.shape[1] * (1 + LOG_2PI)


def scalar_log_joint(s: Scalar, e: Sums) -> Tensor:
    """E log p(x, z), per sequence: a number, or [G]."""
    first = s.p1.log() + e.first / s.p1
    moves = (e.steps - 1) * s.q.log() + (e.then - 2 * s.f * e.lag + s.f**2 * e.now) / s.q
    sees = e.steps * s.r.log() + (e.xx - 2 * s.c * e.xz + s.c**2 * e.every) / s.r
    return -0.5 * (first + moves + sees + 2 * e.steps * LOG_2PI)


def bound_of_sums(s: Scalar, e: Sums) -> Tensor:
    """The lower bound of `log_likelihood` with the posterior behind the sums.

    It touches the log-likelihood where that posterior is the exact one of s.

    Equations: em-rate
    """
    return scalar_log_joint(s, e) + e.entropy


def scalar_m_step(s: Scalar, e: Sums, learn: str) -> Scalar:
    """The best values of the parameters named in `learn` (of "fcqr"); the others stay.

    ValueError for another name.

    Equations: em-mstep
    """
    if not learn or set(learn) - set("fcqr"):
        raise ValueError(f"learn must name parameters among f, c, q, r, got {learn!r}")
    if "f" in learn:
        s = s._replace(f=e.lag / e.now)
    if "q" in learn:
        s = s._replace(q=(e.then - 2 * s.f * e.lag + s.f**2 * e.now) / (e.steps - 1))
    if "c" in learn:
        s = s._replace(c=e.xz / e.every)
    if "r" in learn:
        s = s._replace(r=(e.xx - 2 * s.c * e.xz + s.c**2 * e.every) / e.steps)
    return s


def em_path(s: Scalar, x: Tensor, iterations: int, learn: str) -> list[Scalar]:
    """The models from the first to the last, [iterations + 1]."""
    path = [s]
    for _ in range(iterations):
        path.append(scalar_m_step(path[-1], e_step(path[-1], x), learn))
    return path


def gradient_ascent(s: Scalar, x: Tensor, steps: int, learn: str, rate: float) -> list[Scalar]:
    """Plain gradient ascent on the likelihood, variances by their logarithms.

    The models from the first to the last, [steps + 1].
    """

    def model(free: Sequence[Tensor]) -> Scalar:
        """s with the parameters in `learn` replaced."""
        new = {k: v.exp() if k in "qr" else v for k, v in zip(learn, free)}
        return s._replace(**new)

    now = [getattr(s, k).log() if k in "qr" else getattr(s, k) for k in learn]
    path = [s]
    for _ in range(steps):
        free = [v.detach().requires_grad_() for v in now]
        gradients = torch.autograd.grad(log_likelihood(model(free), x), free)
        now = [v.detach() + rate * g for v, g in zip(free, gradients)]
        path.append(model(now))
    return path
