"""Make the generated part of the page "Your run": numbers beside the book's own, and the run's figures.

`make book` calls this after training, evaluation and figures. It reads

    book/_generated/your_run/numbers.json   what `python -m tutorial_dssm evaluate RUN --json` printed
    book/_generated/your_run/*.png          what `python -m tutorial_dssm figures RUN --out DIR` drew
    book/_generated/your_run/figures.json   optional: {"file name": "alternative text"}
    src/tutorial_dssm/pretrained/results.json   the book's rows: five seeds of every run

and writes book/_generated/your_run.md, which book/your_run.md includes. Git ignores book/_generated, so a run never
changes the tree.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "book" / "_generated"
RESULTS = ROOT / "src" / "tutorial_dssm" / "pretrained" / "results.json"

# key of `evaluate --json`, column head, decimals
COLUMNS = [
    ("r2_sin", "$R^2$ $\\sin\\varphi$", 3),
    ("r2_cos", "$R^2$ $\\cos\\varphi$", 3),
    ("r2_velocity", "$R^2$ $\\dot\\varphi$", 3),
    ("r2_velocity_knn", "$R^2$ $\\dot\\varphi$ (kNN)", 3),
    ("mse_open_loop", "open-loop MSE", 4),
    ("mse_forecast", "forecast MSE", 4),
    ("rate", "rate (nats)", 1),
]

# The alternative text of a figure: the first entry whose key is part of the file's name.
ALT = {
    "training": "Latent space of your run at several moments of training, with the multiplier, distortion and rate below",
    "latent": "Latent states of your run, coloured by the pendulum's angle on the left and by its velocity on the right",
    "prediction": "Observed frames in the upper row, frames predicted by your run in the lower row",
    "rate": "Rate against distortion over the training of your run",
    "inference": "Inference in your run: frames, auxiliary variables and smoothed states",
}


def number(value: object, decimals: int) -> str:
    """`value` with a fixed number of decimals; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:.{decimals}f}"


def table(numbers: dict, results: list[dict]) -> str:
    """Your run first, then the mean over seeds of every run of the book, as a Markdown table."""
    runs = defaultdict(list)
    for row in results:
        runs[row["run"]].append(row)
    lines = ["| | " + " | ".join(head for _, head, _ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines.append("| **your run** | " + " | ".join(f"**{number(numbers.get(key), n)}**" for key, _, n in COLUMNS) + " |")
    for run, rows in sorted(runs.items(), key=lambda item: (item[0] != "ekvae-constrained", item[0])):
        cells = []
        for key, _, n in COLUMNS:
            values = [row[key] for row in rows if isinstance(row.get(key), (int, float))]
            cells.append(number(fmean(values), n) if values else "–")
        seeds = "1 seed" if len(rows) == 1 else f"mean of {len(rows)} seeds"
        lines.append(f"| `{run}`, {seeds} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def alternative_text(name: str, given: dict[str, str]) -> str:
    """The alternative text of the figure `name`: given beside the figures, known here, or made from its name."""
    if name in given:
        return given[name]
    known = (text for key, text in ALT.items() if key in name.lower())
    return next(known, f"Figure of your run: {Path(name).stem.replace('_', ' ').replace('-', ' ')}")


def figures(folder: Path) -> str:
    """Every figure in `folder`, as Markdown. The paths are relative to book/, where the page that includes them lies."""
    sidecar = folder / "figures.json"
    given = json.loads(sidecar.read_text(encoding="utf-8")) if sidecar.exists() else {}
    images = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".svg"})
    return "\n\n".join(f"![{alternative_text(p.name, given)}](_generated/{folder.name}/{p.name})" for p in images)


def page(numbers: dict, results: list[dict], folder: Path) -> str:
    """The whole generated part."""
    what = ", ".join(f"{label} {numbers[key]}" for key, label in (("seed", "seed"), ("steps", "steps")) if key in numbers)
    seconds = numbers.get("seconds")
    took = f", {seconds / 60:.1f} minutes of training" if isinstance(seconds, (int, float)) and seconds > 0 else ""
    book = "" if results else "\n\n(The book's own rows are missing: `src/tutorial_dssm/pretrained/results.json` is not there.)"
    return f"""\
The machine that built this page trained `ekvae-constrained` from scratch{f" ({what}{took})" if what else ""}.

{table(numbers, results)}{book}

{figures(folder)}
"""


def main() -> int:
    folder = GENERATED / "your_run"
    try:
        numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        print("error: there are no numbers of a run yet; `make book` makes them", file=sys.stderr)
        return 1
    except ValueError as problem:
        print(f"error: {folder / 'numbers.json'} is not JSON ({problem}); run `make book` again", file=sys.stderr)
        return 1
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    temporary = GENERATED / "your_run.md.tmp"
    temporary.write_text(page(numbers, results, folder), encoding="utf-8")
    os.replace(temporary, GENERATED / "your_run.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
