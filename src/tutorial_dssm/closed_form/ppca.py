"""The ELBO of a variational autoencoder in its parts, on the one model whose evidence is known.

The model is z ~ N(0, I), x = W z + μ + N(0, σ² I), probabilistic principal component analysis
(Tipping & Bishop 1999). Its evidence, posterior, bound and maximum-likelihood solution are closed
forms. `linear_vae` has what depends on the data's covariance alone. Information in nats.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..learning.objectives import distortion
from ..models.vae import VAE, VAEConfig
from ..probability import gaussian
from ..probability.gaussian import DiagonalGaussian, Gaussian, log_normal
from .linear_vae import exact_posterior


class LinearGaussian(NamedTuple):
    """z ~ N(0, I), x = W z + mu + N(0, sigma² I)."""

    W: Tensor  # [n, k]
    mu: Tensor  # [n]
    sigma: float | Tensor  # standard deviation of the noise


class Bound(NamedTuple):
    """The terms of the ELBO for each x, exactly, each [B], in nats.

    elbo = reconstruction - kl = log_joint + entropy.
    """

    elbo: Tensor
    reconstruction: Tensor  # E_q[log p(x | z)]
    kl: Tensor  # KL(q(z | x) ‖ p(z))
    log_joint: Tensor  # E_q[log p(x, z)]
    entropy: Tensor  # of q


def evidence(model: LinearGaussian) -> Gaussian:
    """p(x) = N(mu, W W' + σ² I): z integrated out.

    Equations: vae-evidence, vae-marginal
    """
    W = model.W
    noise = model.sigma**2 * torch.eye(len(W), dtype=W.dtype, device=W.device)
    return Gaussian(model.mu, W @ W.t() + noise)


def posterior(model: LinearGaussian, x: Tensor) -> Gaussian:
    """p(z | x) for x [B, n]: means [B, k], one covariance repeated [B, k, k].

    Equations: vae-bayes
    """
    q = exact_posterior(model.W, model.sigma)
    return Gaussian((x - model.mu) @ q.V.t(), q.cov.expand(len(x), -1, -1))


def mean_field(model: LinearGaussian, x: Tensor) -> DiagonalGaussian:
    """The Gaussian of independent coordinates with the highest ELBO.

    Exact means, variances 1/Λ_ii of the posterior precision Λ.

    Equations: vae-meanfield
    """
    p = posterior(model, x)
    precision = torch.linalg.inv(p.cov)
    return DiagonalGaussian(p.mean, 1 / precision.diagonal(dim1=-2, dim2=-1))


def log_joint(model: LinearGaussian, x: Tensor, z: Tensor) -> Tensor:
    """log p(x | z) + log p(z); x [..., n], z [..., k] -> [...].

    Equations: vae-model
    """
    squared = ((x - model.mu - z @ model.W.t()) ** 2).sum(-1)
    return -distortion(squared, len(model.mu), model.sigma) + log_normal(
        z, torch.zeros_like(z), torch.ones_like(z)
    )


def bound(model: LinearGaussian, q: gaussian.AnyGaussian, x: Tensor) -> Bound:
    """Every term of the ELBO of a Gaussian q for x [B, n], without sampling.

    q has event [k], batch [B] or none.

    Equations: vae-elbo, vae-decomposition, vae-two-terms, vae-joint-entropy
    """
    cov = gaussian.full(q).cov
    at_mean = ((x - model.mu - q.mean @ model.W.t()) ** 2).sum(-1)
    around_it = ((model.W @ cov) * model.W).sum((-2, -1))
    reconstruction = -distortion(at_mean + around_it, len(model.mu), model.sigma)
    zero, one = torch.zeros_like(q.mean), torch.ones_like(q.mean)
    kl = gaussian.kl(q, DiagonalGaussian(zero, one)).expand(reconstruction.shape)
    log_prior = log_normal(q.mean, zero, one) - 0.5 * cov.diagonal(dim1=-2, dim2=-1).sum(-1)
    entropy = gaussian.entropy(q).expand(reconstruction.shape)
    return Bound(reconstruction - kl, reconstruction, kl, reconstruction + log_prior, entropy)


def maximum_likelihood(x: Tensor, k: int) -> LinearGaussian:
    """The W, mu, sigma with the highest likelihood of data x [N, n]; W up to a rotation of z.

    Tipping & Bishop (1999), eqs. 7 and 8. ValueError unless 1 <= k < n and N >= 2.

    Equations: vae-ppca
    """
    if x.ndim != 2 or len(x) < 2 or not 1 <= k < x.shape[1]:
        raise ValueError(
            f"x must be [N, n] with N >= 2 and n > k >= 1, got {list(x.shape)} and k = {k}"
        )
    mu = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mu).t() @ (x - mu) / len(x))  # ascending
    variance = values[:-k].mean()
    W = vectors[:, -k:].flip(1) * (values[-k:].flip(0) - variance).clamp(min=0).sqrt()
    return LinearGaussian(W, mu, variance.sqrt())


class _LinearEncoder(nn.Module):
    """x -> mean V (x - mu) and fixed variances, in the shape that `VAE` expects of its encoder."""

    def __init__(self, V: Tensor, mu: Tensor, var: Tensor):
        super().__init__()
        self.V = nn.Parameter(V)
        self.mu = nn.Parameter(mu)
        self.var = nn.Parameter(var)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mean, variance, each [..., k]."""
        mean = (x - self.mu) @ self.V.t()
        return mean, self.var.expand(mean.shape)


def as_vae(model: LinearGaussian, V: Tensor, var: Tensor) -> VAE:
    """The book's own `VAE` with linear networks: decoder W z + mu, encoder N(V (x - mu), diag var).

    A referee: everything said of this VAE can be held against a closed form. V [k, n], var [k]; its
    frames are [B, T, n], its (ignored) controls [B, T, 1].
    """
    n, k = model.W.shape
    vae = VAE(VAEConfig(x_dim=n, z_dim=k, hidden=1))
    encoder = _LinearEncoder(V.clone(), model.mu.clone(), var.clone())
    decoder = nn.Linear(k, n, dtype=model.W.dtype)
    with torch.no_grad():
        decoder.weight.copy_(model.W)
        decoder.bias.copy_(model.mu)
    vae.encoder = encoder  # type: ignore[assignment]  # any module of this signature will do
    vae.decoder = decoder  # type: ignore[assignment]  # the same
    return vae.eval()
