"""The ELBO of a variational autoencoder in its parts, on the one model whose evidence is known, and two estimators of its gradient (floor 3).

The model is z ~ N(0, I), x = W z + μ + N(0, σ² I), probabilistic principal component analysis (Tipping & Bishop 1999). Its evidence, posterior,
bound and maximum-likelihood solution are closed forms. `linear_vae` has what depends on the data's covariance alone. Information in nats.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from . import gaussian
from .gaussian import DiagonalGaussian, Gaussian
from .linear_vae import exact_posterior
from .models.base import log_normal
from .models.vae import VAE, VAEConfig
from .objectives import distortion


class LinearGaussian(NamedTuple):
    """z ~ N(0, I), x = W z + mu + N(0, sigma² I)."""

    W: Tensor  # [n, k]
    mu: Tensor  # [n]
    sigma: float | Tensor  # standard deviation of the noise


class Bound(NamedTuple):
    """The terms of the ELBO for each x, exactly, each [B]: elbo = reconstruction - kl = log_joint + entropy."""

    elbo: Tensor
    reconstruction: Tensor  # E_q[log p(x | z)]
    kl: Tensor  # KL(q(z | x) ‖ p(z))
    log_joint: Tensor  # E_q[log p(x, z)]
    entropy: Tensor  # of q


def evidence(model: LinearGaussian) -> Gaussian:
    """p(x) = N(mu, W W' + σ² I): z integrated out.

    Equations: vae-evidence, vae-marginal
    """
    n = len(model.mu)
    return Gaussian(model.mu, model.W @ model.W.t() + model.sigma**2 * torch.eye(n, dtype=model.W.dtype, device=model.W.device))


def posterior(model: LinearGaussian, x: Tensor) -> Gaussian:
    """p(z | x) for x [B, n]: means [B, k], one covariance repeated [B, k, k].

    Equations: vae-bayes
    """
    q = exact_posterior(model.W, model.sigma)
    return Gaussian((x - model.mu) @ q.V.t(), q.cov.expand(len(x), -1, -1))


def mean_field(model: LinearGaussian, x: Tensor) -> DiagonalGaussian:
    """The Gaussian of independent coordinates with the highest ELBO: exact means, variances 1/Λ_ii of the posterior precision Λ.

    Equations: vae-meanfield
    """
    p = posterior(model, x)
    return DiagonalGaussian(p.mean, 1 / torch.linalg.inv(p.cov).diagonal(dim1=-2, dim2=-1))


def log_joint(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    """log p(x | z) + log p(z); x [..., n], z [..., k] -> [...].

    Equations: vae-model
    """
    squared = ((x - model.mu - z @ model.W.t()) ** 2).sum(-1)
    return -distortion(squared, len(model.mu), model.sigma) + log_normal(z, torch.zeros_like(z), torch.ones_like(z))


def bound(model: LinearGaussian, q: gaussian.AnyGaussian, x: Tensor) -> Bound:
    """Every term of the ELBO of a Gaussian q for x [B, n], without sampling; q has event [k], batch [B] or none.

    Equations: vae-elbo, vae-decomposition, vae-two-terms, vae-joint-entropy
    """
    k, full = model.W.shape[1], gaussian.full(q)
    expected = ((x - model.mu - q.mean @ model.W.t()) ** 2).sum(-1) + ((model.W @ full.cov) * model.W).sum((-2, -1))
    reconstruction = -distortion(expected, len(model.mu), model.sigma)
    zero, one = torch.zeros_like(q.mean), torch.ones_like(q.mean)
    kl = gaussian.kl(q, DiagonalGaussian(zero, one))
    second = (q.mean**2).sum(-1) + full.cov.diagonal(dim1=-2, dim2=-1).sum(-1)  # E|z|²
    joint = reconstruction - 0.5 * (second + k * math.log(2 * math.pi))
    entropy = gaussian.entropy(q).expand(joint.shape)
    return Bound(reconstruction - kl, reconstruction, kl.expand(joint.shape), joint, entropy)


def maximum_likelihood(x: Tensor, k: int) -> LinearGaussian:
    """The W, mu, sigma with the highest likelihood of data x [N, n] (Tipping & Bishop 1999, eqs. 7 and 8); W up to a rotation of z.

    ValueError unless 1 <= k < n and N >= 2.

    Equations: vae-ppca
    """
    if x.ndim != 2 or len(x) < 2 or not 1 <= k < x.shape[1]:
        raise ValueError(f"x must be [N, n] with N >= 2 and n > k >= 1, got {list(x.shape)} and k = {k}")
    mu = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mu).t() @ (x - mu) / len(x))  # ascending
    variance = values[:-k].mean()
    W = vectors[:, -k:].flip(1) * (values[-k:].flip(0) - variance).clamp(min=0).sqrt()
    return LinearGaussian(W, mu, variance.sqrt())


class _LinearEncoder(nn.Module):
    """x -> mean V (x - mu) and fixed variances, in the shape that `VAE` expects of its encoder."""

    def __init__(self, V: Tensor, mu: Tensor, var: Tensor):
        super().__init__()
        self.V, self.mu, self.var = nn.Parameter(V), nn.Parameter(mu), nn.Parameter(var)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mean, variance, each [..., k]."""
        mean = (x - self.mu) @ self.V.t()
        return mean, self.var.expand(mean.shape)


def as_vae(model: LinearGaussian, V: Tensor, var: Tensor) -> VAE:
    """The book's own `VAE` with linear networks: decoder W z + mu, encoder N(V (x - mu), diag var); V [k, n], var [k].

    A referee: everything said of this VAE can be held against a closed form. Its frames are [B, T, n], its (ignored) controls [B, T, 1].
    """
    n, k = model.W.shape
    vae = VAE(VAEConfig(x_dim=n, z_dim=k, hidden=1))
    vae.encoder, vae.decoder = _LinearEncoder(V.clone(), model.mu.clone(), var.clone()), nn.Linear(k, n, dtype=model.W.dtype)
    with torch.no_grad():
        vae.decoder.weight.copy_(model.W), vae.decoder.bias.copy_(model.mu)
    return vae.eval()


def reparameterisation_gradients(log_p: Callable[[Tensor], Tensor], mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """One estimate of ∇ ELBO for each row of noise: the derivative of log p(x, z) - log q(z) at z = mean + sd · noise. Kingma & Welling (2014).

    log_p maps one z [k] to log p(x, z); q = N(mean, diag exp log_var), both [k]; noise [K, k] -> [K, 2k], by mean, then by log_var.

    Equations: vae-reparam
    """

    def log_weight(phi: Tensor, eps: Tensor) -> Tensor:
        """log p(x, z) - log q(z) at the z that phi makes of eps."""
        m, v = phi.chunk(2)
        z = m + (0.5 * v).exp() * eps
        return log_p(z) - log_normal(z, m, v.exp())

    return vmap(grad(log_weight), (None, 0))(torch.cat([mean, log_var]), noise)


def score_gradients(log_p: Callable[[Tensor], Tensor], mean: Tensor, log_var: Tensor, noise: Tensor, baseline: float | Tensor = 0.0) -> Tensor:
    """One estimate of ∇ ELBO for each row of noise: (log p(x, z) - log q(z) - baseline) ∇ log q(z), z held fixed. Williams (1992).

    Arguments and result as `reparameterisation_gradients`. Unbiased for a baseline that does not depend on the same draw.

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


def fit_posterior(
    model: VAE, x: Tensor, sigma: float, mean: Tensor, var: Tensor, steps: int = 300, draws: int = 8, generator: torch.Generator | None = None
) -> DiagonalGaussian:
    """A diagonal q of its own for every frame, by gradient ascent on the ELBO from a start: what the encoder could at best have said.

    x [N, X] frames; mean, var [N, Z] the start, usually the encoder's; `draws` of z a step; Adam, its rate falling to 0; the model is left alone.

    Equations: vae-amortisation
    """
    mean, log_var = mean.detach().clone().requires_grad_(), var.detach().log().requires_grad_()
    optimizer = torch.optim.Adam([mean, log_var])
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.02 * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = -draw_bound(model, x, sigma, DiagonalGaussian(mean, log_var.exp()), draws, generator).sum()
        mean.grad, log_var.grad = torch.autograd.grad(loss, (mean, log_var))
        optimizer.step()
    return DiagonalGaussian(mean.detach(), log_var.detach().exp())


def draw_bound(model: VAE, x: Tensor, sigma: float, q: DiagonalGaussian, draws: int, generator: torch.Generator | None = None) -> Tensor:
    """ELBO of each frame under a q of its own, averaged over draws of z; the KL in closed form. x [N, X] -> [N] nats per frame."""
    noise = torch.randn(draws, *q.mean.shape, generator=generator, dtype=x.dtype, device=x.device)
    squared = ((x - model.decode(q.mean + q.var.sqrt() * noise)) ** 2).sum(-1).mean(0)
    kl = 0.5 * (q.mean**2 + q.var - 1 - q.var.log()).sum(-1)
    return -distortion(squared, x.shape[-1], sigma) - kl
