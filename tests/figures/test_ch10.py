"""The figures of comparisons over seeds show the numbers they are given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from figures.helpers import drawn, legend, plays
from tutorial_dssm.figures import ch10_which_model as drawings
from tutorial_dssm.figures.style import BLUE, RED

pytestmark = pytest.mark.filterwarnings("error")


def test_ranks_count_from_the_smallest_value():
    figure = drawings.ranks({"a": [0.1, 3.0], "b": [0.2, np.inf], "c": [0.3, 1.0]}, [0, 4], "rank")
    drawn(figure)
    (axis,) = figure.axes
    assert [line.get_ydata().tolist() for line in axis.lines] == [[1, 2], [2, 3], [3, 1]]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["seed 0", "seed 4"]
    assert axis.yaxis_inverted() and {text.get_text() for text in axis.texts} == {"a", "b", "c"}


@pytest.mark.parametrize(
    "log, expected, reference", [(False, [1.0, 2.0], 0), (True, [2.0, 1.5], 1)]
)
def test_paired_shows_both_runs_and_their_differences_or_ratios(log, expected, reference):
    interval, names = (1.5, 0.5, 2.5), ["a", "b"]
    figure = drawings.paired([2.0, 6.0], [1.0, 4.0], interval, names, "error", [0, 3], log)
    left, right = drawn(figure).axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[2, 1], [6, 4]]
    assert left.get_ylabel() == "error"
    assert [float(np.ravel(line.get_xdata())[0]) for line in right.lines[:2]] == expected
    assert list(right.lines[2].get_xdata()) == [0.5, 2.5]
    assert right.lines[4].get_xdata()[0] == reference
    assert right.get_xscale() == ("log" if log else "linear")


def test_forest_tells_decided_from_undecided():
    panels = {
        "difference": {"a": (1, 0.5, 1.5), "b": (0, -1, 1)},
        "ratio": {"a": (1, 0.5, 2), "b": (0.5, 0.4, 0.6)},
    }
    figure = drawn(drawings.forest(panels, log=["ratio"]))
    first, second = figure.axes
    assert [line.get_color() == BLUE for line in first.lines[:4:2]] == [True, False]
    assert [line.get_color() == BLUE for line in second.lines[:4:2]] == [False, True]
    assert [text.get_text() for text in first.get_yticklabels()] == ["a", "b"]
    assert (first.get_xscale(), second.get_xscale()) == ("linear", "log")
    assert [name.split()[0] for name in legend(figure)] == ["decided", "undecided"]


def test_repeated_studies_counts_what_holds_the_truth_and_starts_again():
    ends = np.array([[-1.0, 1.0], [0.5, 1.0], [-2.0, -0.1], [-0.1, 0.1], [-1.0, 0.2]])
    animation = drawings.repeated_studies({"t": ends}, at_a_time=2)
    (axis,) = animation._fig.axes
    for k, shown, hold in ((2, 5, 3), (0, 2, 1), (1, 4, 2)):
        animation._func(k)
        assert axis.get_title(loc="left") == f"t: {hold} of {shown} intervals hold the truth"
        assert [bar.get_visible() for bar in axis.collections] == [i < shown for i in range(5)]
    missed = [tuple(bar.get_color()[0]) == to_rgba(RED) for bar in axis.collections]
    assert missed == [False, True, True, False, False]
    assert plays(animation, 3)
