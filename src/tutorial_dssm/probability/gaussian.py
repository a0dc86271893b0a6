"""Gaussian algebra: log-density, KL, product, conditioning, sampling, entropy (tensors only).

Two forms of the same thing: `Gaussian` carries a full covariance and is handled through its
Cholesky factor; `DiagonalGaussian` carries variances and is handled elementwise. Every function
takes either, and mixing the two gives the full form. The last axis of a mean is the event [n]; all
axes before it are batch axes, which broadcast. Log-densities, divergences and entropies are in
nats, summed over the event axis.

Everything is differentiable and runs in float32 and float64 on any device. A covariance that is not
symmetric positive definite is never repaired. On the CPU it raises a `ValueError`. On an
accelerator such a check would make the host wait for the device, so there the result becomes NaN
instead, as it cannot be missed; on the `meta` device there are no values to check.

The formulas are in Petersen & Pedersen, "The Matrix Cookbook" (2012), sec. 8, and Bishop, "Pattern
Recognition and Machine Learning" (2006), sec. 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """N(mean, cov) with a full, symmetric positive definite covariance."""

    mean: Tensor  # [..., n]
    cov: Tensor  # [..., n, n]


class DiagonalGaussian(NamedTuple):
    """N(mean, diag(var)); `var` holds variances, not standard deviations."""

    mean: Tensor  # [..., n]
    var: Tensor  # [..., n]


AnyGaussian = Gaussian | DiagonalGaussian


class Scaled(NamedTuple):
    """exp(log_normaliser) times a normalised density: what a product or Bayes' rule leaves."""

    gaussian: AnyGaussian  # of z, [..., n]
    log_normaliser: Tensor  # [...], nats


# --- the diagonal formulas, unchecked: what models train with -------------------------------------


