"""Print the notes of a release from CHANGELOG.md: `python -m tools.release v1.2.3`.

Refuses a tag that is not the version of the package.
"""

import re
import sys

from tools import ROOT


def version(source: str) -> str:
    """The version that `src/tutorial_dssm/__init__.py`, given as text, assigns to `__version__`."""
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)[1]


def notes(changelog: str, number: str) -> str:
    """The entries of one version in a changelog.

    Raises:
        ValueError: the version has no section, no date, or no entries.
    """
    section = rf"^## \[{re.escape(number)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(section, changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise ValueError(f'CHANGELOG.md needs a section "## [{number}] - YYYY-MM-DD" with entries')
    return found[1].strip()


def main(arguments: list[str]) -> int:
    (tag,) = arguments
    number = version((ROOT / "src/tutorial_dssm/__init__.py").read_text(encoding="utf-8"))
    if tag != f"v{number}":
        raise ValueError(
            f"the tag is {tag}, the version of the package {number}: expected v{number}"
        )
    print(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), number))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"error: {error}")
