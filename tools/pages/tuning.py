"""The study's schedules, chosen: `python book/make_tuning.py [RUNS_FOLDER]` trains 63 short runs on all cores and writes study_tuning.md.

For each objective three settings of the one knob that a schedule has; for each setting every model of the study, at its budget, on a seed that the
study does not use, judged on validation sequences. One setting wins for all models, so that none is tuned more than another. The rows become
`pretrained/study_tuning.json`. A run that is there is not made again. `--check` writes nothing and fails where the page or `study.BUDGET_OBJECTIVES`
differs from what the rows say.
"""

import math
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import joblib
import torch

from tutorial_dssm import experiments, files, results, study

SEED = 10
KNOBS = {  # objective: its knob, the settings tried
    "elbo-learned-noise": ("sigma0", (0.1, 0.3, 1.0)),
    "annealed": ("steps", (300, 600, 1200)),
    "constrained": ("lambda0", (0.0008, 0.0024, 0.0072)),
}
FILTERS = ("dkf", "dvbf", "rssm")  # judged by their forecast after ten frames: a filter's z_1 has seen one frame, or three
ROWS, PAGE = experiments.PRETRAINED / "study_tuning.json", Path(__file__).parent / "study_tuning.md"


def candidates() -> list[tuple[experiments.Experiment, str, float]]:
    """Every run, with its objective and setting."""
    found = []
    for objective, (knob, settings) in KNOBS.items():
        for setting in settings:
            for model in study.MODELS:
                e = study.equal_budget(experiments.get(f"{model}-{objective}", SEED))
                found.append((replace(e, objective=replace(e.objective, **{knob: setting})), objective, setting))
    return found


def outcome(experiment: experiments.Experiment, objective: str, setting: float, folder: Path) -> dict:
    """A run's row: its numbers on the validation sequences."""
    torch.set_num_threads(1)
    path = folder / f"{experiment.name}-{setting}"
    experiments.run(experiment, path, "cpu", progress=False)
    numbers = experiments.evaluate(experiments.load_run(path), "validation")
    kept = {key: numbers[key] for key in ("r2_sin", "r2_cos", "r2_velocity", "mse_open_loop", "mse_forecast", "rate")}
    return {"run": experiment.name, "model": study.split(experiment.name)[0], "objective": objective, "setting": setting, "seed": SEED, **kept}


def error(row: dict) -> float:
    """What a run is judged by."""
    return row["mse_forecast"] if row["model"] in FILTERS else row["mse_open_loop"]


def scores(rows: list[dict], objective: str) -> dict[float, float]:
    """Setting -> how many times larger its error is than that of a model's best setting, as a geometric mean over the models."""
    own = [row for row in rows if row["objective"] == objective]
    best = {model: min(error(row) for row in own if row["model"] == model) for model in study.MODELS}
    return {
        setting: math.exp(fmean(math.log(error(row) / best[row["model"]]) for row in own if row["setting"] == setting))
        for setting in KNOBS[objective][1]
    }


def table(rows: list[dict]) -> str:
    """A line for each objective and setting: the error of every model, and the score."""
    body = []
    for objective, (knob, settings) in KNOBS.items():
        score = scores(rows, objective)
        for setting in settings:
            cells = {row["model"]: error(row) for row in rows if (row["objective"], row["setting"]) == (objective, setting)}
            mark = " (chosen)" if score[setting] == min(score.values()) else ""
            errors = [results.number(cells[model], 4) for model in study.MODELS]
            body.append([f"`{objective}`", f"`{knob}` = {setting}{mark}", *errors, results.number(score[setting], 2)])
    return results.markdown(["objective", "setting", *(f"`{model}`" for model in study.MODELS), "times the best"], body) + "\n"


def in_force(objective: str) -> float:
    """The setting that the study uses."""
    return getattr(study.BUDGET_OBJECTIVES[objective], KNOBS[objective][0])


def check(rows: list[dict]) -> list[str]:
    """What does not agree with the rows."""
    wrong = [] if PAGE.exists() and PAGE.read_text(encoding="utf-8") == table(rows) else [f"{PAGE.name} differs from the rows"]
    for objective in KNOBS:
        score = scores(rows, objective)
        if score[in_force(objective)] != min(score.values()):
            wrong.append(f"the study does not use the best setting of {objective}: {score}")
    return wrong


def main(arguments: list[str]) -> int:
    """All runs, their rows, and the page."""
    if "--check" in arguments:
        for problem in (problems := check(files.read_json(ROWS))):
            print(f"error: {problem}", file=sys.stderr)
        return int(bool(problems))
    folder = Path(arguments[0] if arguments else "runs/tuning").resolve()
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        rows = joblib.Parallel(n_jobs=-1, batch_size=1, verbose=5)(joblib.delayed(outcome)(*job, folder) for job in candidates())
    files.write_json(ROWS, rows)
    files.write(PAGE, table(rows).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
