"""Every figure of one run, as PNG files with their alternative texts."""

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure

from .. import files
from ..data.sequences import SequenceData
from ..evaluation import scores
from ..evaluation.scores import FORECAST_FRAMES
from ..experiments import runs, storage
from ..learning.objectives import Constrained
from ..models.base import Posterior
from ..models.ekvae import EKVAE
from . import ch09_extended_kalman_vae, shared, style

ALT = "figures.json"  # {file name: alternative text}, beside the images


DPI = 110


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def ranked(error: torch.Tensor) -> dict[str, int]:
    """The sequences with the smallest, the median and the largest error [N] (the lower one of two
    medians).
    """
    order = error.argsort(stable=True)
    return {
        "best": int(order[0]),
        "typical": int(order[(len(order) - 1) // 2]),
        "worst": int(order[-1]),
    }


Drawn = dict[str, tuple[Figure, str]]  # name -> (figure, alternative text)


def _seeded() -> torch.Generator:
    """The draws of every figure start at the same place."""
    return torch.Generator().manual_seed(0)


def _training(run: str, trained: storage.Trained, state: torch.Tensor) -> Drawn:
    """How the run came about, where there is a record of it; state [N, T, 2] of the validation
    sequences.
    """
    if not storage.training_record_path(run).exists():
        return {}
    name, record = trained.experiment.name, storage.load_training_record(run)
    target = (
        trained.objective.config.target_mse if isinstance(trained.objective, Constrained) else None
    )
    return {
        "latent_over_training": (
            shared.latent_over_training(
                record.snapshots,
                record.snapshot_steps,
                state[: record.snapshots.shape[1]],
                record.history,
            ),
            f"The latent space of {name} at several steps of training, coloured by angle and by velocity; "
            "below, the multiplier, the distortion and the rate",
        ),
        "rate_distortion": (
            shared.rate_distortion_path({name: record.history}, target=target),
            f"The path of {name} through training in the plane of squared error and rate, coloured by the noise in force",
        ),
    }


def _predictions(name: str, x: torch.Tensor, predicted: torch.Tensor, dt: float) -> Drawn:
    """The best, the typical and the worst prediction; frames x and predicted [N, T, X]."""
    drawn, words = {}, {"best": "smallest", "typical": "median", "worst": "largest"}
    for kind, i in ranked(((predicted - x) ** 2).mean((1, 2))).items():
        drawn[f"prediction_{kind}"] = (
            shared.prediction(x[i], {"predicted": predicted[i]}, dt, error=True),
            f"Observed frames and, below, frames that {name} predicts from the first state alone, for the held-out sequence with "
            f"the {words[kind]} error of {len(x)} (sequence {i}); at the bottom the squared error per pixel over time",
        )
    return drawn


def _forecast(trained: storage.Trained, mean_image: torch.Tensor, dt: float) -> Drawn:
    """The error of the forecast, step by step, beside that of the mean image [X]."""
    name, long = trained.experiment.name, runs.make_long_data(trained.experiment.data)
    error = scores.forecast_error(trained.model, long, FORECAST_FRAMES, _seeded())
    references = {"mean image": float(((long.x - mean_image) ** 2).mean())}
    return {
        "forecast_error": (
            shared.error_curves(
                {f"{name}, after {FORECAST_FRAMES} frames": error}, dt, dt, references=references
            ),
            f"Squared error per pixel of {name} over {len(error)} predicted steps after {FORECAST_FRAMES} seen frames, "
            "with the error of the mean image as a dashed line",
        )
    }


def _inference(
    name: str, model: EKVAE, data: SequenceData, posterior: Posterior, i: int, dt: float
) -> Drawn:
    """From frames to auxiliary variables to states, for sequence i."""
    a_mean, a_var = model.encoder(data.x)
    one = (a_mean[i], a_var[i], posterior.mean[i], posterior.var[i], data.state[i])
    return {
        "inference_process": (
            ch09_extended_kalman_vae.inference_process(
                data.x[i], *one, a_mean, posterior.mean, data.state, dt
            ),
            f"Inference in {name} for held-out sequence {i}: {data.x.shape[1]} frames; the auxiliary variables that each frame gives, "
            "on a ring of angles; the smoothed states, which add the velocity; both over time with bands of ± 2 sd",
        )
    }


@torch.no_grad()
def draw_all(run: str) -> Drawn:
    """All figures of a run (a folder, or the name of shipped weights).

    Held-out sequences of seeded data.
    """
    trained = storage.load(run)
    name, model = trained.experiment.name, trained.model
    splits = runs.make_data(trained.experiment.data)
    data, dt = splits.test, 0.05 if trained.experiment.data.startswith("gymnasium") else style.DT
    posterior = model.infer(data.x, data.u, _seeded())
    predicted = model.decode(model.predict(posterior.mean[:, 0], data.u))
    drawn = {
        "latent_space": (
            shared.latent_space(
                posterior.mean,
                data.state,
                f"{name}: smoothed states of {len(data.x)} held-out sequences",
            ),
            f"Smoothed states of {name} in the latent space, coloured by the true angle (left) and by the true velocity (right)",
        )
    }
    drawn |= _training(run, trained, splits.validation.state) | _predictions(
        name, data.x, predicted, dt
    )
    drawn |= _forecast(trained, data.x.mean((0, 1)), dt)
    if isinstance(model, EKVAE):
        drawn |= _inference(
            name,
            model,
            data,
            posterior,
            ranked(((predicted - data.x) ** 2).mean((1, 2)))["typical"],
            dt,
        )
    return drawn


def save_all(run: str, out: Path) -> list[Path]:
    """Draw every figure of a run into `out` as PNG, with their alternative texts in `figures.json`
    there; returns the paths of the images.

    run: a run's folder, or the name of shipped weights. Every file is written under a temporary
    name and renamed. Raises ValueError when there is no such run or `out` cannot be written.
    """
    out = Path(out)
    drawn = draw_all(run)
    paths = []
    for name, (figure, _) in drawn.items():
        files.write(out / f"{name}.png", _png(figure))
        paths.append(out / f"{name}.png")
    files.write_json(out / ALT, {f"{name}.png": alt for name, (_, alt) in drawn.items()})
    return paths
