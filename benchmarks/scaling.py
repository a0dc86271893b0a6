"""How the time of a training step grows with sequence length T, batch B and state size nz.

    python benchmarks/scaling.py [--json]     prints the table
    python benchmarks/scaling.py --write      also writes benchmarks/results/scaling.json;
                                              `make pages` draws it

For EKVAE and DKS. One size changes at a time, the others stay at T = 15, B = 100, nz = 3. Processor
time on one thread, median over rounds.
"""

from pathlib import Path

import torch

from timing import command_line, interleave, report
from training_step import batch, training_step
from tutorial_dssm import files

RESULT = Path(__file__).parent / "results" / "scaling.json"
BASE = {"T": 15, "B": 100, "nz": 3}
SIZES = {"T": (15, 50, 200), "B": (50, 250, 1000), "nz": (2, 3, 6, 12)}


def main() -> None:
    options = command_line(__doc__, "the results of the book", 7).parse_args()
    torch.set_num_threads(1)
    rows = []
    for varied, sizes in SIZES.items():
        for size in sizes:
            s = BASE | {varied: size}
            x, u = batch(s["B"], s["T"])
            steps = {kind: training_step(kind, x, u, z_dim=s["nz"]) for kind in ("ekvae", "dks")}
            seconds = interleave(steps, options.rounds, warmup=2)
            for kind in steps:
                row = {"model": kind, "varied": varied, **s, "step_ms": 1e3 * seconds[kind]}
                rows.append(row)
    report(rows, options)
    if options.write:
        files.write_json(RESULT, rows)


if __name__ == "__main__":
    main()
