"""EM of the linear-Gaussian model in its parts: posterior moments, expected log joint, bound.

`em.em_step` takes the exact posterior. Here the E-step's posterior may be another one, with
`em.m_step` after it: the best that is independent over time (`mean_field`), or what you like, as
`kalman.Smoothed` moments. Shapes are batch-first; information in nats.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.lgssm import LGSSM, LGSSMConfig, covariance
from ..probability import kalman
from ..probability.kalman import Smoothed
from . import em


class Matrices(NamedTuple):
    """The model in the usual symbols: z_1 ~ N(m1, P1), z_{t+1} = F z_t + B u_t + b + N(0, Q), x_t =
    C z_t + d + N(0, diag r).
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
    Q, P1 = covariance(model.log_q, model.lower_q)[0], covariance(model.log_p1, model.lower_p1)[0]
    return Matrices(model.F, model.B, model.b, Q, model.C, model.d, model.log_r.exp(), model.m1, P1)


@torch.no_grad()
def from_matrices(m: Matrices) -> LGSSM:
    """A model with these parameters, in their dtype.

    ValueError where Q or P1 is not positive definite.
    """
    model = LGSSM(LGSSMConfig(len(m.C), m.B.shape[1], len(m.F))).to(m.F)
    (log_q, lower_q), (log_p1, lower_p1) = em.factors("Q", m.Q), em.factors("P1", m.P1)
    new = {"F": m.F, "B": m.B, "b": m.b, "C": m.C, "d": m.d, "m1": m.m1, "log_r": m.r.log()}
    for name, value in (
        new | {"log_q": log_q, "lower_q": lower_q, "log_p1": log_p1, "lower_p1": lower_p1}
    ).items():
        getattr(model, name).copy_(value)
    return model


def change_basis(model: LGSSM, S: Tensor) -> LGSSM:
    """The same model for the states S z: other matrices, the same density of x.

    S [n, n] invertible.

    Equations: ssm-basis, em-basis
    """
    m, back = matrices(model), torch.linalg.inv(S)
    return from_matrices(
        Matrices(
            S @ m.F @ back,
            S @ m.B,
            S @ m.b,
            S @ m.Q @ S.T,
            m.C @ back,
            m.d,
            m.r,
            S @ m.m1,
            S @ m.P1 @ S.T,
        )
    )


