"""Sampled predictions against the truth: the angle behind a latent state, and how often intervals
hold it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..models.base import SequentialModel


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angles on [-π, π)."""
    return np.remainder(angle + np.pi, 2 * np.pi) - np.pi


# ---------------------------------------------------------------- from latent states to angles


class AngleMap(NamedTuple):
    """Linear map from z to (sin φ, cos φ), then atan2."""

    weights: np.ndarray  # [Z + 1, 2], the intercept last

    def __call__(self, z: np.ndarray | Tensor) -> np.ndarray:
        """z [..., Z] -> φ [...] on (-π, π]."""
        z = np.asarray(z, np.float64)
        sin, cos = np.moveaxis(z @ self.weights[:-1] + self.weights[-1], -1, 0)
        return np.arctan2(sin, cos)


def fit_angle(z: np.ndarray | Tensor, state: np.ndarray | Tensor) -> AngleMap:
    """Ordinary least squares from smoothed means z [N, T, Z] to sin φ and cos φ of state [N, T, 2],
    as the R² of the tables.

    Tensors are on the CPU and without gradients. ValueError when the shapes do not go together.
    """
    z, state = np.asarray(z, np.float64), np.asarray(state, np.float64)
    if z.shape[:-1] != state.shape[:-1] or state.shape[-1] != 2:
        raise ValueError(
            "z and state must be [N, T, Z] and [N, T, 2], "
            f"got {list(z.shape)} and {list(state.shape)}"
        )
    phi = state[..., 0].ravel()
    design = np.column_stack([z.reshape(-1, z.shape[-1]), np.ones(len(phi))])
    target = np.column_stack([np.sin(phi), np.cos(phi)])
    return AngleMap(np.linalg.lstsq(design, target, rcond=None)[0])


@torch.no_grad()
def sampled_rollouts(
    model: SequentialModel,
    data: SequenceData,
    frames: int,
    draws: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Paths drawn from the model after it has seen `frames` frames: [S, N, T - frames + 1, Z], the
    state at the last frame seen included.

    Each path starts at its own posterior draw given x_{1:frames} and draws every transition: the
    predictive distribution. ValueError unless 1 <= frames <= T and draws >= 1.
    """
    T = data.x.shape[1]
    if not (1 <= frames <= T and draws >= 1):
        raise ValueError(
            f"frames must be between 1 and {T} and draws at least 1, got {frames} and {draws}"
        )
    x, u = data.x[:, :frames], data.u[:, :frames]
    mask = None if data.mask is None else data.mask[:, :frames]
    paths = []
    for _ in range(draws):
        z = model.infer(x, u, generator, mask=mask).sample[:, -1]
        paths.append(model.predict(z, data.u[:, frames - 1 :], sample=True, generator=generator))
    return torch.stack(paths)


# ---------------------------------------------------------------- intervals of angles


def central_interval(
    samples: np.ndarray, levels: np.ndarray | Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Circular means [...] of samples [S, ...], and the deviations from them [2, L, ...] at which
    the central interval of each level [L] begins and ends.

    Quantile k/(S + 1) is the k-th smallest of S draws: of one more draw, that share lies below it
    in the mean, whatever the distribution.
    """
    centre = np.arctan2(np.sin(samples).mean(0), np.cos(samples).mean(0))
    tail = (1 - np.asarray(levels, float)) / 2
    ends = np.stack([tail, 1 - tail])
    return centre, np.quantile(wrap(samples - centre), ends, axis=0, method="weibull")


def coverage(
    samples: np.ndarray | Tensor,
    truth: np.ndarray | Tensor,
    levels: np.ndarray | Tensor | Sequence[float],
) -> np.ndarray:
    """Share of true angles that lie in the central interval of each level [L], over all sequences
    and steps.

    Angles are circular: intervals are quantiles of the deviation from the circular mean of the
    draws, so that ±π is no edge. Levels above (S - 1)/(S + 1) ask for more than S draws can tell:
    the interval ends at the outermost draws.

    Args:
        samples: [S, N, T] drawn angles, in rad, on any branch.
        truth: [N, T].
        levels: [L] in (0, 1).
    Raises:
        ValueError: shapes that do not go together, S < 2, values that are not finite, or a level
            outside (0, 1).
    """
    samples, truth = np.asarray(samples, np.float64), np.asarray(truth, np.float64)
    levels = np.atleast_1d(np.asarray(levels, np.float64))
    if samples.ndim < 1 or samples.shape[1:] != truth.shape or len(samples) < 2:
        raise ValueError(
            "samples must be [S, *truth.shape] with S >= 2, "
            f"got {list(samples.shape)} for {list(truth.shape)}"
        )
    if not (np.isfinite(samples).all() and np.isfinite(truth).all()):
        raise ValueError("samples and truth must be finite, got NaN or infinity")
    if not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"levels must be between 0 and 1, got {levels.tolist()}")
    centre, (low, high) = central_interval(samples, levels)
    deviation = wrap(truth - centre)
    inside = (low <= deviation) & (deviation <= high)
    return inside.reshape(len(levels), -1).mean(1)
