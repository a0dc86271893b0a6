"""What the tests of the closed forms share."""

import pytest

from lgssm_instances import seeded


@pytest.fixture
def generator():
    return seeded()
