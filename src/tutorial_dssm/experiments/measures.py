"""What is measured of a run, once: its key in the rows, how it is called, digits, what is worse."""

from typing import NamedTuple


class Measure(NamedTuple):
    """One measure of a run."""

    key: str  # of `experiments.evaluate`
    head: str  # of a column, in Markdown
    label: str  # of an axis, in plain text and matplotlib's mathematics
    digits: int
    worst: str  # "min" where more is better, "max" where less is better, "" where neither is


MEASURES = (
    Measure("r2_sin", r"$R^2$ $\sin\varphi$", "$R^2$ of sin φ", 3, "min"),
    Measure("r2_cos", r"$R^2$ $\cos\varphi$", "$R^2$ of cos φ", 3, "min"),
    Measure("r2_velocity", r"$R^2$ $\dot\varphi$", "$R^2$ of the velocity", 3, "min"),
    Measure(
        "r2_velocity_knn",
        r"$R^2$ $\dot\varphi$ (kNN)",
        "$R^2$ of the velocity (neighbours)",
        3,
        "min",
    ),
    Measure(
        "mse_smoothed", "reconstruction MSE", "reconstruction error (squared, per pixel)", 5, "max"
    ),
    Measure("mse_open_loop", "open-loop MSE", "open-loop error (squared, per pixel)", 4, "max"),
    Measure("mse_forecast", "forecast MSE", "forecast error (squared, per pixel)", 4, "max"),
    Measure("rate", "rate (nats)", "rate (nats per sequence)", 1, ""),
)
HEADLINE = ("r2_sin", "r2_cos", "r2_velocity", "r2_velocity_knn", "mse_open_loop")
# Not in the book's own tables, but they can be asked for.
_OTHERS = (
    Measure("distortion", "$D$", "D (nats per sequence)", 0, ""),
    Measure("elbo", "ELBO", "ELBO (nats per sequence)", 0, ""),
    Measure("iwae", "IWAE", "IWAE bound (nats per sequence)", 0, ""),
)
_KNOWN = {m.key: m for m in (*MEASURES, *_OTHERS)}


def measure(key: str) -> Measure:
    """The measure with a key.

    One of other data (r2_TARGET, mse_NAME) gets its key as a name, 3 digits, and its direction from
    the beginning of the key.
    """
    worst = "min" if key.startswith("r2_") else "max" if key.startswith("mse_") else ""
    return _KNOWN.get(key, Measure(key, f"`{key}`", key, 3, worst))


def label(key: str) -> str:
    """The name of a measure on an axis."""
    return measure(key).label
