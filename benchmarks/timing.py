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
    """Print rows (dicts) as JSON or as a Markdown table, as the options say, and with --write store
    the table in `result`.
    """
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    if options.write and result:
        result.write_text(table(rows) + "\n", encoding="utf-8")


def table(rows: list[dict]) -> str:
    """Rows as a Markdown table; what a row lacks is a dash."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    heads = [
        c.replace("_ratio", " ÷ ours")
        .replace("_mb", " (MB)")
        .replace("_ms", " (ms)")
        .replace("_", " ")
        for c in columns
    ]
    lines = [heads, ["---"] * len(columns), *([_show(row.get(c)) for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _show(value) -> str:
    return (
        "-"
        if value is None
        else (f"{value:.0f}" if value >= 100 else f"{value:.3g}")
        if isinstance(value, float)
        else str(value)
    )
