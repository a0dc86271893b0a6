"""What a posterior of its own for every frame gains over the encoder: the amortisation gap."""

import math

import torch
from torch import Tensor

from ..learning.objectives import distortion
from ..models.vae import VAE
from ..probability.gaussian import DiagonalGaussian, kl_standard


def fit_posterior(
    model: VAE,
    x: Tensor,
    sigma: float,
    mean: Tensor,
    var: Tensor,
    steps: int = 300,
    draws: int = 8,
    generator: torch.Generator | None = None,
) -> DiagonalGaussian:
    """A diagonal q of its own for every frame: what the encoder could at best have said.

    Found by gradient ascent on the ELBO from a start.

    x [N, X] frames; mean, var [N, Z] the start, usually the encoder's; `draws` of z a step; Adam,
    its rate falling to 0; the model is left alone.

    Equations: vae-amortisation
    """
    mean, log_var = mean.detach().clone().requires_grad_(), var.detach().log().requires_grad_()
    optimizer = torch.optim.Adam([mean, log_var])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = -draw_bound(
            model, x, sigma, DiagonalGaussian(mean, log_var.exp()), draws, generator
        ).sum()
        mean.grad, log_var.grad = torch.autograd.grad(loss, (mean, log_var))
        optimizer.step()
    return DiagonalGaussian(mean.detach(), log_var.detach().exp())


def draw_bound(
    model: VAE,
    x: Tensor,
    sigma: float,
    q: DiagonalGaussian,
    draws: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """ELBO [N] of each frame of x [N, X] under a q of its own, in nats.

    Averaged over draws of z; the KL is in closed form.
    """
    noise = torch.randn(draws, *q.mean.shape, generator=generator, dtype=x.dtype, device=x.device)
    squared = ((x - model.decode(q.mean + q.var.sqrt() * noise)) ** 2).sum(-1).mean(0)
    return -distortion(squared, x.shape[-1], sigma) - kl_standard(q.mean, q.var)
