"""When does a smoother with fusion lose the velocity?

    python -m tools.ship.fusion [RUNS_FOLDER]     runs/fusion if not given

Fusion: q(z_t | z_{t-1}, …) is the product of the transition and an inverse measurement
(`models.dvbs`). Two things are varied: whether the decoder sees the third coordinate, and whether λ
starts low or high. No frame path, the study's budget, seeds 10 and 11, validation sequences. The
eight rows become `pretrained/study_fusion.json`; tools.pages.fusion makes the table. A run that is
there is not made again.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from tools.ship import provenance, rows
from tutorial_dssm import evaluation, experiments, files
from tutorial_dssm.experiments import study

ROWS = experiments.PRETRAINED / "study_fusion.json"
RUN = "dvbf-smoothing-classic-constrained"
SEEDS = (10, 11)
# λ at the first step; the second is the start at which the trouble was first seen
STARTS = (0.0024, 2.0)
KEY = ("seen", "lambda0", "seed")


def outcome(seen: int, lambda0: float, seed: int, folder: Path) -> dict:
    """A row: R² of sin φ, cos φ, φ̇, of φ̇ by neighbours, open-loop error, the third coordinate's
    mean gain at t > 1.
    """
    e = study.equal_budget(experiments.get(RUN, seed))
    e = replace(
        e, model=replace(e.model, seen=seen), objective=replace(e.objective, lambda0=lambda0)
    )
    run = experiments.run(e, folder / f"seen{seen}-lambda{lambda0}-seed{seed}", "cpu")
    data, model = experiments.make_data(e.data).validation, run.model.eval()
    with torch.no_grad():
        along = model.ancestral_pass(data.x, data.u, sample=False)
        z, kept = along.z, along.var / along.prior_var  # kept = 1 - k
        error = evaluation.open_loop_error(model, data, torch.Generator().manual_seed(0))
    linear, knn = evaluation.linear_r2(z, data.targets), evaluation.knn_r2(z, data.targets)
    return {
        "run": RUN,
        "seen": seen,
        "lambda0": lambda0,
        "seed": seed,
        **{f"r2_{target}": value for target, value in linear.items()},
        "r2_velocity_knn": knn["velocity"],
        "mse_open_loop": error.mean().item(),
        "gain_3": float((1 - kept)[:, 1:, 2].mean()),
        "seconds": round(run.seconds, 1),
    }


def main(arguments: list[str]) -> int:
    """All runs, and their rows."""
    torch.set_num_threads(1)
    folder = Path(arguments[0] if arguments else "runs/fusion")
    new = [
        outcome(seen, lambda0, seed, folder)
        for seen in (2, 3)
        for lambda0 in STARTS
        for seed in SEEDS
    ]
    every = rows.merged(rows.load(ROWS), new, KEY, order=lambda row: tuple(row[k] for k in KEY))
    files.write_json(ROWS, every)
    seconds = sum(row["seconds"] for row in new)
    provenance.record([ROWS.name], "python -m tools.ship.fusion", seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
