"""What is measured of a run: the name in the rows, the head of a column, digits, and which
direction is worse.
"""

from typing import NamedTuple


class Measure(NamedTuple):
    """One column of the table."""

    key: str  # of `experiments.evaluate`
    head: str  # in Markdown
    digits: int
    worst: str  # "min" where more is better, "max" where less is better, "" where neither is


MEASURES = (
    Measure("r2_sin", r"$R^2$ $\sin\varphi$", 3, "min"),
    Measure("r2_cos", r"$R^2$ $\cos\varphi$", 3, "min"),
    Measure("r2_velocity", r"$R^2$ $\dot\varphi$", 3, "min"),
    Measure("r2_velocity_knn", r"$R^2$ $\dot\varphi$ (kNN)", 3, "min"),
    Measure("mse_smoothed", "reconstruction MSE", 5, "max"),
    Measure("mse_open_loop", "open-loop MSE", 4, "max"),
    Measure("mse_forecast", "forecast MSE", 4, "max"),
    Measure("rate", "rate (nats)", 1, ""),
)


HEADLINE = ("r2_sin", "r2_cos", "r2_velocity", "r2_velocity_knn", "mse_open_loop")
