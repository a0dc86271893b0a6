"""The runs that choose the study's schedules.

    python -m tools.ship.tuning [RUNS_FOLDER]     runs/tuning if not given

63 short runs on all cores. For each objective three settings of the one knob that a schedule has;
for each setting every model of the study, at its budget, on a seed that the study does not use,
judged on validation sequences. The rows become `pretrained/study_tuning.json`; tools.pages.tuning
makes the table, and says which settings win. A run that is there is not made again.
"""

import sys
from dataclasses import replace
from pathlib import Path

import joblib
import torch

from tools.ship import provenance, rows
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments import study

ROWS = experiments.PRETRAINED / "study_tuning.json"
SEED = 10
KNOBS = {  # objective: its knob, the settings tried
    "elbo-learned-noise": ("sigma0", (0.1, 0.3, 1.0)),
    "annealed": ("steps", (300, 600, 1200)),
    "constrained": ("lambda0", (0.0008, 0.0024, 0.0072)),
}
MEASURES = ("r2_sin", "r2_cos", "r2_velocity", "mse_open_loop", "mse_forecast", "rate")
KEY = ("run", "setting", "seed")


def candidates() -> list[tuple[experiments.Experiment, str, float]]:
    """Every run, with its objective and setting."""
    found = []
    for objective, (knob, settings) in KNOBS.items():
        for setting in settings:
            for model in study.MODELS:
                e = study.equal_budget(experiments.get(f"{model}-{objective}", SEED))
                tried = replace(e, objective=replace(e.objective, **{knob: setting}))
                found.append((tried, objective, setting))
    return found


def outcome(
    experiment: experiments.Experiment, objective: str, setting: float, folder: Path
) -> dict:
    """A run's row: its numbers on the validation sequences."""
    torch.set_num_threads(1)
    path = folder / f"{experiment.name}-{setting}"
    run = experiments.run(experiment, path, "cpu", progress=False)
    numbers = experiments.evaluate(experiments.load_run(path), "validation")
    return {
        "run": experiment.name,
        "model": experiment.model_name,
        "objective": objective,
        "setting": setting,
        "seed": SEED,
        **{key: numbers[key] for key in MEASURES},
        "seconds": round(run.seconds, 1),
    }


def main(arguments: list[str]) -> int:
    """All runs, and their rows."""
    folder = Path(arguments[0] if arguments else "runs/tuning").resolve()
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=-1, batch_size=1, verbose=5)
        new = parallel(joblib.delayed(outcome)(*job, folder) for job in candidates())
    place = {(e.name, setting): k for k, (e, _, setting) in enumerate(candidates())}
    every = rows.merged(
        rows.load(ROWS),
        new,
        KEY,
        order=lambda row: (place.get((row["run"], row["setting"]), len(place)), row["seed"]),
    )
    files.write_json(ROWS, every)
    seconds = sum(row["seconds"] for row in new)
    provenance.record([ROWS.name], "python -m tools.ship.tuning", seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