def log_normal(x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """log N(x; mean, diag(var)) in nats, summed over the last axis: three [..., n] -> [...].

    Shapes broadcast; nothing is checked, and a variance that is not positive gives NaN.
    """
    return -0.5 * ((x - mean) ** 2 / var + torch.log(var) + LOG_2PI).sum(-1)


def kl_diagonal(mean: Tensor, var: Tensor, p_mean: Tensor, p_var: Tensor) -> Tensor:
    """KL(N(mean, diag(var)) ‖ N(p_mean, diag(p_var))) in nats: four [..., n] -> [...].

    Summed over the last axis. Shapes broadcast; nothing is checked, and a variance that is not
    positive gives NaN.

    Equations: vae-kl-one, vae-kl
    """
    return 0.5 * (torch.log(p_var / var) + (var + (mean - p_mean) ** 2) / p_var - 1).sum(-1)


def kl_standard(mean: Tensor, var: Tensor) -> Tensor:
    """KL(N(mean, diag(var)) ‖ N(0, I)) in nats, as `kl_diagonal`: two [..., n] -> [...]."""
    return kl_diagonal(mean, var, torch.zeros_like(mean), torch.ones_like(var))


# --- densities as values --------------------------------------------------------------------------


def full(g: AnyGaussian) -> Gaussian:
    """The same density with its covariance written out, [..., n, n]."""
    _check(g)
    return g if isinstance(g, Gaussian) else Gaussian(g.mean, torch.diag_embed(g.var))


def log_density(g: AnyGaussian, x: Tensor) -> Tensor:
    """log N(x; mean, cov) in nats.

    Args:
        g: the density, event [n].
        x: points [..., n]; batch axes broadcast against those of `g`.
    Returns:
        [...], summed over the last axis.
    Raises:
        ValueError: shapes do not fit, or the covariance is not positive definite.
    """
    n = _check(g)
    _check_vector("x", x, n)
    if isinstance(g, DiagonalGaussian):
        return log_normal(x, g.mean, _positive(g.var))
    return _log_density_from_factor(_cholesky(g.cov), x - g.mean)


def entropy(g: AnyGaussian) -> Tensor:
    """-E log N(z; mean, cov) in nats, [...]. Raises `ValueError` as `log_density` does.

    Equations: kf-information
    """
    n = _check(g)
    if isinstance(g, DiagonalGaussian):
        return 0.5 * (_positive(g.var).log() + 1 + LOG_2PI).sum(-1)
    return 0.5 * n * (1 + LOG_2PI) + _half_log_det(_cholesky(g.cov))


def kl(q: AnyGaussian, p: AnyGaussian) -> Tensor:
    """KL(q to p) = E_q[log q - log p] in nats, [...] (the batch axes of q and p broadcast).

    Raises:
        ValueError: q and p have different event sizes, or a covariance is not positive definite.

    Equations: vae-kl-full
    """
    _check_same_event(q, p)
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        return kl_diagonal(q.mean, _positive(q.var), p.mean, _positive(p.var))
    q, p = full(q), full(p)
    q_factor, p_factor = _cholesky(q.cov), _cholesky(p.cov)
    spread = _solve(p_factor, q_factor).square().sum((-2, -1))  # trace(P^-1 Q)
    distance = _solve(p_factor, (q.mean - p.mean)[..., None]).square().sum((-2, -1))
    n = q.mean.shape[-1]
    return 0.5 * (spread + distance - n) + _half_log_det(p_factor) - _half_log_det(q_factor)


def product(g1: AnyGaussian, g2: AnyGaussian) -> Scaled:
    """N(z; g1) N(z; g2) = exp(log_normaliser) N(z; gaussian).

    The normaliser is N(mean1; mean2, cov1 + cov2): how well the two factors agree. Diagonal times
    diagonal stays diagonal; otherwise the result is full (Matrix Cookbook, eq. 371).

    Returns:
        `Scaled`: the normalised product, event [n], and the log of its normaliser [...], in nats.
    Raises:
        ValueError: different event sizes, or a covariance is not positive definite.
    """
    n = _check_same_event(g1, g2)
    if isinstance(g1, DiagonalGaussian) and isinstance(g2, DiagonalGaussian):
        var1, var2 = _positive(g1.var), _positive(g2.var)
        gain = var1 / (var1 + var2)
        mean = g1.mean + gain * (g2.mean - g1.mean)
        log_normaliser = log_density(DiagonalGaussian(g2.mean, var1 + var2), g1.mean)
        return Scaled(DiagonalGaussian(mean, gain * var2), log_normaliser)
    # The second factor is the likelihood of observing z itself with noise cov2 and reading mean2.
    identity = torch.eye(n, dtype=g1.mean.dtype, device=g1.mean.device)
    noise = Gaussian(torch.zeros_like(g2.mean), full(g2).cov)
    return condition_on_observation(g1, g2.mean, identity, noise)


def condition_on_observation(
    prior: AnyGaussian, y: Tensor, H: Tensor, noise: AnyGaussian
) -> Scaled:
    """Bayes' rule for z ~ prior and y = H z + d + N(0, R), with `noise` = N(d, R).

    The joint covariance of (y, z) is M M' with M = [[R^1/2, H P^1/2], [0, P^1/2]] made of Cholesky
    factors. A QR decomposition makes M triangular, [[B, 0], [C, A]], and the rest is
    `condition_on_coordinates`. No covariance is ever subtracted, so in float32 the result stays
    positive definite where P - K H P does not (the square-root filter: Kailath, Sayed & Hassibi,
    "Linear Estimation" (2000), ch. 12).

    Args:
        prior: p(z), event [n].
        y: the observation [..., m].
        H: [..., m, n].
        noise: mean d (the offset) and covariance R, event [m].
    Returns:
        `Scaled`: p(z | y) as a full `Gaussian`, event [n], and log p(y) [...], in nats.
    Raises:
        ValueError: shapes do not fit, or a covariance is not positive definite.

    Equations: kf-condition
    """
    n, m = _check(prior), _check(noise)
    _check_vector("y", y, m)
    if H.ndim < 2 or H.shape[-2:] != (m, n):
        raise ValueError(f"H must be [..., m, n] = [..., {m}, {n}], got {list(H.shape)}")
    prior, noise = full(prior), full(noise)
    prior_root, noise_root = _cholesky(prior.cov), _cholesky(noise.cov)
    batch = torch.broadcast_shapes(prior_root.shape[:-2], noise_root.shape[:-2], H.shape[:-2])
    prior_root, noise_root, H = (
        v.expand(*batch, *v.shape[-2:]) for v in (prior_root, noise_root, H)
    )
    y_rows = torch.cat([noise_root, H @ prior_root], -1)
    z_rows = torch.cat([torch.zeros_like(H).mT, prior_root], -1)
    upper = torch.linalg.qr(torch.cat([y_rows, z_rows], -2).mT).R
    factor = upper.mT * upper.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]  # a positive diagonal
    residual = y - (H @ prior.mean[..., None])[..., 0] - noise.mean
    return _condition(factor, residual, prior.mean)


