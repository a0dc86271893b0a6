"""What a trained model is worth on held-out sequences: state recovery, reconstruction, prediction,
rate, distortion.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..learning.objectives import distortion
from ..models.base import SequentialModel

TARGETS = ("sin", "cos", "velocity")


class StateR2(NamedTuple):
    """Coefficient of determination of each part of the true state, from the latent state."""

    sin: float  # of sin φ
    cos: float  # of cos φ
    velocity: float  # of φ̇


@dataclass(frozen=True)
class Evaluation:
    """Everything measured of one model; information in nats per sequence, errors squared per pixel."""

    r2_sin: float  # R² of sin φ by ordinary least squares from smoothed means (Karl et al. 2017)
    r2_cos: float  # the same of cos φ
    r2_velocity: float  # the same of φ̇
    # R² of sin φ by k nearest neighbours, cross-validated: tells "not encoded" from "encoded but
    # bent"
    r2_sin_knn: float
    r2_cos_knn: float
    r2_velocity_knn: float
    mse_smoothed: float  # reconstruction from smoothed means
    mse_open_loop: float  # prediction of the whole sequence from smoothed z_1
    # filter `FORECAST_FRAMES` frames, predict the next `FORECAST_STEPS`; mean over those steps
    mse_forecast: float
    distortion: float  # D at `sigma`
    distortion_se: float  # standard error over sequences
    rate: float  # R
    rate_se: float
    elbo: float  # -(D + R)
    elbo_se: float
    sigma: float  # observation noise at which D is taken (σ/√λ for a constrained run)

    def to_dict(self) -> dict[str, float]:
        """Plain numbers by name."""
        return asdict(self)


FORECAST_FRAMES, FORECAST_STEPS = 10, 100


def state_targets(state: Tensor) -> np.ndarray:
    """sin φ, cos φ, φ̇ as float64 [N·T, 3]; state [N, T, 2]."""
    phi, velocity = state[..., 0].double(), state[..., 1].double()
    return torch.stack([phi.sin(), phi.cos(), velocity], -1).flatten(0, 1).cpu().numpy()


def _r2(y: np.ndarray, prediction: np.ndarray) -> StateR2:
    return StateR2(*(1 - ((y - prediction) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)).tolist())


def linear_r2(z: Tensor, state: Tensor) -> StateR2:
    """R² of ordinary least squares (with intercept) from z [N, T, Z] to sin φ, cos φ, φ̇.

    Karl et al. (2017), table 1.
    """
    y, features = state_targets(state), z.flatten(0, 1).double().cpu().numpy()
    design = np.column_stack([features, np.ones(len(features))])
    return _r2(y, design @ np.linalg.lstsq(design, y, rcond=None)[0])


def knn_r2(z: Tensor, state: Tensor, neighbours: int = 10, folds: int = 5) -> StateR2:
    """R² of k-nearest-neighbour regression from standardised z [N, T, Z], cross-validated with
    whole sequences left out.

    ValueError when there are fewer than `folds` sequences.
    """
    N, T = z.shape[:2]
    if folds > N:
        raise ValueError(f"need at least {folds} sequences for {folds} folds, got {N}")
    y, features = state_targets(state), z.flatten(0, 1).double().cpu()
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-12)
    fold = (torch.arange(N) * folds // N).repeat_interleave(
        T
    )  # neighbouring sequences, so that the parts follow one another
    predictions = []
    for i in range(folds):
        distance = torch.cdist(features[fold == i], features[fold != i])
        nearest = distance.topk(neighbours, largest=False).indices
        predictions.append(y[(fold != i).numpy()][nearest].mean(1))
    return _r2(y, np.concatenate(predictions))


@torch.no_grad()
def open_loop_error(
    model: SequentialModel, data: SequenceData, generator: torch.Generator
) -> Tensor:
    """Squared error per pixel at each step [T] of predicting all frames from smoothed z_1 and the
    controls.
    """
    z1 = model.infer(data.x, data.u, generator).mean[:, 0]
    return ((model.decode(model.predict(z1, data.u)) - data.x) ** 2).mean((0, 2))


@torch.no_grad()
def forecast(
    model: SequentialModel, data: SequenceData, frames: int, generator: torch.Generator
) -> Tensor:
    """Latent path [N, T-frames+1, Z]: the state at frame `frames`, inferred from x_{1:frames}, and
    where the controls lead it.

    ValueError unless 1 <= frames <= T.
    """
    if not 1 <= frames <= data.x.shape[1]:
        raise ValueError(f"frames must be between 1 and {data.x.shape[1]}, got {frames}")
    z = model.infer(data.x[:, :frames], data.u[:, :frames], generator).mean[:, -1]
    return model.predict(z, data.u[:, frames - 1 :])


@torch.no_grad()
def forecast_error(
    model: SequentialModel, data: SequenceData, frames: int, generator: torch.Generator
) -> Tensor:
    """Squared error per pixel at each step [T-frames] after the last frame seen.

    ValueError unless 1 <= frames < T.
    """
    if not 1 <= frames < data.x.shape[1]:
        raise ValueError(f"frames must be between 1 and {data.x.shape[1] - 1}, got {frames}")
    z = forecast(model, data, frames, generator)[:, 1:]
    return ((model.decode(z) - data.x[:, frames:]) ** 2).mean((0, 2))


@torch.no_grad()
def evaluate(
    model: SequentialModel,
    sigma: Tensor | float,
    data: SequenceData,
    long_data: SequenceData,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model on held-out `data` [N, T, ·] and on `long_data` (FORECAST_FRAMES +
    FORECAST_STEPS steps).

    sigma is the noise at which D is taken (`objective.noise()`). D and R are one-draw estimates,
    averaged over the N sequences.

    Equations: bal-elbo, bal-distortion
    """
    model.eval()
    sigma = float(sigma.detach() if isinstance(sigma, Tensor) else sigma)
    generator = torch.Generator(device=data.x.device).manual_seed(seed)
    mean = model.infer(data.x, data.u, generator).mean
    terms = model.terms(data.x, data.u, generator)
    d = distortion(terms.squared_error, data.x.shape[1] * data.x.shape[2], sigma).double()
    rate = terms.rate.double()
    mean_d, mean_rate = float(d.mean()), float(rate.mean())
    linear, knn = linear_r2(mean, data.state), knn_r2(mean, data.state)

    def error(v: Tensor) -> float:
        """Standard error of the mean over sequences."""
        return float(v.std() / len(v) ** 0.5)

    return Evaluation(
        **{f"r2_{k}": v for k, v in linear._asdict().items()},
        **{f"r2_{k}_knn": v for k, v in knn._asdict().items()},
        mse_smoothed=float(((model.decode(mean) - data.x) ** 2).mean()),
        mse_open_loop=float(open_loop_error(model, data, generator).mean()),
        mse_forecast=float(forecast_error(model, long_data, FORECAST_FRAMES, generator).mean()),
        distortion=mean_d,
        distortion_se=error(d),
        rate=mean_rate,
        rate_se=error(rate),
        elbo=-(mean_d + mean_rate),
        elbo_se=error(d + rate),
        sigma=sigma,
    )
