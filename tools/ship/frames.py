"""Turn finished runs of frame models into package data: `python -m tools.ship.frames RUNS_FOLDER`.

RUNS_FOLDER holds the folders of `python -m tutorial_dssm train NAME --seed N --out
RUNS_FOLDER/NAME-seedN`, with NAME a run of `vae` or `vhp`. Seed 0 of those in `WITH_WEIGHTS` gives
its weights and its training record. Every run in `COMPARED` becomes a row of
`pretrained/frames.json`, measured on the frames of the test sequences; rows of other runs and seeds
stay. A frame model predicts nothing, so it has no row in `results.json`.
"""

import math
import sys
from pathlib import Path

import torch

from tools.ship import provenance, rows, weights
from tutorial_dssm import experiments, files
from tutorial_dssm.evaluation import information
from tutorial_dssm.learning.training import MODEL
from tutorial_dssm.models.vae import FrameModel

ROWS = experiments.PRETRAINED / "frames.json"
COMPARED = ("vae-rewo", "vhp-rewo", "vae-constrained", "vhp-constrained")
WITH_WEIGHTS = ("vae-elbo-learned-noise", "vae-rewo", "vhp-rewo")  # what the chapters load
COMMAND = f"{provenance.TRAIN} && python -m tools.ship.frames runs"


def main(arguments: list[str]) -> int:
    """Ship every finished run of a frame model in the folder, and evaluate those that the book
    compares.
    """
    torch.set_num_threads(1)
    frames, new = experiments.make_data("pendulum").test.x.flatten(0, 1), []
    for path in sorted(Path(arguments[0]).glob(f"*/{MODEL}")):
        trained = experiments.load_run(path.parent)
        e, seconds = trained.experiment, weights.seconds(path.parent)
        if not isinstance(trained.model, FrameModel):
            print(f"skipped: {path.parent.name}")
            continue
        if e.name in COMPARED:
            noise, sigma = float(trained.objective.noise()), math.sqrt(e.objective.target_mse)
            measures = information.frame_measures(trained.model, frames, noise, sigma)
            row = {"run": e.name, "seed": e.seed, "steps": e.training.steps}
            new.append(row | measures | {"seconds": seconds})
        if e.seed == 0 and e.name in WITH_WEIGHTS:
            weights.ship(path.parent, e.name, COMMAND.format(run=e.name, seed=0), record=True)
        print(f"{e.name}, seed {e.seed}: {e.training.steps} steps, {seconds:.0f} s", flush=True)
    every = rows.merged(
        rows.load(ROWS), new, order=lambda row: (COMPARED.index(row["run"]), row["seed"])
    )
    files.write_json(ROWS, every)
    took = sum(row["seconds"] for row in every)
    provenance.record([ROWS.name], COMMAND.format(run="NAME", seed="N"), took)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
