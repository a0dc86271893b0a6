"""Turn a finished study into package data: `python book/ship_study.py STUDY_FOLDER`.

STUDY_FOLDER is the `--out` of `python -m tutorial_dssm study`. Its table becomes `pretrained/study.json` and `study.csv`; seed 0 of the constrained
runs and of those with learned noise also gives its weights, where `ship_runs.py` has not shipped that run.
"""

import sys
from pathlib import Path

from tutorial_dssm import experiments, files, study
from tutorial_dssm.training import MODEL

WEIGHTS = ("constrained", "elbo-learned-noise")


def main(folder: Path) -> None:
    """Ship every row, and the weights."""
    rows = study.load(folder)
    files.write_json(experiments.PRETRAINED / f"{study.TABLE}.json", rows)
    files.write(experiments.PRETRAINED / f"{study.TABLE}.csv", study.to_csv(rows).encode())
    longer = {row["run"] for row in experiments.load_results()}
    for row in rows:
        if row["seed"] == 0 and row["objective"] in WEIGHTS and row["run"] not in longer and not row["nan"]:
            files.write_tensors(experiments.PRETRAINED / f"{row['run']}.safetensors", *files.read_tensors(folder / f"{row['run']}-seed0" / MODEL))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
