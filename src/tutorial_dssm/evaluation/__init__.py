"""Second floor: what a trained model is worth, and why."""

from .scores import (
    FORECAST_FRAMES,
    FORECAST_STEPS,
    TARGETS,
    Evaluation,
    StateR2,
    evaluate,
    forecast,
    forecast_error,
    knn_r2,
    linear_r2,
    open_loop_error,
    state_targets,
)

__all__ = [
    "evaluate",
    "Evaluation",
    "forecast",
    "forecast_error",
    "FORECAST_FRAMES",
    "FORECAST_STEPS",
    "knn_r2",
    "linear_r2",
    "open_loop_error",
    "state_targets",
    "StateR2",
    "TARGETS",
]
