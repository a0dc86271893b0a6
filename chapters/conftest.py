"""For `pytest --nbval chapters/` in a checkout: its package, one thread for
each kernel, and the differences that `make chapters` allows.

The matrices of the chapters are small. With one thread a core the threads
wait for each other, and a chapter crawls.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Kernels inherit these.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])
)
os.environ.pop("MPLBACKEND", None)  # figures go into the notebook


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("nbval_sanitize_with", None) is None:
        config.option.nbval_sanitize_with = str(
            ROOT / "tools" / "notebooks" / "nbval_sanitize.cfg"
        )