def condition_on_coordinates(joint: AnyGaussian, index: Sequence[int], value: Tensor) -> Scaled:
    """p(remaining coordinates | coordinates `index` = `value`) of a joint Gaussian.

    With the known coordinates first, the Cholesky factor of the joint covariance is [[B, 0],
    [C, A]]; the conditional covariance is A A', positive definite by construction, and the mean
    moves by C B^-1 (value - mean).

    Args:
        joint: event [n].
        index: k distinct coordinates, each in 0..n-1, 0 < k < n.
        value: [..., k], in the order of `index`.
    Returns:
        `Scaled`: the conditional, event [n - k], coordinates in their old order (diagonal if
        `joint` is), and the log marginal density of `value` [...], in nats.
    Raises:
        ValueError: shapes do not fit, a bad index, or a covariance that is not positive definite.

    Equations: kf-condition
    """
    n = _check(joint)
    known = list(index)
    if not 0 < len(known) < n or len(set(known)) < len(known) or not all(0 <= i < n for i in known):
        raise ValueError(
            f"index must hold between 1 and {n - 1} distinct integers in 0..{n - 1}, got {known}"
        )
    _check_vector("value", value, len(known))
    rest = [i for i in range(n) if i not in known]
    residual = value - joint.mean[..., known]
    if isinstance(joint, DiagonalGaussian):
        _positive(joint.var)
        marginal = DiagonalGaussian(torch.zeros_like(residual), joint.var[..., known])
        log_normaliser = log_density(marginal, residual)
        batch = torch.broadcast_shapes(log_normaliser.shape, joint.var.shape[:-1])
        # independent: the value says nothing
        mean = joint.mean[..., rest].expand(*batch, len(rest))
        return Scaled(DiagonalGaussian(mean, joint.var[..., rest]), log_normaliser)
    order = known + rest
    factor = _cholesky(joint.cov[..., order, :][..., :, order])
    return _condition(factor, residual, joint.mean[..., rest])


def _condition(factor: Tensor, residual: Tensor, mean: Tensor) -> Scaled:
    """p(rest | known = its mean + residual); mean is that of the rest.

    factor = [[B, 0], [C, A]] is the Cholesky factor of the joint covariance.
    """
    k = residual.shape[-1]
    B, C, A = factor[..., :k, :k], factor[..., k:, :k], factor[..., k:, k:]
    mean = mean + (C @ _solve(B, residual[..., None]))[..., 0]
    return Scaled(Gaussian(mean, A @ A.mT), _log_density_from_factor(B, residual))


