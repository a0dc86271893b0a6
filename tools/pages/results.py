"""Make the table of results from the rows that the package ships, for the page "Results over seeds" and for the README.

    python book/make_results.py            write book/results_table.md and the part of README.md between its markers
    python book/make_results.py --check    write nothing; fail where either differs from what the rows say

The rows are src/tutorial_dssm/pretrained/results.json: one object per run and seed, as `evaluate --json` prints it, with
`seconds` of training.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tutorial_dssm import experiments, results

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "src" / "tutorial_dssm" / "pretrained" / "results.json"
PAGE = ROOT / "book" / "results_table.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
MISSING = "The rows are not in yet: `src/tutorial_dssm/pretrained/results.json` does not exist."


def load() -> list[dict]:
    """The rows, or none where the file is not there yet."""
    return experiments.load_results() if ROWS.exists() else []


def page(rows: list[dict]) -> str:
    """What book/results.md includes: the summary, then every run with its commands and its seeds."""
    if not rows:
        return f":::{{note}}\n{MISSING}\n:::\n"
    parts = [results.summary_table(rows)]
    for run in results.runs(rows):
        seeds = sorted(row["seed"] for row in rows if row["run"] == run)
        parts.append(f"## {run}")
        parts.append(
            "```bash\n"
            f"for seed in {' '.join(map(str, seeds))}; do\n"
            f"  python -m tutorial_dssm train {run} --seed $seed\n"
            f"  python -m tutorial_dssm evaluate runs/{run}-seed$seed --json\n"
            "done\n```"
        )
        parts.append(results.seed_table(rows, run))
    return "\n\n".join(parts) + "\n"


def readme_part(rows: list[dict]) -> str:
    """What stands between the markers of the README."""
    if not rows:
        return MISSING
    return (
        f"{results.summary_table(rows)}\n\n"
        "Mean ± standard deviation over seeds, worst seed in parentheses, 500 held-out sequences. For each run and seed:\n\n"
        "```bash\n"
        "python -m tutorial_dssm train NAME --seed N\n"
        "python -m tutorial_dssm evaluate runs/NAME-seedN --json\n"
        "```"
    )


def with_part(readme: str, part: str) -> str:
    """`readme` with the text between the markers replaced. ValueError unless each marker is there once, in order."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(f"README.md must hold {BEGIN} and, after it, {END}, once each")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{rest.split(END)[1]}"


def main(arguments: list[str]) -> int:
    rows = load()
    wanted = {PAGE: page(rows), README: with_part(README.read_text(encoding="utf-8"), readme_part(rows))}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"error: {path.relative_to(ROOT)} differs from the rows; run book/make_results.py", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(wanted[path], encoding="utf-8")
        os.replace(temporary, path)
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
