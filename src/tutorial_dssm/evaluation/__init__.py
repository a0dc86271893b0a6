"""Second floor: what a trained model is worth, and why."""

from .scores import (
    FORECAST_FRAMES,
    FORECAST_STEPS,
    Evaluation,
    error_by_step,
    evaluate,
    forecast,
    forecast_error,
    knn_r2,
    linear_r2,
    open_loop_error,
)

__all__ = [
    "FORECAST_FRAMES",
    "FORECAST_STEPS",
    "Evaluation",
    "error_by_step",
    "evaluate",
    "forecast",
    "forecast_error",
    "knn_r2",
    "linear_r2",
    "open_loop_error",
]
