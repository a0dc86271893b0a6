"""The linear Gaussian VAE and the rate-distortion function it can reach: a toy for objectives.

Everything here depends on the data only through their covariance, so it holds for centred pendulum
frames as well as for Gaussian noise.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.base import Terms
from ..probability import gaussian


class RatePoint(NamedTuple):
    """The least rate for a squared error, of a Gaussian source with a given covariance."""

    # water level ℓ: the variance of what is left out; also the noise σ² at which this point has the
    # highest ELBO
    level: float
    squared_error: float  # expected |x - x̂|², summed over coordinates
    rate: float  # nats
    active: int  # components above the water, the latent directions in use


def water_fill(variances: Tensor, level: float, k: int | None = None) -> RatePoint:
    """Reverse water-filling at level ℓ.

    Component i keeps the error min(ℓ, s_i) and costs max(0, ½ log s_i/ℓ) nats. variances [n], the
    eigenvalues s_i of the covariance; level ℓ > 0. With `k` only the k largest components can be
    encoded, the rest keep their error s_i. Cover & Thomas (2006), theorem 10.3.3. ValueError for
    another shape, a negative variance, ℓ <= 0.

    Equations: bal-water
    """
    kept, lost = _sorted(variances, k)
    if not level > 0:
        raise ValueError(f"the water level must be positive, got {level}")
    above = kept > level
    rate = 0.5 * (kept[above] / level).log().sum()
    return RatePoint(
        float(level), float(kept.clamp(max=level).sum() + lost), float(rate), int(above.sum())
    )


def water_level(variances: Tensor, squared_error: float, k: int | None = None) -> float:
    """The level ℓ at which `water_fill` leaves this squared error. ValueError when no level does.

    Equations: bal-water
    """
    kept, lost = _sorted(variances, k)
    total = float(kept.sum() + lost)
    if not float(lost) < squared_error < total:
        reach = f"{float(lost):.4g}, what {len(kept)} components cannot tell, and {total:.4g}"
        raise ValueError(f"squared_error must be between {reach}, got {squared_error}")
    rising = kept.flip(0)  # the smallest drown first
    drowned = torch.cat([rising.new_zeros(1), rising.cumsum(0)[:-1]])
    dry = torch.arange(len(rising), 0, -1, dtype=rising.dtype)
    j = int((drowned + dry * rising < squared_error - lost).sum())  # so many are under water
    return float((squared_error - lost - drowned[j]) / dry[j])


def _sorted(variances: Tensor, k: int | None) -> tuple[Tensor, Tensor]:
    """The k largest variances, falling, and the sum of the rest; float64."""
    if variances.ndim != 1 or len(variances) == 0 or not (variances >= 0).all():
        raise ValueError(
            "variances must be [n] with n >= 1 and none of them negative, "
            f"got {list(variances.shape)}"
        )
    if k is not None and not 1 <= k <= len(variances):
        raise ValueError(f"k must be between 1 and {len(variances)}, got {k}")
    s = variances.double().sort(descending=True).values
    return s[:k], s[len(s) if k is None else k :].sum()


class LinearVAE(nn.Module):
    """z ~ N(0, I), x = W z + noise, q(z | x) = N(V x, diag(var)); the data have mean zero.

    At noise σ the best W spans the first principal components (Tipping & Bishop 1999; Lucas et al.
    2019), and the model then sits on the rate-distortion function at the water level σ².

    Equations: bal-linear, vae-ppca
    """

    def __init__(
        self,
        n: int,
        k: int,
        generator: torch.Generator,
        scale: float = 0.1,
        dtype: torch.dtype = torch.float64,
    ):
        super().__init__()
        self.W = nn.Parameter(scale * torch.randn(n, k, generator=generator, dtype=dtype))
        self.V = nn.Parameter(scale * torch.randn(k, n, generator=generator, dtype=dtype))
        self.log_var = nn.Parameter(torch.zeros(k, dtype=dtype))

    def terms(self, x: Tensor, generator: torch.Generator | None = None) -> Terms:
        """Squared error at one draw of z, and the rate in closed form, each [B]; x [B, n]."""
        if x.ndim != 2 or x.shape[1] != len(self.W):
            raise ValueError(f"x must be [B, {len(self.W)}], got {list(x.shape)}")
        mean, var = x @ self.V.t(), self.log_var.exp()
        noise = torch.randn(mean.shape, generator=generator, dtype=x.dtype, device=x.device)
        z = mean + var.sqrt() * noise
        squared_error = ((x - z @ self.W.t()) ** 2).sum(1)
        return Terms(squared_error, gaussian.kl_standard(mean, var))

    def expected_terms(self, cov: Tensor) -> Terms:
        """Both terms averaged over data of covariance `cov` [n, n] and over z, exactly: scalars."""
        return linear_terms(self.W, LinearPosterior(self.V, torch.diag(self.log_var.exp())), cov)


class LinearPosterior(NamedTuple):
    """q(z | x) = N(V x, cov)."""

    V: Tensor  # [k, n]
    cov: Tensor  # [k, k]


def exact_posterior(W: Tensor, sigma: float | Tensor) -> LinearPosterior:
    """p(z | x) of z ~ N(0, I), x = W z + N(0, σ² I); W [n, k].

    Equations: bal-linear, bal-tempered, bal-em
    """
    precision = torch.eye(W.shape[1], dtype=W.dtype, device=W.device) + W.t() @ W / sigma**2
    cov = torch.linalg.inv(precision)
    return LinearPosterior(cov @ W.t() / sigma**2, cov)


def best_decoder(q: LinearPosterior, cov: Tensor) -> Tensor:
    """The W [n, k] with the least squared error for a posterior: regression of x on z.

    cov [n, n] of the data.

    Equations: bal-em
    """
    cross = cov @ q.V.t()  # E[x z']
    return torch.linalg.solve(q.V @ cross + q.cov, cross.t()).t()


def linear_terms(W: Tensor, q: LinearPosterior, cov: Tensor) -> Terms:
    """Expected squared error and rate of a decoder with any Gaussian posterior, exactly: scalars.

    Equations: bal-linear
    """
    k = len(q.V)
    residual = torch.eye(len(W), dtype=W.dtype, device=W.device) - W @ q.V
    squared_error = ((residual @ cov) * residual).sum() + ((W @ q.cov) * W).sum()
    rate = 0.5 * (((q.V @ cov) * q.V).sum() + q.cov.diagonal().sum() - k - torch.logdet(q.cov))
    return Terms(squared_error, rate)
