"""When does a smoother with fusion lose the velocity? `python book/make_fusion.py [RUNS_FOLDER]` trains eight short runs, writes study_fusion.md.

Fusion: q(z_t | z_{t-1}, …) is the product of the transition and an inverse measurement (`models.dvbs`). Two things are varied: whether the
decoder sees the third coordinate, and whether λ starts low or high. No frame path, the study's budget, seeds 10 and 11, validation sequences.
A run that is there is not made again.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from tutorial_dssm import evaluation, experiments, files, results, study

SEEDS = (10, 11)
START = {"low": 0.0024, "high": 2.0}  # λ at the first step; the second is the start at which the trouble was first seen


def outcome(seen: int, start: str, seed: int, folder: Path) -> list[float]:
    """R² of sin φ, cos φ, φ̇, of φ̇ by neighbours, open-loop error, and the mean gain of the third coordinate."""
    e = study.equal_budget(experiments.get("dvbf-smoothing-classic-constrained", seed))
    e = replace(e, model=replace(e.model, seen=seen), objective=replace(e.objective, lambda0=START[start]))
    run = experiments.run(e, folder / f"seen{seen}-{start}-seed{seed}", "cpu")
    data, model = experiments.make_data("pendulum").validation, run.model.eval()
    with torch.no_grad():
        _, v, _, z = model._posterior(data.x, data.u, torch.zeros(*data.x.shape[:2], model.z_dim))
        error = evaluation.open_loop_error(model, data, torch.Generator().manual_seed(0)).mean().item()
    return [*evaluation.linear_r2(z, data.state), evaluation.knn_r2(z, data.state).velocity, error, float((1 - v)[:, 1:, 2].mean())]


def main(folder: Path) -> None:
    """All runs, and the table."""
    torch.set_num_threads(1)
    body = []
    for seen in (2, 3):
        for start in START:
            for seed in SEEDS:
                values = outcome(seen, start, seed, folder)
                cells = [results.number(v, 4 if k == 4 else 3) for k, v in enumerate(values)]
                body.append([f"{seen} of 3", f"{START[start]}", str(seed), *cells])
    scores = (f"$R^2$ {k}" for k in ("$\\sin\\varphi$", "$\\cos\\varphi$", "$\\dot\\varphi$", "$\\dot\\varphi$ (kNN)"))
    head = ["decoder sees", "$\\lambda_0$", "seed", *scores]
    table = results.markdown([*head, "open-loop MSE", "$k_3$"], body)
    files.write(Path(__file__).parent / "study_fusion.md", (table + "\n").encode())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/fusion"))
