"""Observations with unit noise: after whitening, a filter can condition on one scalar at a time.

As everywhere inside the filters, the batch is the last axis.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .gaussian import LOG_2PI
from .small_matrices import (
    batch_last,
    cholesky,
    identity,
    log_diagonal,
    mm,
    mmt,
    mv,
    solve_lower,
)


class Whitened(NamedTuple):
    """Observations with unit noise, y_t = h_t z_t + N(0, I), batch-last.

    A missing entry is an observation of 0 = 0·z: it changes nothing, whatever R couples it to.
    """

    h: Tensor  # [T, A, n, B or 1]
    y: Tensor  # [T, A, B]
    constant: Tensor  # [T or 1, B or 1] log p(a_t | z_t) + |y_t - h_t z_t|²/2

    def log_likelihood(self, mean: Tensor, cov: Tensor) -> Tensor:
        """log p(a_{1:T}) [B] from predicted moments [T, n, B] and [T, n, n, B or 1].

        Sum over t of log N(y_t; h mean, h cov hᵀ + I) and the constants, all steps at once.
        """
        L = cholesky(mmt(mm(self.h, cov), self.h) + identity(self.h.shape[-3], self.h))
        e = solve_lower(L, (self.y - mv(self.h, mean)).unsqueeze(-2)).squeeze(-2)  # [T, A, B]
        return (-0.5 * (e**2).sum(-2) - log_diagonal(L) + self.constant).sum(0)


def whiten(a: Tensor, H: Tensor, R: Tensor, mask: Tensor | None) -> Whitened:
    """y = L⁻¹ a and h = L⁻¹ H with L Lᵀ = R.

    a [B, T, A] and mask bool [B, T, A] or None are batch-first, H [T or 1, A, n, B or 1] and
    R [T or 1, A, A, B or 1] batch-last.
    """
    y = batch_last(a).contiguous()
    count: Tensor | int = a.shape[-1]
    if mask is not None:
        seen = batch_last(mask)  # [T, A, B]
        y = torch.where(seen, y, torch.zeros_like(y))
        H = torch.where(seen.unsqueeze(-2), H, torch.zeros_like(H))
        R = torch.where(seen.unsqueeze(-2) & seen.unsqueeze(-3), R, identity(R.shape[-2], R))
        count = seen.sum(-2).to(a.dtype)
    L = cholesky(R)
    h = solve_lower(L, H)
    y = solve_lower(L, y.unsqueeze(-2)).squeeze(-2)
    constant = -log_diagonal(L) - 0.5 * LOG_2PI * count
    return Whitened(h.expand(a.shape[1], *h.shape[1:]), y, constant)


def observe_cov(P: Tensor, h: Tensor) -> Tensor:
    """Covariance [n, n, B] after observing h z, one row of h [A, n, B] at a time.

    P [n, n, B] before; the noise of each observation has unit variance.
    """
    for row in h.unbind(0):
        Ph = mv(P, row)
        k = Ph / ((row * Ph).sum(0) + 1.0)
        P = torch.addcmul(P, Ph, k.unsqueeze(1), value=-1)
    return P
