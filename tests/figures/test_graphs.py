"""The graphical models have a node for every variable and an arrow for every dependence."""

import pytest

from figures.helpers import drawn
from tutorial_dssm.figures import graphs

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "make, letters, arrows, dashed",
    [
        # 3 emissions, 2 transitions, 2 effects of controls, one arrow in and two out
        (graphs.graphical_model_dssm, "uzx", 3 + 2 + 2 + 3, 2),
        (graphs.graphical_model_ekvae, "uzax", 6 + 2 + 2 + 3, 3),
    ],
)
def test_graphical_models(make, letters, arrows, dashed, inference):
    (axis,) = drawn(make(inference)).axes
    texts = {text.get_text() for text in axis.texts}
    steps = ("t-1", "t", "t+1")
    assert {f"${letter}_{{{index}}}$" for letter in letters for index in steps} <= texts
    bent = [text for text in axis.texts if getattr(text, "arrow_patch", None)]
    assert len(bent) == inference * dashed
    straight = [patch for patch in axis.patches if type(patch).__name__ == "FancyArrow"]
    assert len(straight) == arrows
