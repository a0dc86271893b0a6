"""The trials that came before the recipes of the book."""

from collections.abc import Mapping, Sequence

from .. import files
from . import storage
from .tables import markdown, number

SEARCH = storage.PRETRAINED / "search.json"
FOUND = 0.95  # a seed counts as found when all three R² reach this


def load_search() -> list[dict]:
    """A row per trial.

    Keys: source ("prototype", "search", "after the freeze" or "third"), model, settings (text),
    seed, steps, and on validation sequences r2_sin, r2_cos, r2_velocity, r2_velocity_knn and
    mse_open_loop (the last two may be null). Trials that looked hopeless were stopped early:
    `steps` says where.
    """
    return files.read_json(SEARCH)


def search_table(trials: Sequence[Mapping]) -> str:
    """One line a setting: how many seeds found angle and velocity, the worst and best seed."""
    groups: dict[tuple, list[Mapping]] = {}
    for trial in trials:
        groups.setdefault((trial["model"], trial["settings"], trial["steps"]), []).append(trial)
    body = []
    for (model, settings, steps), group in groups.items():
        angle = [min(t["r2_sin"], t["r2_cos"]) for t in group]
        velocity = [t["r2_velocity"] for t in group]
        bent = [t["r2_velocity_knn"] for t in group if t.get("r2_velocity_knn") is not None]
        errors = [t["mse_open_loop"] for t in group if t["mse_open_loop"] is not None]
        found = sum(min(a, v) >= FOUND for a, v in zip(angle, velocity))
        ranges = [_range(angle, 3), _range(velocity, 3), _range(bent, 3), _range(errors, 4)]
        body.append([model, settings, str(steps), f"{found} of {len(group)}", *ranges])
    head = [
        "model",
        "settings",
        "steps",
        "seeds found",
        "$R^2$ of the angle",
        "$R^2$ of the velocity",
        "the same, neighbours",
        "open-loop MSE",
    ]
    return markdown(head, body)


def _range(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"
