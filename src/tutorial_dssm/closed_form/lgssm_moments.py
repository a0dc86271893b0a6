"""EM of the linear-Gaussian model in its parts: posterior moments, expected log joint, bound.

`em.em_step` takes the exact posterior. Here the E-step's posterior may be another one, with
`em.m_step` after it: the best that is independent over time (`factorised_moments`), or what you
like, as `kalman.Smoothed` moments. Shapes are batch-first; information in nats.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.lgssm import LGSSM, LGSSMConfig, covariance
from ..probability import gaussian, kalman
from ..probability.gaussian import LOG_2PI, Gaussian
from ..probability.kalman import Smoothed
from . import em


class Matrices(NamedTuple):
    """The model in the usual symbols.

    z_1 ~ N(m1, P1), z_{t+1} = F z_t + B u_t + b + N(0, Q), x_t = C z_t + d + N(0, diag r).
    """

    F: Tensor  # [n, n]
    B: Tensor  # [n, U]
    b: Tensor  # [n]
    Q: Tensor  # [n, n]
    C: Tensor  # [X, n]
    d: Tensor  # [X]
    r: Tensor  # [X] variances
    m1: Tensor  # [n]
    P1: Tensor  # [n, n]


def matrices(model: LGSSM) -> Matrices:
    """The model's parameters, Q and P1 as matrices; differentiable."""
    Q, _ = covariance(model.log_q, model.lower_q)
    P1, _ = covariance(model.log_p1, model.lower_p1)
    return Matrices(model.F, model.B, model.b, Q, model.C, model.d, model.log_r.exp(), model.m1, P1)


@torch.no_grad()
def from_matrices(m: Matrices) -> LGSSM:
    """A model with these parameters, in their dtype.

    ValueError where Q or P1 is not positive definite.
    """
    model = LGSSM(LGSSMConfig(len(m.C), m.B.shape[1], len(m.F))).to(m.F)
    new = {"F": m.F, "B": m.B, "b": m.b, "C": m.C, "d": m.d, "m1": m.m1, "log_r": m.r.log()}
    new["log_q"], new["lower_q"] = em.factors("Q", m.Q)
    new["log_p1"], new["lower_p1"] = em.factors("P1", m.P1)
    for name, value in new.items():
        getattr(model, name).copy_(value)
    return model


def change_basis(model: LGSSM, S: Tensor) -> LGSSM:
    """The same model for the states S z: other matrices, the same density of x.

    S [n, n] invertible.

    Equations: ssm-basis, em-basis
    """
    m, back = matrices(model), torch.linalg.inv(S)
    dynamics = {"F": S @ m.F @ back, "B": S @ m.B, "b": S @ m.b, "Q": S @ m.Q @ S.T}
    start = {"m1": S @ m.m1, "P1": S @ m.P1 @ S.T}
    return from_matrices(m._replace(C=m.C @ back, **dynamics, **start))


