"""Make the tables and figures of the page "The study" from the rows and weights that the package ships.

    python book/make_study.py            write book/study_*.md and book/_static/study*.png
    python book/make_study.py --check    write nothing; fail where a table differs from what the rows say
"""

import io
import sys
from pathlib import Path

import numpy as np
import torch

from tutorial_dssm import evaluation, experiments, figures_study, files, memory, results, study

BOOK = Path(__file__).parent
CALIBRATED = ("dkf-constrained", "dks-constrained", "dvbf-smoothing-constrained", "rssm-constrained", "ekvae-constrained", "ekvae-elbo-learned-noise")
KEYS = ("r2_sin", "r2_cos", "r2_velocity", "r2_velocity_knn", "mse_open_loop", "mse_forecast", "rate", "distortion", "elbo", "iwae")
DIFFERENCES = ("r2_velocity", "mse_open_loop", "mse_forecast", "rate")
FRAMES, DRAWS = 5, 60  # seen, and paths drawn after them


def tables(rows: list[dict]) -> dict[Path, str]:
    """What the page includes."""
    of_study = [row for row in rows if row["model"] not in EXTRA]
    return {
        BOOK / "study_table.md": study.study_table(rows, KEYS) + "\n",
        BOOK / "study_differences.md": study.comparison_table(of_study, DIFFERENCES) + "\n",
        BOOK / "study_memory.md": memory_table() + "\n",
        BOOK / "study_gain.md": gain_table() + "\n",
        BOOK / "study_gymnasium.md": results.seed_rows(files.read_json(experiments.PRETRAINED / "gymnasium.json")) + "\n",
        BOOK / "study_full.md": full_table() + "\n",
    }


EXTRA = ("kvae-markov", "dvbf-smoothing-classic", "e2c")  # beside the grid: what explains two of its rows, and a model of pairs


@torch.no_grad()
def memory_table() -> str:
    """Where the Kalman VAE keeps the velocity: linear R² of φ̇_t from the smoothed z_t, and from the memory that a_{1:t} leaves in the LSTM."""
    test, body = experiments.make_data("pendulum").test, []
    for name in ("kvae-constrained", "kvae-elbo-learned-noise", "kvae-markov-constrained"):
        model = experiments.load_pretrained(name).model
        z = model.infer(test.x, test.u, torch.Generator().manual_seed(0)).mean
        from_memory = "–"
        if model.config.memory:
            inputs = torch.cat([model.encoder(test.x)[0], test.u], -1).transpose(0, 1)
            from_memory = results.number(evaluation.linear_r2(model.transition.rnn(inputs)[0].transpose(0, 1), test.state).velocity, 3)
        body.append([f"`{name}`", results.number(evaluation.linear_r2(z, test.state).velocity, 3), from_memory])
    return results.markdown(["run, seed 0", "from $z_t$", "from the memory of $a_{1:t}$"], body)


@torch.no_grad()
def gain_table() -> str:
    """How much of the measurement the fusion takes up: the mean gain k = q/(q + s) of each coordinate at t > 1, and the velocity's R²."""
    test, body = experiments.make_data("pendulum").test, []
    for name in ("dvbf-smoothing-classic-constrained", "dvbf-smoothing-constrained"):
        model = experiments.load_pretrained(name).model
        _, v, _, z = model._posterior(test.x, test.u, torch.zeros(*test.x.shape[:2], model.z_dim))
        gains = (1 - v)[:, 1:].mean((0, 1)).tolist()  # v = 1 - k
        scores = evaluation.linear_r2(z, test.state), evaluation.knn_r2(z, test.state)
        body.append([f"`{name}`", *(results.number(value, 3) for value in (*gains, scores[0].velocity, scores[1].velocity))])
    return results.markdown(["run, seed 0", "$k_1$", "$k_2$", "$k_3$", "$R^2$ $\\dot\\varphi$", "the same, neighbours"], body)


def full_table() -> str:
    """What a training run of the full preset needs, in GB, computed on the meta device."""
    body = []
    for model in experiments.FULL_MODELS:
        needed = memory.training_memory(experiments.get(f"{model}-constrained", preset="full"))
        body.append([f"`{model}`", *(results.number(value / 1e9, 2) for value in needed)])
    return results.markdown(["model", "weights", "one step", "data on the device", "all on the device", "host"], body)


def save(figure, name: str) -> None:
    """As PNG, written whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    files.write(BOOK / "_static" / name, buffer.getvalue())


def pictures(rows: list[dict]) -> None:
    """The study at a glance; sampled rollouts against the truth; how far their spread can be trusted."""
    grid = [row for row in rows if row["model"] not in EXTRA]
    save(figures_study.study(grid), "study.png")
    test, levels, coverage = experiments.make_data("pendulum").test, np.linspace(0.1, 0.9, 9), {}
    for name in CALIBRATED:
        model, generator = experiments.load_pretrained(name).model, torch.Generator().manual_seed(0)
        with torch.no_grad():
            angle = figures_study.fit_angle(model.infer(test.x, test.u, generator).mean, test.state)
        drawn = angle(figures_study.sampled_rollouts(model, test, FRAMES, DRAWS, generator))
        truth = test.state[..., 0].numpy()
        coverage[name] = figures_study.calibration(drawn[:, :, 1:], truth[:, FRAMES:], levels)
        if name == "ekvae-constrained":
            chosen = [0, 1, 2]  # the first three: not picked
            save(figures_study.rollouts(drawn[:, chosen], truth[chosen], seen=FRAMES), "study_rollouts.png")
    save(figures_study.calibration_curve(levels, coverage), "study_calibration.png")


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    rows = results.load_study()
    wanted = tables(rows)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"error: {path.name} differs from the rows; run book/make_study.py", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        files.write(path, wanted[path].encode())
    pictures(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
