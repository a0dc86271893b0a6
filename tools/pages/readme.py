"""The generated parts of README.md: `python -m tools.pages.readme [--check]`."""

import sys

from tools import ROOT, generated
from tools.chapters import chapters
from tools.pages.chapters import readme_part as chapters_part
from tools.pages.results import readme_part as results_part
from tutorial_dssm import experiments

README = "README.md"


def made() -> dict[str, str]:
    """The README with its table of chapters and its table of results."""
    parts = {
        "chapters": chapters_part(chapters()),
        "results": results_part(experiments.load_results()),
    }
    text = (ROOT / README).read_text(encoding="utf-8")
    for name, part in parts.items():
        text = generated.with_part(README, text, name, f"\n{part}\n")
    return {README: text}


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    return generated.command(made, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
