"""First floor: the networks that models share."""

from .frames import (
    FramePath,
    GaussianEncoder,
    frame_decoder,
    frame_encoder,
    leading_eigenvectors,
    principal_components,
)
from .layers import ACTIVATIONS, GaussianHead, Tanh, mlp, tanh
from .transitions import LocallyLinearTransition, RecurrentTransition

__all__ = [
    "ACTIVATIONS",
    "FramePath",
    "GaussianEncoder",
    "GaussianHead",
    "LocallyLinearTransition",
    "RecurrentTransition",
    "Tanh",
    "frame_decoder",
    "frame_encoder",
    "leading_eigenvectors",
    "mlp",
    "principal_components",
    "tanh",
]
