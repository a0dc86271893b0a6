"""The table of the runs that look for the trouble with fusion, for the page "The study".

    python -m tools.pages.fusion [--check]

The rows are those of tools.ship.fusion.
"""

import sys

from tools import generated
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments import tables
from tutorial_dssm.experiments.measures import HEADLINE, measure

PAGE = f"{generated.MADE}/study_fusion.md"


def made() -> dict[str, str]:
    """One line a run."""
    measured = [measure(key) for key in HEADLINE]
    body = []
    for row in files.read_json(experiments.PRETRAINED / "study_fusion.json"):
        numbers = [tables.number(row[m.key], m.digits) for m in measured]
        varied = [f"{row['seen']} of 3", str(row["lambda0"]), str(row["seed"])]
        body.append([*varied, *numbers, tables.number(row["gain_3"], 3)])
    head = ["decoder sees", r"$\lambda_0$", "seed", *(m.head for m in measured), "$k_3$"]
    return {PAGE: generated.note(PAGE) + tables.markdown(head, body) + "\n"}


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
