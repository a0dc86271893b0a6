"""First floor: the models, a file each, behind one interface; `MODELS` holds them by name."""

import importlib
import pkgutil

from .base import (
    MODELS,
    Model,
    Posterior,
    Recipe,
    SequentialModel,
    StepRates,
    Terms,
    blank_missing,
)

__all__ = [
    "MODELS",
    "Model",
    "Posterior",
    "Recipe",
    "SequentialModel",
    "StepRates",
    "Terms",
    "blank_missing",
]

for _file in pkgutil.iter_modules(__path__):  # each adds its models to MODELS
    importlib.import_module(f"{__name__}.{_file.name}")

# The order of tables: from frames to sequences, from linear to deep. What is not here comes last.
_ORDER = (
    "vae",
    "vhp",
    "lgssm",
    "e2c",
    "dkf",
    "dks",
    "dks-classic",
    "dvbf",
    "dvbf-smoothing",
    "dvbf-smoothing-classic",
    "kvae",
    "kvae-markov",
    "rssm",
    "ekvae",
)
for _name in (*_ORDER, *(name for name in list(MODELS) if name not in _ORDER)):
    MODELS[_name] = MODELS.pop(_name)
