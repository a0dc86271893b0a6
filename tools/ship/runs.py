"""Turn finished runs into package data: `python book/ship_runs.py RUNS_FOLDER`.

RUNS_FOLDER holds the folders of `python -m tutorial_dssm train NAME --seed N --out RUNS_FOLDER/NAME-seedN`. Every finished one is
evaluated on the test sequences and becomes a row of `pretrained/results.json`; seed 0 also gives its weights and its training record.
"""

import sys
from pathlib import Path

import torch

from tutorial_dssm import experiments, files
from tutorial_dssm.training import CHECKPOINT, MODEL


def main(folder: Path) -> None:
    """Evaluate and ship every finished run in the folder."""
    rows = []
    order = {name: i for i, name in enumerate(experiments.EXPERIMENTS)}
    for path in sorted(folder.glob(f"*/{MODEL}")):
        trained = experiments.load_run(path.parent)
        e = trained.experiment
        checkpoint, config = files.read_tensors(path.parent / CHECKPOINT)
        rows.append(experiments.evaluate(trained) | {"seconds": round(float(checkpoint["seconds"]), 1)})
        print(e.name, e.seed, {k: round(v, 4) for k, v in rows[-1].items() if k in ("r2_sin", "r2_cos", "r2_velocity", "mse_open_loop")}, flush=True)
        if e.seed == 0:
            files.write_tensors(experiments.PRETRAINED / f"{e.name}.safetensors", files.read_tensors(path)[0], config)
            record = {name: checkpoint[name] for name in experiments.TrainingRecord._fields}
            files.write_tensors(experiments.PRETRAINED / f"{e.name}-history.safetensors", record, config)
    files.write_json(experiments.PRETRAINED / "results.json", sorted(rows, key=lambda row: (order[row["run"]], row["seed"])))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