def sample(g: AnyGaussian, generator: torch.Generator, shape: Sequence[int] = ()) -> Tensor:
    """Independent draws mean + L eps, eps ~ N(0, I); gradients reach mean and covariance.

    Args:
        g: the density, event [n].
        generator: the only source of randomness, on the device of `g`.
        shape: extra leading axes; () draws one sample for every element of the batch.
    Returns:
        [*shape, ..., n].
    Raises:
        ValueError: shapes do not fit, or the covariance is not positive definite.
    """
    n = _check(g)
    spread_batch = g.var.shape[:-1] if isinstance(g, DiagonalGaussian) else g.cov.shape[:-2]
    batch = torch.broadcast_shapes(g.mean.shape[:-1], spread_batch)
    noise = torch.randn(
        *shape, *batch, n, generator=generator, dtype=g.mean.dtype, device=g.mean.device
    )
    if isinstance(g, DiagonalGaussian):
        return g.mean + _positive(g.var).sqrt() * noise
    return g.mean + (_cholesky(g.cov) @ noise[..., None])[..., 0]


# --- the door: what is checked once, here ---------------------------------------------------------


def _check(g: AnyGaussian) -> int:
    """Check the shapes of `g` and return its event size n."""
    if not isinstance(g, (Gaussian, DiagonalGaussian)):
        raise ValueError(f"expected a Gaussian or a DiagonalGaussian, got {type(g).__name__}")
    mean, spread = g
    name = "cov" if isinstance(g, Gaussian) else "var"
    if mean.ndim == 0 or mean.shape[-1] == 0:
        raise ValueError(f"mean must be [..., n] with n >= 1, got {list(mean.shape)}")
    n = mean.shape[-1]
    event = (n, n) if isinstance(g, Gaussian) else (n,)
    axes = len(event)
    if spread.ndim < axes or spread.shape[-axes:] != event:
        expected = ", ".join(map(str, event))
        raise ValueError(
            f"{name} must be [..., {expected}] for a mean {list(mean.shape)}, "
            f"got {list(spread.shape)}"
        )
    if not mean.is_floating_point() or spread.dtype != mean.dtype:
        raise ValueError(
            f"mean and {name} must share one floating-point type, "
            f"got {mean.dtype} and {spread.dtype}"
        )
    _check_broadcast(name, spread.shape[:-axes], mean.shape[:-1])
    return n


def _check_broadcast(name: str, batch: torch.Size, other: torch.Size) -> None:
    try:
        torch.broadcast_shapes(batch, other)
    except RuntimeError:
        raise ValueError(
            f"the batch axes of {name}, {list(batch)}, do not broadcast against {list(other)}"
        ) from None


def _check_same_event(g1: AnyGaussian, g2: AnyGaussian) -> int:
    n, m = _check(g1), _check(g2)
    if n != m:
        raise ValueError(f"the two densities must have one event size, got {n} and {m}")
    _check_broadcast("the second density", g2.mean.shape[:-1], g1.mean.shape[:-1])
    return n


def _check_vector(name: str, x: Tensor, n: int) -> None:
    if x.ndim == 0 or x.shape[-1] != n:
        raise ValueError(f"{name} must be [..., {n}], got {list(x.shape)}")


def _positive(var: Tensor) -> Tensor:
    if var.device.type == "cpu":
        if not (var > 0).all():
            raise ValueError("a variance is not positive (zero, negative or NaN)")
        return var
    return torch.where(var > 0, var, torch.nan)


def _cholesky(cov: Tensor) -> Tensor:
    """The lower Cholesky factor, or a loud failure (see the head of the file)."""
    factor, info = torch.linalg.cholesky_ex(cov)
    asymmetry = (cov - cov.mT).abs().amax((-2, -1))
    scale = cov.abs().amax((-2, -1))
    good = (info == 0) & (asymmetry <= math.sqrt(torch.finfo(cov.dtype).eps) * scale)
    if cov.device.type == "cpu":
        if not good.all():
            raise ValueError("a covariance is not symmetric positive definite")
        return factor
    return torch.where(good[..., None, None], factor, torch.nan)


def _solve(factor: Tensor, rhs: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, rhs, upper=False)


def _half_log_det(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _log_density_from_factor(factor: Tensor, residual: Tensor) -> Tensor:
    """log N(residual; 0, L L') for the lower factor L."""
    white = _solve(factor, residual[..., None])[..., 0]
    return -0.5 * (white.square() + LOG_2PI).sum(-1) - _half_log_det(factor)
