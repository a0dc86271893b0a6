"""Every figure of one run, as PNG files with their alternative texts (floor 4)."""

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure

from . import experiments, figures, files
from .evaluation import FORECAST_FRAMES
from .models.ekvae import EKVAE
from .objectives import Constrained

ALT = "figures.json"  # {file name: alternative text}, beside the images
DPI = 110


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def ranked(error: torch.Tensor) -> dict[str, int]:
    """The sequences with the smallest, the median and the largest error [N] (the lower one of two medians)."""
    order = error.argsort(stable=True)
    return {"best": int(order[0]), "typical": int(order[(len(order) - 1) // 2]), "worst": int(order[-1])}


@torch.no_grad()
def draw_all(run: str) -> dict[str, tuple[Figure, str]]:
    """All figures of a run (a folder, or the name of shipped weights): name -> (figure, alternative text). Held-out sequences of
    seeded data.
    """
    trained = experiments.load(run)
    name, model = trained.experiment.name, trained.model
    splits = experiments.make_data(trained.experiment.data)
    data = splits.test
    n, steps = data.x.shape[:2]
    dt = 0.05 if trained.experiment.data.startswith("gymnasium") else figures.DT

    def generator():
        return torch.Generator().manual_seed(0)

    posterior = model.infer(data.x, data.u, generator())
    drawn = {
        "latent_space": (
            figures.latent_space(posterior.mean, data.state, f"{name}: smoothed states of {n} held-out sequences"),
            f"Smoothed states of {name} in the latent space, coloured by the true angle (left) and by the true velocity (right)",
        )
    }
    if experiments.training_record_path(run).exists():
        record = experiments.load_training_record(run)
        state = splits.validation.state[: record.snapshots.shape[1]]
        drawn["latent_over_training"] = (
            figures.latent_over_training(record.snapshots, record.snapshot_steps, state, record.history),
            f"The latent space of {name} at several steps of training, coloured by angle and by velocity; "
            "below, the multiplier, the distortion and the rate",
        )
        constrained = isinstance(trained.objective, Constrained)
        drawn["rate_distortion"] = (
            figures.rate_distortion_path(
                {name: record.history}, target=trained.objective.config.target_mse if constrained else None
            ),
            f"The path of {name} through training in the plane of squared error and rate, coloured by the noise in force",
        )

    predicted = model.decode(model.predict(posterior.mean[:, 0], data.u))
    error = ((predicted - data.x) ** 2).mean((1, 2))
    which = {"best": "smallest", "typical": "median", "worst": "largest"}
    for kind, i in ranked(error).items():
        drawn[f"prediction_{kind}"] = (
            figures.prediction(data.x[i], {"predicted": predicted[i]}, dt, error=True),
            f"Observed frames and, below, frames that {name} predicts from the first state alone, for the held-out sequence with "
            f"the {which[kind]} error of {n} (sequence {i}); at the bottom the squared error per pixel over time",
        )

    long = experiments.make_long_data(trained.experiment.data)
    z = model.infer(long.x[:, :FORECAST_FRAMES], long.u[:, :FORECAST_FRAMES], generator()).mean[:, -1]
    path = model.predict(z, long.u[:, FORECAST_FRAMES - 1 :])[:, 1:]
    forecast = ((model.decode(path) - long.x[:, FORECAST_FRAMES:]) ** 2).mean((0, 2))
    references = {"mean image": float(((long.x - data.x.mean((0, 1))) ** 2).mean())}
    drawn["forecast_error"] = (
        figures.error_curves({f"{name}, after {FORECAST_FRAMES} frames": forecast}, dt, dt, references=references),
        f"Squared error per pixel of {name} over {len(forecast)} predicted steps after {FORECAST_FRAMES} seen frames, "
        "with the error of the mean image as a dashed line",
    )
    if isinstance(model, EKVAE):
        a_mean, a_var = model.encoder(data.x)
        i = ranked(error)["typical"]
        drawn["inference_process"] = (
            figures.inference_process(
                data.x[i],
                a_mean[i],
                a_var[i],
                posterior.mean[i],
                posterior.var[i],
                data.state[i],
                a_mean,
                posterior.mean,
                data.state,
                dt,
            ),
            f"Inference in {name} for held-out sequence {i}: {steps} frames; the auxiliary variables that each frame gives, "
            "on a ring of angles; the smoothed states, which add the velocity; both over time with bands of ± 2 sd",
        )
    return drawn


def save_all(run: str, out: Path) -> list[Path]:
    """Draw every figure of a run into `out` as PNG, with their alternative texts in `figures.json` there; returns the paths of
    the images.

    run: a run's folder, or the name of shipped weights. Every file is written under a temporary name and renamed.
    Raises ValueError when there is no such run or `out` cannot be written.
    """
    out = Path(out)
    drawn = draw_all(run)
    paths = []
    for name, (figure, _) in drawn.items():
        files.write(out / f"{name}.png", _png(figure))
        paths.append(out / f"{name}.png")
    files.write_json(out / ALT, {f"{name}.png": alt for name, (_, alt) in drawn.items()})
    return paths
