"""Tables of rows that grow: what is shipped takes the place of the row with the same key, and no
other row goes.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tutorial_dssm import experiments, files

RUN_AND_SEED = ("run", "seed")


def in_book_order(row: dict) -> tuple[int, str, int]:
    """Sorts rows by run, as the named runs are listed, and by seed; unknown runs come last."""
    names = list(experiments.named_runs())
    place = names.index(row["run"]) if row["run"] in names else len(names)
    return place, row["run"], row["seed"]


def merged(
    old: Iterable[dict],
    new: Iterable[dict],
    key: Sequence[str] = RUN_AND_SEED,
    order: Callable[[dict], tuple] = in_book_order,
) -> list[dict]:
    """Old rows and new ones, sorted; a new row replaces the old one with the same values under
    `key`.

    ValueError where two old or two new rows have the same key: one of them would go.
    """
    tables = []
    for rows in (old, new):
        rows = list(rows)
        by_key = {tuple(row[k] for k in key): row for row in rows}
        if len(by_key) != len(rows):
            raise ValueError(f"two rows have the same {', '.join(key)}")
        tables.append(by_key)
    return sorted({**tables[0], **tables[1]}.values(), key=order)


def load(path: Path) -> list[dict]:
    """The rows of a table; none where it is not there yet."""
    return files.read_json(path) if path.exists() else []
