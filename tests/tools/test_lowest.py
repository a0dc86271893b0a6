"""The lowest declared versions: what `make test-lowest` installs."""

import tomllib

import pytest
from packaging.requirements import Requirement

from tools import ROOT
from tools.lowest import COMPANIONS, lowest, pin


@pytest.mark.parametrize(
    "requirement, expected",
    [
        ("numpy>=1.26.0", "numpy==1.26.0"),
        ("scikit-learn >= 1.4", "scikit-learn==1.4"),
        ("ipywidgets>=7.7.1,<9", "ipywidgets==7.7.1"),
    ],
)
def test_pin(requirement, expected):
    assert pin(requirement) == expected


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy==2.0", "numpy>=", ">=1.0", ""])
def test_a_dependency_without_a_lower_bound_is_refused(requirement):
    with pytest.raises(ValueError, match="expected a dependency of the form name>=version"):
        pin(requirement)


def test_lowest_are_pins_of_all_dependencies_then_the_tools_of_the_tests():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [Requirement(line) for line in lowest(project)]
    declared = [Requirement(line) for line in project["dependencies"]]
    for line, dependency in zip(lines, declared, strict=False):
        (bound,) = line.specifier
        assert (line.name, bound.operator) == (dependency.name, "==")
        assert bound.version in dependency.specifier
    tools = project["optional-dependencies"]["test"]
    assert [str(line) for line in lines[len(declared) :]] == COMPANIONS + tools
