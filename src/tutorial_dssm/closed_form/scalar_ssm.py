"""The state-space model with one number as its state, for pictures of EM: every quantity is a sum
that fits in a line.

    z_1 ~ N(0, p1),    z_{t+1} = f z_t + N(0, q),    x_t = c z_t + N(0, r).

Parameters may be tensors [G], a grid of models. Averages are over sequences: nats per sequence.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..probability import kalman


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


def scalar(f=0.9, c=1.0, q=0.2, r=0.5, p1=1.0) -> Scalar:
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
    return kalman.kalman_filter(
        x.unsqueeze(-1), f, None, q, c, r, x.new_zeros(1), p1.squeeze(1), validate=False
    )


def log_likelihood(s: Scalar, x: Tensor) -> Tensor:
    """Mean of log p(x_{1:T}) over sequences x [N, T]: a number, or [G] for a grid.

    Exact and differentiable.

    Equations: em-rate
    """
    return (
        _filter(s, x)
        .log_likelihood.reshape(-1, len(x))
        .mean(1)
        .reshape(torch.broadcast_shapes(*(v.shape for v in s)))
    )


def e_step(s: Scalar, x: Tensor, factorised: bool = False) -> Sums:
    """The sums under the exact posterior of one model, or under the best one that is independent
    over time; x [N, T].

    Equations: em-estep
    """
    mean, cov, cross = (
        v.flatten(2) if v.ndim == 3 else v.flatten(1)
        for v in kalman.smooth(_filter(s, x), validate=False)
    )
    mean, (N, T) = mean.squeeze(-1), x.shape
    cov, cross = cov.reshape(N, T), cross.reshape(N, T - 1)
    if factorised:
        ends = torch.zeros(T, dtype=x.dtype)
        precision = (
            s.c**2 / s.r
            + torch.cat([1 / s.p1.reshape(1), (1 / s.q).expand(T - 1)])
            + s.f**2 / s.q * torch.cat([ends[1:] + 1, ends[:1]])
        )
        cov, cross = (1 / precision).expand(N, T), torch.zeros_like(cross)
    second = mean**2 + cov
    # entropy of the chain: pairs of neighbours minus the inner steps they share
    log_pairs, log_inner = (
        (cov[:, :-1] * cov[:, 1:] - cross**2).log().sum(1),
        cov[:, 1:-1].log().sum(1),
    )
    entropy = 0.5 * (log_pairs - log_inner).mean() + 0.5 * T * (1 + math.log(2 * math.pi))
    lag = (mean[:, 1:] * mean[:, :-1] + cross).sum(1)
    sums = (
        second[:, 0],
        second[:, :-1].sum(1),
        second[:, 1:].sum(1),
        lag,
        second.sum(1),
        (x * mean).sum(1),
        (x**2).sum(1),
    )
    return Sums(*(v.mean() for v in sums), T, entropy)


def scalar_log_joint(s: Scalar, e: Sums) -> Tensor:
    """E log p(x, z), per sequence: a number, or [G]."""
    first = s.p1.log() + e.first / s.p1
    moves = (e.steps - 1) * s.q.log() + (e.then - 2 * s.f * e.lag + s.f**2 * e.now) / s.q
    sees = e.steps * s.r.log() + (e.xx - 2 * s.c * e.xz + s.c**2 * e.every) / s.r
    return -0.5 * (first + moves + sees + 2 * e.steps * math.log(2 * math.pi))


def bound(s: Scalar, e: Sums) -> Tensor:
    """The lower bound of `log_likelihood` with the posterior behind the sums; touches it where that
    is the exact one of s.

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


def em_path(
    s: Scalar, x: Tensor, iterations: int, learn: str, factorised: bool = False
) -> list[Scalar]:
    """The models from the first to the last, [iterations + 1]."""
    path = [s]
    for _ in range(iterations):
        path.append(scalar_m_step(path[-1], e_step(path[-1], x, factorised), learn))
    return path


def gradient_ascent(s: Scalar, x: Tensor, steps: int, learn: str, rate: float) -> list[Scalar]:
    """Plain gradient ascent on the likelihood, variances by their logarithms; the models from the
    first to the last, [steps + 1].
    """
    path = [s]
    for _ in range(steps):
        free = {k: getattr(path[-1], k) for k in learn}
        free = {k: (v.log() if k in "qr" else v).detach().requires_grad_() for k, v in free.items()}
        new = {k: v.exp() if k in "qr" else v for k, v in free.items()}
        gradients = torch.autograd.grad(log_likelihood(s._replace(**new), x), list(free.values()))
        moved = {k: v.detach() + rate * g for (k, v), g in zip(free.items(), gradients)}
        path.append(s._replace(**{k: v.exp() if k in "qr" else v for k, v in moved.items()}))
    return path
