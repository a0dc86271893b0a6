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
from .recurrent import read_backwards, read_forwards
from .transitions import BaseMatrices, LocallyLinearTransition, RecurrentTransition

__all__ = [
    "ACTIVATIONS",
    "BaseMatrices",
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
    "read_backwards",
    "read_forwards",
    "tanh",
]
