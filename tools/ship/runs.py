"""Turn finished runs into package data: `python -m tools.ship.runs RUNS_FOLDER`.

RUNS_FOLDER holds the folders of `python -m tutorial_dssm train NAME --seed N --out
RUNS_FOLDER/NAME-seedN`. Every finished one is evaluated on the test sequences and becomes a row of
`pretrained/results.json`; rows of other runs and seeds stay. Seed 0 also gives its weights and its
training record. Models of single frames are for tools.ship.frames.
"""

import sys
from pathlib import Path

import torch

from tools.ship import provenance, rows, weights
from tutorial_dssm import experiments, files
from tutorial_dssm.learning.training import MODEL
from tutorial_dssm.models.base import SequentialModel

ROWS = experiments.PRETRAINED / "results.json"
COMMAND = f"{provenance.TRAIN} && python -m tools.ship.runs runs"
SHOWN = ("r2_sin", "r2_cos", "r2_velocity", "mse_open_loop")


def main(arguments: list[str]) -> int:
    """Evaluate and ship every finished run in the folder."""
    torch.set_num_threads(1)
    new = []
    for path in sorted(Path(arguments[0]).glob(f"*/{MODEL}")):
        trained = experiments.load_run(path.parent)
        e = trained.experiment
        if not isinstance(trained.model, SequentialModel):
            print(f"skipped: {path.parent.name}")
            continue
        seconds = weights.seconds(path.parent)
        new.append(experiments.evaluate(trained) | {"seconds": seconds})
        print(e.name, e.seed, {key: round(new[-1][key], 4) for key in SHOWN}, flush=True)
        if e.seed == 0:
            weights.ship(path.parent, e.name, COMMAND.format(run=e.name, seed=0), record=True)
    every = rows.merged(rows.load(ROWS), new)
    files.write_json(ROWS, every)
    took = sum(row["seconds"] for row in every)
    provenance.record([ROWS.name], COMMAND.format(run="NAME", seed="N"), took)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
