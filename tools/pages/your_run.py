"""The generated part of the page "Your run", after `make book` has trained it.

    python -m tools.pages.your_run RUN_FOLDER

Evaluates the run, puts its numbers beside the book's own, and draws its figures. Everything goes
into book/made/your_run/, which git ignores: a run never changes the tree.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import ROOT
from tools.generated import MADE
from tutorial_dssm import experiments, files
from tutorial_dssm.experiments import measures, tables
from tutorial_dssm.experiments.comparisons import run_names, summarise
from tutorial_dssm.figures import runs
from tutorial_dssm.learning.training import CHECKPOINT

FOLDER = f"{MADE}/your_run"
PAGE = "page.md"
HEADLINE = "ekvae-constrained"  # the book's rows of the same run come first


def table(numbers: Mapping, rows: Sequence[Mapping]) -> str:
    """Your run first, then the mean over seeds of every run of the book, as a Markdown table."""
    yours = [f"**{tables.number(numbers.get(m.key), m.digits)}**" for m in measures.MEASURES]
    body = [["**your run**", *yours]]
    for run in sorted(run_names(rows), key=lambda name: name != HEADLINE):
        seeds = sum(row["run"] == run for row in rows)
        means = [
            tables.number(summarise(rows, run, m.key).mean, m.digits) for m in measures.MEASURES
        ]
        what = "1 seed" if seeds == 1 else f"mean of {seeds} seeds"
        body.append([f"`{run}`, {what}", *means])
    return tables.markdown(["", *(m.head for m in measures.MEASURES)], body)


def figures(alternatives: Mapping[str, str]) -> str:
    """Every figure, as Markdown: file name -> alternative text. Paths start at book/, where the
    page that includes this lies.
    """
    folder = Path(FOLDER).relative_to("book").as_posix()
    return "\n\n".join(f"![{text}]({folder}/{name})" for name, text in alternatives.items())


def page(
    numbers: Mapping, seconds: float, rows: Sequence[Mapping], alternatives: Mapping[str, str]
) -> str:
    """The whole generated part.

    Args:
        numbers: of your run, as `experiments.evaluate` names them.
        seconds: of its training.
        rows: of the book's own runs.
        alternatives: file name of each figure -> its alternative text.
    """
    what = (
        f"seed {numbers['seed']}, {numbers['steps']} steps, {seconds / 60:.1f} minutes of training"
    )
    return f"""\
The machine that built this page trained `{numbers["run"]}` from scratch ({what}).

{table(numbers, rows)}

{figures(alternatives)}
"""


def main(arguments: list[str]) -> int:
    """Evaluate, draw and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    run, out = parser.parse_args(arguments).run, ROOT / FOLDER
    try:
        numbers = experiments.evaluate(experiments.load_run(run))
        seconds = float(files.read_tensors(run / CHECKPOINT)[0]["seconds"])
        shutil.rmtree(out, ignore_errors=True)  # figures of another run
        runs.save_all(str(run), out)
        alternatives = files.read_json(out / runs.ALT)
        text = page(numbers, seconds, experiments.load_results(), alternatives)
        files.write(out / PAGE, text.encode())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
