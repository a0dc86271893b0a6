"""What the rate of a frame model consists of: mutual information, and the mismatch of its codes
with its prior.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..learning.objectives import distortion
from ..models.vae import VAE
from ..probability.gaussian import log_normal


def log_aggregate(z: Tensor, mean: Tensor, var: Tensor, chunk: int = 500) -> Tensor:
    """log q(z) in nats, with q(z) = 1/N Σ_n N(z; mean_n, diag(var_n)): the aggregated posterior of
    N data; z [M, Z], mean, var [N, Z] -> [M].

    `chunk` rows of z are taken at a time: memory is that of chunk·N numbers. ValueError for other
    shapes.
    """
    if z.ndim != 2 or mean.ndim != 2 or mean.shape != var.shape or z.shape[1] != mean.shape[1]:
        raise ValueError(
            "z must be [M, Z], mean and var [N, Z], "
            f"got {list(z.shape)}, {list(mean.shape)}, {list(var.shape)}"
        )
    precision = 1 / var
    constant = log_normal(torch.zeros_like(mean), mean, var)  # log N(0; mean, var)
    rows = []
    for part in z.split(chunk):
        # (z - m)²/v in three matrix products; the part without z is in the constant
        log_q = part @ (mean * precision).T - 0.5 * part**2 @ precision.T + constant
        rows.append(torch.logsumexp(log_q, 1))
    return torch.cat(rows) - math.log(len(mean))


class RateSplit(NamedTuple):
    """A rate and its two parts, averages over data in nats per frame: rate = information +
    mismatch, exactly, for every draw.
    """

    squared_error: float  # |x - x̂|² summed over the pixels of a frame
    rate: float  # R = E[log q(z | x) - log p(z)]
    information: float  # I_q(x; z) = E[log q(z | x) - log q(z)] <= log N
    mismatch: float  # KL(q(z) ‖ p(z)) = E[log q(z) - log p(z)]


@torch.no_grad()
def split_rate(
    model: VAE, x: Tensor, generator: torch.Generator | None = None, prior_draws: int = 20
) -> RateSplit:
    """The rate of a frame model on frames x [N, X], split at the aggregated posterior of these
    frames; one draw of z for each.

    The data are the N frames and nothing else, so the information is at most log N. Where log p(z)
    is itself a lower bound (`models.vhp`), it is the mean of `prior_draws` evaluations; rate and
    mismatch are then upper bounds. Alemi et al. (2018, section 2), Hoffman & Johnson (2016).
    ValueError unless x is [N, X].
    """
    if x.ndim != 2:
        raise ValueError(f"x must be [N, X], got {list(x.shape)}")
    posterior = model.infer(x[:, None], x.new_zeros(len(x), 1, model.u_dim), generator)
    mean, z, var = (v[:, 0].double() for v in posterior)
    log_q = log_normal(z, mean, var)
    log_mixture = log_aggregate(z, mean, var)
    sample = posterior.sample[:, 0]
    draws = [model.log_prior_of_frames(sample, generator) for _ in range(prior_draws)]
    log_p = torch.stack(draws).double().mean(0)
    squared_error = ((x - model.decode(sample)) ** 2).sum(1).double()
    return RateSplit(
        squared_error=float(squared_error.mean()),
        rate=float((log_q - log_p).mean()),
        information=float((log_q - log_mixture).mean()),
        mismatch=float((log_mixture - log_p).mean()),
    )


def frame_measures(
    model: VAE, x: Tensor, noise: float, sigma: float | None = None
) -> dict[str, float]:
    """What the book's table of frame models says of one of them, on held-out frames x [N, X]; nats
    per frame.

    Args:
        noise: in force at the end of training.
        sigma: the noise at which the distortion is taken; that in force where none is given.
    """
    at = noise if sigma is None else sigma
    split = split_rate(model, x, torch.Generator(x.device).manual_seed(0))
    d = float(distortion(torch.tensor(split.squared_error, dtype=torch.float64), x.shape[1], at))
    return {
        "sigma": at,
        "noise_in_force": noise,
        "mse": split.squared_error / x.shape[1],
        "distortion": d,
        "rate": split.rate,
        "information": split.information,
        "mismatch": split.mismatch,
        "elbo": -(d + split.rate),
    }
