"""The one interface of every model, the checks at its door, and the registry of models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from ..names import Registry
from ..probability.gaussian import kl_diagonal, log_normal
from ..probability.small_matrices import all_finite


class Posterior(NamedTuple):
    """What the data say about the states."""

    mean: Tensor  # [B, T, Z] posterior (smoothed) means
    sample: Tensor  # [B, T, Z] one draw of the whole path
    var: Tensor  # [B, T, Z] posterior variances of each coordinate


class StepRates(NamedTuple):
    """KL(q_t ‖ p_t) of every step in closed form, [B, T] in nats: twice the same value, each with a
    gradient to one side only. For objectives that balance or clip them.
    """

    prior: Tensor  # q_t is held: the gradient reaches the prior
    posterior: Tensor  # p_t is held: the gradient reaches the posterior

    @classmethod
    def of_gaussians(cls, q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> "StepRates":
        """From mean and variance [B, T, Z] of q_t and of p_t.

        What is held are these four, not the path that leads to them.
        """
        (q_mean, q_var), (p_mean, p_var) = q, p
        return cls(
            kl_diagonal(q_mean.detach(), q_var.detach(), p_mean, p_var),
            kl_diagonal(q_mean, q_var, p_mean.detach(), p_var.detach()),
        )


class Terms(NamedTuple):
    """What an objective sees of a model."""

    # [B] |x - x̂|² summed over X and the observed frames, at one posterior draw
    squared_error: Tensor
    # [B] nats per sequence: a one-draw estimate of KL(q(latents | x, u) ‖ p(latents | u))
    rate: Tensor
    # of a model whose rate is a sum over steps (`Model.has_step_rates`)
    step_rates: StepRates | None = None


def blank_missing(values: Tensor, mask: Tensor | None) -> Tensor:
    """values [B, T, ·] with zeros in the place of what mask (True = observed) calls missing, which
    may be NaN; mask [B, T] or [B, T, ·].
    """
    if mask is None:
        return values
    return values.masked_fill(~mask.view(*values.shape[:2], -1), 0.0)


def squared_error(x: Tensor, x_mean: Tensor, mask: Tensor | None = None) -> Tensor:
    """|x - x̂|² summed over X and the observed frames, [B]; x, x_mean [B, T, X]."""
    return (blank_missing(x - x_mean, mask) ** 2).sum((1, 2))


class Model(nn.Module, ABC):
    """What every model answers. x [B, T, X] are observations, u [B, T, U] controls, z [B, T, Z]
    states; mask [B, T] (bool, True = observed) says which frames are missing: their values, NaN
    too, do not count. None is a mask of True.

    A model that cannot answer says so in `cannot`, in words, and raises a ValueError with them.
    """

    # what this model cannot do -> why. The keys are names of methods, "mask" for missing frames,
    # "log_weights" for `terms(analytic=False)`, where -(D + R) is no bound on log p(x | u)
    cannot: ClassVar[Mapping[str, str]] = {}
    has_step_rates: ClassVar[bool] = False  # `terms` come with `StepRates`
    entries_may_miss: ClassVar[bool] = False  # a mask may also be [B, T, X], of single entries

    # (z [..., Z], u [..., U]) -> mean and variance [..., Z] of the next state; method or module
    transition: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

    def __init__(self, x_dim: int, u_dim: int, z_dim: int):
        super().__init__()
        self.x_dim, self.u_dim, self.z_dim = x_dim, u_dim, z_dim

    @abstractmethod
    def infer(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Posterior:
        """Means, one draw and variances of the states."""

    @abstractmethod
    def terms(
        self,
        x: Tensor,
        u: Tensor,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
        analytic: bool = True,
    ) -> Terms:
        """Squared error and rate of one posterior draw.

        Without `analytic` the rate is log q - log p of the draw itself, as importance weights need
        it (`evaluation.bounds`); a model whose rate is that already need not look at the keyword.
        """

    @abstractmethod
    def predict(
        self, z1: Tensor, u: Tensor, sample: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Open loop: the path that starts at z1 [B, Z] under u [B, T, U] -> [B, T, Z], z_1 included
        (u_T is not used).

        With `sample`, a draw from the model; without, the path of means.
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Mean observation of a state. z [..., Z] -> [..., X]."""

    @abstractmethod
    def log_prior(self, z: Tensor, u: Tensor) -> Tensor:
        """log p(z_{1:T} | u_{1:T}) [B] in nats."""

    def auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance [B, T, A] of q(a_t | x_t), what each frame alone says, of a model with
        auxiliary variables a; None for others.
        """
        return None

    def initialise(self, x: Tensor) -> None:
        """Start from training frames x [N, T, X], before the first step of training; nothing here,
        where random weights will do.
        """

    def compile_step(self) -> None:
        """Compile the inner step of the loop over time. ValueError for a model without one."""
        raise ValueError(f"{type(self).__name__} has no inner step to compile")

    def check(self, x: Tensor, u: Tensor, mask: Tensor | None = None) -> None:
        """Raise ValueError unless x is [B, T, X], u is [B, T, U], T >= 1, mask is bool and [B, T]
        (or [B, T, X] where `entries_may_miss`), and (off the GPU) all observed values are finite.
        """
        if x.ndim != 3 or x.shape[-1] != self.x_dim or x.shape[1] == 0:
            raise ValueError(f"x must be [B, T, {self.x_dim}] with T >= 1, got {list(x.shape)}")
        if u.shape != (*x.shape[:2], self.u_dim):
            raise ValueError(
                f"u must be [B, T, U] = {[*x.shape[:2], self.u_dim]} to go with x, "
                f"got {list(u.shape)}"
            )
        if mask is not None:
            if "mask" in self.cannot:
                self.refuse("mask")
            shapes = [x.shape[:2], x.shape] if self.entries_may_miss else [x.shape[:2]]
            if mask.dtype != torch.bool or mask.shape not in shapes:
                raise ValueError(
                    f"mask must be bool, {' or '.join(str(list(s)) for s in shapes)} "
                    f"(True = observed), got {mask.dtype} {list(mask.shape)}"
                )
        if x.device.type == "cpu" and not (all_finite(blank_missing(x, mask)) and all_finite(u)):
            raise ValueError("x and u must be finite, got NaN or infinity")

    def admit(
        self, x: Tensor, u: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The door: x with zeros where it is missing, and the mask, None where nothing is missing.

        ValueError as `check`.
        """
        self.check(x, u, mask)
        if mask is not None and mask.device.type == "cpu" and bool(mask.all()):
            mask = None
        return blank_missing(x, mask), mask

    def refuse(self, what: str) -> NoReturn:
        """Raise ValueError with the words of `cannot`."""
        raise ValueError(f"{type(self).__name__} has no answer here: {self.cannot[what]}")

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
        """See `Model`: every step is the mean of the transition or, with `sample`, a draw."""
        self.check_start(z1, u)
        path = [z1]
        for u_t in u[:, :-1].unbind(1):
            z, var = self.transition(path[-1], u_t)
            if sample:
                z = z + var.sqrt() * self.noise(z, *z.shape, generator=generator)
            path.append(z)
        return torch.stack(path, 1)

    def log_prior(self, z: Tensor, u: Tensor) -> Tensor:
        """See `Model`: p(z_1) and the transitions at the given path, all steps at once.

        Equations: notation-joint, ssm-factor, bal-model, ek-prior
        """
        z1 = z[:, 0]
        first = log_normal(z1, torch.zeros_like(z1), torch.ones_like(z1))
        mean, var = self.transition(z[:, :-1], u[:, :-1])
        return first + log_normal(z[:, 1:], mean, var).sum(-1)


class Recipe(NamedTuple):
    """A registered model: its class and the settings that the book trains it with."""

    model: type[Model]  # made by model(config)
    config: Any  # a frozen dataclass

    def build(self, config: Any) -> Model:
        """A model of this class with other settings."""
        return self.model(config)  # type: ignore[call-arg]  # every subclass takes its config alone


MODELS: Registry[Recipe] = Registry("model")
