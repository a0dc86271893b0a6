"""Turn finished runs of frame models into package data: `python book/ship_frames.py RUNS_FOLDER`.

RUNS_FOLDER holds the folders of `python -m tutorial_dssm train NAME --seed N --out RUNS_FOLDER/NAME-seedN`, with NAME one of
`RUNS`. Every one becomes a row of `pretrained/frames.json`, measured on the frames of the test sequences; seed 0 of those in
`WITH_WEIGHTS` also gives its weights and its training record.
"""

import math
import sys
from pathlib import Path

import torch

from tutorial_dssm import experiments, files, information
from tutorial_dssm.training import CHECKPOINT, MODEL

RUNS = ("vae-rewo", "vhp-rewo", "vae-constrained", "vhp-constrained")
WITH_WEIGHTS = ("vae-rewo", "vhp-rewo")  # what chapter 2 loads


def main(folder: Path) -> None:
    """Evaluate and ship every finished run in the folder."""
    frames, rows = experiments.make_data("pendulum").test.x.flatten(0, 1), []
    for path in sorted(folder.glob(f"*/{MODEL}")):
        trained = experiments.load_run(path.parent)
        e = trained.experiment
        if e.name not in RUNS:
            continue
        checkpoint, config = files.read_tensors(path.parent / CHECKPOINT)
        row = information.frame_row(trained, frames, math.sqrt(e.objective.target_mse))
        rows.append(row | {"seconds": round(float(checkpoint["seconds"]), 1)})
        print(e.name, e.seed, {k: round(row[k], 5) for k in ("mse", "rate", "information", "mismatch", "elbo")}, flush=True)
        if e.seed == 0 and e.name in WITH_WEIGHTS:
            files.write_tensors(experiments.PRETRAINED / f"{e.name}.safetensors", files.read_tensors(path)[0], config)
            record = {name: checkpoint[name] for name in experiments.TrainingRecord._fields}
            files.write_tensors(experiments.PRETRAINED / f"{e.name}-history.safetensors", record, config)
    files.write_json(experiments.PRETRAINED / "frames.json", sorted(rows, key=lambda row: (RUNS.index(row["run"]), row["seed"])))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
