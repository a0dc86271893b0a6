"""The table of results, for the page "Results over seeds" and for the README (tools.pages.readme).

    python -m tools.pages.results [--check]

The rows are those that the package ships: one per run and seed, as `evaluate --json` prints it,
with `seconds` of training.
"""

import sys

from tools import generated
from tutorial_dssm import experiments
from tutorial_dssm.experiments import tables
from tutorial_dssm.experiments.comparisons import run_names

PAGE = f"{generated.MADE}/results_table.md"


def page(rows: list[dict]) -> str:
    """What book/results.md includes: the summary, then each run with its commands and seeds."""
    parts = [tables.summary_table(rows)]
    for run in run_names(rows):
        seeds = sorted(row["seed"] for row in rows if row["run"] == run)
        parts.append(f"## {run}")
        parts.append(
            "```bash\n"
            f"for seed in {' '.join(map(str, seeds))}; do\n"
            f"  python -m tutorial_dssm train {run} --seed $seed\n"
            f"  python -m tutorial_dssm evaluate runs/{run}-seed$seed --json\n"
            "done\n```"
        )
        parts.append(tables.seed_table(rows, run))
    return "\n\n".join(parts) + "\n"


def readme_part(rows: list[dict]) -> str:
    """The README's summary, with the commands."""
    return (
        f"{tables.summary_table(rows)}\n\n"
        "Mean ± standard deviation over seeds, worst seed in parentheses, 500 held-out sequences. "
        "For each run and seed:\n\n"
        "```bash\n"
        "python -m tutorial_dssm train NAME --seed N\n"
        "python -m tutorial_dssm evaluate runs/NAME-seedN --json\n"
        "```"
    )


def made() -> dict[str, str]:
    """The page's table."""
    return {PAGE: generated.note(PAGE) + page(experiments.load_results())}


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
