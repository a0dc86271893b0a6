"""The named runs on the frames of Gymnasium's Pendulum-v1 (needs the extra [gym]).

    python -m tools.ship.gymnasium                                  the runs of the book, seed 0
    python -m tools.ship.gymnasium kvae-constrained --seeds 0-4     other runs and seeds

Trains each in runs/NAME-gymnasium-seedN, or goes on where it stopped, evaluates it on the test
sequences, and puts its row into `pretrained/gymnasium.json`, where rows of other runs and seeds
stay.
"""

import argparse
import sys
from pathlib import Path

import torch

from tools.ship import provenance, rows
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments import study

ROWS = experiments.PRETRAINED / "gymnasium.json"
NAMES = ("ekvae-constrained", "dks-constrained")


def main(arguments: list[str]) -> int:
    """Train, evaluate and ship."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES, help="named runs")
    parser.add_argument("--seeds", default="0", help="such as 0-4")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--steps", type=int, help="if not those of the named run")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    new = []
    for name in options.names:
        for seed in study.parse_seeds(options.seeds):
            experiment = experiments.get(name, seed, options.steps, data="gymnasium")
            folder = options.out / f"{name}-gymnasium-seed{seed}"
            run = experiments.run(experiment, folder, "cpu")
            numbers = experiments.evaluate(experiments.load_run(folder))
            new.append(numbers | {"seconds": round(run.seconds, 1)})
    every = rows.merged(rows.load(ROWS), new)
    files.write_json(ROWS, every)
    seconds = sum(row["seconds"] for row in every)
    provenance.record([ROWS.name], "python -m tools.ship.gymnasium", seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
