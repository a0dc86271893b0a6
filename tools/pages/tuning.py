"""The table of the study's tuning, and the settings that win.

    python -m tools.pages.tuning [--check]

The rows are those of tools.ship.tuning. One setting wins for all models, so that none is tuned more
than another. Fails where `study.BUDGET_OBJECTIVES` has another setting than the winner.
"""

import math
import sys
from statistics import fmean

from tools import generated
from tools.ship.tuning import KNOBS
from tutorial_dssm.experiments import storage, study, tables

PAGE = f"{generated.MADE}/study_tuning.md"
# A filter's z_1 has seen one frame, or three: it is judged by its forecast after ten.
FILTERS = ("dkf", "dvbf", "rssm")


def error(row: dict) -> float:
    """What a run is judged by."""
    return row["mse_forecast"] if row["model"] in FILTERS else row["mse_open_loop"]


def scores(rows: list[dict], objective: str) -> dict[float, float]:
    """Setting -> its error divided by that of a model's best setting, as a geometric mean over the
    models.
    """
    own = [row for row in rows if row["objective"] == objective]
    best = {m: min(error(row) for row in own if row["model"] == m) for m in study.MODELS}
    found = {}
    for setting in KNOBS[objective][1]:
        ratios = [error(row) / best[row["model"]] for row in own if row["setting"] == setting]
        found[setting] = math.exp(fmean(math.log(ratio) for ratio in ratios))
    return found


def table(rows: list[dict]) -> str:
    """A line for each objective and setting: the error of every model, and the score."""
    body = []
    for objective, (knob, settings) in KNOBS.items():
        score = scores(rows, objective)
        own = [row for row in rows if row["objective"] == objective]
        for setting in settings:
            errors = {row["model"]: error(row) for row in own if row["setting"] == setting}
            mark = " (chosen)" if score[setting] == min(score.values()) else ""
            cells = [tables.number(errors[model], 4) for model in study.MODELS]
            what = [f"`{objective}`", f"`{knob}` = {setting}{mark}"]
            body.append([*what, *cells, tables.number(score[setting], 2)])
    head = ["objective", "setting", *(f"`{model}`" for model in study.MODELS), "times the best"]
    return tables.markdown(head, body) + "\n"


def in_force(objective: str) -> float:
    """The setting that the study uses."""
    return getattr(study.BUDGET_OBJECTIVES[objective], KNOBS[objective][0])


def made() -> dict[str, str]:
    """The table. ValueError where the study uses a setting that does not win."""
    rows = storage.load_tuning()
    for objective in KNOBS:
        score = scores(rows, objective)
        if score[in_force(objective)] != min(score.values()):
            raise ValueError(f"the study does not use the best setting of {objective}: {score}")
    return {PAGE: generated.note(PAGE) + table(rows)}


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
