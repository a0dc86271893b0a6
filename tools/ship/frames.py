"""Turn finished runs of frame models into package data: `python book/ship_frames.py RUNS_FOLDER`.

RUNS_FOLDER holds the folders of `python -m tutorial_dssm train NAME --seed N --out RUNS_FOLDER/NAME-seedN`, with NAME a run of `vae` or `vhp`.
Seed 0 of those in `WITH_WEIGHTS` gives its weights and its training record. Every run in `COMPARED` becomes a row of `pretrained/frames.json`,
measured on the frames of the test sequences. A frame model predicts nothing, so it has no row in `results.json`.
"""

import math
import sys
from pathlib import Path

import torch

from tutorial_dssm import experiments, files, information
from tutorial_dssm.models.vae import FrameModel
from tutorial_dssm.training import CHECKPOINT, MODEL

COMPARED = ("vae-rewo", "vhp-rewo", "vae-constrained", "vhp-constrained")
WITH_WEIGHTS = ("vae-elbo-learned-noise", "vae-rewo", "vhp-rewo")  # what the chapters load


def main(folder: Path) -> None:
    """Ship every finished run of a frame model in the folder, and evaluate those that the book compares."""
    frames, rows = experiments.make_data("pendulum").test.x.flatten(0, 1), []
    for path in sorted(folder.glob(f"*/{MODEL}")):
        trained = experiments.load_run(path.parent)
        e = trained.experiment
        if not isinstance(trained.model, FrameModel):
            print(f"skipped: {path.parent.name}")
            continue
        checkpoint, config = files.read_tensors(path.parent / CHECKPOINT)
        if e.name in COMPARED:
            row = information.frame_row(trained, frames, math.sqrt(e.objective.target_mse))
            rows.append(row | {"seconds": round(float(checkpoint["seconds"]), 1)})
        if e.seed == 0 and e.name in WITH_WEIGHTS:
            files.write_tensors(experiments.PRETRAINED / f"{e.name}.safetensors", files.read_tensors(path)[0], config)
            record = {name: checkpoint[name] for name in experiments.TrainingRecord._fields}
            files.write_tensors(experiments.PRETRAINED / f"{e.name}{experiments.HISTORY}.safetensors", record, config)
        print(f"{e.name}, seed {e.seed}: {e.training.steps} steps, {float(checkpoint['seconds']):.0f} s", flush=True)
    if rows:
        files.write_json(experiments.PRETRAINED / "frames.json", sorted(rows, key=lambda row: (COMPARED.index(row["run"]), row["seed"])))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
