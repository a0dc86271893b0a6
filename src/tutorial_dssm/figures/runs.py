"""Every figure of one run, as PNG files with their alternative texts."""

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure

from .. import files
from ..data.sequences import SequenceData
from ..evaluation import scores
from ..evaluation.scores import FORECAST_FRAMES
from ..experiments import make_data, make_long_data, storage
from . import ch09_extended_kalman_vae as inference
from . import latent, shared, style

ALT = "figures.json"  # {file name: alternative text}, beside the images

Drawn = dict[str, tuple[Figure, str]]  # name -> (figure, alternative text)


def ranked(error: torch.Tensor) -> dict[str, int]:
    """The sequences with the smallest, the median and the largest error [N] (the lower one of two
    medians).
    """
    order = error.argsort(stable=True)
    places = {"best": 0, "typical": (len(order) - 1) // 2, "worst": -1}
    return {kind: int(order[place]) for kind, place in places.items()}


def _seeded() -> torch.Generator:
    """The draws of every figure start at the same place."""
    return torch.Generator().manual_seed(0)


def _training(run: str, trained: storage.Trained, state: torch.Tensor | None) -> Drawn:
    """How the run came about, where there is a record of it; state [N, T, 2] of the validation
    sequences, where it is known.
    """
    if not storage.training_record_path(run).exists():
        return {}
    name, record = trained.experiment.name, storage.load_training_record(run)
    paths = {name: record.history}
    drawn: Drawn = {
        "rate_distortion": (
            shared.rate_distortion_path(paths, target=trained.objective.target_mse),
            f"The path of {name} through training in the plane of squared error and rate, coloured "
            "by the noise in force",
        )
    }
    if state is not None:
        known = state[: record.snapshots.shape[1]]
        drawn["latent_over_training"] = (
            latent.latent_over_training(
                record.snapshots, record.snapshot_steps, known, record.history
            ),
            f"The latent space of {name} at several steps of training, coloured by angle and by "
            "velocity; below, the multiplier, the distortion and the rate",
        )
    return drawn


def _predictions(name: str, data: SequenceData, predicted: torch.Tensor) -> Drawn:
    """The best, the typical and the worst prediction; predicted frames [N, T, X]."""
    drawn, words = {}, {"best": "smallest", "typical": "median", "worst": "largest"}
    for kind, i in ranked(((predicted - data.x) ** 2).mean((1, 2))).items():
        rows = {"predicted": predicted[i]}
        drawn[f"prediction_{kind}"] = (
            shared.prediction(data.x[i], rows, dt=data.dt, error=True),
            f"Observed frames and, below, frames that {name} predicts from the first state alone, "
            f"for the held-out sequence with the {words[kind]} error of {len(data)} (sequence "
            f"{i}); at the bottom the squared error per pixel over time",
        )
    return drawn


def _forecast(trained: storage.Trained, mean_image: torch.Tensor) -> Drawn:
    """The error of the forecast, step by step, beside that of the mean image [X]."""
    name, long = trained.experiment.name, make_long_data(trained.experiment.data)
    error = scores.forecast_error(trained.model, long, FORECAST_FRAMES, _seeded())
    curves = {f"{name}, after {FORECAST_FRAMES} frames": error}
    levels = {"mean image": float(((long.x - mean_image) ** 2).mean())}
    return {
        "forecast_error": (
            shared.error_curves(curves, dt=long.dt, first=long.dt, references=levels),
            f"Squared error per pixel of {name} over {len(error)} predicted steps after "
            f"{FORECAST_FRAMES} seen frames, with the error of the mean image as a dashed line",
        )
    }


def _inference(trained: storage.Trained, data: SequenceData, i: int) -> Drawn:
    """From frames to auxiliary variables to states, for sequence i; nothing for a model that has no
    auxiliary variables, or where the true states are not known.
    """
    name, auxiliary = trained.experiment.name, trained.model.auxiliary(data.x)
    if auxiliary is None or data.state is None:
        return {}
    (a_mean, a_var), z = auxiliary, trained.model.infer(data.x, data.u, _seeded())
    figure = inference.inference_process(
        *(data.x[i], a_mean[i], a_var[i], z.mean[i], z.var[i], data.state[i]),
        *(a_mean, z.mean, data.state),
        dt=data.dt,
    )
    return {
        "inference_process": (
            figure,
            f"Inference in {name} for held-out sequence {i}: {data.x.shape[1]} frames; the "
            "auxiliary variables that each frame gives, on a ring of angles; the smoothed states, "
            "which add the velocity; both over time with bands of ± 2 sd",
        )
    }


@torch.no_grad()
def draw_all(run: str) -> Drawn:
    """All figures of a run (a folder, or the name of shipped weights), on held-out sequences of
    seeded data; those that show the true states only where these are known.

    ValueError when there is no such run, or its data set has missing frames: they cannot be drawn.
    """
    trained = storage.load(run)
    name, model = trained.experiment.name, trained.model
    splits = make_data(trained.experiment.data)
    data = splits.test
    if data.mask is not None:
        raise ValueError(
            f"the figures of {name} need every frame, but frames are missing in the data set "
            f"{trained.experiment.data!r}"
        )
    posterior = model.infer(data.x, data.u, _seeded())
    predicted = model.decode(model.predict(posterior.mean[:, 0], data.u))
    drawn: Drawn = {}
    if data.state is not None:
        title = f"{name}: smoothed states of {len(data)} held-out sequences"
        drawn["latent_space"] = (
            latent.latent_space(posterior.mean, data.state, title),
            f"Smoothed states of {name} in the latent space, coloured by the true angle (left) and "
            "by the true velocity (right)",
        )
    drawn |= _training(run, trained, splits.validation.state)
    drawn |= _predictions(name, data, predicted)
    drawn |= _forecast(trained, data.x.mean((0, 1)))
    typical = ranked(((predicted - data.x) ** 2).mean((1, 2)))["typical"]
    return drawn | _inference(trained, data, typical)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=style.DPI)
    return buffer.getvalue()


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
