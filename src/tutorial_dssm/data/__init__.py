"""Ground floor: sequences of frames, made or read. A file of data sets
registers them in `DATA`.
"""

import importlib
import pkgutil

from .sequences import DATA, DataSet, SequenceData, Splits, make_splits, split_generator

__all__ = [
    "DATA",
    "DataSet",
    "SequenceData",
    "Splits",
    "make_splits",
    "split_generator",
]

for _file in pkgutil.iter_modules(__path__):  # each adds its data sets to DATA, if it has any
    importlib.import_module(f"{__name__}.{_file.name}")
