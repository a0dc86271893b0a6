"""Ground floor: sequences of frames, made or read. Every file here registers its data sets."""

from . import gymnasium, pendulum
from .sequences import DATA, DataSet, SequenceData, Splits, make_splits, split_generator

__all__ = [
    "DATA",
    "DataSet",
    "SequenceData",
    "Splits",
    "gymnasium",
    "make_splits",
    "pendulum",
    "split_generator",
]
