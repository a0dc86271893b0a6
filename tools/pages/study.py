"""The tables and figures of the page "The study", from shipped rows and weights: `python -m
tools.pages.study [--check]`.
"""

import sys
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure

from tools import generated
from tools.generated import MADE, Picture
from tutorial_dssm import evaluation, experiments, figures_study, files, memory, results, study

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
FRAMES, DRAWS, SEQUENCES = (
    5,
    60,
    3,
)  # seen; paths drawn after them; sequences shown, the first ones: not picked


# ---------------------------------------------------------------- tables


@torch.no_grad()
def memory_table() -> str:
    """Where the Kalman VAE keeps the velocity: linear R² of φ̇_t from the smoothed z_t, and from
    what a_{1:t} leaves in the LSTM.
    """
    test, body = experiments.make_data("pendulum").test, []
    for name in ("kvae-constrained", "kvae-elbo-learned-noise", "kvae-markov-constrained"):
        model = experiments.load_pretrained(name).model
        z = model.infer(test.x, test.u, torch.Generator().manual_seed(0)).mean
        from_memory = "–"
        if model.config.memory:
            inputs = torch.cat([model.encoder(test.x)[0], test.u], -1).transpose(0, 1)
            held = model.transition.rnn(inputs)[0].transpose(0, 1)
            from_memory = results.number(evaluation.linear_r2(held, test.state).velocity, 3)
        from_state = results.number(evaluation.linear_r2(z, test.state).velocity, 3)
        body.append([f"`{name}`", from_state, from_memory])
    return results.markdown(["run, seed 0", "from $z_t$", "from the memory of $a_{1:t}$"], body)


@torch.no_grad()
def gain_table() -> str:
    """How much of the measurement the fusion takes up: each coordinate's mean gain k = q/(q + s) at
    t > 1, and the velocity's R².
    """
    test, body = experiments.make_data("pendulum").test, []
    for name in ("dvbf-smoothing-classic-constrained", "dvbf-smoothing-constrained"):
        model = experiments.load_pretrained(name).model
        _, v, _, z = model._posterior(test.x, test.u, torch.zeros(*test.x.shape[:2], model.z_dim))
        gains = (1 - v)[:, 1:].mean((0, 1)).tolist()  # v = 1 - k
        straight = evaluation.linear_r2(z, test.state).velocity
        bent = evaluation.knn_r2(z, test.state).velocity
        cells = [results.number(value, 3) for value in (*gains, straight, bent)]
        body.append([f"`{name}`", *cells])
    velocity = r"$R^2$ $\dot\varphi$"
    head = ["run, seed 0", "$k_1$", "$k_2$", "$k_3$", velocity, "the same, neighbours"]
    return results.markdown(head, body)


def full_table() -> str:
    """What a training run of the full preset needs, in GB, computed on the meta device."""
    body = []
    for model in experiments.FULL_MODELS:
        needed = memory.training_memory(experiments.get(f"{model}-constrained", preset="full"))
        body.append([f"`{model}`", *(results.number(value / 1e9, 2) for value in needed)])
    needs = ("weights", "one step", "data on the device", "all on the device", "host")
    return results.markdown(["model", *needs], body)


# ---------------------------------------------------------------- pictures


@cache
def sampled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Angles that a shipped run predicts after FRAMES frames [DRAWS, N, T - FRAMES + 1], and the
    true ones [N, T], in rad.
    """
    test = experiments.make_data("pendulum").test
    model, generator = experiments.load_pretrained(name).model, torch.Generator().manual_seed(0)
    with torch.no_grad():
        seen = model.infer(test.x, test.u, generator).mean
    angle = figures_study.fit_angle(seen, test.state)
    paths = figures_study.sampled_rollouts(model, test, FRAMES, DRAWS, generator)
    return angle(paths), test.state[..., 0].numpy()


def rollouts() -> Figure:
    """Sampled paths against the truth."""
    drawn, truth = sampled(SHOWN)
    return figures_study.rollouts(drawn[:, :SEQUENCES], truth[:SEQUENCES], seen=FRAMES)


def calibration() -> Figure:
    """How far the spread of the paths can be trusted."""
    levels, coverage = np.linspace(0.1, 0.9, 9), {}
    for name in CALIBRATED:
        drawn, truth = sampled(name)
        coverage[name] = figures_study.calibration(drawn[:, :, 1:], truth[:, FRAMES:], levels)
    return figures_study.calibration_curve(levels, coverage)


# ---------------------------------------------------------------- all files


def made() -> dict[str, str | Picture]:
    """What the page includes."""
    torch.set_num_threads(1)
    rows = results.load_study()
    grid = [row for row in rows if row["model"] not in EXTRA]
    gymnasium = files.read_json(experiments.PRETRAINED / "gymnasium.json")
    tables = {
        f"{MADE}/study_table.md": study.study_table(rows, KEYS),
        f"{MADE}/study_differences.md": study.comparison_table(grid, DIFFERENCES),
        f"{MADE}/study_memory.md": memory_table(),
        f"{MADE}/study_gain.md": gain_table(),
        f"{MADE}/study_gymnasium.md": results.seed_rows(gymnasium),
        f"{MADE}/study_full.md": full_table(),
    }
    of_runs = [FRAMES, DRAWS, {name: generated.weights(name) for name in CALIBRATED}]
    pictures = {
        f"{MADE}/study.png": Picture(grid, lambda: figures_study.study(grid)),
        f"{MADE}/study_rollouts.png": Picture([SEQUENCES, SHOWN, of_runs], rollouts),
        f"{MADE}/study_calibration.png": Picture(of_runs, calibration),
    }
    return {path: f"{generated.note(path)}{text}\n" for path, text in tables.items()} | pictures


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
