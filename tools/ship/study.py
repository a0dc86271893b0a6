"""Turn a finished study into package data: `python -m tools.ship.study STUDY_FOLDER`.

STUDY_FOLDER is the `--out` of `python -m tutorial_dssm study`. Its rows go into
`pretrained/study.json` and `study.csv`, where rows of other runs and seeds stay; seed 0 of the
constrained runs and of those with learned noise also gives its weights, where tools.ship.runs has
not shipped that run.
"""

import sys
from pathlib import Path

from tools.ship import provenance, rows, weights
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments import study

ROWS = experiments.PRETRAINED / f"{study.TABLE}.json"
CSV = experiments.PRETRAINED / f"{study.TABLE}.csv"
WITH_WEIGHTS = ("constrained", "elbo-learned-noise")
COMMAND = (
    "python -m tutorial_dssm study --out runs/study{} && python -m tools.ship.study runs/study"
)


def main(arguments: list[str]) -> int:
    """Ship every row, and the weights."""
    folder = Path(arguments[0])
    new = study.load(folder)
    every = rows.merged(rows.load(ROWS), new)
    files.write_json(ROWS, every)
    files.write(CSV, study.to_csv(every).encode())
    provenance.record(
        [ROWS.name, CSV.name], COMMAND.format(""), sum(row["seconds"] for row in every)
    )
    longer = {row["run"] for row in experiments.load_results()}
    for row in new:
        run, shipped = row["run"], row["objective"] in WITH_WEIGHTS and row["run"] not in longer
        if row["seed"] == 0 and shipped and not row["nan"]:
            chosen = f" --models {row['model']} --objectives {row['objective']} --seeds 0"
            weights.ship(folder / f"{run}-seed0", run, COMMAND.format(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