@torch.no_grad()
def draw_sequences(model: LGSSM, u: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """States z [B, T, n] and observations x [B, T, X] drawn from the model under controls u [B, T,
    U].
    """
    m = matrices(model)
    z1 = (
        m.m1
        + model.noise(u, len(u), model.z_dim, generator=generator) @ torch.linalg.cholesky(m.P1).T
    )
    z = model.predict(z1, u, sample=True, generator=generator)
    return z, model.decode(z) + m.r.sqrt() * model.noise(
        u, *u.shape[:2], model.x_dim, generator=generator
    )


@torch.no_grad()
def exact_moments(model: LGSSM, x: Tensor, u: Tensor, mask: Tensor | None = None) -> Smoothed:
    """The E-step: moments of p(z_{1:T} | x, u). Arguments as `LGSSM.filter`.

    Equations: em-estep
    """
    return kalman.smooth(model.filter(x, u, mask))


def posterior_precision(model: LGSSM, steps: int, mask: Tensor | None = None) -> Tensor:
    """Inverse covariance of p(z_{1:T} | x, u) [B, T n, T n], block tridiagonal; B = 1 without a
    mask, as it does not depend on the data.

    mask bool [B, T] or [B, T, X], True = observed.

    Equations: em-meanfield
    """
    m = matrices(model)
    seen = (
        torch.ones(1, steps, 1, dtype=m.F.dtype, device=m.F.device)
        if mask is None
        else mask.to(m.F.dtype).reshape(*mask.shape[:2], -1)
    )
    inv_q, now = torch.linalg.inv(m.Q), torch.einsum("xi,btx,xj->btij", m.C, seen / m.r, m.C)
    rows = []
    for t in range(steps):
        block = (
            now[:, t]
            + (torch.linalg.inv(m.P1) if t == 0 else inv_q)
            + (m.F.T @ inv_q @ m.F if t + 1 < steps else 0)
        )
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
    """The best q = Π_t q(z_t): means of the smoother, covariances the inverses of the precision's
    diagonal blocks, no cross-covariance.

    It minimises KL(q ‖ p(z | x)) over all densities that are independent over time (Bishop 2006,
    section 10.1.2).

    Equations: em-meanfield
    """
    exact, n = exact_moments(model, x, u, mask), model.z_dim
    precision = posterior_precision(model, x.shape[1], mask)
    blocks = torch.stack(
        [precision[:, i : i + n, i : i + n] for i in range(0, precision.shape[-1], n)], 1
    )
    return Smoothed(
        exact.mean, torch.linalg.inv(blocks).expand_as(exact.cov), torch.zeros_like(exact.cross_cov)
    )


def expected_log_joint(
    model: LGSSM, q: Smoothed, x: Tensor, u: Tensor, mask: Tensor | None = None
) -> Tensor:
    """E_q[log p(x, z | u)] [B] in nats, differentiable in the model; q is a constant (Shumway &
    Stoffer 1982, with offsets).

    Equations: em-elbo, em-moments, em-expected, em-fisher
    """
    m, (M, V, cross) = matrices(model), q
    x = model.observed(x, u, mask)
    seen = (
        torch.ones_like(x)
        if mask is None
        else mask.to(x.dtype).reshape(*x.shape[:2], -1).expand_as(x)
    )

    def gaussian(e: Tensor, S: Tensor, P: Tensor) -> Tensor:
        """E log N(error; 0, P) for an error of mean e and covariance S."""
        second = S + e.unsqueeze(-1) * e.unsqueeze(-2)
        trace = torch.linalg.solve(P, second).diagonal(dim1=-2, dim2=-1).sum(-1)
        return -0.5 * (trace + torch.logdet(P) + e.shape[-1] * math.log(2 * math.pi))

    first = gaussian(M[:, 0] - m.m1, V[:, 0], m.P1)
    moved = cross @ m.F.T  # Cov(z_{t+1}, F z_t)
    spread = V[:, 1:] - moved - moved.mT + m.F @ V[:, :-1] @ m.F.T
    moves = gaussian(M[:, 1:] - model.transition(M[:, :-1], u[:, :-1])[0], spread, m.Q).sum(1)
    squares = (x - model.decode(M)) ** 2 + torch.einsum("xi,btij,xj->btx", m.C, V, m.C)
    return (
        first
        + moves
        - 0.5 * (seen * (squares / m.r + m.r.log() + math.log(2 * math.pi))).sum((1, 2))
    )


def chain_entropy(q: Smoothed) -> Tensor:
    """Entropy [B] in nats of a Gaussian Markov chain with these moments: pairs of neighbours minus
    what they share.

    Equations: em-elbo
    """
    _, V, cross = q

    def of(cov: Tensor) -> Tensor:
        """Entropy of a Gaussian with this covariance."""
        return 0.5 * (torch.logdet(cov) + cov.shape[-1] * (1 + math.log(2 * math.pi)))

    if V.shape[1] == 1:
        return of(V[:, 0])
    pairs = torch.cat([torch.cat([V[:, :-1], cross.mT], -1), torch.cat([cross, V[:, 1:]], -1)], -2)
    return of(pairs).sum(1) - of(V[:, 1:-1]).sum(1)


def moment_bound(
    model: LGSSM, q: Smoothed, x: Tensor, u: Tensor, mask: Tensor | None = None
) -> Tensor:
    """E_q[log p(x, z | u)] + entropy of q: a lower bound of log p(x | u) [B], nats per sequence,
    tight where q is the exact posterior.

    Equations: kf-elbo, em-decomposition, em-elbo
    """
    return expected_log_joint(model, q, x, u, mask) + chain_entropy(q)


@torch.no_grad()
def variational_em(
    model: LGSSM,
    x: Tensor,
    u: Tensor,
    iterations: int,
    posterior: Callable = exact_moments,
    mask: Tensor | None = None,
) -> Tensor:
    """`iterations` of E-step (`posterior`(model, x, u, mask) -> moments) and M-step in place; the
    mean bound of a sequence after each E-step, [iterations + 1] nats. With `mean_field` it is
    variational EM: the bound never falls, the likelihood may.

    Equations: em-restricted
    """
    values = []
    for _ in range(iterations):
        q = posterior(model, x, u, mask)
        values.append(moment_bound(model, q, x, u, mask).mean())
        em.m_step(model, q, x, u, mask)
    return torch.stack(
        [*values, moment_bound(model, posterior(model, x, u, mask), x, u, mask).mean()]
    )
