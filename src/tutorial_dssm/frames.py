"""Frames that are no sequences: scikit-learn's digits, and training a frame model on them in memory (floor 4)."""

from typing import NamedTuple

import torch
from sklearn import datasets
from torch import Tensor

from .models.vae import FrameModel
from .objectives import Objective
from .training import Run, TrainingConfig


class Frames(NamedTuple):
    """Independent frames with a label each."""

    x: Tensor  # [N, X] in [0, 1]
    label: Tensor  # [N] for evaluation only: no model sees it


class FrameSplits(NamedTuple):
    """Frames to train on, and others to test on."""

    train: Frames
    test: Frames


def digits(n_test: int = 297, seed: int = 0) -> FrameSplits:
    """The 1797 handwritten digits of scikit-learn, 8 x 8 pixels in 17 grey values, shuffled. ValueError unless 1 <= n_test < 1797."""
    data = datasets.load_digits()
    x, label = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    if not 1 <= n_test < len(x):
        raise ValueError(f"n_test must be between 1 and {len(x) - 1}, got {n_test}")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, train = order[:n_test], order[n_test:]
    return FrameSplits(Frames(x[train], label[train]), Frames(x[test], label[test]))


def no_control(x: Tensor) -> tuple[Tensor, Tensor]:
    """Frames [N, X] as sequences of one step, x [N, 1, X] and u = 0 [N, 1, 1]: what a frame model takes."""
    return x[:, None], torch.zeros(len(x), 1, 1, dtype=x.dtype, device=x.device)


def fit(model: FrameModel, objective: Objective, x: Tensor, config: TrainingConfig, seed: int = 0) -> Tensor:
    """Train a frame model on frames x [N, X] for `config.steps` steps; nothing is stored. Returns the loss at every step [steps].

    Batches are drawn without replacement, all of the frames where there are fewer than `config.batch`. The model is left in evaluation mode.
    """
    run = Run(model.train(), objective.train(), config, seed, x.device)
    model.initialise(x[None])
    sequences, u = no_control(x)
    losses = []
    for _ in range(config.steps):
        rows = torch.randperm(len(x), generator=run.generator, device=x.device)[: config.batch]
        losses.append(run.train_step(sequences[rows], u[rows], run.generator).loss.detach())
    model.eval(), objective.eval()
    return torch.stack(losses)
