"""Batch-last algebra against the ordinary operations of torch."""

import torch

from lgssm_instances import normal, random_covariance, seeded
from tutorial_dssm.probability import small_matrices

f64 = torch.float64


def test_factors_equal_those_of_lapack():
    P, M = random_covariance(seeded(), 5, n=3), normal(5, 3, 2)
    L = torch.linalg.cholesky(P)
    factor = small_matrices.cholesky(small_matrices.batch_last(P))
    last = small_matrices.batch_last(M)
    for ours, theirs in (
        (small_matrices.lower_times(factor, last[:, 0]), (L @ M[..., :1])[..., 0]),
        (small_matrices.solve_lower(factor, last), torch.linalg.solve(L, M)),
        (small_matrices.solve_upper(factor, last), torch.linalg.solve(L.mT, M)),
        (small_matrices.log_diagonal(factor), 0.5 * torch.logdet(P)),
    ):
        torch.testing.assert_close(small_matrices.batch_first(ours), theirs)


def test_large_products_equal_small_ones():
    """Large products are summed in another order; values and gradients are the same."""
    shapes = [(40, 3, 4, 300), (1, 4, 2, 300)]
    A, M = (torch.randn(s, generator=seeded(), dtype=f64).requires_grad_() for s in shapes)
    assert not small_matrices.fits_cache(A, M) and small_matrices.fits_cache(A[:1], M)
    for product in (small_matrices.mm(A, M), small_matrices.mmt(A, M.transpose(-3, -2))):
        expected = torch.einsum("tijb,tjkb->tikb", A, M.expand(40, -1, -1, -1))
        weight = torch.randn(product.shape, generator=seeded(1), dtype=f64)
        torch.testing.assert_close(product, expected, rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(
            torch.autograd.grad((product * weight).sum(), (A, M)),
            torch.autograd.grad((expected * weight).sum(), (A, M)),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
