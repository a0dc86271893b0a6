"""Fair timing on a busy machine: processor time, candidates take turns, medians are taken, ratios
are quoted.
"""

import argparse
import gc
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tutorial_dssm import files
from tutorial_dssm.experiments.tables import markdown


def interleave(
    candidates: dict[str, Callable[[], object]], rounds: int, warmup: int = 2, at_most: float = 60.0
) -> dict[str, float]:
    """Median seconds of processor time of each candidate: all threads of this process, without the
    time it waits for its turn.

    In every round each one runs once, so that a burst of other load hits all of them alike. It
    stops early after `at_most` seconds, but not before three rounds.
    """
    for run in candidates.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.disable()
    end = time.process_time() + at_most
    for i in range(rounds):
        for name, run in candidates.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
        gc.collect()
        if i >= 2 and time.process_time() > end:
            break
    gc.enable()
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory() -> float:
    """The largest resident size of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1024)


def command_line(description: str, writes: str, rounds: int) -> argparse.ArgumentParser:
    """The options that all benchmarks share; `writes` says what --write is for, `rounds` is how
    many there are.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help=f"also write {writes}")
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def report(rows: list[dict], options: argparse.Namespace, result: Path | None = None) -> None:
    """Print rows (dicts) as JSON or as a Markdown table, as the options say.

    With --write the table is stored in `result`.
    """
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    if options.write and result:
        files.write(result, (table(rows) + "\n").encode())


UNITS = {"_ratio": " ÷ ours", "_mb": " (MB)", "_ms": " (ms)", "_": " "}


def table(rows: list[dict]) -> str:
    """Rows as a Markdown table; what a row lacks is a dash."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    heads = columns
    for suffix, words in UNITS.items():
        heads = [head.replace(suffix, words) for head in heads]
    return markdown(heads, [[_show(row.get(key)) for key in columns] for row in rows])


def _show(value: float | str | None) -> str:
    """A cell: three digits of a number that is not whole."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return str(value)