@torch.no_grad()
def draw_sequences(model: LGSSM, u: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw states z [B, T, n] and observations x [B, T, X] under controls u [B, T, U]."""
    m = matrices(model)
    first = model.noise(u, len(u), model.z_dim, generator=generator)
    z1 = m.m1 + first @ torch.linalg.cholesky(m.P1).T
    z = model.predict(z1, u, sample=True, generator=generator)
    noise = model.noise(u, *u.shape[:2], model.x_dim, generator=generator)
    return z, model.decode(z) + m.r.sqrt() * noise


def _seen(mask: Tensor | None, like: Tensor) -> Tensor:
    """1 where an entry is observed and 0 where not, [B, T, X or 1] for `like` [B, T, ...]."""
    if mask is None:
        return torch.ones_like(like[..., :1])
    return mask.to(like.dtype).reshape(*mask.shape[:2], -1)


@torch.no_grad()
def exact_moments(model: LGSSM, x: Tensor, u: Tensor, mask: Tensor | None = None) -> Smoothed:
    """The E-step: moments of p(z_{1:T} | x, u). Arguments as `LGSSM.filter`.

    Equations: em-estep
    """
    return kalman.smooth(model.filter(x, u, mask))


def posterior_precision(model: LGSSM, steps: int, mask: Tensor | None = None) -> Tensor:
    """Inverse covariance of p(z_{1:T} | x, u) [B, T n, T n], block tridiagonal.

    B = 1 without a mask, as it does not depend on the data. mask bool [B, T] or [B, T, X], True =
    observed.

    Equations: em-meanfield
    """
    m = matrices(model)
    seen = _seen(mask, m.F.new_zeros(1, steps, 1))
    now = torch.einsum("xi,btx,xj->btij", m.C, seen / m.r, m.C)
    inv_q = torch.linalg.inv(m.Q)
    rows = []
    for t in range(steps):
        block = now[:, t] + (torch.linalg.inv(m.P1) if t == 0 else inv_q)
        if t + 1 < steps:
            block = block + m.F.T @ inv_q @ m.F
        row = [torch.zeros_like(block)] * steps
        row[t] = block
        if t > 0:
            row[t - 1] = (-inv_q @ m.F).expand_as(block)
        if t + 1 < steps:
            row[t + 1] = (-m.F.T @ inv_q).expand_as(block)
        rows.append(torch.cat(row, -1))
    return torch.cat(rows, -2)


@torch.no_grad()
def factorised_moments(model: LGSSM, x: Tensor, u: Tensor, mask: Tensor | None = None) -> Smoothed:
    """The best q = Π_t q(z_t), independent over time ("mean field").

    Means of the smoother, covariances the inverses of the precision's diagonal blocks, no
    cross-covariance. It minimises KL(q ‖ p(z | x)) over all such densities (Bishop 2006, section
    10.1.2).

    Equations: em-meanfield
    """
    exact = exact_moments(model, x, u, mask)
    n, T = model.z_dim, x.shape[1]
    precision = posterior_precision(model, T, mask).unflatten(2, (T, n)).unflatten(1, (T, n))
    blocks = torch.stack([precision[:, t, :, t] for t in range(T)], 1)
    cov = torch.linalg.inv(blocks).expand_as(exact.cov)
    return Smoothed(exact.mean, cov, torch.zeros_like(exact.cross_cov))


def _expected_log_normal(e: Tensor, S: Tensor, P: Tensor) -> Tensor:
    """E log N(error; 0, P) [...] for an error of mean e [..., n] and covariance S [..., n, n]."""
    second = S + e.unsqueeze(-1) * e.unsqueeze(-2)
    trace = torch.linalg.solve(P, second).diagonal(dim1=-2, dim2=-1).sum(-1)
    return -0.5 * (trace + torch.logdet(P) + e.shape[-1] * LOG_2PI)


def expected_log_joint(
    model: LGSSM, q: Smoothed, x: Tensor, u: Tensor, mask: Tensor | None = None
) -> Tensor:
    """E_q[log p(x, z | u)] [B] in nats, differentiable in the model; q is a constant.

    Shumway & Stoffer (1982), with offsets.

    Equations: em-elbo, em-moments, em-expected, em-fisher
    """
    M, V, cross = q
    m = matrices(model)
    x = model.observed(x, u, mask)
    first = _expected_log_normal(M[:, 0] - m.m1, V[:, 0], m.P1)
    moved = cross @ m.F.T  # Cov(z_{t+1}, F z_t)
    spread = V[:, 1:] - moved - moved.mT + m.F @ V[:, :-1] @ m.F.T
    step = M[:, 1:] - model.transition(M[:, :-1], u[:, :-1])[0]
    moves = _expected_log_normal(step, spread, m.Q).sum(1)
    squares = (x - model.decode(M)) ** 2 + torch.einsum("xi,btij,xj->btx", m.C, V, m.C)
    sees = -0.5 * (_seen(mask, x) * (squares / m.r + m.r.log() + LOG_2PI)).sum((1, 2))
    return first + moves + sees


def chain_entropy(q: Smoothed) -> Tensor:
    """Entropy [B] in nats of a Gaussian Markov chain with these moments.

    Pairs of neighbours minus what they share. ValueError where a pair has no density.

    Equations: em-elbo
    """
    M, V, cross = q
    if V.shape[1] == 1:
        return gaussian.entropy(Gaussian(M[:, 0], V[:, 0]))
    means = torch.cat([M[:, :-1], M[:, 1:]], -1)
    upper = torch.cat([V[:, :-1], cross.mT], -1)
    lower = torch.cat([cross, V[:, 1:]], -1)
    pairs = gaussian.entropy(Gaussian(means, torch.cat([upper, lower], -2)))
    shared = gaussian.entropy(Gaussian(M[:, 1:-1], V[:, 1:-1]))
    return pairs.sum(1) - shared.sum(1)


def moment_bound(
    model: LGSSM, q: Smoothed, x: Tensor, u: Tensor, mask: Tensor | None = None
) -> Tensor:
    """E_q[log p(x, z | u)] + entropy of q: a lower bound of log p(x | u) [B], in nats.

    Tight where q is the exact posterior.

    Equations: kf-elbo, em-decomposition, em-elbo
    """
    return expected_log_joint(model, q, x, u, mask) + chain_entropy(q)


@torch.no_grad()
def variational_em(
    model: LGSSM,
    x: Tensor,
    u: Tensor,
    iterations: int,
    posterior: Callable[[LGSSM, Tensor, Tensor, Tensor | None], Smoothed] = exact_moments,
    mask: Tensor | None = None,
) -> Tensor:
    """`iterations` of an E-step with any posterior, and of the M-step in place.

    With `factorised_moments` it is variational EM: the bound never falls, the likelihood may.

    Args:
        model: is changed.
        x, u, mask: as in `LGSSM.filter`.
        iterations: how many.
        posterior: (model, x, u, mask) -> moments.
    Returns:
        The mean bound of a sequence after each E-step, [iterations + 1] nats.

    Equations: em-restricted
    """
    values = []
    for _ in range(iterations):
        q = posterior(model, x, u, mask)
        values.append(moment_bound(model, q, x, u, mask).mean())
        em.m_step(model, q, x, u, mask)
    q = posterior(model, x, u, mask)
    values.append(moment_bound(model, q, x, u, mask).mean())
    return torch.stack(values)
