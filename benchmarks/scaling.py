"""How the time of a training step grows with sequence length T, batch B and state size nz, for EKVAE and DKS.

    python benchmarks/scaling.py [--json]     prints the table
    python benchmarks/scaling.py --write      also writes benchmarks/results/scaling.json; `make pages` draws it

One size changes at a time, the others stay at T = 15, B = 100, nz = 3. Processor time on one thread, median over rounds.
"""

import json
from pathlib import Path

import torch

from timing import command_line, interleave, report
from training_step import batch, training_step
from tutorial_dssm import files

ROOT = Path(__file__).resolve().parents[1]
BASE = {"T": 15, "B": 100, "nz": 3}
SIZES = {"T": (15, 50, 200), "B": (50, 250, 1000), "nz": (2, 3, 6, 12)}


def main() -> None:
    options = command_line(__doc__, "the results of the book", 7).parse_args()
    torch.set_num_threads(1)
    rows = []
    for axis, sizes in SIZES.items():
        for size in sizes:
            s = BASE | {axis: size}
            x, u = batch(s["B"], s["T"])
            steps = {kind: training_step(kind, x, u, z_dim=s["nz"]) for kind in ("ekvae", "dks")}
            seconds = interleave(steps, options.rounds, warmup=2)
            rows += [{"model": kind, "varied": axis, **s, "step_ms": 1e3 * seconds[kind]} for kind in steps]
    report(rows, options)
    if options.write:
        files.write(ROOT / "benchmarks" / "results" / "scaling.json", (json.dumps(rows, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
