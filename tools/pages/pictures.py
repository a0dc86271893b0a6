"""Draw the picture of the README and the landing page, `book/_static/prediction.png`, from the shipped weights: `python book/make_pictures.py`."""

import io
from pathlib import Path

import torch

from tutorial_dssm import experiments, figures, files

RUNS = {"dks-classic-elbo-learned-noise": "DKS, plain ELBO", "ekvae-constrained": "EKVAE, balanced"}


def main() -> None:
    """Predict the test sequence on which the first run has its median error, open loop from the smoothed first state."""
    torch.set_num_threads(1)
    test = experiments.make_data("pendulum").test
    predicted = {}
    with torch.no_grad():
        for name, label in RUNS.items():
            model = experiments.load_pretrained(name).model
            z1 = model.infer(test.x, test.u, torch.Generator().manual_seed(0)).mean[:, 0]
            predicted[label] = model.decode(model.predict(z1, test.u))
    errors = ((predicted["DKS, plain ELBO"] - test.x) ** 2).mean((1, 2))
    chosen = errors.argsort()[(len(errors) - 1) // 2].item()
    figure = figures.prediction(test.x[chosen], {label: frames[chosen] for label, frames in predicted.items()}, error=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    files.write(Path(__file__).parent / "_static" / "prediction.png", buffer.getvalue())


if __name__ == "__main__":
    main()
