"""Dense algebra for many small matrices: the matrix axes in front, the batch axis last, [..., i, j,
B].
"""

import torch
from torch import Tensor

# --- small dense algebra with the matrix axes in front of the batch axis: [..., i, j, B] ----------


def batch_first(x: Tensor) -> Tensor:
    """Batch-last -> batch-first (a view)."""
    return x.movedim(-1, 0)


def batch_last(x: Tensor) -> Tensor:
    """Batch-first -> batch-last (a view).

    An expanded batch (stride 0) is one shared value: keep it once.
    """
    x = x.movedim(0, -1)
    return x[..., :1] if x.shape[-1] > 1 and x.stride(-1) == 0 else x


def mv(A: Tensor, v: Tensor) -> Tensor:
    """Matrix times vector: [..., i, j, B], [..., j, B] -> [..., i, B]."""
    return (A * (v if v.ndim == 2 else v.unsqueeze(-3))).sum(-2)


def fits_cache(A: Tensor, M: Tensor) -> bool:
    """Whether all products of entries fit the processor's cache."""
    return max(A.numel(), M.numel()) < 2**15


def mm(A: Tensor, M: Tensor) -> Tensor:
    """Matrix times matrix: [..., i, j, B], [..., j, k, B] -> [..., i, k, B].

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
    return mm(A, M.transpose(-3, -2))


def affine(A: Tensor, v: Tensor, c: Tensor) -> Tensor:
    """A v + c:

    [i, j, B|1], [j, B], [i, B|1] -> [i, B]; one ordinary matrix product where all series share A.
    """
    return torch.addmm(c, A.squeeze(-1), v) if A.shape[-1] == 1 else mv(A, v) + c


def plus_symmetric(Q: Tensor, P: Tensor) -> Tensor:
    """Q + P with the rounding errors of P made symmetric: what is not symmetric would grow over
    time.
    """
    return torch.add(Q, P + P.transpose(-3, -2), alpha=0.5)


def identity(n: int, like: Tensor) -> Tensor:
    """[n, n, 1]."""
    return torch.eye(n, dtype=like.dtype, device=like.device).unsqueeze(-1)


def cholesky(P: Tensor) -> list[list[Tensor]]:
    """Lower Cholesky factor of [..., n, n, B] as rows of entries [..., B]; NaN where P is not
    positive definite.

    Written out because n is tiny and the batch long: n³/3 vector operations instead of one LAPACK
    call per matrix.
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


def solve_lower(L: list[list[Tensor]], M: Tensor) -> Tensor:
    """L⁻¹ M for M [..., n, k, B]."""
    rows: list[Tensor] = []
    for i in range(len(L)):
        row = M[..., i, :, :]
        for k in range(i):
            row = row - L[i][k].unsqueeze(-2) * rows[k]
        rows.append(row / L[i][i].unsqueeze(-2))
    return torch.stack(rows, -3)


def solve_upper(L: list[list[Tensor]], M: Tensor) -> Tensor:
    """L⁻ᵀ M for M [..., n, k, B]."""
    n = len(L)
    rows: list[Tensor] = [M] * n
    for i in reversed(range(n)):
        row = M[..., i, :, :]
        for k in range(i + 1, n):
            row = row - L[k][i].unsqueeze(-2) * rows[k]
        rows[i] = row / L[i][i].unsqueeze(-2)
    return torch.stack(rows, -3)


def log_diagonal(L: list[list[Tensor]]) -> Tensor:
    """Sum of the log diagonal, [..., B]: half the log determinant of L Lᵀ."""
    return sum(torch.log(L[i][i]) for i in range(len(L)))


def all_finite(x: Tensor) -> bool:
    """Quick where the answer is yes: a finite sum has finite terms."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def from_the_end(x: Tensor):
    """x[T-1], …, x[0]."""
    return reversed(x.unbind(0))
