"""Deep state-space models, by hand and on a pendulum: the package of the book.

The front door: what a notebook needs in one import. `load` a trained run, `get` a named one and
`run` it; MODELS, OBJECTIVES and DATA hold what is registered, and take more.
"""

__version__ = "0.1.0"

from .data import DATA
from .experiments import evaluate, get, load, named_runs, run
from .learning.objectives import OBJECTIVES
from .models import MODELS
from .names import use, use_all

__all__ = ["DATA", "MODELS", "OBJECTIVES", "evaluate", "get", "load", "named_runs", "run", "use"]

use_all()
