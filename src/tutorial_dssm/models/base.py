"""The one interface of every sequential model, and the checks at its door."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..networks.transitions import LocallyLinearTransition
from ..probability.gaussian import kl_diagonal, log_normal
from ..probability.small_matrices import all_finite


class Posterior(NamedTuple):
    """What the data say about the states."""

    mean: Tensor  # [B, T, Z] posterior (smoothed) means
    sample: Tensor  # [B, T, Z] one draw of the whole path
    var: Tensor  # [B, T, Z] posterior variances of each coordinate


class Terms(NamedTuple):
    """What an objective sees of a model."""

    squared_error: Tensor  # [B] |x - x̂|² summed over T and X, at one posterior draw
    # [B] nats per sequence: a one-draw estimate of KL(q(latents | x, u) ‖ p(latents | u))
    rate: Tensor

    # The KL of every step in closed form, where a model has it (`StepTerms`). No entries of the
    # tuple: terms are a pair for everyone else.
    kl_prior = None
    kl_posterior = None


class StepTerms(Terms):
    """`Terms` of a model whose rate is a sum over steps of closed-form KL divergences, for
    objectives that balance or clip them.
    """

    # [B, T] KL(q_t ‖ p_t) in nats with q_t stopped: its gradient reaches the prior only
    kl_prior: Tensor
    # [B, T] the same value with p_t stopped: its gradient reaches the posterior only
    kl_posterior: Tensor

    @classmethod
    def of_gaussians(
        cls, squared_error: Tensor, q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]
    ) -> "StepTerms":
        """From mean and variance [B, T, Z] of q_t and of p_t.

        What is stopped are these four, not the path that leads to them.
        """
        terms = cls(squared_error, kl_diagonal(*q, *p).sum(1))
        terms.kl_prior = kl_diagonal(*(v.detach() for v in q), *p)
        terms.kl_posterior = kl_diagonal(*q, *(v.detach() for v in p))
        return terms


class Model(nn.Module):
    """What every model of the package has: sizes, a start from data, the checks at the door.

    A subclass adds `infer`, `terms` and `decode`.

    `terms` has a keyword `analytic`: False asks for the rate as log q - log p of the draw itself,
    as importance weights need it (`bounds`). Models whose rate is that already take the keyword and
    need not look at it.
    """

    def __init__(self, x_dim: int, u_dim: int, z_dim: int):
        super().__init__()
        self.x_dim, self.u_dim, self.z_dim = x_dim, u_dim, z_dim

    def initialise(self, x: Tensor) -> None:
        """Start from training frames x [N, T, X], before the first step of training; nothing here,
        where random weights will do.
        """

    def check(self, x: Tensor, u: Tensor) -> None:
        """Raise ValueError unless x is [B, T, X], u is [B, T, U], T >= 1 and (off the GPU) all
        values are finite.
        """
        if x.ndim != 3 or x.shape[-1] != self.x_dim or x.shape[1] == 0:
            raise ValueError(f"x must be [B, T, {self.x_dim}] with T >= 1, got {list(x.shape)}")
        if u.shape != (*x.shape[:2], self.u_dim):
            raise ValueError(
                f"u must be [B, T, U] = {[*x.shape[:2], self.u_dim]} to go with x, got {list(u.shape)}"
            )
        if x.device.type == "cpu" and not (all_finite(x) and all_finite(u)):
            raise ValueError("x and u must be finite, got NaN or infinity")

    def noise(self, like: Tensor, *shape: int, generator: torch.Generator | None) -> Tensor:
        """Standard normal numbers on the device and in the type of `like`."""
        return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)


class SequentialModel(Model):
    """A model with dynamics: the prior z_1 ~ N(0, I), a `transition` from (z, u) to mean and
    variance of the next state, open-loop prediction.
    """

    def check_start(self, z1: Tensor, u: Tensor) -> None:
        """Raise ValueError unless z1 is [B, Z], u is [B, T, U] and T >= 1."""
        if z1.ndim != 2 or z1.shape[-1] != self.z_dim:
            raise ValueError(f"z1 must be [B, {self.z_dim}], got {list(z1.shape)}")
        if u.ndim != 3 or u.shape[0] != z1.shape[0] or u.shape[-1] != self.u_dim or u.shape[1] == 0:
            raise ValueError(
                f"u must be [{z1.shape[0]}, T, {self.u_dim}] with T >= 1, got {list(u.shape)}"
            )

    def predict(
        self, z1: Tensor, u: Tensor, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Open loop: the path that starts at z1 [B, Z] under u [B, T, U] -> [B, T, Z], z_1 included
        (u_T is not used).

        With `sample`, draws from the transition; without, follows its mean.
        """
        self.check_start(z1, u)
        z, path = z1, [z1]
        for t in range(u.shape[1] - 1):
            z, var = self.transition(z, u[:, t])
            if sample:
                z = z + var.sqrt() * self.noise(z, *z.shape, generator=generator)
            path.append(z)
        return torch.stack(path, 1)

    def log_prior(self, z: Tensor, u: Tensor) -> Tensor:
        """log p(z_{1:T} | u) [B] in nats, all steps at once: p(z_1) and the transitions at the
        given path.

        Equations: notation-joint, ssm-factor, bal-model, ek-prior
        """
        mean, var = self.transition(z[:, :-1], u[:, :-1])
        return log_normal(
            z[:, 0], torch.zeros_like(z[:, 0]), torch.ones_like(z[:, 0])
        ) + log_normal(z[:, 1:], mean, var).sum(-1)


class LocallyLinearModel(SequentialModel):
    """A sequential model whose transition is locally linear."""

    def __init__(
        self, x_dim: int, u_dim: int, z_dim: int, bases: int, mix_hidden: int, q0: Sequence[float]
    ):
        super().__init__(x_dim, u_dim, z_dim)
        self.transition = LocallyLinearTransition(z_dim, u_dim, bases, mix_hidden, q0)
