"""The notes of a release, and the check of its tag."""

import re
import subprocess
import sys

import pytest

import tutorial_dssm
from tools import ROOT, release

CHANGELOG = """\
# Changelog

## [0.2.0] - unreleased

- Not yet.

## [0.1.1] - 2027-01-31

### Fixed

- A sign.

## [0.1.0] - 2027-01-02

- All.
"""


def test_version_is_that_of_the_package():
    source = (ROOT / "src" / "tutorial_dssm" / "__init__.py").read_text()
    assert release.version(source) == tutorial_dssm.__version__


@pytest.mark.parametrize(
    "number, expected", [("0.1.1", "### Fixed\n\n- A sign."), ("0.1.0", "- All.")]
)
def test_notes_are_those_of_one_version(number, expected):
    assert release.notes(CHANGELOG, number) == expected


@pytest.mark.parametrize("number", ["0.2.0", "0.3.0", "0.1", "0x1.0"])
def test_a_version_without_date_or_section_is_refused(number):
    with pytest.raises(ValueError, match=re.escape(f'"## [{number}] - YYYY-MM-DD"')):
        release.notes(CHANGELOG, number)


@pytest.mark.parametrize("tag", ["v99.0", "0.1.0", "v"])
def test_a_tag_that_is_not_the_version_is_refused(tag):
    command = [sys.executable, "-m", "tools.release", tag]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert f"expected v{tutorial_dssm.__version__}" in run.stderr
    assert run.stdout == ""


def test_changelog_has_the_version_of_the_package():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## [{tutorial_dssm.__version__}] - " in changelog
