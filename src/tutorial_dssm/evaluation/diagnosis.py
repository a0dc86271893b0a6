"""Where a prediction goes wrong: forecasts from every step, the best start a transition could have
had.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..models.base import Model


def forecasts_from_every_step(model: Model, z: Tensor, u: Tensor) -> list[Tensor]:
    """Forecasts from every state of a path: entry k holds, for every t <= T - k, where the
    transition's mean leads z_t in k steps.

    Entry 0 is z itself; entry k is [N, T-k, Z], and its element t belongs to step t + k.

    Args:
        z, u: a path of states [N, T, Z] and the controls [N, T, U] (u_T is not used).
    Raises:
        ValueError: z and u do not share N and T, or the model has no transition from (z, u) (its
            `cannot` says why).
    """
    if "transition" in model.cannot:
        model.refuse("transition")
    if z.ndim != 3 or u.ndim != 3 or z.shape[:2] != u.shape[:2]:
        raise ValueError(
            f"z and u must be [N, T, ·] with the same N and T, got {list(z.shape)} and "
            f"{list(u.shape)}"
        )
    T = z.shape[1]
    ahead = [z]
    for k in range(T - 1):
        ahead.append(model.transition(ahead[-1][:, : T - 1 - k], u[:, k : T - 1])[0])
    return ahead


class Start(NamedTuple):
    """The best first state that a search has found."""

    z1: Tensor  # [B, Z]
    error: Tensor  # [B] squared error per pixel of the open-loop prediction from it


def best_start(
    model: Model,
    z1: Tensor,
    x: Tensor,
    u: Tensor,
    steps: int = 60,
    learning_rate: float = 0.1,
) -> Start:
    """Search the first state from which the model's own transition predicts all frames best; the
    weights stay as they are.

    Adam on z_1 of every sequence, started at z1, keeping the best point seen. A local search: its
    error is an upper bound on what the best start could reach, and never above that of z1 itself.
    It looks at the frames to be predicted, so it is a diagnosis and no prediction.

    Args:
        z1: [B, Z], where to begin.
        x, u: [B, T, X] and [B, T, U].
    """
    z = z1.detach().clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=learning_rate)
    best = Start(z1.detach().clone(), torch.full_like(z1[:, 0], torch.inf))
    for _ in range(steps + 1):
        error = ((model.decode(model.predict(z, u)) - x) ** 2).mean((1, 2))
        better = error.detach() < best.error
        best = Start(
            torch.where(better[:, None], z.detach(), best.z1),
            torch.where(better, error.detach(), best.error),
        )
        # of z alone: no gradient is left in the weights
        (z.grad,) = torch.autograd.grad(error.sum(), z)
        adam.step()
    return best
