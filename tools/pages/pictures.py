"""The picture of the README and the landing page, and that of the page on scaling.

    python -m tools.pages.pictures [--check]

The first comes from shipped weights, the second from the times that `benchmarks/scaling.py --write`
measured.
"""

import sys

import torch
from matplotlib.figure import Figure

from tools import ROOT, generated
from tools.generated import MADE, Picture
from tutorial_dssm import experiments, files
from tutorial_dssm.figures import shared, study

RUNS = {"dks-classic-elbo-learned-noise": "DKS, plain ELBO", "ekvae-constrained": "EKVAE, balanced"}
TIMES = ROOT / "benchmarks" / "results" / "scaling.json"


def prediction() -> Figure:
    """The test sequence on which the first run has its median error, predicted open loop from the
    smoothed first state.
    """
    test = experiments.make_data("pendulum").test
    predicted = {}
    with torch.no_grad():
        for name, label in RUNS.items():
            model = experiments.load_pretrained(name).model
            z1 = model.infer(test.x, test.u, torch.Generator().manual_seed(0)).mean[:, 0]
            predicted[label] = model.decode(model.predict(z1, test.u))
    errors = ((next(iter(predicted.values())) - test.x) ** 2).mean((1, 2))
    chosen = errors.argsort()[(len(errors) - 1) // 2].item()
    shown = {label: frames[chosen] for label, frames in predicted.items()}
    return shared.prediction(test.x[chosen], shown, dt=test.dt, error=True)


def made() -> dict[str, Picture]:
    """Both pictures."""
    torch.set_num_threads(1)
    times = files.read_json(TIMES)
    runs = {label: generated.weights(name) for name, label in RUNS.items()}
    return {
        f"{MADE}/prediction.png": Picture(runs, prediction),
        f"{MADE}/scaling.png": Picture(times, lambda: study.scaling(times)),
    }


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
