"""The tables and figures of the page "The study", from shipped rows and weights.

python -m tools.pages.study [--check]
"""

import sys
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure

from tools import generated
from tools.generated import MADE, Picture
from tutorial_dssm import evaluation, experiments, files
from tutorial_dssm.evaluation import calibration
from tutorial_dssm.experiments import memory, storage, tables
from tutorial_dssm.figures import study

CALIBRATED = (
    "dkf-constrained",
    "dks-constrained",
    "dvbf-smoothing-constrained",
    "rssm-constrained",
    "ekvae-constrained",
    "ekvae-elbo-learned-noise",
)
SHOWN = "ekvae-constrained"  # the run whose paths are drawn
KEYS = (
    "r2_sin",
    "r2_cos",
    "r2_velocity",
    "r2_velocity_knn",
    "mse_open_loop",
    "mse_forecast",
    "rate",
    "distortion",
    "elbo",
    "iwae",
)
DIFFERENCES = ("r2_velocity", "mse_open_loop", "mse_forecast", "rate")
# Beside the grid: what explains two of its rows, and a model of pairs.
EXTRA = ("kvae-markov", "dvbf-smoothing-classic", "e2c")
FRAMES = 5  # seen
DRAWS = 60  # paths drawn after them
SEQUENCES = 3  # shown, the first ones: not picked


# ---------------------------------------------------------------- tables


@torch.no_grad()
def memory_table() -> str:
    """Where the Kalman VAE keeps the velocity: linear R² of φ̇_t from z_t, and from the LSTM."""
    test, body = experiments.make_data("pendulum").test, []
    for name in ("kvae-constrained", "kvae-elbo-learned-noise", "kvae-markov-constrained"):
        model = experiments.load_pretrained(name).model
        z = model.infer(test.x, test.u, torch.Generator().manual_seed(0)).mean
        from_memory = "–"
        if model.config.memory:
            inputs = torch.cat([model.encoder(test.x)[0], test.u], -1).transpose(0, 1)
            held = model.transition.rnn(inputs)[0].transpose(0, 1)
            from_memory = tables.number(evaluation.linear_r2(held, test.targets)["velocity"], 3)
        from_state = tables.number(evaluation.linear_r2(z, test.targets)["velocity"], 3)
        body.append([f"`{name}`", from_state, from_memory])
    return tables.markdown(["run, seed 0", "from $z_t$", "from the memory of $a_{1:t}$"], body)


@torch.no_grad()
def gain_table() -> str:
    """How much of the measurement the fusion takes up: the mean gain k = q/(q + s) at t > 1."""
    test, body = experiments.make_data("pendulum").test, []
    for name in ("dvbf-smoothing-classic-constrained", "dvbf-smoothing-constrained"):
        model = experiments.load_pretrained(name).model
        along = model.ancestral_pass(test.x, test.u, sample=False)
        z, kept = along.z, along.var / along.prior_var  # kept = 1 - k
        gains = (1 - kept)[:, 1:].mean((0, 1)).tolist()
        straight = evaluation.linear_r2(z, test.targets)["velocity"]
        bent = evaluation.knn_r2(z, test.targets)["velocity"]
        cells = [tables.number(value, 3) for value in (*gains, straight, bent)]
        body.append([f"`{name}`", *cells])
    velocity = r"$R^2$ $\dot\varphi$"
    head = ["run, seed 0", "$k_1$", "$k_2$", "$k_3$", velocity, "the same, neighbours"]
    return tables.markdown(head, body)


def full_table() -> str:
    """What a training run of the full preset needs, in GB, computed on the meta device."""
    body = []
    for model in experiments.FULL_MODELS:
        needed = memory.training_memory(experiments.get(f"{model}-constrained", preset="full"))
        body.append([f"`{model}`", *(tables.number(value / 1e9, 2) for value in needed)])
    needs = ("weights", "one step", "data on the device", "all on the device", "host")
    return tables.markdown(["model", *needs], body)


# ---------------------------------------------------------------- pictures


@cache
def sampled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Angles that a shipped run predicts after FRAMES frames, and the true ones, in rad.

    [DRAWS, N, T - FRAMES + 1] and [N, T].
    """
    test = experiments.make_data("pendulum").test
    model, generator = experiments.load_pretrained(name).model, torch.Generator().manual_seed(0)
    with torch.no_grad():
        seen = model.infer(test.x, test.u, generator).mean
    angle = calibration.fit_angle(seen, test.state)
    paths = calibration.sampled_rollouts(model, test, FRAMES, DRAWS, generator)
    return angle(paths), test.state[..., 0].numpy()


def rollouts() -> Figure:
    """Sampled paths against the truth."""
    drawn, truth = sampled(SHOWN)
    dt = experiments.make_data("pendulum").test.dt
    return study.rollout_panels(drawn[:, :SEQUENCES], truth[:SEQUENCES], seen=FRAMES, dt=dt)


def calibrated() -> Figure:
    """How far the spread of the paths can be trusted."""
    levels, coverage = np.linspace(0.1, 0.9, 9), {}
    for name in CALIBRATED:
        drawn, truth = sampled(name)
        coverage[name] = calibration.coverage(drawn[:, :, 1:], truth[:, FRAMES:], levels)
    return study.calibration_curve(levels, coverage)


# ---------------------------------------------------------------- all files


def made() -> dict[str, str | Picture]:
    """What the page includes."""
    torch.set_num_threads(1)
    rows = storage.load_study()
    grid = [row for row in rows if row["model"] not in EXTRA]
    gymnasium = files.read_json(experiments.PRETRAINED / "gymnasium.json")
    texts = {
        f"{MADE}/study_table.md": tables.study_table(rows, KEYS),
        f"{MADE}/study_differences.md": tables.comparison_table(grid, DIFFERENCES),
        f"{MADE}/study_memory.md": memory_table(),
        f"{MADE}/study_gain.md": gain_table(),
        f"{MADE}/study_gymnasium.md": tables.seed_rows(gymnasium),
        f"{MADE}/study_full.md": full_table(),
    }
    of_runs = [FRAMES, DRAWS, {name: generated.weights(name) for name in CALIBRATED}]
    pictures = {
        f"{MADE}/study.png": Picture(grid, lambda: study.study(grid)),
        f"{MADE}/study_rollouts.png": Picture([SEQUENCES, SHOWN, of_runs], rollouts),
        f"{MADE}/study_calibration.png": Picture(of_runs, calibrated),
    }
    return {path: f"{generated.note(path)}{text}\n" for path, text in texts.items()} | pictures


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
