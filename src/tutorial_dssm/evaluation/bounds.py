"""Bounds on log p(x_{1:T} | u_{1:T}) from several draws of the posterior: tighter than the ELBO,
and a measure of how far off it is.
"""

import math

import torch
from torch import Tensor

from ..learning.objectives import distortion
from ..models.base import Model


@torch.no_grad()
def log_weights(
    model: Model,
    x: Tensor,
    u: Tensor,
    sigma: Tensor | float,
    K: int = 100,
    generator: torch.Generator | None = None,
    chunk: int = 10,
    mask: Tensor | None = None,
) -> Tensor:
    """log p(x, z_k | u) - log q(z_k | x, u) of K draws for each sequence, at observation noise σ:

    [K, B] in nats, float64.

    `chunk` draws are taken at a time: memory is that of a batch of chunk·B sequences. z_k stands
    for all latents of a model, x for the observed frames. A closed-form KL is not log q - log p of
    a draw, so the terms are those without `analytic`.

    Args:
        x, u: [B, T, X] and [B, T, U].
        sigma: the noise at which the ELBO is quoted (`objective.noise()`).
        mask: [B, T], True = observed.
    Raises:
        ValueError: K or chunk below 1, sigma not positive and finite, malformed data, or a model
            that has no such weights (its `cannot` says why).
    """
    if K < 1 or chunk < 1:
        raise ValueError(f"K and chunk must be at least 1, got {K} and {chunk}")
    sigma = float(sigma.detach() if isinstance(sigma, Tensor) else sigma)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma}")
    if "log_weights" in model.cannot:
        model.refuse("log_weights")
    x, mask = model.admit(x, u, mask)
    values = torch.ones_like(x) if mask is None else mask.view(*x.shape[:2], -1).expand_as(x)
    n = values.double().sum((1, 2))  # how many are observed, [B]
    rows = []
    for start in range(0, K, chunk):
        k = min(chunk, K - start)
        some_x, some_u = x.repeat(k, 1, 1), u.repeat(k, 1, 1)
        some_mask = None if mask is None else torch.cat([mask] * k)
        terms = model.terms(some_x, some_u, generator, mask=some_mask, analytic=False)
        log_w = -distortion(terms.squared_error.double(), n.repeat(k), sigma) - terms.rate.double()
        rows.append(log_w.unflatten(0, (k, len(x))))
    return torch.cat(rows)


def iwae(
    model: Model,
    x: Tensor,
    u: Tensor,
    sigma: Tensor | float,
    K: int = 100,
    generator: torch.Generator | None = None,
    chunk: int = 10,
    mask: Tensor | None = None,
) -> Tensor:
    """Importance-weighted bound: one estimate for each sequence [B], in nats.

    Its mean is at most log p(x | u), and grows with K.

    log 1/K Σ_k p(x, z_k | u) / q(z_k | x, u), Burda et al. (2016, section 3). K = 1 is a one-draw
    ELBO. Arguments and errors as `log_weights`.

    Equations: vae-iwae
    """
    log_w = log_weights(model, x, u, sigma, K, generator, chunk, mask)
    return torch.logsumexp(log_w, 0) - math.log(K)


def effective_draws(log_w: Tensor) -> Tensor:
    """How many of K draws carry weight, (Σ w)² / Σ w² between 1 and K (Kish): near 1, the bound
    rests on one draw and is loose. [K, B] -> [B].
    """
    return torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))
