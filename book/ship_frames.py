"""Turn finished runs of frame models into package data: `python book/ship_frames.py RUNS_FOLDER`.

RUNS_FOLDER holds the folders of `python -m tutorial_dssm train vae-constrained --out RUNS_FOLDER/vae-constrained-seed0` and its like. Seed 0 of
every finished run gives its weights and its training record, as in `book/ship_runs.py`. There is no row of a table: a frame model predicts nothing.
"""

import sys
from pathlib import Path

from tutorial_dssm import experiments, files
from tutorial_dssm.models.vae import FrameModel
from tutorial_dssm.training import CHECKPOINT, MODEL


def main(folder: Path) -> None:
    """Ship every finished run of a frame model in the folder."""
    for path in sorted(folder.glob(f"*/{MODEL}")):
        trained = experiments.load_run(path.parent)
        e = trained.experiment
        if e.seed != 0 or not isinstance(trained.model, FrameModel):
            print(f"skipped: {path.parent.name}")
            continue
        checkpoint, config = files.read_tensors(path.parent / CHECKPOINT)
        files.write_tensors(experiments.PRETRAINED / f"{e.name}.safetensors", files.read_tensors(path)[0], config)
        record = {name: checkpoint[name] for name in experiments.TrainingRecord._fields}
        files.write_tensors(experiments.PRETRAINED / f"{e.name}{experiments.HISTORY}.safetensors", record, config)
        print(f"{e.name}: {e.training.steps} steps, {float(checkpoint['seconds']):.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
