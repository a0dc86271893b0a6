"""No figure stays open: one that pyplot knows would be shown twice in a notebook."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tutorial_dssm.learning.training import METRICS


@pytest.fixture(autouse=True)
def nothing_stays_open():
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def state(rng):
    """True states (φ, φ̇) of six sequences of five steps, some angles beyond ±π."""
    return np.stack([rng.uniform(-9, 9, (6, 5)), rng.normal(0, 3, (6, 5))], -1)


@pytest.fixture
def history(rng):
    """Twenty rows [step, *METRICS]."""
    values = rng.uniform(0.01, 1, (20, len(METRICS)))
    return np.column_stack([np.arange(10, 201, 10), values])
