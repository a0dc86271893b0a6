"""Training a model of single frames in memory: nothing is stored."""

import torch
from torch import Tensor

from ..models.vae import FrameModel
from .objectives import Objective
from .training import Run, TrainingConfig


def no_control(x: Tensor) -> tuple[Tensor, Tensor]:
    """Frames [N, X] as what a frame model takes: x [N, 1, X] and u = 0 [N, 1, 1]."""
    return x[:, None], torch.zeros(len(x), 1, 1, dtype=x.dtype, device=x.device)


def fit(
    model: FrameModel, objective: Objective, x: Tensor, config: TrainingConfig, seed: int = 0
) -> Tensor:
    """Train a frame model on frames x [N, X] for `config.steps` steps; nothing is stored.

    Returns the loss at every step [steps].

    Batches are drawn without replacement, all of the frames where there are fewer than
    `config.batch`. The model is left in evaluation mode.
    """
    run = Run(model.train(), objective.train(), config, seed, x.device)
    model.initialise(x[None])
    sequences, u = no_control(x)
    losses = []
    for _ in range(config.steps):
        rows = torch.randperm(len(x), generator=run.generator, device=x.device)[: config.batch]
        losses.append(run.train_step(sequences[rows], u[rows], run.generator).loss.detach())
    model.eval()
    objective.eval()
    return torch.stack(losses)
