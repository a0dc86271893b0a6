"""What a trained model is worth on held-out sequences.

State recovery, reconstruction, prediction, rate and distortion. What the states are compared with
are the targets that the data name (`SequenceData.targets`); without targets the rest is measured.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..learning.objectives import distortion
from ..models.base import Model

FORECAST_FRAMES, FORECAST_STEPS = 10, 100


@dataclass(frozen=True)
class Evaluation:
    """Everything measured of one model; information in nats per sequence, errors a pixel."""

    # R² of each target by ordinary least squares from smoothed means (Karl et al. 2017)
    r2: dict[str, float]
    # The same by k nearest neighbours, cross-validated: tells "not encoded" from "encoded but bent"
    r2_knn: dict[str, float]
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
        """Plain numbers by name: r2_TARGET and r2_TARGET_knn for each target, then the others."""
        numbers = asdict(self)
        r2, r2_knn = numbers.pop("r2"), numbers.pop("r2_knn")
        named = {f"r2_{target}": value for target, value in r2.items()}
        return named | {f"r2_{target}_knn": value for target, value in r2_knn.items()} | numbers


def names(targets: Iterable[str]) -> list[str]:
    """The keys of `Evaluation.to_dict` for data with these targets."""
    own = [field.name for field in fields(Evaluation)]
    r2 = [f"r2_{target}{knn}" for knn in ("", "_knn") for target in targets]
    return r2 + [name for name in own if name not in ("r2", "r2_knn")]


def _columns(targets: Mapping[str, Tensor]) -> np.ndarray:
    """Targets {name: [N, T]} side by side: float64 [N·T, K]."""
    return torch.stack([v.double() for v in targets.values()], -1).flatten(0, 1).cpu().numpy()


def _r2(targets: Mapping[str, Tensor], y: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """1 - residual over total sum of squares for each column; y, prediction [N·T, K]."""
    left = ((y - prediction) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    return dict(zip(targets, (1 - left).tolist()))


def linear_r2(z: Tensor, targets: Mapping[str, Tensor]) -> dict[str, float]:
    """R² of ordinary least squares (with intercept) from z [N, T, Z] to each target [N, T].

    Karl et al. (2017), table 1.
    """
    if not targets:
        return {}
    y, features = _columns(targets), z.flatten(0, 1).double().cpu().numpy()
    design = np.column_stack([features, np.ones(len(features))])
    return _r2(targets, y, design @ np.linalg.lstsq(design, y, rcond=None)[0])


def knn_r2(
    z: Tensor, targets: Mapping[str, Tensor], neighbours: int = 10, folds: int = 5
) -> dict[str, float]:
    """R² of k-nearest-neighbour regression from standardised z [N, T, Z] to each target [N, T].

    Cross-validated, with whole sequences left out. ValueError for fewer than `folds` sequences.
    """
    N, T = z.shape[:2]
    if not targets:
        return {}
    if folds > N:
        raise ValueError(f"need at least {folds} sequences for {folds} folds, got {N}")
    y, features = _columns(targets), z.flatten(0, 1).double().cpu()
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-12)
    # Neighbouring sequences are in one fold, so that the parts follow one another.
    fold = (torch.arange(N) * folds // N).repeat_interleave(T)
    predictions = []
    for i in range(folds):
        distance = torch.cdist(features[fold == i], features[fold != i])
        nearest = distance.topk(neighbours, largest=False).indices
        predictions.append(y[(fold != i).numpy()][nearest].mean(1))
    return _r2(targets, y, np.concatenate(predictions))


def error_by_step(frames: Tensor, data: SequenceData) -> Tensor:
    """Squared error per pixel of frames [N, T, X] at each step [T], over what was observed."""
    if data.mask is None:
        return ((frames - data.x) ** 2).mean((0, 2))
    seen = data.mask.unsqueeze(-1)
    squared = torch.where(seen, frames - data.x, 0.0).square().mean(2)
    return squared.sum(0) / data.mask.sum(0)


@torch.no_grad()
def open_loop_error(model: Model, data: SequenceData, generator: torch.Generator) -> Tensor:
    """Squared error per pixel at each step [T] of predicting all frames.

    The prediction starts at the smoothed z_1 and follows the controls.
    """
    z1 = model.infer(data.x, data.u, generator, mask=data.mask).mean[:, 0]
    return error_by_step(model.decode(model.predict(z1, data.u)), data)


@torch.no_grad()
def forecast(model: Model, data: SequenceData, frames: int, generator: torch.Generator) -> Tensor:
    """The state at frame `frames`, inferred from x_{1:frames}, and where the controls lead it.

    Returns the latent path [N, T-frames+1, Z]. ValueError unless 1 <= frames <= T.
    """
    T = data.x.shape[1]
    if not 1 <= frames <= T:
        raise ValueError(f"frames must be between 1 and {T}, got {frames}")
    seen = data.steps(0, frames)
    z = model.infer(seen.x, seen.u, generator, mask=seen.mask).mean[:, -1]
    return model.predict(z, data.u[:, frames - 1 :])


@torch.no_grad()
def forecast_error(
    model: Model, data: SequenceData, frames: int, generator: torch.Generator
) -> Tensor:
    """Squared error per pixel at each step [T-frames] after the last frame seen.

    ValueError unless 1 <= frames < T.
    """
    T = data.x.shape[1]
    if not 1 <= frames < T:
        raise ValueError(f"frames must be between 1 and {T - 1}, got {frames}")
    z = forecast(model, data, frames, generator)[:, 1:]
    return error_by_step(model.decode(z), data.steps(frames, T))


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean over sequences [N], and its standard error."""
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


@torch.no_grad()
def evaluate(
    model: Model,
    sigma: Tensor | float,
    data: SequenceData,
    long_data: SequenceData,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model on held-out `data` [N, T, ·] and on `long_data`.

    sigma is the noise at which D is taken (`objective.noise()`). D and R are one-draw estimates,
    averaged over the N sequences. `long_data` has FORECAST_FRAMES + FORECAST_STEPS steps.

    Equations: bal-elbo, bal-distortion
    """
    model.eval()
    sigma = float(sigma.detach() if isinstance(sigma, Tensor) else sigma)
    generator = torch.Generator(device=data.x.device).manual_seed(seed)
    mean = model.infer(data.x, data.u, generator, mask=data.mask).mean
    terms = model.terms(data.x, data.u, generator, mask=data.mask)
    frames = data.x.shape[1] if data.mask is None else data.mask.sum(1)  # observed, per sequence
    d = distortion(terms.squared_error, frames * data.x.shape[2], sigma).double()
    mean_d, se_d = _mean_and_error(d)
    mean_rate, se_rate = _mean_and_error(terms.rate.double())
    smoothed = model.decode(mean)
    open_loop = open_loop_error(model, data, generator)
    ahead = forecast_error(model, long_data, FORECAST_FRAMES, generator)
    return Evaluation(
        r2=linear_r2(mean, data.targets),
        r2_knn=knn_r2(mean, data.targets),
        mse_smoothed=float(error_by_step(smoothed, data).mean()),
        mse_open_loop=float(open_loop.mean()),
        mse_forecast=float(ahead.mean()),
        distortion=mean_d,
        distortion_se=se_d,
        rate=mean_rate,
        rate_se=se_rate,
        elbo=-(mean_d + mean_rate),
        elbo_se=_mean_and_error(d + terms.rate.double())[1],
        sigma=sigma,
    )
