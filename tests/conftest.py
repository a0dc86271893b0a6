"""Settings for all tests: one thread a process (two processes run), and property tests that are the
same every time.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # a progress bar is then as wide as its text, also in a worker

import matplotlib
import torch
from hypothesis import settings

matplotlib.use("Agg")
torch.set_num_threads(1)
settings.register_profile("book", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("book")
