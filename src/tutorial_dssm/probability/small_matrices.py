"""Dense algebra for many small matrices, with the batch as the last axis.

A matrix is [..., i, j, B], a vector [..., i, B]: every product is then a handful of long vector
operations. B = 1 stands for one value that the whole batch shares. A triangular factor is a list of
rows, each a list of entries [..., B] (`Factor`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

Factor = list[list[Tensor]]  # lower triangular: L[i][j] is [..., B], for j <= i


# --- layout ---------------------------------------------------------------------------------------


def batch_first(x: Tensor) -> Tensor:
    """[..., B] -> [B, ...], a view."""
    return x.movedim(-1, 0)


def batch_last(x: Tensor) -> Tensor:
    """[B, ...] -> [..., B], a view; an expanded batch (stride 0) is one shared value: [..., 1]."""
    x = x.movedim(0, -1)
    return x[..., :1] if x.shape[-1] > 1 and x.stride(-1) == 0 else x


def expanded_first(x: Tensor, B: int) -> Tensor:
    """[..., B or 1] -> [B, ...], a view: what is shared is expanded, not copied."""
    return batch_first(x.expand(*x.shape[:-1], B))


def stack_shared(values: list[Tensor]) -> Tensor:
    """T tensors [..., B or 1] -> [T, ..., B], or [T, ..., 1] where all of them are shared."""
    return torch.stack(torch.broadcast_tensors(*values))


def from_the_end(x: Tensor) -> Iterator[Tensor]:
    """x[T-1], …, x[0] of x [T, ...]."""
    return reversed(x.unbind(0))


# --- products and sums ----------------------------------------------------------------------------


def identity(n: int, like: Tensor) -> Tensor:
    """I [n, n, 1] in the dtype and on the device of `like`."""
    return torch.eye(n, dtype=like.dtype, device=like.device).unsqueeze(-1)


def transpose(A: Tensor) -> Tensor:
    """Aᵀ: [..., i, j, B] -> [..., j, i, B], a view."""
    return A.transpose(-3, -2)


def mv(A: Tensor, v: Tensor) -> Tensor:
    """A v: [..., i, j, B], [..., j, B] -> [..., i, B]."""
    return (A * (v if v.ndim == 2 else v.unsqueeze(-3))).sum(-2)


def fits_cache(A: Tensor, M: Tensor) -> bool:
    """Whether all products of entries of A and M fit the processor's cache."""
    return max(A.numel(), M.numel()) < 2**15


def mm(A: Tensor, M: Tensor) -> Tensor:
    """A M: [..., i, j, B], [..., j, k, B] -> [..., i, k, B].

    One product and one sum while the [i, j, k] terms fit the processor's cache; for many steps at
    once term by term, which needs no room for them.
    """
    if fits_cache(A, M):
        return (A.unsqueeze(-2) * (M if M.ndim == 3 else M.unsqueeze(-4))).sum(-3)
    total = A[..., :, 0, None, :] * M[..., None, 0, :, :]
    for j in range(1, A.shape[-2]):
        total.addcmul_(A[..., :, j, None, :], M[..., None, j, :, :])
    return total


def mmt(A: Tensor, M: Tensor) -> Tensor:
    """A Mᵀ: [..., i, j, B], [..., k, j, B] -> [..., i, k, B]."""
    if fits_cache(A, M):
        return (A.unsqueeze(-3) * (M if M.ndim == 3 else M.unsqueeze(-4))).sum(-2)
    return mm(A, transpose(M))


def affine(A: Tensor, v: Tensor, c: Tensor) -> Tensor:
    """A v + c: [i, j, B or 1], [j, B], [i, B or 1] -> [i, B].

    One ordinary matrix product where all series share A.
    """
    return torch.addmm(c, A.squeeze(-1), v) if A.shape[-1] == 1 else mv(A, v) + c


def plus_symmetric(Q: Tensor, P: Tensor) -> Tensor:
    """Q + (P + Pᵀ)/2: [n, n, B or 1], [n, n, B] -> [n, n, B].

    P is symmetric but for rounding errors, and the part of them that is not would grow over time.
    """
    return torch.add(Q, P + transpose(P), alpha=0.5)


# --- triangular factors ---------------------------------------------------------------------------


def cholesky(P: Tensor) -> Factor:
    """L with L Lᵀ = P, for P [..., n, n, B]; NaN where P is not positive definite.

    Written out because n is tiny and the batch long: n³/3 vector operations instead of one LAPACK
    call per matrix.
    """
    L: Factor = []
    for i in range(P.shape[-2]):
        row: list[Tensor] = []
        for j in range(i + 1):
            entry = P[..., i, j, :]
            for k in range(j):
                entry = entry - row[k] * (L[j][k] if j < i else row[k])
            row.append(torch.sqrt(entry) if i == j else entry / L[j][j])
        L.append(row)
    return L


def lower_times(L: Factor, v: Tensor) -> Tensor:
    """L v: factor of size n, [..., n, B] -> [..., n, B]."""
    rows: list[Tensor] = []
    for i in range(len(L)):
        row = L[i][0] * v[..., 0, :]
        for k in range(1, i + 1):
            row = row + L[i][k] * v[..., k, :]
        rows.append(row)
    return torch.stack(rows, -2)


def solve_lower(L: Factor, M: Tensor) -> Tensor:
    """L⁻¹ M: factor of size n, [..., n, k, B] -> [..., n, k, B]."""
    rows: list[Tensor] = []
    for i in range(len(L)):
        row = M[..., i, :, :]
        for k in range(i):
            row = row - L[i][k].unsqueeze(-2) * rows[k]
        rows.append(row / L[i][i].unsqueeze(-2))
    return torch.stack(rows, -3)


def solve_upper(L: Factor, M: Tensor) -> Tensor:
    """L⁻ᵀ M: factor of size n, [..., n, k, B] -> [..., n, k, B]."""
    n = len(L)
    rows: list[Tensor] = [M] * n
    for i in reversed(range(n)):
        row = M[..., i, :, :]
        for k in range(i + 1, n):
            row = row - L[k][i].unsqueeze(-2) * rows[k]
        rows[i] = row / L[i][i].unsqueeze(-2)
    return torch.stack(rows, -3)


def log_diagonal(L: Factor) -> Tensor:
    """Sum of the log diagonal, [..., B]: half the log determinant of L Lᵀ."""
    total = torch.log(L[0][0])
    for i in range(1, len(L)):
        total = total + torch.log(L[i][i])
    return total


def all_finite(x: Tensor) -> bool:
    """Whether x holds neither NaN nor infinity; quick if so: a finite sum has finite terms."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())
