"""Two estimators of the gradient of the ELBO: reparametrisation, and the score."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

from ..probability.gaussian import log_normal


def reparameterisation_gradients(
    log_p: Callable[[Tensor], Tensor], mean: Tensor, log_var: Tensor, noise: Tensor
) -> Tensor:
    """One estimate of ∇ ELBO for each row of noise: the derivative of log p(x, z) - log q(z) at z =
    mean + sd · noise. Kingma & Welling (2014).

    log_p maps one z [k] to log p(x, z); q = N(mean, diag exp log_var), both [k]; noise [K, k] ->
    [K, 2k], by mean, then by log_var.

    Equations: vae-reparam
    """

    def log_weight(phi: Tensor, eps: Tensor) -> Tensor:
        """log p(x, z) - log q(z) at the z that phi makes of eps."""
        m, v = phi.chunk(2)
        z = m + (0.5 * v).exp() * eps
        return log_p(z) - log_normal(z, m, v.exp())

    return vmap(grad(log_weight), (None, 0))(torch.cat([mean, log_var]), noise)


def score_gradients(
    log_p: Callable[[Tensor], Tensor],
    mean: Tensor,
    log_var: Tensor,
    noise: Tensor,
    baseline: float | Tensor = 0.0,
) -> Tensor:
    """One estimate of ∇ ELBO for each row of noise: (log p(x, z) - log q(z) - baseline) ∇ log q(z),
    z held fixed. Williams (1992).

    Arguments and result as `reparameterisation_gradients`. Unbiased for a baseline that does not
    depend on the same draw.

    Equations: vae-score
    """

    def log_q(phi: Tensor, z: Tensor) -> Tensor:
        """The density whose gradient is the score."""
        m, v = phi.chunk(2)
        return log_normal(z, m, v.exp())

    def one(eps: Tensor) -> Tensor:
        """The estimate of one draw."""
        phi, z = torch.cat([mean, log_var]), mean + (0.5 * log_var).exp() * eps
        return (log_p(z) - log_q(phi, z) - baseline) * grad(log_q)(phi, z)

    return vmap(one)(noise)
